"""Patches that answer one question differently: together neither is sure to win, so somebody has to choose."""

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
        earlier: The fact of the earlier patch.
        later: That of the later one.
        numbers: Which patches, counted from 0.
    """

    earlier: Mapping
    later: Mapping
    numbers: tuple[int, int]

    def text(self, names: Sequence[object]) -> str:
        """What contradicts what, in a line.

        Args:
            names: What the patches are called.
        """
        first, second = (
            f"{fact['answer']!r} in {names[number]} ({fact['fact_id']!r})"
            for fact, number in zip((self.earlier, self.later), self.numbers, strict=True)
        )
        return f"{self.later['question']!r} is answered {first} and {second}"


def contradictions(patches: Sequence[MemoryPatch]) -> list[Contradiction]:
    """Where patches answer a question differently, case, punctuation and spaces of questions and answers aside.

    A patch knows the answers that were taught, not all that are accepted; facts without a question are not compared.
    """
    known: dict[str, list[tuple[int, Mapping]]] = {}
    found = []
    for number, patch in enumerate(patches):
        for fact in patch.facts:
            if key := text_key(fact["question"]):
                for other_number, other in known.setdefault(key, []):
                    if other_number != number and _answer_key(other) != _answer_key(fact):
                        found.append(Contradiction(other, fact, (other_number, number)))
                known[key].append((number, fact))
    return found


def later_wins(patches: Sequence[MemoryPatch]) -> tuple[list[MemoryPatch], list[Contradiction]]:
    """The patches, the earlier ones without the facts that a later one contradicts, and what was contradicted.

    Raises:
        DataError: Such a fact was learned in one batch with others, and cannot be forgotten alone.
    """
    found, left = contradictions(patches), list(patches)
    for number in {each.numbers[0] for each in found}:
        gone = {fact_names(each.earlier)[1] for each in found if each.numbers[0] == number}
        left[number], _ = forget(left[number], sorted(gone))
    return left, found


def warn_of_contradictions(patches: Sequence[MemoryPatch], names: Sequence[object]) -> None:
    """Say where patches that are put together answer a question differently, and what to do.

    Args:
        patches: The patches.
        names: What they are called.
    """
    for each in contradictions(patches):
        logger.warning(
            "%s; together, neither is sure to be given: `smf patch stack --later-wins` takes the earlier fact out, "
            "`smf patch forget` either of them",
            each.text(names),
        )


def _answer_key(fact: Mapping) -> str:
    return text_key(fact["answer"]) or fact["answer"].strip()
