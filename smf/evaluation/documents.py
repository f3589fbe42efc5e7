"""The documents of our lm-eval tasks: read from data files or made from facts, shown as prompts, scored.

A question is a row of the nq_open schema (``question``; ``answer``: the accepted answers), a choice is a row of the
HellaSwag schema or one of ``query``, ``choices`` and ``gold``, a text has a ``text``, a completion a ``prompt`` and a
``completion``, and a fact in one wording has a ``prompt`` in place of the question. The task YAML files name
``show_question`` and ``score_generation``; ``score_agreement`` scores the prompts for locality.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.errors import DataError
from smf.evaluation.answers import (
    agreement,
    exact_match,
    extract_answer,
    squad_exact_match,
    squad_f1,
    token_f1,
)
from smf.files.artifacts import Columns
from smf.rows.file_rows import first_columns, read_file_rows
from smf.seeding import derive_seed
from smf.streams.asking import PLAIN, Asking
from smf.streams.facts import Fact, question_prompt
from smf.streams.normalize import as_written, spaced
from smf.streams.replaced import agree, newest

FACT_FORMS = ("seen", "unseen", "question", "two_hop")


def read_questions(path: str | Path) -> list[dict]:
    """Read questions, JSONL in the nq_open schema.

    White space in answers becomes single spaces, because a generated answer ends at a line break.

    Raises:
        DataError: The file is missing, or a row is broken or incomplete; names file and line.
    """
    rows = list(read_file_rows(path, {"question": str, "answer": list}))
    for row in rows:
        where, answers = f"{row.where}: column 'answer'", row.values["answer"]
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise DataError(f"{where} must list one accepted answer or more, as texts")
        if not all(map(as_written, answers)):
            raise DataError(f"{where} holds an empty answer, which nothing could match; leave it out")
    return [{**row.values, "answer": list(map(spaced, row.values["answer"]))} for row in rows]


def read_choices(path: str | Path) -> list[dict]:
    """Read multiple-choice items, JSONL in the HellaSwag schema, or of ``query``, ``choices`` and ``gold``.

    Raises:
        DataError: The file is missing, or a row is broken or incomplete; names file and line.
    """
    plain = "query" in first_columns(path)
    columns: Columns
    if plain:
        columns, options, label = {"query": str, "choices": list, "gold": int}, "choices", "gold"
    else:
        columns = {"activity_label": str, "ctx_a": str, "ctx_b": str, "endings": list, "label": (str, int)}
        options, label = "endings", "label"
    rows = list(read_file_rows(path, columns))
    for row in rows:
        given, number = row.values[label], len(row.values[options])
        if str(given) not in {str(index) for index in range(number)}:
            raise DataError(f"{row.where}: {label} {given!r} names none of the {number} {options}")
    return [row.values for row in rows]


def read_texts(path: str | Path) -> list[dict]:
    """Read running text, JSONL with the column ``text``.

    Raises:
        DataError: The file is missing, or a row is broken, incomplete or empty; names file and line.
    """
    return _with_text(path, {"text": str}, "text")


def read_completions(path: str | Path) -> list[dict]:
    """Read prompts and their completions, JSONL with the columns ``prompt`` and ``completion``.

    Raises:
        DataError: The file is missing, or a row is broken, incomplete or has nothing to complete; names file and line.
    """
    return _with_text(path, {"prompt": str, "completion": str}, "completion")


READERS = {
    "questions": read_questions,
    "choices": read_choices,
    "texts": read_texts,
    "completions": read_completions,
}
"""The function that reads a held-out set's file, by the set's kind."""


def show_question(document: Mapping) -> str:
    """The prompt of a question, in the same format as in pretraining text."""
    return question_prompt(document["question"])


def score_generation(document: Mapping, results: Sequence[str]) -> dict[str, float]:
    """Exact match and token F1 of a generated text, the best over the accepted answers.

    Args:
        document: Holds ``answer``, the accepted answers. The generated answer is extracted anew for each of them, so
            that an accepted answer's own stops do not end it.
        results: The generated text, as the only element.

    Returns:
        ``em`` and ``f1``; ``squad_em`` and ``squad_f1``, the same by SQuAD's own normalisation, which differ where text
        is not ASCII.
    """
    answers: dict[str, list[str]] = {}
    for gold in document["answer"]:
        answers.setdefault(extract_answer(results[0], gold), []).append(gold)
    measures = {"em": exact_match, "f1": token_f1, "squad_em": squad_exact_match, "squad_f1": squad_f1}
    return {name: max(score(said, golds) for said, golds in answers.items()) for name, score in measures.items()}


def score_agreement(document: Mapping, results: Sequence[str]) -> dict[str, float]:
    """Token F1 (``f1``) between a generated text and the start model's answer, both extracted by the same rule.

    Args:
        document: Holds ``answer``, the start model's answer, as the only element; it may be empty.
        results: The generated text, as the only element.
    """
    return {"f1": agreement(extract_answer(results[0]), document["answer"][0])}


def chosen_facts(taught: Sequence[Fact], num_facts: int | None, seed: int) -> Sequence[Fact]:
    """Choose the facts to ask about, of those taught so far.

    Each fact has a place in one random order, which depends only on the seed and the fact. The taught facts that come
    first in it are asked. So two positions of a stream, two methods or two seeds share as many asked facts as possible.

    Args:
        taught: The facts taught so far, in stream order.
        num_facts: Most facts to ask, of those that can be asked (passages of a document cannot). None: all.
        seed: Seeds the order.

    Returns:
        The chosen facts, in stream order.
    """
    if num_facts is None or len(taught) <= num_facts:
        return taught
    able = [
        fact for fact in taught if fact.train_prompts or fact.unseen_prompts or fact.question or fact.locality_prompts
    ]
    return first_facts(able, num_facts, seed)


def first_facts(facts: Sequence[Fact], number: int, seed: int) -> list[Fact]:
    """At most ``number`` facts, the first in the seed's random order (:func:`chosen_facts`), in stream order."""
    order = sorted(facts, key=lambda fact: derive_seed(seed, "facts asked", fact.fact_id))
    chosen = {fact.fact_id for fact in order[:number]}
    return [fact for fact in facts if fact.fact_id in chosen]


