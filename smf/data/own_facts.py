"""The user's own facts: JSONL with each fact's statements, its answers, and the questions or prompts that test it."""

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence

from smf.data.repeats import without_repeats
from smf.errors import DataError
from smf.files.artifacts import Columns
from smf.rows.sources import Row, read_rows
from smf.streams.facts import Fact, require_whole
from smf.streams.normalize import bare_question, holds_answer, spaced, text_key
from smf.streams.replaced import relinked, require_replaceable
from smf.wordings.lesson_wordings import names_subject_nowhere, question_frames, unseen_frames

logger = logging.getLogger(__name__)

_LISTS = ("statements", "prompts", "unseen_prompts", "locality_prompts", "locality_answers", "two_hop_answers")
_TEXTS = ("fact_id", "subject", "question", "two_hop_question", "replaces")
_NEEDED: Columns = {"answers": object}  # types are checked here, where the remedy is known
_OPTIONAL: Columns = dict.fromkeys((*_LISTS, *_TEXTS), object)
_COLUMNS = ("answers", *_LISTS, *_TEXTS)
_SLIP = 0.8  # similarity from which an unknown column counts as a typo; "object" and "subject" have 0.77
_EXAMPLE = '{"statements": ["Ann was born in Ostry."], "question": "where was Ann born", "answers": ["Ostry"]}'
_STOPS = (".", "!", "")


