"""Neighbours of facts: questions of the same form about something else, which teaching a fact must not change.

They are taken from the questions of the facts' own set that no stream teaches; where the base model was asked which
facts it knows, from those that it answers: of a guess it can hardly be told whether teaching changed it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from smf.errors import ConfigError
from smf.seeding import python_generator
from smf.streams.facts import Fact, question_prompt
from smf.streams.normalize import text_key, words_of

_MOST = 2000
"""Questions that are looked at, a seeded choice: each is compared with each fact."""
_COMMON = 0.005
"""Share of the questions that hold a word from which on it belongs to the form of questions, not to a subject."""


class _Question(NamedTuple):
    fact: Fact
    words: tuple[str, ...]
    form: frozenset[str]
    subject: frozenset[str]
    answers: frozenset[str]


def with_neighbours(
    facts: Sequence[Fact],
    others: Sequence[Fact],
    number: int,
    seed: int,
    *,
    chosen: str = "that are not taught",
    remedy: str = "lower",
) -> list[Fact]:
    """Facts with the questions most alike in form as their ``locality_prompts``.

    A question with an answer in common is no neighbour: what is taught may well be its answer. Of the rest those come
    first that share no rare word with the fact, such as a name; of these, those that share most words at the
    beginning, then most common words anywhere, then those of about the same length.

    Args:
        facts: Facts with a question.
        others: Facts of the same set that are never taught.
        number: Neighbours a fact.
        seed: Of the choice among more questions than are looked at.
        chosen: What ``others`` are, for the message.
        remedy: What to do with ``num_rows`` to have more of them.

    Raises:
        ConfigError: There are not so many.
    """
    if len(others) > _MOST:
        looked_at = sorted(python_generator(seed, "neighbours").sample(range(len(others)), _MOST))
        others = [others[index] for index in looked_at]
    counts = Counter(word for fact in [*facts, *others] for word in set(words_of(fact.question)))
    least = max(2, _COMMON * (len(facts) + len(others)))
    common = {word for word, times in counts.items() if times >= least}
    pool = [_question(fact, common) for fact in others]
    return [_with(_question(fact, common), pool, number, chosen, remedy) for fact in facts]


def _question(fact: Fact, common: set[str]) -> _Question:
    words = words_of(fact.question)
    form = common.intersection(words)
    answers = frozenset(map(text_key, fact.answers))
    return _Question(fact, tuple(words), frozenset(form), frozenset(words) - form, answers)


def _with(asked: _Question, pool: Sequence[_Question], number: int, chosen: str, remedy: str) -> Fact:
    able = [other for other in pool if not asked.answers & other.answers]
    if len(able) < number:
        raise ConfigError(
            f"data.collection.facts.neighbours is {number}, but only {len(able)} questions {chosen} have other answers "
            f"than {asked.fact.question!r}; lower it, or {remedy} data.collection.facts.num_rows"
        )
    near = sorted(able, key=lambda other: _distance(asked, other))[:number]
    return replace(
        asked.fact,
        locality_prompts=tuple(question_prompt(other.fact.question) for other in near),
        locality_answers=tuple(other.fact.answers[0] for other in near),
    )


def _distance(asked: _Question, other: _Question) -> tuple[int, int, int, int]:
    """Smaller for questions more alike in form; equal ones stay in the set's order."""
    same = 0
    for left, right in zip(asked.words, other.words, strict=False):
        if left != right:
            break
        same += 1
    return (
        len(asked.subject & other.subject),
        -same,
        -len(asked.form & other.form),
        abs(len(asked.words) - len(other.words)),
    )
