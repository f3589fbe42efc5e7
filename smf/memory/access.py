"""Recording of the slots that a forward pass reads. Shapes: B batch, T token, H head, K top_k."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from smf.memory.layer import MemoryLayer


@dataclass(frozen=True)
class SlotReads:
    """The reads of one memory layer in one forward pass.

    Attributes:
        slot_indices_BTHK: Slots read.
        weights_BTHK: Their softmax weights.
    """

    slot_indices_BTHK: Tensor
    weights_BTHK: Tensor

    def slots_of_tokens(self, attention_mask_BT: Tensor) -> Tensor:
        """Slots read by real tokens, (tokens, H * K); padding is left out."""
        return self.slot_indices_BTHK[attention_mask_BT.bool()].flatten(1)

    def weights_of_tokens(self, attention_mask_BT: Tensor) -> Tensor:
        """The weights of :meth:`slots_of_tokens`, (tokens, H * K)."""
        return self.weights_BTHK[attention_mask_BT.bool()].flatten(1)


@contextmanager
def record_slot_reads(layers: Mapping[int, MemoryLayer]) -> Iterator[dict[int, SlotReads]]:
    """Record the slots that forward passes inside the ``with`` block read; each pass overwrites the one before.

    Args:
        layers: Memory layers by block number.

    Yields:
        A dictionary that each forward pass fills: block number to reads.
    """
    reads: dict[int, SlotReads] = {}

    def recorder(block: int) -> Callable[[Tensor, Tensor], None]:
        def record(slot_indices_BTHK: Tensor, weights_BTHK: Tensor) -> None:
            reads[block] = SlotReads(slot_indices_BTHK.detach(), weights_BTHK.detach())

        return record

    try:
        for block, layer in layers.items():
            layer.on_read = recorder(block)
        yield reads
    finally:
        for layer in layers.values():
            layer.on_read = None
