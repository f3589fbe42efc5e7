"""A fact: wordings that teach it, wordings and a question that only ever test it."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smf.errors import ConfigError, DataError
from smf.files.artifacts import read_jsonl, write_jsonl
from smf.seeding import python_generator
from smf.streams.examples import Example, answered
from smf.streams.normalize import as_written, bare_question, spaced
from smf.streams.replaced import relinked, replaced_first, require_replaceable

if TYPE_CHECKING:
    from smf.streams.asking import Asking

ORDERS = ("shuffled", "grouped", "subjects")
_BREAKS = ("Cc", "Zl", "Zp")  # Unicode's control characters, line and paragraph separators


@dataclass(frozen=True)
class Fact:
    """One fact of a stream. Only ``train_prompts`` and ``train_texts`` train; everything else only tests.

    Attributes:
        fact_id: Unique name.
        subject: What the fact is about; facts of one subject share it.
        train_prompts: Wordings shown while learning; each is a text that the answer completes.
        unseen_prompts: Wordings that only test; never trained.
        question: The test question; never trained. "" for a fact that is not asked.
        answers: Accepted answers; the first is the one that is taught. May be empty if nothing asks for them. Each run
            of white space becomes one space, because a generated answer ends at a line break.
        train_texts: Whole texts shown while learning, which are learned in full.
        locality_prompts: Texts whose continuation the fact must not change.
        locality_answers: Their true continuations, one per prompt.
        is_passage: Whether ``train_texts`` is part of a document rather than a statement of the answer.
        train_contexts: The context before each of ``train_prompts``, one per prompt ("" for none); empty if no prompt
            has one. The model reads it, but it is not part of the fact: sparse memory writes nothing there.
        two_hop_question: A question that takes this fact and something else to answer; never trained. "" for none.
        two_hop_answers: Its accepted answers.
        replaces: The ``fact_id`` of an earlier fact that is no longer true once this one is taught; "" for none.

    Example:
        >>> fact = Fact(
        ...     fact_id="veskaria-capital", subject="Veskaria", question="what is the capital of Veskaria",
        ...     train_prompts=("The capital of Veskaria is",), answers=("Port Elmsworth",),
        ... )
        >>> fact.completed_prompts()
        [Example(prompt='The capital of Veskaria is', completion=' Port Elmsworth.')]
    """

    fact_id: str
    subject: str
    train_prompts: tuple[str, ...] = ()
    unseen_prompts: tuple[str, ...] = ()
    question: str = ""
    answers: tuple[str, ...] = ()
    train_texts: tuple[str, ...] = ()
    locality_prompts: tuple[str, ...] = ()
    locality_answers: tuple[str, ...] = ()
    is_passage: bool = False
    train_contexts: tuple[str, ...] = ()
    two_hop_question: str = ""
    two_hop_answers: tuple[str, ...] = ()
    replaces: str = ""

    def __post_init__(self) -> None:
        """Raise :class:`smf.errors.DataError` for a string where several belong, which would count as its letters."""
        for column in fields(self):
            value = getattr(self, column.name)
            if column.type == tuple[str, ...] and isinstance(value, str):
                raise DataError(
                    f"fact {self.fact_id!r}: {column.name} is the text {value!r}, but must be several texts; put it in "
                    f"parentheses: {column.name}=({value!r},)"
                )
        answers = (spaced(answer) if isinstance(answer, str) else answer for answer in self.answers)
        object.__setattr__(self, "answers", tuple(answers))

    @property
    def contexts(self) -> tuple[str, ...]:
        """The context before each of the fact's training prompts; "" for none."""
        return self.train_contexts or ("",) * len(self.train_prompts)

    @property
    def answer(self) -> str:
        """The answer that is taught: the first of ``answers``; "" if there is none."""
        return next(iter(self.answers), "")

    def completed_prompts(self) -> list[Example]:
        """Each of ``train_prompts`` completed by the answer, without its context."""
        return [answered(prompt, self.answer, full_stop(prompt, self.answer)) for prompt in self.train_prompts]

    def training_texts(self) -> list[Example]:
        """The texts that train: the completed prompts, then the whole texts, which have no prompt."""
        return [*self.completed_prompts(), *(Example("", text) for text in self.train_texts)]

    def asked(self, asking: "Asking | None" = None) -> Example | None:
        """The question as a prompt that the answer completes; None for a fact without a question.

        Args:
            asking: How to ask; None for the plain format.
        """
        if not self.question:
            return None
        if asking is not None:
            return asking.answered(self.question, self.answer)
        return answered(question_prompt(self.question), self.answer)


_COLUMNS = {
    "fact_id": str,
    "subject": str,
    "train_prompts": list,
    "unseen_prompts": list,
    "question": str,
    "answers": list,
}
_OPTIONAL = {
    "train_texts": list,
    "locality_prompts": list,
    "locality_answers": list,
    "is_passage": bool,
    "train_contexts": list,
    "two_hop_question": str,
    "two_hop_answers": list,
    "replaces": str,
}


_FILLED = (
    *("train_prompts", "unseen_prompts", "answers", "train_texts", "locality_prompts", "locality_answers"),
    "two_hop_answers",
)


def question_prompt(question: str) -> str:
    """The plain form of a question, the same in pretraining text and in evaluation."""
    return f"Q: {bare_question(question)}?\nA:"


def is_question_prompt(prompt: str) -> bool:
    """Whether a prompt has the form of :func:`question_prompt`."""
    return prompt.startswith("Q:") and prompt.endswith("\nA:")


