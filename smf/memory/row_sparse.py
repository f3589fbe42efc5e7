"""Gradients of selected slots only.

A read sums slots: out_t = sum_l w_tl v_{s(t,l)}. The gradient of slot i is the sum over its lookups of w_tl dL/dout_t.
Published code computes it for the whole table and masks it afterwards; here the lookups of all other slots are dropped
first. What remains is one weighted sum of the tokens' gradients for each selected slot, of size (selected, value_dim).
No tensor of the table's size is allocated.

Shapes: T token, L lookup (heads times top_k), R selected row, V value_dim, S slot.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from smf.errors import TrainingError
from smf.memory.bags import sizes_are_free, weighted_bags, weighted_sums


class RowGradient:
    """Which slots of one memory layer may train, and the gradient of exactly those.

    The selection is made between forward and backward, because it depends on what the forward pass reads.

    Attributes:
        slots_R: The slots, ascending.
        gradient_RV: Their gradient, accumulated so far.
        writing_BT: Tokens of the batch whose reads contribute to it; None for all.
    """

    def __init__(self) -> None:
        self.slots_R: Tensor | None = None
        self.gradient_RV: Tensor | None = None
        self.writing_BT: Tensor | None = None

    @property
    def is_first_R(self) -> Tensor:
        """Mask of each slot's first row; sums over slots use it to skip repetitions."""
        slots_R = self.slots_R
        assert slots_R is not None  # after select
        first_R = torch.ones_like(slots_R, dtype=torch.bool)
        first_R[1:] = slots_R[1:] != slots_R[:-1]
        return first_R

    @property
    def collected_RV(self) -> Tensor:
        """The gradient, once a backward pass has left one."""
        assert self.gradient_RV is not None
        return self.gradient_RV

    def select(self, slots_R: Tensor) -> None:
        """Choose the slots whose gradient the next backward passes collect; discards the gradient so far.

        Args:
            slots_R: Slot indices in ascending order; may be empty. Where the host does not wait for the number of
                selected slots, the last one is repeated as padding.
        """
        self.slots_R = slots_R
        self.gradient_RV = None

    def collect(self, indices_TL: Tensor, weights_TL: Tensor, grad_TV: Tensor) -> None:
        """Add one read's contribution to the gradient of the selected slots.

        Contributions accumulate in float32 at least: in bfloat16, rounding would lose those of many micro-batches.
        """
        if self.slots_R is None:
            raise TrainingError("backward ran before slots were selected; call RowGradient.select first")
        if self.writing_BT is not None:
            grad_TV = grad_TV * self.writing_BT.reshape(-1, 1)
        gradient_RV = row_gradient(self.slots_R, indices_TL, weights_TL, grad_TV)
        gradient_RV = gradient_RV.to(torch.promote_types(gradient_RV.dtype, torch.float32))
        self.gradient_RV = gradient_RV if self.gradient_RV is None else self.gradient_RV + gradient_RV


def read_slots(values_SV: Tensor, indices_TL: Tensor, weights_TL: Tensor, rows: RowGradient | None) -> Tensor:
    """The weighted sum of slots for each token.

    Args:
        values_SV: The value table.
        indices_TL: Slots to read.
        weights_TL: Their weights.
        rows: If given, the table itself gets no gradient; the selected rows' gradient is collected here instead.

    Returns:
        Sums, (T, V).
    """
    if rows is None and torch.is_grad_enabled() and values_SV.requires_grad:
        return F.embedding_bag(indices_TL, values_SV, mode="sum", per_sample_weights=weights_TL.to(values_SV.dtype))
    # The output must require gradient even where no input does: below the lowest memory layer nothing trains.
    anchor = torch.zeros((), device=values_SV.device, requires_grad=rows is not None)
    return _Read.apply(anchor, weights_TL.to(values_SV.dtype), values_SV.detach(), indices_TL, rows)


class _Read(torch.autograd.Function):
    """A read that gives the table no gradient; it collects the selected rows' gradient, and the weights' if needed."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: Tensor,
        weights_TL: Tensor,
        values_SV: Tensor,
        indices_TL: Tensor,
        rows: RowGradient | None,
    ) -> Tensor:
        ctx.save_for_backward(weights_TL, indices_TL)
        ctx.values_SV = values_SV  # not saved: the optimizer changes it in place, after backward
        ctx.rows = rows
        return weighted_sums(values_SV, indices_TL, weights_TL)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TV: Tensor) -> tuple[Tensor | None, ...]:
        weights_TL, indices_TL = ctx.saved_tensors
        grad_TV = grad_TV.contiguous()
        if ctx.rows is not None:
            ctx.rows.collect(indices_TL, weights_TL, grad_TV)
        grad_weights_TL = None
        if ctx.needs_input_grad[1]:
            grad_weights_TL = _weight_gradient(ctx.values_SV, indices_TL, grad_TV)
        return None, grad_weights_TL, None, None, None


def row_gradient(slots_R: Tensor, indices_TL: Tensor, weights_TL: Tensor, grad_TV: Tensor) -> Tensor:
    """The gradient (R, V) of the slots ``slots_R``, ascending; where a slot is repeated, so is its gradient."""
    num_rows, num_lookups = len(slots_R), indices_TL.shape[1]
    if num_rows == 0:
        return grad_TV.new_zeros(0, grad_TV.shape[1])
    flat, weights = indices_TL.reshape(-1), weights_TL.reshape(-1)
    # One bag of lookups per row, concatenated; with a stable sort, equal inputs give equal bytes.
    if sizes_are_free(slots_R.device):
        likely = _likely_hits(slots_R, flat)
        row, by_row = _rows(slots_R, flat[likely]).sort(stable=True)
        order = likely[by_row]
    else:
        row, order = _rows(slots_R, flat).sort(stable=True)
    starts_R1 = torch.searchsorted(row, torch.arange(num_rows + 1, device=row.device))
    gradient_RV = weighted_bags(grad_TV, order // num_lookups, weights[order], starts_R1)
    if sizes_are_free(slots_R.device):
        return gradient_RV  # there no slot is repeated, see smf.selection.select
    return gradient_RV[torch.searchsorted(slots_R, slots_R)]


def _rows(slots_R: Tensor, lookups: Tensor) -> Tensor:
    """The index of each lookup's slot in ``slots_R``; ``len(slots_R)`` for other slots."""
    row = torch.searchsorted(slots_R, lookups).clamp_(max=len(slots_R) - 1)
    return torch.where(slots_R[row] == lookups, row, len(slots_R))


def _likely_hits(slots_R: Tensor, lookups: Tensor) -> Tensor:
    """Indices of the lookups of selected slots and a few others: comparing low bits is cheaper than a search."""
    low_bits = (1 << (64 * len(slots_R)).bit_length()) - 1  # wide enough that few other slots share them
    marked = torch.zeros(low_bits + 1, dtype=torch.bool)
    marked[slots_R & low_bits] = True
    return marked[lookups & low_bits].nonzero().squeeze(1)


def _weight_gradient(values_SV: Tensor, indices_TL: Tensor, grad_TV: Tensor) -> Tensor:
    """The inner product of each slot that was read with its token's gradient, without gathering rows."""
    num_tokens, num_lookups = indices_TL.shape
    offsets = torch.arange(0, num_tokens * num_lookups, num_lookups, device=indices_TL.device)
    token = torch.arange(num_tokens, device=indices_TL.device).repeat_interleave(num_lookups)
    flat = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad_TV, values_SV, indices_TL.reshape(-1), offsets, token, 0, -1
    )
    return flat.view(num_tokens, num_lookups)
