"""Measure a memory model on a few batches of text: its loss, and the slots that its heads read.

Shapes: X real token, H head, K top_k, S slot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smf.memory import MemoryLayer, SlotReads, record_slot_reads
from smf.methods.loss import language_model_loss
from smf.models.memory_model import MemoryForCausalLM
from smf.streams.batches import Batch
from smf.training.slot_use import slot_use_rows


@torch.no_grad()
def probe_loss(model: MemoryForCausalLM, probe: Sequence[Batch]) -> float:
    """The loss in nats per token, averaged over all tokens."""
    return _mean([(loss, batch.num_labels) for batch, loss in _losses(model, probe)])


@torch.no_grad()
def probe_memory(model: MemoryForCausalLM, probe: Sequence[Batch], stage: str) -> tuple[float, list[dict]]:
    """Measure loss and slot use.

    Args:
        model: Put into evaluation mode.
        probe: Batches of text.
        stage: Value of the rows' ``stage`` column.

    Returns:
        The loss in nats per token, and rows of the slot-use table (see :mod:`smf.training.slot_use`). Padding does not
        count.
    """
    layers = model.memory_layers()
    counts = {block: _Counts.of(layer) for block, layer in layers.items()}
    losses = []
    with record_slot_reads(layers) as reads:
        for batch, loss in _losses(model, probe):
            losses.append((loss, batch.num_labels))
            for block, read in reads.items():
                counts[block].add(read, batch.attention_mask_BT.bool())
    rows = [row for block, count in counts.items() for row in count.rows(block, stage)]
    return _mean(losses), rows


def _losses(model: MemoryForCausalLM, probe: Sequence[Batch]) -> Iterator[tuple[Batch, float]]:
    model.eval()
    for batch in probe:
        on_device = batch.to(model.device)
        yield on_device, float(language_model_loss(model, on_device))


def _mean(losses: Sequence[tuple[float, int]]) -> float:
    return sum(loss * number for loss, number in losses) / sum(number for _, number in losses)


@dataclass(frozen=True)
class _Counts:
    """Sums over tokens for one table, on the CPU, where sums of weights are deterministic."""

    reads_HS: Tensor
    first_reads_HS: Tensor
    weights_HS: Tensor

    @classmethod
    def of(cls, layer: MemoryLayer) -> "_Counts":
        sizes = (layer.num_heads, layer.num_slots)
        reads_HS, first_reads_HS = (torch.zeros(sizes, dtype=torch.long) for _ in range(2))
        return cls(reads_HS, first_reads_HS, torch.zeros(sizes, dtype=torch.double))

    def add(self, read: SlotReads, is_token_BT: Tensor) -> None:
        slots_XHK = read.slot_indices_BTHK[is_token_BT].cpu()
        weights_XHK = read.weights_BTHK[is_token_BT].cpu().double()
        num_heads, num_slots = self.reads_HS.shape
        places_XHK = slots_XHK + num_slots * torch.arange(num_heads).unsqueeze(1)
        # Slots come with the highest score first.
        for total_HS, places, weights in (
            (self.reads_HS, places_XHK, None),
            (self.first_reads_HS, places_XHK[..., 0], None),
            (self.weights_HS, places_XHK, weights_XHK.flatten()),
        ):
            total_HS += torch.bincount(places.flatten(), weights, num_heads * num_slots).view_as(total_HS)

    def rows(self, block: int, stage: str) -> list[dict]:
        return slot_use_rows(block, stage, self.reads_HS.numpy(), self.first_reads_HS.numpy(), self.weights_HS.numpy())
