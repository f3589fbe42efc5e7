"""Neighbours of facts: questions of the same form about something else, whose answers teaching must not change.

They come from the questions of the facts' own data set that no stream teaches. If the base model was asked which facts
it knows, they come from those that it answers: a changed guess says little about the effect of teaching.
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
"""Most questions that are considered, a seeded sample: each is compared with every fact."""
_COMMON = 0.005
"""A word that occurs in at least this share of the questions belongs to their form, not to a subject."""


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
    """Give each fact the questions most similar to its own in form as ``locality_prompts``.

    A question that shares an answer with the fact is not a neighbour: the taught answer may well be right for it. The
    others are ranked by the fewest rare words, such as names, in common with the fact; then by the longest common
    beginning, the most common words shared anywhere, and the closest length.

    Args:
        facts: Facts with a question.
        others: Facts of the same set that are never taught.
        number: Neighbours per fact.
        seed: Seed of the sample, if there are more questions than are considered.
        chosen: What ``others`` are, for the error message.
        remedy: What to do to ``num_rows`` to get more of them, for the error message.

    Raises:
        ConfigError: There are fewer than ``number``.
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
    """Sort key: smaller for questions more similar in form; ties keep the data set's order."""
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
