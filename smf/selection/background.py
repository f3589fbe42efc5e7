"""How often, and how strongly, ordinary text reads each slot. Shapes: S slot, X real token, L lookup."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory import record_slot_reads
from smf.models.memory_model import MemoryForCausalLM
from smf.streams.batches import Batch
from smf.tensor_files import read_tensors, write_tensors

Document = Literal["batch", "sequence"]
_PART_SIZE = 32
"""Sequences in one forward pass. A batch is a random sample of text; as a whole it would be mostly padding."""


@dataclass(frozen=True)
class LayerCounts:
    """Background use of one memory layer.

    Attributes:
        accesses_S: How often each slot was read, over all tokens, heads and the top_k.
        document_frequency_S: In how many documents each slot was read at all.
        num_documents: How many documents were counted.
        squared_weights_S: Sum over all tokens of the square of the weight with which a token reads each slot.
    """

    accesses_S: Tensor
    document_frequency_S: Tensor
    num_documents: int
    squared_weights_S: Tensor

    @cached_property
    def total_accesses(self) -> Tensor:
        """Sum of ``accesses_S``, a scalar."""
        return self.accesses_S.sum().double()

    @cached_property
    def total_document_frequency(self) -> Tensor:
        """Sum of ``document_frequency_S``, a scalar."""
        return self.document_frequency_S.sum().double()

    def to(self, device: torch.device | str) -> "LayerCounts":
        """The same counts on another device."""
        return LayerCounts(
            self.accesses_S.to(device),
            self.document_frequency_S.to(device),
            self.num_documents,
            self.squared_weights_S.to(device),
        )


@dataclass(frozen=True)
class BackgroundCounts:
    """Background use of all memory layers, by block number, and what it was counted on."""

    layers: Mapping[int, LayerCounts]
    provenance: Mapping[str, object]

    def to(self, device: torch.device | str) -> "BackgroundCounts":
        """The same counts on another device."""
        return BackgroundCounts({block: layer.to(device) for block, layer in self.layers.items()}, self.provenance)

    def save(self, path: str | Path) -> None:
        """Write as safetensors; the provenance goes into the header."""
        tensors = {}
        for block, counts in self.layers.items():
            tensors[f"{block}.accesses"] = counts.accesses_S
            tensors[f"{block}.document_frequency"] = counts.document_frequency_S
            tensors[f"{block}.squared_weights"] = counts.squared_weights_S
        documents = {str(block): counts.num_documents for block, counts in self.layers.items()}
        write_tensors(path, tensors, {"provenance": dict(self.provenance), "num_documents": documents})

    @classmethod
    def load(cls, path: str | Path, *, model_hash: str | None = None) -> "BackgroundCounts":
        """Read what :meth:`save` wrote.

        Args:
            path: The file.
            model_hash: Hash of the model that the counts are to be used with, if it shall be checked.

        Raises:
            CheckpointError: The file is damaged, or the counts were made with another model.
        """
        tensors, metadata = read_tensors(path)
        if not {"provenance", "num_documents"} <= metadata.keys():
            raise CheckpointError(f"{path} holds no background counts; give the file that count_background writes")
        provenance = metadata["provenance"]
        if model_hash is not None and provenance.get("model_hash") != model_hash:
            raise CheckpointError(
                f"{path} was counted with model {provenance.get('model_hash')}, not with {model_hash}; count again"
            )
        layers = {}
        for block, number in metadata["num_documents"].items():
            if f"{block}.squared_weights" not in tensors:
                raise CheckpointError(f"{path} has no squared weights; an earlier version counted it: count again")
            accesses_S, frequency_S, squares_S = (
                tensors[f"{block}.{name}"] for name in ("accesses", "document_frequency", "squared_weights")
            )
            layers[int(block)] = LayerCounts(accesses_S, frequency_S, number, squares_S)
        return cls(layers, provenance)


@torch.no_grad()
def count_background(
    model: MemoryForCausalLM, batches: Iterable[Batch], *, document: Document, provenance: Mapping[str, object]
) -> BackgroundCounts:
    """Count slot reads over background batches. Padding is never counted.

    Args:
        model: The healed model.
        batches: Background text.
        document: What document frequency counts: batches (Lin et al., 2025) or single sequences.
        provenance: What the counts are made of; kept with them.
    """
    model.eval()
    layers = model.memory_layers()
    accesses = {block: torch.zeros(layer.num_slots, dtype=torch.long) for block, layer in layers.items()}
    frequency = {block: torch.zeros(layer.num_slots, dtype=torch.long) for block, layer in layers.items()}
    squares = {block: torch.zeros(layer.num_slots, dtype=torch.double) for block, layer in layers.items()}
    num_documents = 0
    with record_slot_reads(layers) as reads:
        for batch in (batch.to(model.device) for batch in batches):
            num_documents += len(batch.input_ids_BT) if document == "sequence" else 1
            read_by_batch: dict[int, list[Tensor]] = {block: [] for block in layers}
            for part in batch.split_by_length(_PART_SIZE):
                model.read_memories(part.input_ids_BT, part.attention_mask_BT)
                for block, read in reads.items():
                    slots = read.slots_of_tokens(part.attention_mask_BT)
                    accesses[block] += torch.bincount(slots.flatten(), minlength=len(accesses[block])).cpu()
                    weights = read.weights_of_tokens(part.attention_mask_BT)
                    squares[block] += squared_read_weights(slots.cpu(), weights.cpu(), len(squares[block]))
                    if document == "sequence":
                        for sequence in slots.split(part.attention_mask_BT.sum(1).tolist()):
                            frequency[block][sequence.unique().cpu()] += 1
                    else:
                        read_by_batch[block].append(slots.unique().cpu())
            if document == "batch":
                for block, slots in read_by_batch.items():
                    frequency[block][torch.cat(slots).unique()] += 1
    counts = {block: LayerCounts(accesses[block], frequency[block], num_documents, squares[block]) for block in layers}
    return BackgroundCounts(counts, provenance)


def squared_read_weights(slots_XL: Tensor, weights_XL: Tensor, num_slots: int) -> Tensor:
    """The sum over tokens of the squared weight of each slot, (S), in float64.

    A slot that several heads of a token read counts with the sum of their weights, since what a token reads is a sum.
    On a CPU the same every time, to the last bit.
    """
    slots_XL, order_XL = slots_XL.sort(dim=1, stable=True)
    first_XL = torch.ones_like(slots_XL, dtype=torch.bool)
    first_XL[:, 1:] = slots_XL[:, 1:] != slots_XL[:, :-1]
    reading = first_XL.flatten().cumsum(0) - 1  # lookups of one slot by one token are one reading
    totals = torch.bincount(reading, weights_XL.double().gather(1, order_XL).flatten())
    return torch.bincount(slots_XL[first_XL], totals.square(), num_slots)
