"""Files that a user names on the command line: facts and held-out sets, told apart by their columns."""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from smf.data.own_facts import read_own_facts
from smf.data.repeats import without_repeats
from smf.errors import DataError
from smf.evaluation.harness import Evaluator
from smf.evaluation.settings import EvaluationSettings
from smf.files.package import package_file
from smf.rows.file_rows import first_columns, read_file_rows
from smf.rows.files import read_file
from smf.streams.asking import PromptFormat
from smf.streams.examples import Example, read_corpus
from smf.streams.facts import Fact, read_facts
from smf.streams.replaced import current, relinked

logger = logging.getLogger(__name__)

OWN_TEXT = package_file("data", "ordinary_text.jsonl")
"""218 short English texts that ship with smf, written for it: news, dialogue, questions, instructions, lists, code."""


def read_user_facts(path: str | Path, *, allow_updates: bool = False) -> list[Fact]:
    """Read facts, each once, in the user's or the pipeline's format; the first row's columns tell which.

    A fact that a later one says it replaces is left out: one file is taught at once, so only what is true now counts.

    Args:
        path: The file.
        allow_updates: See :func:`smf.data.repeats.without_repeats`.

    Raises:
        DataError: The file is missing, a row is broken or incomplete, or two facts contradict each other; names file
            and line.
    """
    if Path(path).is_dir():
        raise DataError(f"{path} is a folder; name a file with one fact a line (JSONL, see docs/patches.md)")
    if "train_prompts" in first_columns(path):
        placed = ((f"{path}, line {number}", fact) for number, fact in enumerate(read_facts(path), start=1))
        facts = without_repeats(placed, allow_updates=allow_updates)
    else:
        facts = read_own_facts(None, {"hub": None, "file": str(path), "allow_updates": allow_updates}, set())
    left = current(facts)
    if number := len(facts) - len(left):
        logger.warning("facts not taught, because a later one says that it replaces them: %d", number)
    return relinked(left, facts)


def read_user_texts(path: str | Path) -> list[Example]:
    """Read ordinary text: rows with a column ``text`` or lines of a .txt file, without empty ones, or pipeline text.

    Raises:
        DataError: The file is missing, a row is broken, or there is no text.
    """
    if {"prompt", "completion"} <= first_columns(path):
        return read_corpus(path)
    rows = read_file_rows(path, {"text": str})
    texts = [Example("", text) for row in rows if (text := row.values["text"].strip())]
    if not texts:
        raise DataError(f"{path} holds no text, only empty rows; name a file of ordinary text")
    return texts


def kind_of(path: str | Path) -> str:
    """The kind of a held-out set; the columns of its first row tell it.

    Raises:
        DataError: The columns fit no kind.
    """
    columns = first_columns(path)
    for kind, needed in (
        ("questions", {"question", "answer"}),
        ("choices", {"endings"}),
        ("choices", {"choices"}),
        ("completions", {"prompt", "completion"}),
        ("texts", {"text"}),
    ):
        if needed <= columns:
            return kind
    raise DataError(f"{path} has the columns {', '.join(sorted(columns))}, which fit no kind of held-out set")


def probes_evaluator(
    paths: Sequence[str | Path], num_items: int, prompt_format: PromptFormat, tokenizer: PreTrainedTokenizerBase
) -> Evaluator | None:
    """An evaluator of held-out sets, each named after its file; None if there are no sets.

    Args:
        paths: Files of the sets.
        num_items: Most rows of each set to ask.
        prompt_format: How questions are asked.
        tokenizer: The model's tokenizer.

    Raises:
        DataError: A file is missing or broken, or two have the same name.
    """
    if not paths:
        return None
    stems = [Path(path).stem for path in paths]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise DataError(
            f"two held-out sets are called {twice[0]!r}, and scores are named after them; rename one of the files"
        )
    probes = {Path(path).stem: (kind_of(path), path) for path in paths}
    items: dict[str, int | None] = {Path(path).stem: min(num_items, sum(1 for _ in read_file(path))) for path in paths}
    return Evaluator(probes, (), EvaluationSettings(num_items=items, prompt_format=prompt_format), tokenizer)
