"""How often, and how strongly, ordinary text reads each slot. Shapes: S slot, X real token, L lookup."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from smf.errors import CheckpointError
from smf.files.resume import NO_RESUME, Resume
from smf.files.tensors import read_tensors, write_tensors
from smf.memory import SlotReads, record_slot_reads
from smf.models.memory_model import require_memory
from smf.streams.batches import Batch

Document = Literal["batch", "sequence"]
_PART_SIZE = 32
"""Sequences in one forward pass. A batch is a random sample of text; in a single pass it would be mostly padding."""


class DocumentCounts(NamedTuple):
    """In how many documents each slot was read at all, and how many documents were counted."""

    frequency_S: Tensor
    number: float


@dataclass(frozen=True)
class LayerCounts:
    """Background use of one memory layer.

    Attributes:
        accesses_S: How often each slot was read, over all tokens, heads and top_k reads.
        document_frequency_S: In how many documents each slot was read at all.
        num_documents: How many documents were counted.
        squared_weights_S: Sum over all tokens of the squared weight with which a token reads each slot.
        document: The kind of these documents.
        others: Document frequency and number of documents of the other kind, in the same text, if known.
    """

    accesses_S: Tensor
    document_frequency_S: Tensor
    num_documents: float
    squared_weights_S: Tensor
    document: Document = "batch"
    others: DocumentCounts | None = None

    @cached_property
    def total_accesses(self) -> Tensor:
        """Sum of ``accesses_S``, a scalar."""
        return self.accesses_S.sum().double()

    @cached_property
    def total_document_frequency(self) -> Tensor:
        """Sum of ``document_frequency_S``, a scalar."""
        return self.document_frequency_S.sum().double()

    def by_document(self) -> dict[Document, DocumentCounts]:
        """The known document counts, by kind of document."""
        found = {self.document: DocumentCounts(self.document_frequency_S, self.num_documents)}
        if self.others is not None:
            found |= dict.fromkeys(set(get_args(Document)) - {self.document}, self.others)
        return found

    def in_documents(self, document: Document | None) -> "LayerCounts":
        """The same counts with a single kind of document; None for the present kind.

        Raises:
            CheckpointError: Documents of this kind were not counted.
        """
        known = self.by_document()
        document = document or self.document
        if document not in known:
            raise CheckpointError(f"the background counts hold no document frequency by {document}: count again")
        frequency_S, number = known[document]
        return replace(self, document_frequency_S=frequency_S, num_documents=number, document=document, others=None)

    def to(self, device: torch.device | str) -> "LayerCounts":
        """The same counts on another device."""
        return replace(
            self,
            accesses_S=self.accesses_S.to(device),
            document_frequency_S=self.document_frequency_S.to(device),
            squared_weights_S=self.squared_weights_S.to(device),
            others=self.others and DocumentCounts(self.others.frequency_S.to(device), self.others.number),
        )


@dataclass(frozen=True)
class BackgroundCounts:
    """Background use of all memory layers, by block number, and the provenance of the counts.

    Example:
        >>> background.save("counts.safetensors")
        >>> len(BackgroundCounts.load("counts.safetensors").layers[0].accesses_S) == model.memory_layers()[0].num_slots
        True
    """

    layers: Mapping[int, LayerCounts]
    provenance: Mapping[str, object]

    def to(self, device: torch.device | str) -> "BackgroundCounts":
        """The same counts on another device."""
        return BackgroundCounts({block: layer.to(device) for block, layer in self.layers.items()}, self.provenance)

    def in_documents(self, document: Document | None) -> "BackgroundCounts":
        """The same counts with a single kind of document, see :meth:`LayerCounts.in_documents`."""
        layers = {block: layer.in_documents(document) for block, layer in self.layers.items()}
        return BackgroundCounts(layers, self.provenance)

    def save(self, path: str | Path) -> None:
        """Write as safetensors; provenance, numbers and the kind of document to use go into the header."""
        tensors, numbers, kinds = {}, {}, {}
        for block, counts in self.layers.items():
            known = counts.by_document()
            tensors[f"{block}.accesses"] = counts.accesses_S
            tensors[f"{block}.squared_weights"] = counts.squared_weights_S
            tensors |= {f"{block}.{kind}_frequency": documents.frequency_S for kind, documents in known.items()}
            numbers[str(block)] = {kind: documents.number for kind, documents in known.items()}
            kinds[str(block)] = counts.document
        metadata = {"provenance": dict(self.provenance), "num_documents": numbers, "document": kinds}
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | Path, *, model_hash: str | None = None) -> "BackgroundCounts":
        """Read a file that :meth:`save` wrote.

        Args:
            path: The file.
            model_hash: Hash of the model that the counts are to be used with; None to skip the check.

        Raises:
            CheckpointError: The file is damaged, an earlier version wrote it, or the counts were made with another
                model.
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
        for block, numbers in metadata["num_documents"].items():
            if f"{block}.squared_weights" not in tensors:
                raise CheckpointError(f"{path} has no squared weights; an earlier version counted it: count again")
            kinds = get_args(Document)
            if any(f"{block}.{kind}_frequency" not in tensors for kind in kinds):
                raise CheckpointError(
                    f"{path} does not count documents of both kinds; an earlier version counted it: count again"
                )
            document = metadata["document"][block]
            known = {kind: DocumentCounts(tensors[f"{block}.{kind}_frequency"], numbers[kind]) for kind in kinds}
            [others] = [known[kind] for kind in kinds if kind != document]
            accesses_S, squares_S = tensors[f"{block}.accesses"], tensors[f"{block}.squared_weights"]
            layers[int(block)] = LayerCounts(accesses_S, *known[document], squares_S, document, others)
        return cls(layers, provenance)


