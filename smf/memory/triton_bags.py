"""The Triton kernel of :mod:`smf.memory.bags`, for any row size and any number of lookups.

One program sums one block of columns of one bag, in float32, in the order of the lookups: equal inputs give equal
bytes, and no row is written by two programs. It is compiled once per row size and dtype: the numbers of tokens, lookups
and bags enter only through the grid and ``starts``.
"""

import torch
from torch import Tensor

try:  # in a `try`, so that transformers does not require Triton for loading a model folder's code
    import triton
    import triton.language as tl
except ImportError as error:
    error.add_note("this module is for machines with Triton; smf.memory.bags does without it elsewhere")
    raise

_MAX_COLUMNS = 256
_LOOKUPS = 16


def triton_weighted_bags(table_XV: Tensor, rows_L: Tensor, weights_L: Tensor, starts_G1: Tensor) -> Tensor:
    """See :func:`smf.memory.bags.weighted_bags`."""
    num_bags, num_columns = len(starts_G1) - 1, table_XV.shape[1]
    sums_GV = torch.empty(num_bags, num_columns, dtype=table_XV.dtype, device=table_XV.device)
    if sums_GV.numel() == 0:
        return sums_GV
    block = min(_MAX_COLUMNS, triton.next_power_of_2(num_columns))
    _sum_bags[(num_bags, triton.cdiv(num_columns, block))](
        table_XV,
        rows_L.contiguous(),
        weights_L.contiguous(),
        starts_G1.contiguous(),
        sums_GV,
        num_columns,
        table_XV.stride(0),
        table_XV.stride(1),
        BLOCK_V=block,
        BLOCK_L=_LOOKUPS,
    )
    return sums_GV


@triton.jit
def _sum_bags(
    table,
    rows,
    weights,
    starts,
    sums,
    num_columns,
    row_stride,
    column_stride,
    BLOCK_V: tl.constexpr,
    BLOCK_L: tl.constexpr,
):
    bag = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    in_row = columns < num_columns
    begin = tl.load(starts + bag)
    end = tl.load(starts + bag + 1)
    total = tl.zeros((BLOCK_V,), dtype=tl.float32)
    for first in range(begin, end, BLOCK_L):
        places = first + tl.arange(0, BLOCK_L)
        in_bag = places < end
        row = tl.load(rows + places, mask=in_bag, other=0).to(tl.int64)
        weight = tl.load(weights + places, mask=in_bag, other=0.0).to(tl.float32)
        addresses = table + row[:, None] * row_stride + columns[None, :] * column_stride
        tile = tl.load(addresses, mask=in_bag[:, None] & in_row[None, :], other=0.0)
        total += tl.sum(tile.to(tl.float32) * weight[:, None], axis=0)
    tl.store(sums + bag * num_columns + columns, total.to(sums.dtype.element_ty), mask=in_row)