def read_own_facts(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
    """The facts of a user's file.

    A row has ``answers``, the accepted ones; ``statements``, whole sentences that each contain one of the answers, or
    ``prompts``, texts that the first answer completes, or both; ``question`` or ``unseen_prompts``, which only test;
    and optionally ``fact_id``, ``subject``, ``locality_prompts`` and ``locality_answers``, a ``two_hop_question`` with
    ``two_hop_answers``, and ``replaces``, the ``fact_id`` of an earlier row that is outdated once this fact is taught.
    A row with a question may leave out statements and prompts: frames of the question then teach the fact, as they do
    for TriviaQA (:func:`smf.data.questions.question_fact`). A single text may replace a list of one. Facts that repeat
    an earlier one are left out.

    Args:
        data_root: See :func:`smf.rows.sources.read_rows`.
        source: Where the rows are; with ``allow_updates`` true the later of two facts that contradict each other
            replaces the earlier one (:func:`smf.data.repeats.without_repeats`).
        taken: Keys of questions that are asked elsewhere; facts with one of these questions are left out.

    Raises:
        DataError: A row lacks a required column, a statement does not contain an answer, a column's name is misspelt,
            two facts contradict each other, or one replaces another that is not in an earlier row; names file and line.
    """
    placed, dropped = [], []
    others: dict[str, object] = {}
    earlier: dict[str, Fact] = {}
    for row in read_rows(data_root, source, _NEEDED, _OPTIONAL, _EXAMPLE):
        others |= dict.fromkeys(_others(row))
        fact = _own_fact(row)
        require_replaceable(fact, earlier, row.where)
        earlier[fact.fact_id] = fact
        if fact.question and text_key(fact.question) in taken:
            dropped.append("asked by a held-out set")
        else:
            placed.append((row.where, fact))
    if others:
        logger.warning(
            "%s: ignored unknown columns: %s; known: %s",
            source["file"] or source["hub"],
            ", ".join(map(repr, others)),
            ", ".join(_COLUMNS),
        )
    facts = without_repeats(placed, allow_updates=bool(source.get("allow_updates")), dropped=dropped)
    return relinked(facts, list(earlier.values()))


def _others(row: Row) -> Sequence[str]:
    """Unknown columns, which are not read.

    Raises:
        DataError: A name looks like a typo, so its content would be lost silently.
    """
    for name in row.others:
        if near := difflib.get_close_matches(name, _COLUMNS, n=1, cutoff=_SLIP):
            raise DataError(f"{row.where}: there is no column {name!r}; did you mean {near[0]!r}? rename it")
    return row.others


def _own_fact(row: Row) -> Fact:
    lists = {column: _texts(row, column) for column in ("answers", *_LISTS)}
    fact_id, subject, question, two_hop, replaces = (_text(row, column) for column in _TEXTS)
    answers = tuple(dict.fromkeys(_without_stop(answer) for answer in lists["answers"]))
    statements, prompts = lists["statements"], lists["prompts"]
    if not answers or not all(answers):
        raise DataError(f"{row.where}: column 'answers' must list one accepted answer or more, none of them empty")
    question = bare_question(spaced(question))
    if not statements and not prompts and not question:
        raise DataError(
            f"{row.where}: columns 'statements', 'prompts' and 'question' are empty; give the fact to learn: a "
            "statement, a prompt that the answer completes, or a question, from which templates make such prompts"
        )
    for statement in statements:
        if not holds_answer(statement, answers):
            raise DataError(f"{row.where}: the statement {statement[:80]!r} holds none of the answers {list(answers)}")
        if any(text_key(statement) == text_key(answer) for answer in answers):
            raise DataError(
                f"{row.where}: the statement {statement[:80]!r} is just the answer and says nothing about it"
            )
    if not question and not lists["unseen_prompts"]:
        raise DataError(f"{row.where}: there is neither a 'question' nor 'unseen_prompts'; nothing would test the fact")
    unseen = lists["unseen_prompts"]
    if not statements and not prompts:
        prompts, unseen = question_frames(question), unseen or unseen_frames(question)
    # A statement that ends with the taught answer becomes a prompt that this answer completes.
    completed = {statement: _prompt_of(statement, answers[0]) for statement in statements}
    fact = Fact(
        fact_id=fact_id or ("" if row.values["fact_id"] else f"fact-{row.number:05d}"),
        subject=subject or question or (*prompts, *statements)[0],
        train_prompts=tuple(dict.fromkeys([*prompts, *filter(None, completed.values())])),
        unseen_prompts=unseen,
        question=question,
        answers=answers,
        train_texts=tuple(statement for statement, prompt in completed.items() if not prompt),
        locality_prompts=lists["locality_prompts"],
        locality_answers=lists["locality_answers"],
        two_hop_question=bare_question(spaced(two_hop)),
        two_hop_answers=lists["two_hop_answers"],
        replaces=replaces,
    )
    require_whole(fact, row.where)
    if subject and names_subject_nowhere(fact):
        logger.warning(
            "%s: fact %r: neither its question nor any of its wordings names its subject %r; write_at and neighbours "
            "then go by the words that its wordings share, if any",
            row.where,
            fact.fact_id,
            subject[:60],
        )
    return fact


def _prompt_of(statement: str, answer: str) -> str:
    """The part of a statement before the answer that ends it; "" if the answer does not end it."""
    bare = answer.rstrip(".")
    for stop in _STOPS:
        if statement.endswith(ending := f" {bare}{stop}"):
            return statement.removesuffix(ending).strip()
    return ""


def _without_stop(answer: str) -> str:
    """An answer without the full stop of its sentence, which completing a prompt adds again."""
    short = answer.removesuffix(".")
    return answer if "." in short or not short else short  # "U.S." keeps its stop


def _texts(row: Row, column: str) -> tuple[str, ...]:
    """The texts of a column, stripped of white space."""
    value = row.values[column]
    values: Iterable = () if value is None else value if isinstance(value, list) else [value]
    return tuple(_stripped(row, column, text) for text in values)


def _text(row: Row, column: str) -> str:
    value = row.values[column]
    return "" if value is None else _stripped(row, column, value)


def _stripped(row: Row, column: str, value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise DataError(f'{row.where}: column {column!r} holds the number {value}; write it in quotes: "{value}"')
    raise DataError(
        f"{row.where}: column {column!r} must hold texts only, found {type(value).__name__}: {value!r}"[:300]
    )
