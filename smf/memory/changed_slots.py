"""The slots that a stream has changed: saves their values, and restores what the tables held before."""

from collections.abc import Mapping

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory.journal import Journal
from smf.memory.layer import MemoryLayer


class ChangedSlots:
    """All slots that were ever selected, in all memory layers.

    Args:
        layers: The memory layers, by block.

    Attributes:
        journal: Which lesson moved which slots, and how far.
    """

    def __init__(self, layers: Mapping[int, MemoryLayer]):
        self._layers = layers
        self._changed: dict[int, list[Tensor]] = {block: [] for block in layers}
        self._originals: dict[int, tuple[Tensor, Tensor]] = {}
        self.journal = Journal(layers)

    def add(self, block: int, slots_R: Tensor) -> None:
        """Record slots that the next step may change."""
        self._changed[block].append(slots_R)
        self.journal.before_step(block, slots_R)

    def of(self, block: int) -> Tensor:
        """Every slot recorded so far, ascending."""
        none = torch.empty(0, dtype=torch.long, device=self._layers[block].values_SV.device)
        slots = torch.cat([none, *self._changed[block]]).unique()
        self._changed[block] = [slots]  # so that a long stream's list stays short
        return slots

    def delta(self) -> dict[str, Tensor]:
        """Indices and current values of all changed slots, on the CPU."""
        tensors = {}
        for block, layer in self._layers.items():
            slots = self.of(block)
            tensors[f"{block}.slots"] = slots.cpu()
            tensors[f"{block}.values"] = layer.values_SV[slots].cpu()
        return tensors

    def load(self, delta: Mapping[str, Tensor]) -> None:
        """Write a :meth:`delta` into the tables, after undoing the one loaded before it, if any.

        Raises:
            CheckpointError: The delta does not fit these layers.
        """
        expected = {f"{block}.{part}" for block in self._layers for part in ("slots", "values")}
        if delta.keys() != expected:
            raise CheckpointError(
                f"the delta holds {sorted(delta)}, the model has memory in blocks {sorted(self._layers)}; "
                "learn the stream again"
            )
        for block, layer in self._layers.items():
            slots, values = delta[f"{block}.slots"], delta[f"{block}.values"]
            if values.shape != (len(slots), layer.values_SV.shape[1]) or (slots >= layer.num_slots).any():
                raise CheckpointError(
                    f"the delta's slots of block {block} do not fit a table of {tuple(layer.values_SV.shape)}; "
                    "learn the stream again"
                )
        self.journal.forget()
        for block, layer in self._layers.items():
            table_SV = layer.values_SV.data
            if block in self._originals:
                slots, values = self._originals[block]
                table_SV[slots] = values
            slots = delta[f"{block}.slots"].to(table_SV.device)
            self._originals[block] = (slots, table_SV[slots].clone())
            table_SV[slots] = delta[f"{block}.values"].to(table_SV)

    def resume(self, delta: Mapping[str, Tensor]) -> None:
        """Load a delta and continue from it: its slots count as changed."""
        self.load(delta)
        for block, layer in self._layers.items():
            self._changed[block] = [delta[f"{block}.slots"].to(layer.values_SV.device)]
