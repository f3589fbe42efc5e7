"""The inputs of a run: its method, stream and start model, as paths and as loaded from disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.files.artifacts import sha256
from smf.models.checkpoint import load_model, load_tokenizer, model_hash
from smf.models.recompute import recompute_activations
from smf.selection.background import BackgroundCounts
from smf.selection.joined import read_background
from smf.streams.asking import Asking
from smf.streams.background_texts import BackgroundTexts
from smf.streams.batches import encode
from smf.streams.examples import read_corpus
from smf.streams.facts import Fact, read_facts
from smf.training.learn import StreamSettings
from smf.training.stream import Learned, StreamHooks, learn_stream
from smf.wordings.contexts import contrast_behind_examples


@dataclass(frozen=True)
class Run:
    """One method, one stream, one seed.

    Attributes:
        method: The method's entry in the config.
        start_folder: The model that the method starts from.
        facts_path: The stream.
        counts_path: Background counts, for methods that need them to learn.
        contrast_path: Counts of contrast texts, for methods that weigh them.
        texts_path: Background text, for methods that read it while they learn.
        contrast_texts_path: Contrast texts, for methods that read them while they learn.
        seed: The run's seed.
        device: Where to compute.
    """

    method: Mapping
    start_folder: str | Path
    facts_path: str | Path
    counts_path: str | Path | None = None
    contrast_path: str | Path | None = None
    texts_path: str | Path | None = None
    contrast_texts_path: str | Path | None = None
    seed: int = 0
    device: str = "cpu"

    @staticmethod
    def optional(files: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
        """The paths that only some runs have, as arguments, from lists that hold a run's path or nothing."""
        return {f"{name}_path": next(iter(files[name]), None) for name in _OPTIONAL}


_OPTIONAL = ("counts", "contrast", "texts", "contrast_texts")


@dataclass(frozen=True)
class Learning:
    """How a run learns its stream.

    Attributes:
        stream: The config's ``stream``, with its ``prompt_format``.
        max_length: Longest text, in tokens.
        gradient_checkpointing: Whether the backward pass recomputes activations.
    """

    stream: Mapping
    max_length: int
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class Inputs:
    """All that a run learns from, in memory.

    Attributes:
        model: The start model.
        tokenizer: Its tokenizer.
        base_hash: The start model's hash.
        facts: The stream.
        settings: How the stream is learned.
        background: Counts of ordinary text, and of contrast texts; None for methods that need none.
        texts: Background text and contrast texts; None for methods that read none.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    base_hash: str
    facts: list[Fact]
    settings: StreamSettings
    background: BackgroundCounts | None
    texts: BackgroundTexts | None

    def learn(self, method: Mapping, hooks: StreamHooks) -> Learned:
        """Teach the stream, see :func:`smf.training.stream.learn_stream`."""
        return learn_stream(
            self.model,
            self.tokenizer,
            self.facts,
            method,
            self.settings,
            background=self.background,
            texts=self.texts,
            base_hash=self.base_hash,
            hooks=hooks,
        )


def read_inputs(run: Run, learning: Learning, snapshots: Sequence[int]) -> Inputs:
    """Read all that a run learns from, once.

    Args:
        run: The run.
        learning: How it learns.
        snapshots: Positions at which snapshots are taken; facts behind the last are not learned.

    Raises:
        SmfError: A file is missing or damaged, or the counts are of another model.
    """
    base_hash = model_hash(run.start_folder)
    background = read_background(
        run.counts_path, run.contrast_path, run.method.get("contrast", 0), model_hash=base_hash
    )
    tokenizer, texts = load_tokenizer(run.start_folder), None
    corpus = [] if run.texts_path is None else read_corpus(run.texts_path)
    if run.contrast_texts_path is not None:
        contrast = read_corpus(run.contrast_texts_path)
        corpus += contrast_behind_examples(contrast, learning.stream["behind_examples"], run.seed)
    if corpus:
        encoded = encode(tokenizer, corpus, loss_on="text", max_length=learning.max_length, long="split")
        texts = BackgroundTexts(encoded, tokenizer.pad_token_id, run.seed)
    name = f"seed {run.seed} {sha256(run.facts_path)[:8]}"
    settings = stream_settings(
        learning, tokenizer, run.start_folder, seed=run.seed, snapshots=tuple(snapshots), name=name
    )
    facts = read_facts(run.facts_path)[: max(snapshots)]
    model = load_model(run.start_folder, run.device)
    if learning.gradient_checkpointing:
        recompute_activations(model)
    return Inputs(model, tokenizer, base_hash, facts, settings, background, texts)


def stream_settings(
    learning: Learning,
    tokenizer: PreTrainedTokenizerBase,
    start_folder: str | Path,
    *,
    seed: int,
    snapshots: tuple[int, ...] = (),
    name: str = "stream",
) -> StreamSettings:
    """How a stream is learned, of the config's ``stream``.

    Args:
        learning: How a run learns.
        tokenizer: The start model's tokenizer.
        start_folder: The start model, for error messages.
        seed: The run's seed.
        snapshots: Positions at which snapshots are taken.
        name: What patches call the stream.
    """
    stream = learning.stream
    return StreamSettings(
        steps_per_fact=stream["steps_per_fact"],
        loss_on=stream["loss_on"],
        snapshots=snapshots,
        max_length=learning.max_length,
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
        name=name,
    )
