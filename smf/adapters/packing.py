"""Value tables without their empty slots: of a memory that starts with zero values, most slots stay zero.

Shapes: S slot, R slot that is not zero, V value.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from smf.errors import CheckpointError

_TABLE, _SLOTS, _ROWS = "values_SV", "values_SV.slots", "values_SV.rows"


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with each value table as its slots that are not zero, and their rows, where that is smaller."""
    smaller = {}
    for name, tensor in tensors.items():
        table = tensor.detach().contiguous()
        # By their bits: -0.0 is not the zero that unpacking puts there.
        slots_R = table.view(torch.uint8).any(dim=1).nonzero().squeeze(1) if name.endswith(_TABLE) else None
        if slots_R is None or len(slots_R) * (table[0].nbytes + slots_R.itemsize) >= table.nbytes:
            smaller[name] = tensor
        else:
            prefix = name.removesuffix(_TABLE)
            smaller |= {prefix + _SLOTS: slots_R, prefix + _ROWS: table[slots_R]}
    return smaller


def unpacked(where: object, tensors: Mapping[str, Tensor], num_slots: int) -> dict[str, Tensor]:
    """What :func:`packed` was given.

    Args:
        where: The file, for messages.
        tensors: What it gave.
        num_slots: S.

    Raises:
        CheckpointError: Slots and rows do not fit each other, or the table.
    """
    whole = {name: tensor for name, tensor in tensors.items() if not name.endswith((_SLOTS, _ROWS))}
    for prefix in sorted({name.rpartition(_TABLE)[0] for name in tensors.keys() - whole.keys()}):
        slots_R, rows_RV = tensors.get(prefix + _SLOTS), tensors.get(prefix + _ROWS)
        if slots_R is None or rows_RV is None or not _fit(slots_R, rows_RV, num_slots):
            raise CheckpointError(
                f"{where}: the slots of {prefix}{_TABLE} contradict its rows; get a new copy of the memory"
            )
        whole[prefix + _TABLE] = rows_RV.new_zeros(num_slots, rows_RV.shape[1])
        whole[prefix + _TABLE][slots_R] = rows_RV
    return whole


def _fit(slots_R: Tensor, rows_RV: Tensor, num_slots: int) -> bool:
    """Whether these can be rows of a table: one for each slot, the slots in ascending order and within the table."""
    return (
        (slots_R.dtype, slots_R.ndim, rows_RV.ndim) == (torch.long, 1, 2)
        and len(slots_R) == len(rows_RV)
        and bool((slots_R.diff() > 0).all())
        and (not len(slots_R) or 0 <= int(slots_R[0]) <= int(slots_R[-1]) < num_slots)
    )
