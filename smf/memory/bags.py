"""Weighted sums of table rows: the operation that reads slots, and that sums tokens' gradients for selected slots.

On CUDA with Triton installed, a Triton kernel computes them (triton_bags.py); everywhere else torch's ``embedding_bag``
does.

Shapes: X table row, V its size, L lookup, G bag.
"""

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor

HAS_TRITON = importlib.util.find_spec("triton") is not None


def weighted_bags(table_XV: Tensor, rows_L: Tensor, weights_L: Tensor, starts_G1: Tensor) -> Tensor:
    """The weighted sum of table rows in each bag.

    Args:
        table_XV: Rows.
        rows_L: Lookups, bag by bag.
        weights_L: Weight of each lookup, of the table's type.
        starts_G1: Offset of each bag's start, then of the last bag's end, (G + 1). Lookups past the end are ignored.

    Returns:
        Sums, (G, V), of the table's type; an empty bag gives zeros.
    """
    if uses_triton(table_XV):
        from smf.memory.triton_bags import triton_weighted_bags

        return triton_weighted_bags(table_XV, rows_L, weights_L, starts_G1)
    end = int(starts_G1[-1])
    return F.embedding_bag(
        rows_L[:end], table_XV, starts_G1, mode="sum", per_sample_weights=weights_L[:end], include_last_offset=True
    )


def weighted_sums(table_XV: Tensor, rows_TL: Tensor, weights_TL: Tensor) -> Tensor:
    """:func:`weighted_bags` for bags of equal size, one per token: (T, V)."""
    if uses_triton(table_XV):
        tokens, lookups = rows_TL.shape
        starts_T1 = torch.arange(0, tokens * lookups + 1, lookups, device=rows_TL.device)
        return weighted_bags(table_XV, rows_TL.reshape(-1), weights_TL.reshape(-1), starts_T1)
    return F.embedding_bag(rows_TL, table_XV, mode="sum", per_sample_weights=weights_TL)


def sizes_are_free(device: torch.device) -> bool:
    """Whether tensors with data-dependent sizes cost nothing extra on this device.

    True on a CPU. On an accelerator the host would have to wait for all pending work to learn the size, so code there
    sticks to sizes known in advance and marks unused entries.
    """
    return device.type == "cpu"


def uses_triton(table: Tensor) -> bool:
    """Whether sums over this table run in the Triton kernel."""
    return HAS_TRITON and table.is_cuda