@torch.no_grad()
def count_background(
    model: PreTrainedModel,
    batches: Iterable[Batch],
    *,
    document: Document = "batch",
    provenance: Mapping[str, object] | None = None,
    resume: Resume = NO_RESUME,
) -> BackgroundCounts:
    """Count slot reads over background batches. Padding is never counted.

    Args:
        model: A model with memory layers, either healed or with a memory that starts with zero values.
        batches: Background text, see :func:`smf.streams.background_texts.text_batches`.
        document: The document that document frequency counts, unless a method chooses otherwise: a batch (Lin et al.,
            2025) or a single sequence. Both are counted.
        provenance: Where the counts come from; kept with them. ``model_hash`` is checked when they are read again.
        resume: Keeps the counts so far; batches already counted are skipped.

    Returns:
        For each memory layer, by block, how often each of its slots was read: tensors of shape (S), on the CPU.

    Raises:
        CheckpointError: The model has no memory layers.

    Example:
        >>> background = count_background(model, text_batches(tokenizer, ["The sun rose late.", "Nobody came."]))
        >>> int(background.layers[2].accesses_S.sum()) > 0
        True
    """
    model = require_memory(model)
    model.eval()
    layers = model.memory_layers()
    counters = {block: _LayerCounter(layer.num_slots) for block, layer in layers.items()}
    num_done = _resumed(resume, counters)
    with record_slot_reads(layers) as reads:
        for number, batch in enumerate(batches, start=1):
            if number <= num_done:
                continue
            batch = batch.to(model.device)
            for part in batch.split_by_length(_PART_SIZE):
                model.read_memories(part.input_ids_BT, part.attention_mask_BT)
                for block, read in reads.items():
                    counters[block].see(read, part.attention_mask_BT)
            for counter in counters.values():
                counter.end_batch(len(batch.input_ids_BT))
            if resume.due():
                parts = {f"{block}.{name}": part for block, one in counters.items() for name, part in one.state.items()}
                resume.save("counts", parts, {"num_batches": number})
    return BackgroundCounts({block: counter.counts(document) for block, counter in counters.items()}, provenance or {})


def _resumed(resume: Resume, counters: Mapping[int, "_LayerCounter"]) -> int:
    """Restore the counters of an earlier process; returns the number of batches that they have seen."""
    found = resume.load("counts")
    if not found:
        return 0
    for block, counter in counters.items():
        for name, part in counter.state.items():
            part.copy_(found[0][f"{block}.{name}"])
    return found[1]["num_batches"]


class _LayerCounter:
    """Adds up the reads of one layer, on the CPU."""

    def __init__(self, num_slots: int):
        self._num_slots = num_slots
        self._accesses_S, self._batch_accesses_S, self._batches_S, self._sequences_S = (
            torch.zeros(num_slots, dtype=torch.long) for _ in range(4)
        )
        self._squares_S = torch.zeros(num_slots, dtype=torch.double)
        self._numbers_2 = torch.zeros(2, dtype=torch.long)  # batches and sequences

    @property
    def state(self) -> dict[str, Tensor]:
        """All counts up to the end of a batch, to be saved or overwritten."""
        return {
            "accesses": self._accesses_S,
            "batches": self._batches_S,
            "sequences": self._sequences_S,
            "squares": self._squares_S,
            "numbers": self._numbers_2,
        }

    def see(self, read: SlotReads, mask_BT: Tensor) -> None:
        """Count a part of a batch; a sequence must not be split between parts."""
        slots_XL = read.slots_of_tokens(mask_BT)
        self._batch_accesses_S += torch.bincount(slots_XL.flatten(), minlength=self._num_slots).cpu()
        self._squares_S += squared_read_weights(slots_XL.cpu(), read.weights_of_tokens(mask_BT).cpu(), self._num_slots)
        # Encode sequence and slot as one number, so that one `unique` serves all sequences.
        sequence_X1 = mask_BT.nonzero()[:, :1]
        slots = (sequence_X1 * self._num_slots + slots_XL).flatten().unique().cpu() % self._num_slots
        self._sequences_S.index_add_(0, slots, torch.ones_like(slots))

    def end_batch(self, num_sequences: int) -> None:
        """Close a batch of ``num_sequences`` sequences: everything seen since the last call."""
        self._batches_S += self._batch_accesses_S > 0
        self._accesses_S += self._batch_accesses_S
        self._batch_accesses_S.zero_()
        self._numbers_2 += torch.tensor([1, num_sequences])

    def counts(self, document: Document) -> LayerCounts:
        """All counts so far."""
        num_batches, num_sequences = self._numbers_2.tolist()
        batches = DocumentCounts(self._batches_S, num_batches)
        sequences = DocumentCounts(self._sequences_S, num_sequences)
        first, second = (batches, sequences) if document == "batch" else (sequences, batches)
        return LayerCounts(self._accesses_S, *first, self._squares_S, document, second)


def squared_read_weights(slots_XL: Tensor, weights_XL: Tensor, num_slots: int) -> Tensor:
    """The sum over tokens of the squared weight of each slot, (S), in float64.

    A slot that several heads of a token read counts with the sum of their weights, because a read sums over heads.
    Deterministic on a CPU, to the last bit.
    """
    slots_XL, order_XL = slots_XL.sort(dim=1, stable=True)
    first_XL = torch.ones_like(slots_XL, dtype=torch.bool)
    first_XL[:, 1:] = slots_XL[:, 1:] != slots_XL[:, :-1]
    reading = first_XL.flatten().cumsum(0) - 1  # all lookups of one slot by one token are one read
    totals = torch.bincount(reading, weights_XL.double().gather(1, order_XL).flatten())
    return torch.bincount(slots_XL[first_XL], totals.square(), num_slots)