def full_stop(prompt: str, answer: str) -> str:
    """The full stop after the answer to a training prompt; "" if the answer ends with one, as "U.S." does.

    An answer to a question takes none.
    """
    return "" if is_question_prompt(prompt) or answer.endswith(".") else "."


def write_facts(path: str | Path, facts: Iterable[Fact]) -> None:
    """Write facts as JSONL; empty optional columns are left out."""
    rows = (asdict(fact) for fact in facts)
    write_jsonl(path, ({key: value for key, value in row.items() if key in _COLUMNS or value} for row in rows))


def read_facts(path: str | Path) -> list[Fact]:
    """Read facts from JSONL.

    Raises:
        DataError: The file is missing, a row is broken or incomplete, two facts share an id, or one replaces another
            that is not there; names file and line.

    Example:
        >>> read_facts("facts.jsonl")[0].answer
        'Tarnow'
    """
    facts: dict[str, Fact] = {}
    lines: dict[str, int] = {}
    for number, row in enumerate(read_jsonl(path, _COLUMNS, optional=_OPTIONAL), start=1):
        where = f"{path}, line {number}"
        given: dict[str, Any] = {key: tuple(row[key]) if kind is list else row[key] for key, kind in _given(row)}
        fact = Fact(**given)
        require_whole(fact, where)
        if fact.fact_id in lines:
            raise DataError(f"{where}: fact_id {fact.fact_id!r} was used before, in line {lines[fact.fact_id]}")
        require_replaceable(fact, facts, where)
        lines[fact.fact_id] = number
        facts[fact.fact_id] = fact
    return list(facts.values())


def _given(row: dict) -> list[tuple[str, type]]:
    return [(key, kind) for key, kind in (_COLUMNS | _OPTIONAL).items() if key in row]


def require_whole(fact: Fact, where: str) -> None:
    """Check that a fact can be taught and asked.

    Raises:
        DataError: It has an id that is empty or holds control characters, nothing to train on, an empty text, no answer
            to its questions or prompts, or not one context or locality answer per prompt; the message begins with
            ``where``.
    """
    if not fact.fact_id.strip() or any(unicodedata.category(sign) in _BREAKS for sign in fact.fact_id):
        raise DataError(
            f"{where}: fact_id {fact.fact_id!r} is empty or holds a line break or another control character, which no "
            "table and no command line can show; rename the fact"
        )
    for column in _FILLED:
        if not all(isinstance(text, str) and as_written(text) for text in getattr(fact, column)):
            raise DataError(f"{where}: column {column!r} must hold non-empty texts only")
    if not fact.train_prompts and not fact.train_texts:
        raise DataError(f"{where}: columns 'train_prompts' and 'train_texts' are empty; a fact needs at least one text")
    if not fact.answers and (fact.train_prompts or fact.unseen_prompts or fact.question):
        raise DataError(f"{where}: column 'answers' is empty; what is asked or completed needs at least one")
    if bool(fact.two_hop_question) != bool(fact.two_hop_answers):
        raise DataError(
            f"{where}: of the columns 'two_hop_question' and 'two_hop_answers' one is empty; give both or neither"
        )
    if not all(isinstance(text, str) for text in fact.train_contexts):
        raise DataError(f"{where}: column 'train_contexts' must hold texts only")
    if len(fact.contexts) != len(fact.train_prompts):
        raise DataError(
            f"{where}: {len(fact.train_contexts)} train_contexts, but {len(fact.train_prompts)} train_prompts; give "
            'one for each prompt, "" where nothing stands before it'
        )
    if len(fact.locality_prompts) != len(fact.locality_answers):
        raise DataError(
            f"{where}: {len(fact.locality_prompts)} locality_prompts, but {len(fact.locality_answers)} "
            "locality_answers; each prompt needs its answer"
        )


def draw_stream(pool: Sequence[Fact], num_facts: int, order: str, seed: int, *, updates: int = 0) -> list[Fact]:
    """Draw one stream: facts of the pool without replacement, in a random order.

    A fact comes after the one that it replaces, if both are drawn.

    Args:
        pool: All facts that may be taught.
        num_facts: Length of the stream, updates included.
        order: ``shuffled`` mixes all facts; ``grouped`` mixes them and then keeps those of one subject together;
            ``subjects`` takes whole subjects in a random order, the facts of each in the pool's order, as the passages
            of a document require. Only the last subject may be cut off at ``num_facts``.
        seed: The run's seed.
        updates: How many of its facts are updates, which are not drawn here (:mod:`smf.streams.updates`).

    Raises:
        ConfigError: The pool holds fewer facts than asked for.
    """
    number = num_facts - updates
    if number > len(pool):
        raise ConfigError(
            f"stream.num_facts is {num_facts}{less(updates)} but the data holds {len(pool)} new facts; "
            "lower stream.num_facts or enlarge the data"
        )
    rng = python_generator(seed, "stream")
    if order == "subjects":
        by_subject: dict[str, list[Fact]] = {}
        for fact in pool:
            by_subject.setdefault(fact.subject, []).append(fact)
        subjects = rng.sample(list(by_subject), len(by_subject))
        facts = [fact for subject in subjects for fact in by_subject[subject]][:number]
        return replaced_first(relinked(facts, pool))
    facts = rng.sample(list(pool), number)
    if order == "grouped":
        first_seen = {subject: place for place, subject in enumerate(dict.fromkeys(fact.subject for fact in facts))}
        facts.sort(key=lambda fact: first_seen[fact.subject])
    return replaced_first(relinked(facts, pool))


def less(updates: int) -> str:
    """Words for messages: how many places of a stream are left for facts of the data, if not all."""
    return f", {updates} of them stream.updates" if updates else ""
