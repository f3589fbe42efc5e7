"""Filter rows by what the base model answers: asked once, before anything is taught."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smf.errors import ConfigError
from smf.evaluation.documents import read_questions
from smf.evaluation.known import ask_facts, known_questions
from smf.evaluation.language_model import LanguageModel
from smf.files.artifacts import read_json, write_json, write_jsonl
from smf.files.resume import NO_RESUME, Resume, Tape
from smf.models.checkpoint import load_model, load_tokenizer
from smf.streams.asking import Asking
from smf.streams.facts import less, read_facts, write_facts
from smf.streams.neighbours import with_neighbours
from smf.streams.replaced import relinked

logger = logging.getLogger(__name__)

_WHERE = "data.collection"
_ANSWERED = "that the base model answers"


@dataclass(frozen=True)
class Needed:
    """What an experiment needs of the rows and facts that are kept.

    Attributes:
        num_items: Rows of each set that evaluation will ask; for a set that is not named, all that are left.
        num_facts: Facts of a stream, updates included.
        neighbours: Neighbours per kept fact, chosen from the facts that the base model does answer.
        seed: Seed of that choice, where there are more candidates than are looked at.
        updates: How many facts of a stream are updates, which need no facts of the data.
    """

    num_items: Mapping[str, int | None]
    num_facts: int
    neighbours: int = 0
    seed: int = 0
    updates: int = 0


def ask_base(
    settings: Mapping,
    folder: str | Path,
    set_paths: Mapping[str, tuple[str | Path, str | Path]],
    facts_paths: tuple[str | Path, str | Path] | None,
    labels_paths: tuple[str | Path, str | Path],
    needed: Needed,
    *,
    device: str,
    report_path: str | Path,
    resume: Resume = NO_RESUME,
) -> None:
    """Keep the held-out questions that the base model answers right, and the facts that it does not answer.

    Args:
        settings: ``num_fewshot`` of each set, ``max_new_tokens``, ``batch_size`` and ``seed``, as of the config's
            ``evaluation``; ``prompt_format``, how questions are asked.
        folder: The base model.
        set_paths: For each set of questions, the file to read and the file to write.
        facts_paths: The same for the facts; None to ask for none.
        labels_paths: The same for ``labels.json``, to which the kept numbers are added.
        needed: How many rows and facts must be left.
        device: Where to compute.
        report_path: Where the numbers go: for each set and for the facts, how many were ``asked`` and ``kept``.
        resume: Saves the answers so far, even if too few rows are left.

    Raises:
        ConfigError: Fewer rows are left than will be asked, fewer facts than a stream has, or too few that could be
            neighbours; nothing is written.
    """
    limit = settings["max_new_tokens"]
    tape, tokenizer = Tape(resume, "asked"), load_tokenizer(folder)
    asking = Asking(settings["prompt_format"], tokenizer, model=folder)
    lm = LanguageModel(
        load_model(folder, device),
        tokenizer,
        batch_size=settings["batch_size"],
        max_new_tokens=limit,
        tape=tape,
        asking=asking,
    )
    options = {"max_new_tokens": limit, "asking": asking}
    kept, report, short = {}, {}, []
    for name, (source, _) in set_paths.items():
        rows, examples = read_questions(source), settings["num_fewshot"].get(name, 0)
        kept[name] = known_questions(lm, name, rows, num_fewshot=examples, seed=settings["seed"], **options)
        report[name] = {"asked": len(rows), "kept": len(kept[name])}
        logger.info("%s: the base model answers %d of %d questions right", name, len(kept[name]), len(rows))
        short += _too_few_rows(name, **report[name], num_items=needed.num_items.get(name), examples=examples)
    if facts_paths is not None:
        facts = read_facts(facts_paths[0])
        unknown, known = ask_facts(lm, facts, **options)
        unknown = relinked(unknown, facts)
        report["facts"] = {"asked": len(facts), "kept": len(unknown)}
        logger.info("facts: of %d the base model answers %d right, %d not at all", len(facts), len(known), len(unknown))
        short += _too_few_facts(**report["facts"], num_facts=needed.num_facts, updates=needed.updates)
    try:
        if short:
            raise ConfigError("; ".join(short))
        if facts_paths is not None and needed.neighbours:
            unknown = with_neighbours(unknown, known, needed.neighbours, needed.seed, chosen=_ANSWERED, remedy="raise")
    except ConfigError:
        tape.keep()  # a rerun with other numbers asks the same
        raise
    for name, (_, path) in set_paths.items():
        write_jsonl(path, kept[name])
    if facts_paths is not None:
        write_facts(facts_paths[1], unknown)
    write_json(labels_paths[1], _labels(read_json(labels_paths[0]), report))
    write_json(report_path, report)


def _too_few_rows(name: str, *, asked: int, kept: int, num_items: int | None, examples: int) -> list[str]:
    if kept >= (num_items or 1) + examples:
        return []
    solved = f" and evaluation.num_fewshot.{name} needs {examples} more" if examples else ""
    most = max(kept - examples, 0)
    lower = f"lower num_items to at most {most}, or " if most else ""
    return [
        f"the base model answers {kept} of the {asked} questions of {_WHERE}.held_out.{name} (known_only), but "
        f"evaluation.num_items.{name} asks {num_items or 'at least 1'}{solved}; {lower}raise "
        f"{_WHERE}.held_out.{name}.num_rows, or drop known_only"
    ]


def _too_few_facts(*, asked: int, kept: int, num_facts: int, updates: int) -> list[str]:
    if kept >= num_facts - updates:
        return []
    return [
        f"the base model does not answer {kept} of the {asked} facts of {_WHERE}.facts (unknown_only), but "
        f"stream.num_facts is {num_facts}{less(updates)}; lower it, raise {_WHERE}.facts.num_rows, or drop unknown_only"
    ]


def _labels(labels: Mapping, report: Mapping[str, Mapping[str, int]]) -> dict:
    """The data's labels, with the kept numbers."""
    held_out = {
        name: f"{text}, {report[name]['kept']:,} of them answered by the base" if name in report else text
        for name, text in labels["held_out"].items()
    }
    facts = labels["facts"]
    if "facts" in report:
        facts += f", {report['facts']['kept']:,} of {report['facts']['asked']:,} not answered by the base"
    return {**labels, "held_out": held_out, "facts": facts}
