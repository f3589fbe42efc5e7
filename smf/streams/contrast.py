"""Contrast texts: worded like the taught facts, but about other subjects (docs/selection.md).

They are made of facts that are set aside from the pool, so that they hold nothing that a stream teaches.
"""

import itertools
import logging
from collections.abc import Sequence
from typing import NamedTuple

from smf.errors import ConfigError
from smf.seeding import python_generator
from smf.streams.examples import Example
from smf.streams.facts import Fact
from smf.streams.other_subjects import num_nameless, swapped_texts

logger = logging.getLogger(__name__)

_ENOUGH = 400  # short texts, enough for each wording to occur a few times


class SetAside(NamedTuple):
    """A pool of facts without those that became contrast texts, and these texts.

    Attributes:
        facts: The facts that streams are drawn from.
        texts: The contrast texts.
    """

    facts: list[Fact]
    texts: list[Example]


def set_aside(pool: Sequence[Fact], number: int, seed: int) -> SetAside:
    """Take ``number`` facts out of a pool and make contrast texts of them.

    Subjects are taken whole, because the slots that a subject's own tokens read must stay free for the stream's facts
    about it. So surplus facts of the last subject are in no stream either.

    Args:
        pool: All facts.
        number: How many facts to take.
        seed: Seed of the choice.

    Raises:
        ConfigError: The pool holds fewer, or none would be left.
    """
    by_subject: dict[str, list[Fact]] = {}
    for fact in pool:
        by_subject.setdefault(fact.subject, []).append(fact)
    subjects = list(by_subject)
    python_generator(seed, "contrast").shuffle(subjects)
    taken: list[Fact] = []
    chosen: set[str] = set()
    while subjects and len(taken) < number:
        chosen.add(subject := subjects.pop())
        taken += by_subject[subject]
    left = [fact for fact in pool if fact.subject not in chosen]
    if len(taken) < number or not left:
        raise ConfigError(
            f"data.contrast.num_facts is {number}, but the data holds {len(pool)} new facts about {len(by_subject)} "
            "subjects, some of which the streams need; lower it or enlarge the data",
            ("data", "contrast", "num_facts"),
        )
    return SetAside(left, [text for fact in taken[:number] for text in texts_without_answer(fact)])


def swap(pool: Sequence[Fact], number: int, seed: int) -> SetAside:
    """Make contrast texts by giving ``number`` facts other subjects, for a pool that is too small to spare any.

    See :func:`smf.streams.other_subjects.swapped_texts`; a fact is used with several subjects if need be.

    Raises:
        ConfigError: The pool's wordings and the other subjects yield fewer, or no wording names a subject.
    """
    swapped = list(itertools.islice(swapped_texts(pool, seed), number))
    if number > len(swapped):
        raise ConfigError(
            f"data.contrast.num_facts is {number}, but the {len(pool)} facts make only {len(swapped)} when "
            "other subjects take the place of theirs; lower it, or give more facts whose wordings name their `subject`",
            ("data", "contrast", "num_facts"),
        )
    return SetAside(list(pool), [text for texts in swapped for text in texts])


def texts_beside(facts: Sequence[Fact], seed: int) -> list[Example]:
    """Contrast texts for a user's facts: a few hundred, with at least one other subject for each fact.

    Logs how many wordings name no subject.
    """
    texts: list[Example] = []
    for number, swapped in enumerate(swapped_texts(facts, seed)):
        if number >= len(facts) and len(texts) >= _ENOUGH:
            break
        texts += swapped
    if missing := num_nameless(facts):
        logger.warning(
            "contrast: %d of %d training wordings do not name what their fact is about, so no other subject can take "
            "its place and neighbours are protected less; give such facts a `subject` that their wordings hold",
            missing,
            sum(len(fact.train_prompts) + len(fact.train_texts) for fact in facts),
        )
    return texts


def texts_without_answer(fact: Fact) -> list[Example]:
    """A fact's training prompts without the answer; its whole texts if it has no prompts."""
    return [Example("", text) for text in fact.train_prompts or fact.train_texts]
