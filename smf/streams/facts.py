"""A fact: wordings that teach it, wordings and a question that only ever test it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smf.artifacts import read_jsonl, write_jsonl
from smf.errors import ConfigError, DataError
from smf.seeding import python_generator

ORDERS = ("shuffled", "grouped")


@dataclass(frozen=True)
class Fact:
    """One fact of a stream.

    Attributes:
        fact_id: Unique name.
        subject: What the fact is about; facts of one subject share it.
        train_prompts: Wordings shown while learning; each is a text that the answer completes.
        unseen_prompts: Wordings that only test; never trained.
        question: The question that only tests; never trained.
        answers: Accepted answers; the first is the one that is taught.
    """

    fact_id: str
    subject: str
    train_prompts: tuple[str, ...]
    unseen_prompts: tuple[str, ...]
    question: str
    answers: tuple[str, ...]


_COLUMNS = {
    "fact_id": str,
    "subject": str,
    "train_prompts": list,
    "unseen_prompts": list,
    "question": str,
    "answers": list,
}


def question_prompt(question: str) -> str:
    """The form in which a question is shown everywhere: in pretraining text and in evaluation."""
    return f"Q: {question.strip().rstrip('?').rstrip()}?\nA:"


def write_facts(path: str | Path, facts: Iterable[Fact]) -> None:
    """Write facts as JSONL."""
    write_jsonl(path, (asdict(fact) for fact in facts))


def read_facts(path: str | Path) -> list[Fact]:
    """Read facts from JSONL.

    Raises:
        DataError: The file is missing, a row is broken or incomplete, or two facts share an id; names file and line.
    """
    facts, lines = [], {}
    for number, row in enumerate(read_jsonl(path, _COLUMNS), start=1):
        where = f"{path}, line {number}"
        for column in ("train_prompts", "answers"):
            if not row[column]:
                raise DataError(f"{where}: column {column!r} is empty; a fact needs at least one")
        for column in ("train_prompts", "unseen_prompts", "answers"):
            if not all(isinstance(text, str) and text.strip() for text in row[column]):
                raise DataError(f"{where}: column {column!r} must hold non-empty texts only")
        if row["fact_id"] in lines:
            raise DataError(f"{where}: fact_id {row['fact_id']!r} was used before, in line {lines[row['fact_id']]}")
        lines[row["fact_id"]] = number
        facts.append(Fact(**{key: tuple(row[key]) if kind is list else row[key] for key, kind in _COLUMNS.items()}))
    return facts


def draw_stream(pool: Sequence[Fact], num_facts: int, order: str, seed: int) -> list[Fact]:
    """Draw one stream: ``num_facts`` facts of the pool without replacement, in a random order.

    Args:
        pool: All facts that may be taught.
        num_facts: Length of the stream.
        order: ``shuffled`` mixes all facts; ``grouped`` keeps the facts of one subject together.
        seed: The run's seed.

    Raises:
        ConfigError: The pool holds fewer facts than asked for.
    """
    if num_facts > len(pool):
        raise ConfigError(
            f"stream.num_facts is {num_facts} but the data holds {len(pool)} new facts; "
            "lower stream.num_facts or enlarge the data"
        )
    rng = python_generator(seed, "stream")
    facts = rng.sample(list(pool), num_facts)
    if order == "grouped":
        first_seen = {subject: place for place, subject in enumerate(dict.fromkeys(fact.subject for fact in facts))}
        facts.sort(key=lambda fact: first_seen[fact.subject])
    return facts
