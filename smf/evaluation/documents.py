"""The documents that our lm-eval tasks ask: read from data files, made from facts, shown as prompts, scored.

A question is a row of the nq_open schema (``question``; ``answer``: the accepted answers), a choice is a row of the
HellaSwag schema, and a fact in one wording has a ``prompt`` in place of the question. The task YAML files name
``show_question`` and ``score_generation``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.artifacts import read_jsonl
from smf.errors import DataError
from smf.evaluation.answers import exact_match, extract_answer, token_f1
from smf.streams.facts import Fact, question_prompt

FACT_FORMS = ("seen", "unseen", "question")


def read_questions(path: str | Path) -> list[dict]:
    """Read questions, JSONL in the nq_open schema.

    Raises:
        DataError: The file is missing, or a row is broken or incomplete; names file and line.
    """
    rows = read_jsonl(path, {"question": str, "answer": list})
    for number, row in enumerate(rows, start=1):
        if not row["answer"] or not all(isinstance(answer, str) for answer in row["answer"]):
            raise DataError(f"{path}, line {number}: column 'answer' must list one accepted answer or more, as texts")
    return rows


def read_choices(path: str | Path) -> list[dict]:
    """Read multiple-choice items, JSONL in the HellaSwag schema.

    Raises:
        DataError: The file is missing, or a row is broken or incomplete; names file and line.
    """
    text = {"activity_label": str, "ctx_a": str, "ctx_b": str}
    rows = read_jsonl(path, {**text, "endings": list, "label": (str, int)})
    for number, row in enumerate(rows, start=1):
        if str(row["label"]) not in {str(index) for index in range(len(row["endings"]))}:
            raise DataError(
                f"{path}, line {number}: label {row['label']!r} names none of the {len(row['endings'])} endings"
            )
    return rows


def show_question(document: Mapping) -> str:
    """The prompt of a question, the same as in pretraining text."""
    return question_prompt(document["question"])


def score_generation(document: Mapping, results: Sequence[str]) -> dict[str, float]:
    """Exact match (``em``) and token F1 (``f1``) of a generated text, the best over the accepted answers.

    Args:
        document: Holds ``answer``, the accepted answers.
        results: The generated text, as the only element.
    """
    answer = extract_answer(results[0])
    return {"em": exact_match(answer, document["answer"]), "f1": token_f1(answer, document["answer"])}


def fact_documents(facts: Sequence[Fact], form: str, wordings_per_fact: int) -> list[dict]:
    """The documents that ask for ``facts`` in one form.

    Args:
        facts: In stream order.
        form: ``seen``: wordings that the stream teaches; ``unseen``: wordings that it never shows; ``question``.
        wordings_per_fact: How many wordings of a fact to ask, its first ones; a fact that has fewer is asked in all.

    Returns:
        One document a prompt, the prompts of a fact next to each other.
    """
    prompts = {
        "seen": lambda fact: fact.train_prompts[:wordings_per_fact],
        "unseen": lambda fact: fact.unseen_prompts[:wordings_per_fact],
        "question": lambda fact: (question_prompt(fact.question),) if fact.question else (),
    }[form]
    return [
        {"fact_id": fact.fact_id, "prompt": prompt, "answer": list(fact.answers)}
        for fact in facts
        for prompt in prompts(fact)
    ]
