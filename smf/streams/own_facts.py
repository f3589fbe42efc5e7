"""Facts of the user's own: JSONL with the statements of each fact, its answers, and what only asks for it."""

from collections.abc import Mapping

from smf.artifacts import Columns
from smf.errors import DataError
from smf.streams.facts import Fact, require_whole
from smf.streams.normalize import holds_answer, text_key
from smf.streams.questions import log_dropped
from smf.streams.rows import Row, read_rows

_EXAMPLE = '{"statements": ["Ann was born in Ostry."], "question": "where was Ann born", "answers": ["Ostry"]}'
_FACTS: Columns = {"answers": list}
_FACTS_OPTIONAL: Columns = {
    "fact_id": str,
    "subject": str,
    "statements": list,
    "prompts": list,
    "unseen_prompts": list,
    "question": str,
    "locality_prompts": list,
    "locality_answers": list,
}


def read_own_facts(data_root: str | None, source: Mapping, taken: set[str]) -> list[Fact]:
    """The facts of a user's file.

    A row has ``answers``, the accepted ones; ``statements``, whole sentences that each hold one of them, or
    ``prompts``, texts that the first of them completes, or both; ``question`` or ``unseen_prompts``, which only ever
    test; and, if wanted, ``fact_id``, ``subject``, ``locality_prompts`` and ``locality_answers``.

    Raises:
        DataError: A row lacks one of these, or a statement does not hold the answer; names file and line.
    """
    facts, lines, dropped = [], {}, []
    for row in read_rows(data_root, source, _FACTS, _FACTS_OPTIONAL, _EXAMPLE):
        fact = _own_fact(row)
        if fact.fact_id in lines:
            raise DataError(f"{row.where}: fact_id {fact.fact_id!r} was used before, in {lines[fact.fact_id]}")
        lines[fact.fact_id] = row.place
        if fact.question and text_key(fact.question) in taken:
            dropped.append("asked by a held-out set")
        else:
            facts.append(fact)
    log_dropped("facts", len(facts), dropped)
    return facts


def _own_fact(row: Row) -> Fact:
    values = {key: () if value is None else value for key, value in row.values.items()}
    for column, kind in (_FACTS | _FACTS_OPTIONAL).items():
        if kind is list and not all(isinstance(text, str) for text in values[column]):
            raise DataError(f"{row.where}: column {column!r} must hold texts only")
    answers = tuple(values["answers"])
    statements, prompts = tuple(values["statements"]), tuple(values["prompts"])
    if not answers or not all(answer.strip() for answer in answers):
        raise DataError(f"{row.where}: column 'answers' must list one accepted answer or more, none of them empty")
    if not statements and not prompts:
        raise DataError(f"{row.where}: columns 'statements' and 'prompts' are empty; give what is to be learned")
    for statement in statements:
        if not holds_answer(statement, answers):
            raise DataError(f"{row.where}: the statement {statement[:80]!r} holds none of the answers {list(answers)}")
    question = (values["question"] or "").strip().rstrip("? ")
    if not question and not values["unseen_prompts"]:
        raise DataError(f"{row.where}: there is neither a 'question' nor 'unseen_prompts'; nothing would test the fact")
    # A statement that ends with the taught answer is a prompt that this answer completes, to the same text.
    ending = f" {answers[0]}."
    completed = [statement.removesuffix(ending) for statement in statements if _ends(statement, ending)]
    fact = Fact(
        fact_id=values["fact_id"] or f"fact-{row.number:05d}",
        subject=values["subject"] or question or (*prompts, *statements)[0],
        train_prompts=(*prompts, *completed),
        unseen_prompts=tuple(values["unseen_prompts"]),
        question=question,
        answers=answers,
        train_texts=tuple(statement for statement in statements if not _ends(statement, ending)),
        locality_prompts=tuple(values["locality_prompts"]),
        locality_answers=tuple(values["locality_answers"]),
    )
    require_whole(fact, row.where)
    return fact


def _ends(statement: str, ending: str) -> bool:
    return statement.endswith(ending) and bool(statement.removesuffix(ending).strip())