def locality_documents(facts: Sequence[Fact], answers: Mapping[str, str], asking: Asking = PLAIN) -> list[dict]:
    """The documents that ask about neighbours of ``facts``, which teaching must not change, each neighbour once.

    Few questions are near to many facts; counted for each of them, a single one could decide the measure.

    Args:
        facts: In stream order.
        answers: The start model's answer to each locality prompt.
        asking: The format of those prompts that are questions.
    """
    prompts = dict.fromkeys(prompt for fact in facts for prompt in fact.locality_prompts)
    return [{"prompt": asking.reworded(prompt), "answer": [answers[prompt]]} for prompt in prompts]


def fact_documents(facts: Sequence[Fact], form: str, wordings_per_fact: int, asking: Asking = PLAIN) -> list[dict]:
    """The documents that ask for ``facts`` in one form.

    Args:
        facts: In stream order.
        form: ``seen``: wordings that the stream teaches; ``unseen``: wordings that it never shows; ``question``;
            ``two_hop``: the question that takes something else to answer, which has answers of its own.
        wordings_per_fact: How many wordings of a fact to ask, its first ones; a fact with fewer is asked in all it has.
        asking: How questions are asked.

    Returns:
        One document per prompt; the prompts of a fact are adjacent.
    """
    prompts = {
        "seen": lambda fact: fact.train_prompts[:wordings_per_fact],
        "unseen": lambda fact: fact.unseen_prompts[:wordings_per_fact],
        "question": lambda fact: (asking.prompt(fact.question),) if fact.question else (),
        "two_hop": lambda fact: (asking.prompt(fact.two_hop_question),) if fact.two_hop_question else (),
    }[form]
    return [
        {
            "fact_id": fact.fact_id,
            "prompt": prompt,
            "answer": list(fact.two_hop_answers if form == "two_hop" else fact.answers),
        }
        for fact in facts
        for prompt in prompts(fact)
    ]


def replaced_documents(
    taught: Sequence[Fact], num_facts: int | None, seed: int, wordings_per_fact: int, asking: Asking = PLAIN
) -> tuple[list[dict], list[dict]]:
    """The documents that ask for facts that a later one replaced.

    Each is asked by its own question, or by its unseen wordings if it has none.

    Args:
        taught: The facts taught so far, in stream order.
        num_facts: Most replaced facts to ask, chosen as by :func:`chosen_facts`. None: all.
        seed: Seed of that choice.
        wordings_per_fact: See :func:`fact_documents`.
        asking: How questions are asked.

    Returns:
        The same prompts twice: with the answers of the newest fact that took the place of the one asked; and with those
        that were true before, of all facts that this one took the place of.
    """
    last = newest(taught)
    versions: dict[str, list[Fact]] = {}
    for fact in taught:
        if fact.fact_id in last:
            versions.setdefault(last[fact.fact_id].fact_id, []).append(fact)
    updated, stale = [], []
    for fact in chosen_facts([fact for fact in taught if fact.fact_id in last], num_facts, seed):
        now = last[fact.fact_id]
        said = dict.fromkeys(answer for before in versions[now.fact_id] for answer in before.answers)
        outdated = [answer for answer in said if not agree([answer], now.answers)]
        for document in fact_documents([fact], "question" if fact.question else "unseen", wordings_per_fact, asking):
            updated.append({**document, "answer": list(now.answers)})
            stale.append({**document, "answer": outdated})
    return updated, stale


def _with_text(path: str | Path, columns: Columns, filled: str) -> list[dict]:
    rows = list(read_file_rows(path, columns))
    for row in rows:
        if not row.values[filled].strip():
            raise DataError(f"{row.where}: column {filled!r} is empty; leave the row out")
    return [row.values for row in rows]
