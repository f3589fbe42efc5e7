"""Value tables that start at zero: memory is spent on the rows that were written, not on the table.

A stream writes a few thousand of a table's rows. On Linux a table of zeros is therefore a private mapping without a
file behind it: the pages of rows that are only read are all the kernel's one page of zeros, and a page of its own comes
with the first write. So a table may be far larger than the machine's memory. Elsewhere, and on other devices than the
CPU, it is an ordinary tensor of zeros, which is equal.

Shapes: S slot, R some of the slots, V value, P page.
"""

import math
import mmap
import os
import sys
import weakref

import numpy as np
import torch
from torch import Tensor

_NO_RESERVE = 0x4000  # MAP_NORESERVE on Linux, which Python's mmap does not name
_AT_ONCE = 4096
"""Rows that are compared at a time."""
_PAGES_AT_ONCE = 2**20
_MAPPINGS: "weakref.WeakValueDictionary[int, mmap.mmap]" = weakref.WeakValueDictionary()
"""The mappings of tables that exist, by address."""


def zero_table(num_slots: int, value_dim: int, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
    """A table (S, V) of zeros; on a CPU under Linux its pages take memory only once they are written.

    Args:
        num_slots: S.
        value_dim: V.
        dtype: Its type.
        device: Its device; None for torch's default, also that of ``with torch.device(...)``.
    """
    device = torch.empty(0).device if device is None else device
    size = math.prod((num_slots, value_dim, dtype.itemsize))
    if device.type != "cpu" or not sys.platform.startswith("linux") or not size:
        return torch.zeros(num_slots, value_dim, dtype=dtype, device=device)
    try:
        # Without a reserve, as the kernel refuses to promise more memory than it has.
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    except OSError:  # it may refuse all the same, as with vm.overcommit_memory=2
        return torch.zeros(num_slots, value_dim, dtype=dtype, device=device)
    pages.madvise(mmap.MADV_NOHUGEPAGE)  # with huge pages a row that is written would cost 2 MB
    table_SV = torch.frombuffer(pages, dtype=dtype).view(num_slots, value_dim)  # keeps the mapping alive
    _MAPPINGS[table_SV.data_ptr()] = pages
    return table_SV


def written_slots(table_SV: Tensor) -> Tensor:
    """The slots (R) of which any bit is set, ascending. Takes no memory of the table's size.

    By their bits: -0.0 is not the zero that a new table holds.
    """
    found = [rows_R[_bits(table_SV, rows_R).any(dim=1).bool()] for rows_R in _touched(table_SV).split(_AT_ONCE)]
    return torch.cat(found).to(table_SV.device)


def copy_differing_rows(target_SV: Tensor, source_SV: Tensor) -> None:
    """Make two tables of one shape and type equal to the bit; rows that are equal already are not written."""
    touched = _touched(target_SV), _touched(source_SV)
    if len(touched[0]) < len(target_SV) and len(touched[1]) < len(target_SV):
        rows = torch.cat(touched).unique()  # all others are zero in both
    else:
        rows = torch.arange(len(target_SV))
    for rows_R in rows.split(_AT_ONCE):
        source_bits = _bits(source_SV, rows_R).to(target_SV.device)
        differ_R = rows_R[(_bits(target_SV, rows_R) ^ source_bits).any(dim=1).bool().cpu()]
        if len(differ_R):
            rows_RV = source_SV[differ_R.to(source_SV.device)]
            target_SV[differ_R.to(target_SV.device)] = rows_RV.to(target_SV.device)


def copy_of_table(table_SV: Tensor) -> Tensor:
    """A copy of a table on the CPU, in which rows of zeros take no more memory than in :func:`zero_table`."""
    copy_SV = zero_table(len(table_SV), table_SV.shape[1], table_SV.dtype, torch.device("cpu"))
    copy_differing_rows(copy_SV, table_SV.detach())
    return copy_SV


def are_rows_of_a_table(slots_R: Tensor, rows_RV: Tensor, num_slots: int) -> bool:
    """Whether these can be rows of a table: one for each slot, the slots in ascending order and within the table."""
    return (
        (slots_R.dtype, slots_R.ndim, rows_RV.ndim) == (torch.long, 1, 2)
        and len(slots_R) == len(rows_RV)
        and bool((slots_R.diff() > 0).all())
        and (not len(slots_R) or 0 <= int(slots_R[0]) <= int(slots_R[-1]) < num_slots)
    )


def packed_rows(table_SV: Tensor) -> tuple[Tensor, Tensor] | None:
    """The written slots (R) of a table and their rows (R, V); None if these take no less space than the table."""
    slots_R, row_bytes = written_slots(table_SV), table_SV.shape[1] * table_SV.element_size()
    if len(slots_R) * (row_bytes + slots_R.itemsize) >= len(table_SV) * row_bytes:
        return None
    return slots_R, table_SV.detach()[slots_R]


def table_of_rows(slots_R: Tensor, rows_RV: Tensor, num_slots: int) -> Tensor:
    """The table (S, V) that :func:`packed_rows` was given; check :func:`are_rows_of_a_table` first."""
    table_SV = zero_table(num_slots, rows_RV.shape[1], rows_RV.dtype, rows_RV.device)
    table_SV[slots_R] = rows_RV
    return table_SV


def _bits(table_SV: Tensor, rows_R: Tensor) -> Tensor:
    return table_SV.detach()[rows_R.to(table_SV.device)].view(torch.uint8)


def _touched(table_SV: Tensor) -> Tensor:
    """Slots, ascending, that include all that any bit is set in: of a mapping those on pages that the process has."""
    pages = _MAPPINGS.get(table_SV.data_ptr()) if table_SV.device.type == "cpu" and table_SV.is_contiguous() else None
    held_P = None if pages is None else _held_pages(table_SV)
    if held_P is None:
        return torch.arange(len(table_SV))
    row_bytes = table_SV.shape[1] * table_SV.element_size()
    first_P, last_P = held_P * mmap.PAGESIZE // row_bytes, ((held_P + 1) * mmap.PAGESIZE - 1) // row_bytes
    slots = first_P[:, None] + np.arange(mmap.PAGESIZE // row_bytes + 2)
    return torch.from_numpy(np.unique(slots[(slots <= last_P[:, None]) & (slots < len(table_SV))]))


def _held_pages(table_SV: Tensor) -> np.ndarray | None:
    """Numbers of the pages of a mapping that are in memory or swapped out; None where the kernel does not tell.

    Reading the pages themselves would have the kernel note each of them, for a table of 60 GB in 120 MB.
    """
    table_SV[0, 0].item()  # now there is one page at least
    first = table_SV.data_ptr() // mmap.PAGESIZE
    number = -(-table_SV.nbytes // mmap.PAGESIZE)
    held, entry = [], np.dtype(np.uint64).itemsize
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            for start in range(0, number, _PAGES_AT_ONCE):
                wanted = min(_PAGES_AT_ONCE, number - start)
                read = os.pread(pagemap.fileno(), wanted * entry, (first + start) * entry)
                if len(read) != wanted * entry:
                    return None
                held.append(start + (np.frombuffer(read, np.uint64) >> np.uint64(62)).nonzero()[0])
    except OSError:
        return None
    held_P = np.concatenate(held)
    return held_P if len(held_P) and held_P[0] == 0 else None
