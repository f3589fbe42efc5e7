"""Value tables without their empty slots: of a memory that starts with zero values, most slots stay zero.

Shapes: S slot, R slot that is not zero, V value.
"""

from collections.abc import Mapping

from torch import Tensor

from smf.errors import CheckpointError
from smf.memory.tables import are_rows_of_a_table, packed_rows, table_of_rows

_TABLE, _SLOTS, _ROWS = "values_SV", "values_SV.slots", "values_SV.rows"


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with each value table as its slots that are not zero, and their rows, where that is smaller."""
    smaller: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        rows = packed_rows(tensor) if name.endswith(_TABLE) else None
        prefix = name.removesuffix(_TABLE)
        smaller |= {name: tensor} if rows is None else {prefix + _SLOTS: rows[0], prefix + _ROWS: rows[1]}
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
        if slots_R is None or rows_RV is None or not are_rows_of_a_table(slots_R, rows_RV, num_slots):
            raise CheckpointError(
                f"{where}: the slots of {prefix}{_TABLE} contradict its rows; get a new copy of the memory"
            )
        whole[prefix + _TABLE] = table_of_rows(slots_R, rows_RV, num_slots)
    return whole
