"""Passes over a stream: which facts are learned together, in which order, and where snapshots may be taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smf.errors import ConfigError
from smf.seeding import python_generator


@dataclass(frozen=True)
class Passes:
    """Passes over a stream.

    Attributes:
        num_facts: Facts in the stream.
        facts_per_step: Facts that are learned together; the last group of an epoch may hold fewer.
        epochs: How often each fact is learned.
        steps_per_fact: Optimizer steps on each group, in each epoch.
    """

    num_facts: int
    facts_per_step: int = 1
    epochs: int = 1
    steps_per_fact: int = 1

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole stream."""
        return self.epochs * math.ceil(self.num_facts / self.facts_per_step) * self.steps_per_fact

    def groups(self, reshuffle_seed: int | None) -> list[list[int]]:
        """Stream indices (from 0) of the facts that are learned together, group after group.

        Args:
            reshuffle_seed: Seed of the order of later epochs; None repeats the stream's order, which the first epoch
                always takes.
        """
        places, groups = list(range(self.num_facts)), []
        for epoch in range(self.epochs):
            if epoch and reshuffle_seed is not None:
                python_generator(reshuffle_seed, "epoch", epoch).shuffle(places)
            starts = range(0, self.num_facts, self.facts_per_step)
            groups += [places[start : start + self.facts_per_step] for start in starts]
        return groups

    def group_before(self, snapshots: Sequence[int]) -> dict[int, int]:
        """Map each group that a snapshot follows to the snapshot's position.

        Args:
            snapshots: Snapshot positions, in facts learned.

        Raises:
            ConfigError: A position lies beyond the stream's end or inside a group; or it is not the end of a stream
                of several epochs, where each fact is learned again later.
        """
        last = self.num_steps // self.steps_per_fact - 1
        found = {}
        for position in snapshots:
            if position > self.num_facts:
                self._refuse(position, f"at most the stream's {self.num_facts} facts")
            if position < self.num_facts and self.epochs > 1:
                self._refuse(position, f"left out with {self.epochs} stream.epochs, where only the end is evaluated")
            if position < self.num_facts and position % self.facts_per_step:
                self._refuse(position, f"a multiple of stream.facts_per_step ({self.facts_per_step})")
            found[last if position == self.num_facts else position // self.facts_per_step - 1] = position
        return found

    def _refuse(self, position: int, expected: str) -> None:
        raise ConfigError(f"stream.snapshots names position {position}, but must be {expected}")
