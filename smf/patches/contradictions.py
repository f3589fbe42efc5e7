"""Patches that answer the same question differently: stacked, neither is sure to win, so somebody has to choose."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smf.patches.forget import forget
from smf.patches.patch import MemoryPatch, fact_names
from smf.streams.normalize import text_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contradiction:
    """Two facts of different patches with the same question and different answers.

    Attributes:
        earlier: The earlier patch's fact.
        later: The later patch's fact.
        numbers: The two patches' numbers, counted from 0.
    """

    earlier: Mapping
    later: Mapping
    numbers: tuple[int, int]

    def text(self, names: Sequence[object]) -> str:
        """Describe the contradiction in one line.

        Args:
            names: The patches' names.
        """
        first, second = (
            f"{fact['answer']!r} in {names[number]} ({fact['fact_id']!r})"
            for fact, number in zip((self.earlier, self.later), self.numbers, strict=True)
        )
        return f"{self.later['question']!r} is answered {first} and {second}"


def contradictions(patches: Sequence[MemoryPatch]) -> list[Contradiction]:
    """Find facts of different patches that answer one question differently; ignores case, punctuation and spaces.

    A patch knows only the taught answers, not all accepted ones; facts without a question are not compared. Of facts of
    one patch with the same question the last one counts, which was taught to replace the others.
    """
    known: dict[str, list[tuple[int, Mapping]]] = {}
    found = []
    for number, patch in enumerate(patches):
        last = {key: fact for fact in patch.facts if (key := text_key(fact["question"]))}
        for key, fact in last.items():
            for other_number, other in known.setdefault(key, []):
                if _answer_key(other) != _answer_key(fact):
                    found.append(Contradiction(other, fact, (other_number, number)))
            known[key].append((number, fact))
    return found


def later_wins(patches: Sequence[MemoryPatch]) -> tuple[list[MemoryPatch], list[Contradiction]]:
    """Drop facts that a later patch contradicts; returns the patches and the contradictions.

    Raises:
        DataError: A contradicted fact was learned in one batch with others, so it cannot be forgotten alone.
    """
    found, left = contradictions(patches), list(patches)
    for number in {each.numbers[0] for each in found}:
        asked = {text_key(each.earlier["question"]) for each in found if each.numbers[0] == number}
        # with the last version alone forgotten, the one that it replaced would come back
        gone = {fact_names(fact)[1] for fact in patches[number].facts if text_key(fact["question"]) in asked}
        left[number], _ = forget(left[number], sorted(gone))
    return left, found


def warn_of_contradictions(patches: Sequence[MemoryPatch], names: Sequence[object]) -> None:
    """Log a warning, with a remedy, for each contradiction between patches that are combined.

    Args:
        patches: The patches.
        names: Their names.
    """
    for each in contradictions(patches):
        logger.warning(
            "%s; together, either may be given: `smf patch stack --later-wins` removes the earlier fact, `smf patch "
            "forget` either of them",
            each.text(names),
        )


def _answer_key(fact: Mapping) -> str:
    return text_key(fact["answer"]) or fact["answer"].strip()
