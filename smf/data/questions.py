"""Question sets as pairs of a question and its accepted answers, and facts made from such pairs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.sources import Row
from smf.streams.facts import Fact
from smf.streams.normalize import QUESTION_MARKS, as_written, bare_question, spaced, text_key
from smf.wordings.lesson_wordings import question_frames, unseen_frames

logger = logging.getLogger(__name__)

NQ_OPEN: Columns = {"question": str, "answer": list}
TRIVIAQA: Columns = {"question": str, "answer": dict}
SIMPLEQA: Columns = {"question": str, "answer": str}


@dataclass(frozen=True)
class Pair:
    """A question and its accepted answers, the taught one first; ``row`` counts from 1 in the source."""

    row: int
    question: str
    answers: tuple[str, ...]

    @property
    def key(self) -> str:
        """Equal for questions that differ in case, punctuation or spaces only."""
        return text_key(self.question)


def nq_pair(row: Row) -> Pair:
    """A row of nq_open: ``answer`` is a list of texts."""
    answers = row.values["answer"]
    if not are_texts(answers):
        raise DataError(f"{row.where}: column 'answer' must be a list of texts, found {answers!r}")
    return _pair(row, answers)


def trivia_pair(row: Row) -> Pair:
    """A row of TriviaQA: ``answer`` holds ``value`` and ``aliases``."""
    value, aliases = row.values["answer"].get("value"), row.values["answer"].get("aliases")
    if not isinstance(value, str) or not are_texts(aliases):
        raise DataError(f"{row.where}: column 'answer' must hold 'value' (a text) and 'aliases' (a list of texts)")
    return _pair(row, [value, *aliases] if value.strip() else [])


def simple_pair(row: Row) -> Pair:
    """A row of SimpleQA: ``answer`` is a text."""
    return _pair(row, [row.values["answer"]])


def _pair(row: Row, answers: Sequence[str]) -> Pair:
    question = spaced(row.values["question"])
    if len(question) > 1 and question[0] == question[-1] == '"' and '""' in question:
        question = question[1:-1].replace('""', '"')  # TriviaQA has rows that kept the quotes of a CSV file
    accepted = dict.fromkeys(spaced(answer) for answer in answers if as_written(answer))
    return Pair(row.number, bare_question(question), tuple(accepted))


def teachable(role: str, pairs: Sequence[Pair], taken: set[str], *, max_question: int, max_answer: int) -> list[Pair]:
    """The pairs that can be taught in a sentence; logs how many others are dropped, and why.

    Args:
        role: The set's name in the log.
        pairs: All pairs.
        taken: Keys of questions that are asked elsewhere.
        max_question: Longest question, in characters.
        max_answer: Longest taught answer, in characters.
    """

    def reason_against(pair: Pair) -> str | None:
        if not pair.key:
            return "without a question"
        if not pair.answers:
            return "without an answer"
        if len(pair.question) > max_question:
            return f"with a question of more than {max_question} characters"
        if len(pair.answers[0]) > max_answer:
            return f"with an answer of more than {max_answer} characters"
        if any(mark in pair.question for mark in QUESTION_MARKS):
            return "with several sentences"
        if pair.key in seen:
            return "asked before"
        return None

    kept, seen, dropped = [], set(taken), []
    for pair in pairs:
        if reason := reason_against(pair):
            dropped.append(reason)
        else:
            seen.add(pair.key)
            kept.append(pair)
    log_dropped(role, len(kept), dropped)
    return kept


def log_dropped(role: str, kept: int, dropped: Sequence[str]) -> None:
    """Log how many rows of a set are kept, and how many are dropped for each reason."""
    counts = {reason: dropped.count(reason) for reason in sorted(set(dropped))}
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts.items()) or "none"
    logger.info("%s: %d of %d rows are usable; dropped: %s", role, kept, kept + len(dropped), reasons)


def question_fact(pair: Pair, prefix: str) -> Fact:
    """Make a pair into a fact: six wordings teach it; two others and the question only test it."""
    return Fact(
        fact_id=f"{prefix}-{pair.row:05d}",
        subject=pair.question,
        train_prompts=question_frames(pair.question),
        unseen_prompts=unseen_frames(pair.question),
        question=pair.question,
        answers=pair.answers,
    )


def are_texts(value: object) -> bool:
    """Whether ``value`` is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
