"""Value tables in a checkpoint: of a table that started at zero the written slots, not the zeros around them.

The file then holds ``written_slots_R`` and ``written_rows_RV`` of a layer in place of its ``values_SV``, or nothing if
no slot is written; the configuration's ``written_slots`` says how many there are. While transformers loads such a
checkpoint the layer has no table, so that none is made in memory that the machine may not have.

Shapes: R written slot, V value.
"""

from typing import Any

import torch
from torch import Tensor, nn

from smf.errors import CheckpointError
from smf.memory import MemoryLayer
from smf.memory.tables import are_rows_of_a_table, packed_rows, table_of_rows

TABLE, SLOTS, ROWS = "values_SV", "written_slots_R", "written_rows_RV"


def pack_table(tensors: dict[str, Any], prefix: str) -> int | None:
    """Replace a table among a model's tensors by its written slots and their rows, if these take less space.

    Args:
        tensors: By name; changed in place.
        prefix: What the names of the layer's tensors begin with.

    Returns:
        The number of written slots; None if the table stays whole.
    """
    table_SV = tensors.get(prefix + TABLE)
    if table_SV is None or table_SV.is_meta:
        return None
    rows = packed_rows(table_SV)
    if rows is None:
        return None
    del tensors[prefix + TABLE]
    tensors |= stored_rows(prefix, *rows)
    return len(rows[0])


def stored_rows(prefix: str, slots_R: Tensor, rows_RV: Tensor) -> dict[str, Tensor]:
    """The tensors that stand for a table in a file; none if no slot is written."""
    return {prefix + SLOTS: slots_R, prefix + ROWS: rows_RV} if len(slots_R) else {}


def expect_written_slots(layer: MemoryLayer, number: int) -> None:
    """Take the table off a layer that is about to be loaded, and give it places for so many written slots."""
    table_SV = layer.values_SV
    layer.register_parameter(TABLE, None)
    persistent = number > 0  # none are in the file then
    layer.register_buffer(SLOTS, torch.empty(number, dtype=torch.long, device=table_SV.device), persistent)
    rows_RV = torch.empty(number, table_SV.shape[1], dtype=table_SV.dtype, device=table_SV.device)
    layer.register_buffer(ROWS, rows_RV, persistent)


def unpack_table(where: object, layer: MemoryLayer) -> None:
    """Give a loaded layer its table: its written slots, and zeros.

    Args:
        where: The checkpoint, for messages.
        layer: As :func:`expect_written_slots` left it, then loaded. One that has a table stays as it is.

    Raises:
        CheckpointError: The slots are none of a table's.
    """
    if layer._parameters[TABLE] is not None:
        return
    slots_R, rows_RV = layer.get_buffer(SLOTS), layer.get_buffer(ROWS)
    if not are_rows_of_a_table(slots_R, rows_RV, layer.num_slots):
        raise CheckpointError(
            f"{where}: its written slots are not those of a table of {layer.num_slots:,}; get it anew"
        )
    delattr(layer, SLOTS)
    delattr(layer, ROWS)
    layer.values_SV = nn.Parameter(table_of_rows(slots_R, rows_RV, layer.num_slots))
