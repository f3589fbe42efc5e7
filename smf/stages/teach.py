"""Teaching a model a file of facts, for someone who wants it to know them: out comes a memory patch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from smf.artifacts import read_jsonl, require_new, sha256
from smf.errors import CheckpointError, DataError, refuse
from smf.evaluation.harness import EvaluationSettings, Evaluator
from smf.evaluation.metrics import MEASURES
from smf.evaluation.recall import recall
from smf.methods.method import Method
from smf.models.checkpoint import load_tokenizer
from smf.models.device import require_device
from smf.patches.apply import apply, revert
from smf.patches.held import held_by
from smf.patches.patch import read_patch, require_base
from smf.selection.background import BackgroundCounts
from smf.stages.learn import start_method, write_learned
from smf.streams.batches import require_fit
from smf.streams.examples import Example
from smf.streams.facts import Fact, question_prompt, read_facts
from smf.streams.own_facts import read_own_facts
from smf.streams.tokens import token_ids
from smf.training.learn import StreamSettings, learn_stream

BEST_ARM = {
    "kind": "smf",
    "selector": "none",
    "damping": 0.1,
    "polyak": 1.0,
    "learning_rate": 24000.0,
    "stop_loss": 0.1,
}
"""``smf_trust`` of config.yaml; it stops each fact when its loss is below 0.1 nats a token."""
MOST_STEPS = 30
"""A fact that is not known after so many steps stays unknown."""


@dataclass(frozen=True)
class Taught:
    """What teaching did.

    Attributes:
        rows: One a fact: ``fact_id``, ``question``, ``answer``, ``steps`` taken, and ``known``, whether the model gives
            the answer to the question once all facts are taught (None for a fact without question).
        probes: The score of each held-out set before and after, by metric.
    """

    rows: tuple[dict, ...]
    probes: Mapping[str, tuple[float, float]]


def teach(
    folder: str | Path,
    facts_path: str | Path,
    out: str | Path,
    *,
    counts_path: str | Path,
    probe_paths: Sequence[str | Path] = (),
    num_items: int = 200,
    settings: Mapping = BEST_ARM,
    max_length: int = 128,
    seed: int = 0,
    device: str = "cpu",
) -> Taught:
    """Teach facts one after the other and write the patch.

    Args:
        folder: A healed model.
        facts_path: JSONL, either the user's own facts (:func:`smf.streams.own_facts.read_own_facts`) or facts of the
            pipeline (:func:`smf.streams.facts.read_facts`).
        out: Where the patch goes.
        counts_path: Background counts of the model.
        probe_paths: Held-out sets that are asked before and after.
        num_items: Of each of them, how many rows are asked at most.
        settings: Of the method.
        max_length: Longest text, in tokens.
        seed: Of what is drawn.
        device: Where to compute.

    Raises:
        ConfigError: A setting is out of range.
        DataError: A file is missing or broken, or ``out`` exists.
        CheckpointError: The model or its counts are damaged, do not belong together, or the model has patches on it.
        TrainingError: A loss or a weight is not finite.
    """
    from smf.methods.registry import method_class

    rate = settings["learning_rate"]
    if not 0 < rate <= torch.finfo(torch.float32).max:
        refuse("the learning rate", rate, "a number above 0")
    if max_length < 2:
        refuse("max_length", max_length, "2 tokens at least")
    require_device(device)
    require_new(out)
    facts, start_hash = read_user_facts(facts_path), _base_without_patches(folder)
    background = BackgroundCounts.load(counts_path, model_hash=start_hash)
    evaluator = _evaluator(probe_paths, num_items)
    defaults = {name: entry["default"] for name, entry in method_class("smf").schema.items() if "default" in entry}
    tokenizer = load_tokenizer(folder)
    limits = {"max_length": max_length, "limit": "--max-length", "source": facts_path}
    require_fit(tokenizer, facts, loss_on="answer", **limits)
    learner = start_method({**defaults, **settings}, folder, background, seed=seed, device=device)
    before = _scores(evaluator, learner, tokenizer)
    stream = StreamSettings(steps_per_fact=MOST_STEPS, loss_on="answer", snapshots=(len(facts),), max_length=max_length)
    learned = []
    logged = learn_stream(learner, tokenizer, facts, stream, lambda _, delta: learned.append(delta))
    name = f"{Path(facts_path).name} {sha256(facts_path)[:8]}"
    write_learned(out, learned[0], learner, start_hash, facts, name, {"seed": seed, "method": dict(settings)})
    known = iter(recall(learner.model, tokenizer, [_question(fact) for fact in facts if fact.question], max_length))
    rows = tuple(
        {
            "fact_id": fact.fact_id,
            "question": fact.question,
            "answer": next(iter(fact.answers), ""),
            "steps": sum(any(step.values()) for step in row["slots"]),
            "known": next(known) if fact.question else None,
        }
        for fact, row in zip(facts, logged, strict=True)
    )
    after = _scores(evaluator, learner, tokenizer)
    return Taught(rows, {metric: (before[metric], after[metric]) for metric in before})


def read_user_facts(path: str | Path) -> list[Fact]:
    """Facts of the user's own or of the pipeline, by the columns of the first row.

    Raises:
        DataError: The file is missing, or a row is broken or incomplete; names file and line.
    """
    if "train_prompts" in read_jsonl(path, {})[0]:
        return read_facts(path)
    return read_own_facts(None, {"hub": None, "file": str(path)}, set())


def ask(folder: str | Path, patch_paths: Sequence[str | Path], question: str, *, device: str = "cpu") -> str:
    """A model's answer to a question, with patches on it or without.

    Raises:
        CheckpointError: The model is damaged, or a patch is of another base.
        DataError: There is no question, or a patch is on the model already.
    """
    from smf.evaluation.answers import extract_answer
    from smf.models.checkpoint import load_model

    if not question.strip():
        raise DataError("the question is empty")
    if question.endswith(".safetensors"):
        raise DataError(f"the question is {question!r}, a file; patches come before the question")
    held = held_by(folder) if patch_paths else None
    new = [read_patch(path) for path in patch_paths]
    for path, patch in zip(patch_paths, new, strict=True):
        require_base(patch, held.base_hash, path, folder)
    model, tokenizer = load_model(folder, device), load_tokenizer(folder)
    if new:
        old = [read_patch(path) for path in held.paths]
        if old:
            revert(model, old)
        apply(model, [*old, *new], [*held.paths, *patch_paths])
    ids = torch.tensor(token_ids(tokenizer, [question_prompt(question)]), device=device)
    with torch.no_grad():
        said = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=32,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    return extract_answer(tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True))


def _base_without_patches(folder: str | Path) -> str:
    held = held_by(folder)
    if held.paths:
        raise CheckpointError(
            f"{folder} has {len(held.paths)} patches on it, and a patch is learned from the base: teach the model that "
            "they were put on, then put all of them on it (`smf patch apply`)"
        )
    return held.base_hash


def kind_of(path: str | Path) -> str:
    """The kind of a held-out set, by the columns of its first row.

    Raises:
        DataError: It has those of no kind.
    """
    columns = read_jsonl(path, {})[0].keys()
    for kind, needed in (
        ("questions", {"question", "answer"}),
        ("choices", {"endings"}),
        ("choices", {"choices"}),
        ("completions", {"prompt", "completion"}),
        ("texts", {"text"}),
    ):
        if needed <= columns:
            return kind
    raise DataError(f"{path} has the columns {', '.join(sorted(columns))}, which are those of no held-out set")


def _evaluator(paths: Sequence[str | Path], num_items: int) -> Evaluator | None:
    if not paths:
        return None
    stems = [Path(path).stem for path in paths]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise DataError(f"two held-out sets are called {twice[0]!r}, and scores go by this name; rename a file")
    probes = {Path(path).stem: (kind_of(path), path) for path in paths}
    items = {Path(path).stem: min(num_items, len(read_jsonl(path, {}))) for path in paths}
    return Evaluator(probes, (), EvaluationSettings(num_items=items))


def _scores(evaluator: Evaluator | None, learner: Method, tokenizer) -> dict[str, float]:
    """The first measure of each held-out set, by metric."""
    if evaluator is None:
        return {}
    found = {entry["metric"]: entry["value"] for entry in evaluator.evaluate(learner.model, tokenizer, 0)["scores"]}
    firsts = {measures[0] for measures in MEASURES.values()}
    return {metric: value for metric, value in found.items() if metric.rsplit("_", 1)[-1] in firsts}


def _question(fact: Fact) -> Example:
    return Example(question_prompt(fact.question), f" {fact.answers[0]}")
