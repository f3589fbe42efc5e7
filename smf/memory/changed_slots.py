"""The slots that a stream has changed: their values, and a journal of which lesson changed them."""

from collections.abc import Mapping

from torch import Tensor

from smf.memory.changed_rows import ChangedRows
from smf.memory.journal import Journal
from smf.memory.layer import MemoryLayer


class ChangedSlots(ChangedRows):
    """All slots that were ever selected, in all memory layers.

    Args:
        layers: The memory layers, by block.

    Attributes:
        journal: Which lesson moved which slots, and how far.
    """

    def __init__(self, layers: Mapping[int, MemoryLayer]):
        super().__init__({block: layer.values_SV for block, layer in layers.items()}, "slots", "memory")
        self.journal = Journal(layers)

    def add(self, block: int, rows_R: Tensor) -> None:
        """Record slots that the next step may change."""
        super().add(block, rows_R)
        self.journal.before_step(block, rows_R)

    def load(self, delta: Mapping[str, Tensor]) -> None:
        """Write a delta's slots, and restart the journal.

        Raises:
            CheckpointError: The delta does not fit these layers.
        """
        super().load(delta)
        self.journal.forget()
