"""One run: one method learns the stream of one seed."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from smf.artifacts import copy_file, sha256, write_jsonl
from smf.errors import CheckpointError
from smf.methods.method import Method
from smf.methods.registry import method_class
from smf.models.checkpoint import load_model, load_tokenizer, model_hash
from smf.models.recompute import recompute_activations
from smf.patches.patch import KIND as PATCH
from smf.patches.patch import patch_from, patch_of, write_patch
from smf.resume import NO_RESUME, Resume
from smf.selection.background import BackgroundCounts
from smf.selection.joined import read_background
from smf.streams.asking import Asking
from smf.streams.background_texts import BackgroundTexts
from smf.streams.batches import encode
from smf.streams.examples import read_corpus
from smf.streams.facts import Fact, read_facts
from smf.tensor_files import read_tensors, write_tensors
from smf.training.learn import StreamSettings, learn_stream

logger = logging.getLogger(__name__)


def learn(
    method: Mapping,
    stream: Mapping,
    start_folder: str | Path,
    counts_path: str | Path | None,
    facts_path: str | Path,
    texts_path: str | Path | None,
    *,
    max_length: int,
    gradient_checkpointing: bool,
    contrast_path: str | Path | None = None,
    seed: int,
    device: str,
    delta_paths: Mapping[int, str | Path],
    log_path: str | Path,
    resume: Resume = NO_RESUME,
) -> None:
    """Teach the stream; write a delta for each snapshot and one log row a fact.

    Args:
        method: The method's entry in the config.
        stream: The config's ``stream``, with its ``prompt_format``.
        start_folder: The model that the method starts from.
        counts_path: Background counts, for methods that need them.
        facts_path: The stream.
        texts_path: Background text, for methods that read it while they learn.
        max_length: Longest text, in tokens.
        gradient_checkpointing: Whether the backward pass computes activations again.
        contrast_path: Counts of contrast texts, for methods that weigh them.
        seed: The run's seed.
        device: Where to train.
        delta_paths: Where the delta of each position goes.
        log_path: Where the log goes.
        resume: Keeps the state of the stream, and finished snapshots until the job is done.
    """
    waiting = {
        position: resume.path(f"position-{position}") if resume.active else path
        for position, path in delta_paths.items()
    }
    if (found := resume.load("learned")) and all(_is_whole(path) for path in waiting.values()):
        _publish(waiting, delta_paths)
        write_jsonl(log_path, found[1]["rows"])
        return
    start_hash = model_hash(start_folder)
    background = read_background(counts_path, contrast_path, method.get("contrast", 0), model_hash=start_hash)
    tokenizer, texts = load_tokenizer(start_folder), None
    if texts_path is not None:
        encoded = encode(tokenizer, read_corpus(texts_path), loss_on="text", max_length=max_length, long="split")
        texts = BackgroundTexts(encoded, tokenizer.pad_token_id, seed)
    learner = start_method(
        method,
        start_folder,
        background,
        texts,
        seed=seed,
        device=device,
        gradient_checkpointing=gradient_checkpointing,
    )
    settings = StreamSettings(
        steps_per_fact=stream["steps_per_fact"],
        loss_on=stream["loss_on"],
        snapshots=tuple(delta_paths),
        max_length=max_length,
        max_wording_length=stream["max_length"],
        micro_batch_size=stream["micro_batch_size"],
        facts_per_step=stream["facts_per_step"],
        epochs=stream["epochs"],
        reshuffle=stream["order"] == "shuffled",
        schedule=stream["schedule"],
        warmup_steps=stream["warmup_steps"],
        stop_loss=stream["stop_loss"],
        max_gradient_norm=stream["max_gradient_norm"],
        seed=seed,
        asking=Asking(stream["prompt_format"], tokenizer, model=start_folder),
    )

    facts = read_facts(facts_path)
    name = f"seed {seed} {sha256(facts_path)[:8]}"

    def keep(position, delta):
        metadata = {"method": dict(method), "seed": seed, "position": position}
        write_learned(waiting[position], delta, learner, start_hash, facts, name, metadata)

    rows = learn_stream(
        learner, tokenizer, facts, settings, keep, resume, lambda position: _is_whole(waiting[position])
    )
    resume.save("learned", {}, {"rows": rows})
    if resume.active:
        _publish(waiting, delta_paths)
    write_jsonl(log_path, rows)


def _is_whole(path: Path) -> bool:
    """Whether a finished snapshot is there, as it was written."""
    try:
        read_tensors(path)
    except CheckpointError as error:
        logger.warning("%s; the stream is learned again", error)
        return False
    return True


def _publish(waiting: Mapping[int, Path], delta_paths: Mapping[int, str | Path]) -> None:
    """Put finished snapshots where they belong; they stay here too, until Snakemake has noted that the job is done."""
    for position, path in delta_paths.items():
        copy_file(waiting[position], path)


def write_learned(
    path: str | Path,
    delta: Mapping[str, Tensor],
    learner: Method,
    start_hash: str,
    facts: Sequence[Fact],
    stream: str,
    metadata: Mapping[str, object],
) -> None:
    """Write what was learned: a memory patch, if the method knows which fact wrote what, else the delta.

    Args:
        path: Where it goes.
        delta: The method's.
        learner: The method.
        start_hash: Of the model that it started from.
        facts: The stream.
        stream: A name for it, for people who stack patches.
        metadata: What else shall be known.
    """
    history = learner.history()
    if history is None:
        write_tensors(path, delta, {**metadata, "kind": "delta", "start_hash": start_hash})
        return
    tensors, lessons = history
    taught = sorted({place for lesson in lessons for place in lesson})
    numbers = {place: number for number, place in enumerate(taught)}
    known = [
        {
            "fact_id": fact.fact_id,
            "subject": fact.subject,
            "question": fact.question,
            "answer": next(iter(fact.answers), ""),
            "stream": stream,
            "position": place + 1,
        }
        for place, fact in ((place, facts[place]) for place in taught)
    ]
    renumbered = [tuple(numbers[place] for place in lesson) for lesson in lessons]
    write_patch(path, patch_of(delta, tensors, start_hash, known, renumbered, metadata))


def read_delta(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """What :func:`write_learned` wrote, as :meth:`smf.methods.method.Method.load_delta` takes it, and its metadata."""
    tensors, metadata = read_tensors(path)
    return (patch_from(tensors, metadata, str(path)).delta() if metadata.get("kind") == PATCH else tensors), metadata


def start_method(
    method: Mapping,
    start_folder: str | Path,
    background: BackgroundCounts | None,
    texts: BackgroundTexts | None = None,
    *,
    seed: int,
    device: str,
    gradient_checkpointing: bool = False,
) -> Method:
    """The method of a config entry, at the beginning of its stream."""
    model = load_model(start_folder, device)
    if gradient_checkpointing:
        recompute_activations(model)
    return method_class(method["kind"])(model, method, background, seed, texts)
