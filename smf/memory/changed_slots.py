"""Which slots a stream has changed: what is kept of them, and how a table gets back what it held before."""

from collections.abc import Mapping

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory.journal import Journal
from smf.memory.layer import MemoryLayer


class ChangedSlots:
    """The slots of all memory layers that were ever selected.

    Args:
        layers: The memory layers, by block.

    Attributes:
        journal: Who changed them, and how far.
    """

    def __init__(self, layers: Mapping[int, MemoryLayer]):
        self._layers = layers
        self._changed: dict[int, list[Tensor]] = {block: [] for block in layers}
        self._originals: dict[int, tuple[Tensor, Tensor]] = {}
        self.journal = Journal(layers)

    def add(self, block: int, slots_R: Tensor) -> None:
        """Note slots that the step to come may change."""
        self._changed[block].append(slots_R)
        self.journal.before_step(block, slots_R)

    def of(self, block: int) -> Tensor:
        """Every slot that was ever noted, ascending."""
        none = torch.empty(0, dtype=torch.long, device=self._layers[block].values_SV.device)
        slots = torch.cat([none, *self._changed[block]]).unique()
        self._changed[block] = [slots]  # so that a long stream's list stays short
        return slots

    def delta(self) -> dict[str, Tensor]:
        """Ids and present values of all of them, on the CPU."""
        tensors = {}
        for block, layer in self._layers.items():
            slots = self.of(block)
            tensors[f"{block}.slots"] = slots.cpu()
            tensors[f"{block}.values"] = layer.values_SV[slots].cpu()
        return tensors

    def load(self, delta: Mapping[str, Tensor]) -> None:
        """Write what :meth:`delta` gave; slots that an earlier delta wrote get their original values back first.

        Raises:
            CheckpointError: It does not fit these layers.
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
        """Write a delta and go on from it: its slots count as changed."""
        self.load(delta)
        for block, layer in self._layers.items():
            self._changed[block] = [delta[f"{block}.slots"].to(layer.values_SV.device)]
