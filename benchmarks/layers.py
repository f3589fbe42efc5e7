"""One memory layer, one training step on its slots: ours and the published ways behind the same three calls."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.published import FlatMemory, MaskedDenseStep, PublishedMemory, SparseGradientStep
from smf.memory import MemoryLayer, RowGradient, record_slot_reads
from smf.memory.row_optimizers import RowAdamW, RowOptimizer, RowSGD
from smf.selection.background import BackgroundCounts, LayerCounts
from smf.selection.select import Selection, count_reads, select_slots

NUM_DOCUMENTS = 100


@dataclass(frozen=True)
class Sizes:
    """Of the layer and of a step; the hidden size is ``value_dim``."""

    num_keys: int
    value_dim: int
    num_heads: int = 4
    top_k: int = 32
    key_dim: int = 256
    top_t: int = 512
    num_tokens: int = 512
    zero_values: bool = False

    @property
    def num_slots(self) -> int:
        """S = N * N."""
        return self.num_keys**2

    def __str__(self) -> str:
        return f"2^{self.num_slots.bit_length() - 1} x {self.value_dim}"


class SelectedRowStep:
    """Ours: gradient, optimizer state and update of the selected slots alone."""

    def __init__(self, sizes: Sizes, optimizer: Callable[[Tensor], RowOptimizer]):
        self.layer = MemoryLayer(
            sizes.value_dim,
            num_keys=sizes.num_keys,
            num_heads=sizes.num_heads,
            top_k=sizes.top_k,
            key_dim=sizes.key_dim,
            value_dim=sizes.value_dim,
            zero_output=False,
            zero_values=sizes.zero_values,
        ).requires_grad_(False)
        self.layer.row_gradient = RowGradient()
        self.table_SV = self.layer.values_SV
        self.optimizer = optimizer(self.table_SV)
        self._selection = Selection("tfidf", sizes.top_t)
        self._mask_1T = torch.ones(1, sizes.num_tokens, dtype=torch.long)
        self._generator = torch.Generator(self.table_SV.device)

    def forward(self, hidden_TD: Tensor) -> Tensor:
        """Reads."""
        with record_slot_reads({0: self.layer}) as self.reads:
            return self.layer(hidden_TD.unsqueeze(0)).squeeze(0)

    def select(self, document_frequency_S: Tensor, num_documents: int) -> Tensor:
        """Chooses the slots."""
        background = BackgroundCounts(
            {0: LayerCounts(document_frequency_S, document_frequency_S, num_documents, document_frequency_S)}, {}
        )
        counts = count_reads([(self.reads, self._mask_1T)])
        chosen = select_slots(counts, background, self._selection, self._generator)[0]
        self.layer.row_gradient.select(chosen.slots_R)
        return chosen.slots_R

    def backward(self, out_TD: Tensor, upstream_TD: Tensor) -> None:
        """Gradient and update."""
        out_TD.backward(upstream_TD)
        self.optimizer.step(self.layer.row_gradient.slots_R, self.layer.row_gradient.gradient_RV)


def _masked(sizes, optimizer, memory=PublishedMemory, **options):
    layer = memory(sizes)
    return MaskedDenseStep(layer, optimizer([layer.values.weight], **options))


def _sparse(sizes):
    layer = PublishedMemory(sizes, sparse=True)
    return SparseGradientStep(layer, torch.optim.SparseAdam([layer.values.weight], lr=1e-3))


OURS, OURS_SGD = "selected rows, AdamW (smf)", "selected rows, SGD (smf)"
DENSE, DENSE_SGD = "dense gradient, mask, AdamW", "dense gradient, mask, SGD"
SPARSE, FLAT = "sparse gradient, SparseAdam", "flat keys, mask, AdamW"
# No decay in the compared AdamW: with it every slot of the table moves, see "slots changed outside the selection".
STEPS: dict[str, Callable[[Sizes], object]] = {
    OURS: lambda sizes: SelectedRowStep(sizes, lambda table: RowAdamW(table, learning_rate=1e-3)),
    OURS_SGD: lambda sizes: SelectedRowStep(sizes, lambda table: RowSGD(table, learning_rate=1e-3)),
    DENSE: lambda sizes: _masked(sizes, torch.optim.AdamW, lr=1e-3, weight_decay=0.0),
    DENSE_SGD: lambda sizes: _masked(sizes, torch.optim.SGD, lr=1e-3),
    SPARSE: _sparse,
    FLAT: lambda sizes: _masked(sizes, torch.optim.AdamW, FlatMemory, lr=1e-3, weight_decay=0.0),
}


@dataclass
class StepInputs:
    """A step's hidden states, the gradient that comes back, and background counts of the table."""

    hidden_TD: Tensor
    upstream_TD: Tensor
    document_frequency_S: Tensor

    def to(self, device: torch.device) -> "StepInputs":
        """The same inputs on another device."""
        return StepInputs(*(tensor.to(device) for tensor in vars(self).values()))

    @classmethod
    def draw(cls, sizes: Sizes, seed: int) -> "StepInputs":
        """Random ones; a tenth of the slots is read by ordinary text."""
        generator = torch.Generator().manual_seed(seed)
        shape = (sizes.num_tokens, sizes.value_dim)
        frequency_S = torch.randint(NUM_DOCUMENTS + 1, (sizes.num_slots,), generator=generator)
        frequency_S[torch.rand(sizes.num_slots, generator=generator) < 0.9] = 0
        return cls(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), frequency_S)


def whole_step(step, inputs: StepInputs) -> Tensor:
    """Forward, selection, backward and update; the slots that were selected."""
    out_TD = step.forward(inputs.hidden_TD)
    chosen_R = step.select(inputs.document_frequency_S, NUM_DOCUMENTS)
    step.backward(out_TD, inputs.upstream_TD)
    return chosen_R
