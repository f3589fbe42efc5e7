"""Patches on a model folder that holds only the written slots of its tables (:mod:`smf.models.packed_tables`).

Such a file grows and shrinks with what is written, so it is written anew, in the form that saving the model gives it:
the same tables give the same bytes, whatever patches were put on and taken off before.

Shapes: R some slots, V value.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from smf.errors import CheckpointError
from smf.models.checkpoint import weight_files
from smf.models.packed_tables import ROWS, SLOTS, stored_rows

_KEYS = "keys_H2NC"
_INDEX = "model.safetensors.index.json"


def overwrite_stored_rows(folder: Path, block: int, slots_R: Tensor, held_RV: Tensor, values_RV: Tensor) -> bool:
    """Write rows of a table that the folder holds as its written slots.

    Args:
        folder: The model; changed in place.
        block: The block of the table.
        slots_R: Slots, ascending.
        held_RV: What the folder must hold of them.
        values_RV: What it is to hold.

    Returns:
        Whether the table is held in that form; if not, nothing is done.

    Raises:
        CheckpointError: The rows do not fit the table, or it does not hold ``held_RV``.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if str(block) not in config.get("written_slots", {}):
        return False
    path, prefix, tensors, metadata = _file_of(folder, block)
    num_slots = int(config["num_keys"]) ** 2
    if (str(values_RV.dtype), values_RV.shape[1]) != (f"torch.{config['value_dtype']}", config["value_dim"]):
        raise CheckpointError(f"the table of block {block} in {folder} is {config['value_dtype']}, the patch is not")
    if len(slots_R) and int(slots_R[-1]) >= num_slots:
        raise CheckpointError(f"the patch writes slots beyond the {num_slots:,} of block {block} in {folder}")
    none = torch.empty(0, dtype=torch.long), values_RV[:0]
    before = tensors.pop(prefix + SLOTS, none[0]), tensors.pop(prefix + ROWS, none[1])
    found_RV = _rows_of(*before, slots_R)
    if not torch.equal(found_RV.view(torch.uint8), held_RV.contiguous().view(torch.uint8)):
        raise CheckpointError(
            f"the slots of block {block} in {folder} are not what the patches say; get new copies of them"
        )
    after = _with_rows(*before, slots_R, values_RV)
    tensors |= stored_rows(prefix, *after)
    save_file(tensors, path, metadata)
    config["written_slots"][str(block)] = len(after[0])
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _list_in_index(folder, path.name, prefix, bool(len(after[0])))
    return True


def _file_of(folder: Path, block: int) -> tuple[Path, str, dict[str, Tensor], dict[str, str]]:
    """The file with a block's memory, what the names of its tensors begin with, its tensors and its metadata."""
    suffix = f"layers.{block}.mlp.memory.{_KEYS}"
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())  # noqa: SIM118 (not a mapping)
            for found in (name for name in names if name.endswith(suffix)):
                tensors = {name: file.get_tensor(name).clone() for name in names}  # the file is about to be replaced
                return path, found.removesuffix(_KEYS), tensors, file.metadata()
    raise CheckpointError(f"{folder} has no memory in block {block}, where the patch has rows")


def _rows_of(stored_slots: Tensor, stored_RV: Tensor, slots_R: Tensor) -> Tensor:
    """Rows of a table of which some slots are stored and all others are zero."""
    rows_RV = stored_RV.new_zeros(len(slots_R), stored_RV.shape[1])
    places = torch.searchsorted(stored_slots, slots_R).clamp(max=max(0, len(stored_slots) - 1))
    if len(stored_slots):
        is_stored_R = stored_slots[places] == slots_R
        rows_RV[is_stored_R] = stored_RV[places[is_stored_R]]
    return rows_RV


def _with_rows(stored_slots: Tensor, stored_RV: Tensor, slots_R: Tensor, values_RV: Tensor) -> tuple[Tensor, Tensor]:
    """The slots that are written once some rows are, and their rows; a row of zeros is not."""
    all_slots = torch.cat([stored_slots, slots_R]).unique()
    rows = _rows_of(stored_slots, stored_RV, all_slots)
    rows[torch.searchsorted(all_slots, slots_R)] = values_RV
    is_written = rows.view(torch.uint8).any(dim=1).bool()
    return all_slots[is_written], rows[is_written]


def _list_in_index(folder: Path, name: str, prefix: str, are_written: bool) -> None:
    """Name the rows' tensors in the index of a model of several files, if it has one."""
    path = folder / _INDEX
    if name == "model.safetensors" or not path.is_file():
        return
    index = json.loads(path.read_text(encoding="utf-8"))
    for tensor in (prefix + SLOTS, prefix + ROWS):
        index["weight_map"].pop(tensor, None)
        if are_written:
            index["weight_map"][tensor] = name
    path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
