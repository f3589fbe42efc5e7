"""Teach a model a file of facts and write a memory patch: `smf teach`."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smf.evaluation.harness import Evaluator
from smf.files.atomic import require_new
from smf.files.resume import Resume
from smf.models.checkpoint import load_model
from smf.models.memory_model import require_memory
from smf.patches.patch import write_patch
from smf.scores.metrics import MEASURES
from smf.stages.contrast import with_contrast
from smf.streams.asking import Asking
from smf.streams.facts import Fact
from smf.teaching.ask import Reply, quiz
from smf.teaching.given_files import OWN_TEXT, read_user_texts
from smf.teaching.keeping import keep, reserved, stopped_by_ctrl_c
from smf.teaching.knowledge import Neighbour, known_wordings, sayings
from smf.teaching.lesson_neighbours import neighbour_prompts
from smf.teaching.lesson_paraphrases import Paraphrased, paraphrased
from smf.teaching.lessons import BEST_ARM, Lessons, check, longest_wording
from smf.teaching.taught import Taught, TaughtFact
from smf.training.learn import StreamSettings
from smf.training.stream import StreamHooks, learn_stream
from smf.wordings.lesson_wordings import lesson_contexts, lesson_fact

_WORDINGS_TOGETHER = 4
"""Micro-batch size: wordings with a context are three times as long, and the rest should not be padded to them."""


def teach(
    folder: str | Path,
    facts_path: str | Path,
    out: str | Path,
    *,
    counts_path: str | Path,
    probe_paths: Sequence[str | Path] = (),
    settings: Mapping = BEST_ARM,
    lessons: Lessons = Lessons(),  # noqa: B008 (it is frozen)
) -> Taught:
    """Teach facts one after the other, write the patch, and then measure the result.

    Until the patch is written, a resume state lies beside ``out``: after a kill the same call continues from it.

    Args:
        folder: A healed model.
        facts_path: JSONL, either the user's own facts (:func:`smf.data.own_facts.read_own_facts`) or facts of the
            pipeline (:func:`smf.streams.facts.read_facts`).
        out: Where the patch goes.
        counts_path: Background counts of the model.
        probe_paths: Held-out sets that are asked before and after.
        settings: Settings of the method.
        lessons: All other settings.

    Raises:
        ConfigError: A setting is out of range.
        DataError: A file is missing or broken, or ``out`` exists or is about to be written by another process.
        CheckpointError: The model or its counts are damaged, do not belong together, or the model has no memory layers
            or has patches on it.
        TrainingError: A loss or a weight is not finite.
        KeyboardInterrupt: Ctrl-C; its note says how many facts were learned and where the patch is.
    """
    require_new(out)
    checked = check(folder, facts_path, counts_path, probe_paths, settings, lessons)
    facts, tokenizer = checked.facts, checked.tokenizer
    with reserved(out):
        model, background = require_memory(load_model(folder, lessons.device)), checked.background
        if weight := settings.get("contrast", 0.0):
            options = {"max_length": lessons.max_length, "seed": lessons.seed}
            background = with_contrast(model, tokenizer, background, checked.contrast, weight, **options)
        facts, worded = _worded(model, tokenizer, facts, lessons, checked.asking)
        asked_before = quiz(model, tokenizer, facts, lessons.max_new_tokens, checked.asking)
        beside = neighbour_prompts(facts, lessons.num_neighbours, lessons.seed)
        said_before = sayings(model, tokenizer, beside, checked.asking)
        scores_before = _scores(checked.evaluator, model, tokenizer)
        stream = StreamSettings(
            steps_per_fact=lessons.steps,
            loss_on="answer",
            snapshots=(len(facts),),
            max_length=lessons.max_length,
            max_wording_length=longest_wording(checked.asking, tokenizer, facts, lessons.max_length),
            micro_batch_size=_WORDINGS_TOGETHER,
            seed=lessons.seed,
            asking=checked.asking,
            name=checked.name,
        )
        state = Path(out).with_name(f".{Path(out).name}.teaching")
        resume = Resume(state, checked.key, lessons.resume_interval)
        with stopped_by_ctrl_c() as stopped:
            learned = learn_stream(
                model,
                tokenizer,
                facts,
                {"kind": "smf", **settings},
                stream,
                background=background,
                base_hash=checked.start_hash,
                hooks=StreamHooks(stopped=stopped, resume=resume),
            )
            patch = replace(learned.patch, provenance={"seed": lessons.seed, "method": dict(settings)})
            keep(out, lambda place: write_patch(place, patch))
        number = learned.snapshots[-1].position
        shutil.rmtree(state, ignore_errors=True)
        with _written(f"{out} holds the first {number} of {len(facts)} facts" if stopped() else f"{out} was written"):
            if stopped():
                raise KeyboardInterrupt
            asked_after = quiz(model, tokenizer, facts, lessons.max_new_tokens, checked.asking)
            wordings = [known_wordings(model, tokenizer, fact, checked.asking) for fact in facts]
            said_after = sayings(model, tokenizer, beside, checked.asking)
            scores_after = _scores(checked.evaluator, model, tokenizer)
    taught = (
        TaughtFact(
            fact_id=fact.fact_id,
            before=before,
            after=after,
            losses=tuple(row["losses"]),
            steps=sum(any(step.values()) for step in row["slots"]),
            acquired=row["acquired"],
            wordings=known,
        )
        for fact, row, before, after, known in zip(
            facts, learned.rows, asked_before, asked_after, wordings, strict=True
        )
    )
    probes = {metric: (scores_before[metric], scores_after[metric]) for metric in scores_before}
    neighbours = tuple(map(Neighbour, beside, said_before, said_after))
    return Taught(tuple(taught), probes, patch.num_rows, settings["stop_loss"], lessons.steps, neighbours, worded)


def preview(
    folder: str | Path,
    facts_path: str | Path,
    out: str | Path,
    *,
    counts_path: str | Path,
    probe_paths: Sequence[str | Path] = (),
    settings: Mapping = BEST_ARM,
    lessons: Lessons = Lessons(),  # noqa: B008
) -> tuple[list[Fact], list[tuple[Reply, ...]]]:
    """Check all that :func:`teach` checks, and ask the model; nothing is taught or written.

    Returns:
        The facts that would be taught, and the model's replies for each (:func:`smf.teaching.ask.quiz`).

    Raises:
        SmfError: As :func:`teach`, for errors that can be found before teaching.
    """
    require_new(out)
    checked = check(folder, facts_path, counts_path, probe_paths, settings, lessons)
    model = load_model(folder, lessons.device)
    facts = [lesson_fact(fact, checked.asking) for fact in checked.facts]
    return facts, quiz(model, checked.tokenizer, facts, lessons.max_new_tokens, checked.asking)


def _worded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[Fact], lessons: Lessons, asking: Asking
) -> tuple[list[Fact], Paraphrased | None]:
    """The facts in the wordings that teach them, and counts of the model's paraphrases; None if it wrote none."""
    report = None
    if lessons.paraphrases:
        facts, report = paraphrased(model, tokenizer, facts, lessons.paraphrases, lessons.seed)
    worded = [lesson_fact(fact, asking) for fact in facts]
    return lesson_contexts(worded, asking, read_user_texts(OWN_TEXT), lessons.seed), report


@contextmanager
def _written(what: str) -> Iterator[None]:
    """Add a note to any exception from here on, to say what was already written."""
    try:
        yield
    except BaseException as error:
        error.add_note(what)
        raise


def _scores(
    evaluator: Evaluator | None, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> dict[str, float]:
    """The first measure of each held-out set, by metric."""
    if evaluator is None:
        return {}
    found = {entry["metric"]: entry["value"] for entry in evaluator.evaluate(model, tokenizer, 0)["scores"]}
    firsts = {measures[0] for measures in MEASURES.values()}
    return {metric: value for metric, value in found.items() if metric.rsplit("_", 1)[-1] in firsts}
