"""Patches on model folders: their rows are written into a copy of the weights, so that no other weight changes.

A folder with patches is a model folder like any other. Besides the weights it has its patches, in ``patches/``, and
their order, the hash of the base and its own hash, in ``patches.json``; with these every patch can be reverted.
"""

import json
import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from smf.errors import CheckpointError, DataError
from smf.files.artifacts import sha256, write_json
from smf.files.atomic import new_folder, require_new
from smf.models.checkpoint import model_hash, weight_files
from smf.patches.contradictions import warn_of_contradictions
from smf.patches.held import LIST, VERSION, held_by
from smf.patches.patch import MemoryPatch, read_patch, require_base
from smf.patches.stack import stack
from smf.patches.stored_rows import overwrite_stored_rows

_TYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def apply_to_folder(folder: str | Path, paths: Sequence[str | Path], out: str | Path) -> tuple[MemoryPatch | None, int]:
    """Write a new model folder with further patches on top of those that the model has.

    Args:
        folder: A healed model, with patches or without.
        paths: The patches.
        out: The new folder; it must not exist.

    Returns:
        All patches of the new folder as one, and their number.

    Raises:
        CheckpointError: A patch is of another base, or a file is damaged.
        DataError: ``out`` exists, or a patch is already on the model, or is named twice.
    """
    require_new(out)
    folder, held = Path(folder), held_by(folder)
    on_it = {sha256(path): path for path in held.paths}
    new = [read_patch(path) for path in paths]
    for path, patch in zip(paths, new, strict=True):
        require_base(patch, held.base_hash, path, folder)
        if sha256(path) in on_it:
            raise DataError(f"{path} is already on {folder}, as {on_it[sha256(path)].name}; leave it out")
    before, all_paths = [read_patch(path) for path in held.paths], [*held.paths, *map(Path, paths)]
    warn_of_contradictions([*before, *new], all_paths)
    return _write_folder(folder, out, held.base_hash, before, [*before, *new], all_paths)


def revert_folder(folder: str | Path, path: str | Path | None, out: str | Path) -> tuple[MemoryPatch | None, int]:
    """Write a new model folder without one patch, or without any: then the base, bit for bit.

    Args:
        folder: A model with patches.
        path: The patch to revert, or its name in the folder (``001.safetensors``); None for all.
        out: The new folder; it must not exist.

    Returns:
        See :func:`apply_to_folder`; None and 0 for the base.

    Raises:
        CheckpointError: A file is damaged.
        DataError: ``out`` exists, or the model does not have the patch.
    """
    require_new(out)
    folder, held = Path(folder), held_by(folder)
    if not held.paths:
        raise DataError(f"{folder} has no patches")
    if path is not None and not Path(path).is_file():
        named = {each.name: each for each in held.paths}
        if str(path) not in named:
            raise DataError(f"there is no file {path}; {folder} has {', '.join(named)}")
        path = named[str(path)]
    gone = {sha256(path)} if path is not None else {sha256(each) for each in held.paths}
    left = [each for each in held.paths if sha256(each) not in gone]
    if len(left) == len(held.paths):
        raise DataError(f"{path} is not on {folder}; it has {', '.join(each.name for each in held.paths)}")
    before = [read_patch(each) for each in held.paths]
    return _write_folder(folder, out, held.base_hash, before, [read_patch(each) for each in left], left)


def _write_folder(
    folder: Path,
    out: str | Path,
    base_hash: str,
    before: Sequence[MemoryPatch],
    after: Sequence[MemoryPatch],
    paths: Sequence[Path],
) -> tuple[MemoryPatch | None, int]:
    whole = stack(after, paths) if after else None
    with new_folder(out) as temporary:
        for file in folder.iterdir():
            if file.is_file() and file.name != LIST:
                shutil.copyfile(file, temporary / file.name)
        for block, rows in _rows(before, whole).items():
            _overwrite(temporary, block, *rows)
        if paths:
            (temporary / "patches").mkdir()
            entries = []
            for number, path in enumerate(paths, start=1):
                name = f"{number:03d}.safetensors"
                shutil.copyfile(path, temporary / "patches" / name)
                entries.append({"file": name, "sha256": sha256(path)})
            listed = {"base_hash": base_hash, "model_hash": model_hash(temporary), "patches": entries}
            write_json(temporary / LIST, {"format_version": VERSION, **listed})
        elif (restored := model_hash(temporary)) != base_hash:
            raise CheckpointError(
                f"{folder} without its patches has hash {restored[:12]}, not {base_hash[:12]}, its base's; take the "
                "base itself"
            )
    return whole, len(paths)


def _rows(before: Sequence[MemoryPatch], after: MemoryPatch | None) -> Mapping[int, tuple[Tensor, Tensor, Tensor]]:
    """Slots, their values with the patches ``before``, and their values with the patch ``after``, by block."""
    rows = {}
    old = stack(before).layers if before else {}
    new = after.layers if after else {}
    for block in old.keys() | new.keys():
        layers = [side[block] for side in (old, new) if block in side]
        slots_R = torch.cat([layer.slots_R for layer in layers]).unique()
        base_RV = torch.empty(len(slots_R), layers[0].before_RV.shape[1], dtype=layers[0].before_RV.dtype)
        for layer in layers:
            base_RV[torch.searchsorted(slots_R, layer.slots_R)] = layer.before_RV
        held_RV, wanted_RV = base_RV.clone(), base_RV.clone()
        for side, values_RV in ((old, held_RV), (new, wanted_RV)):
            if block in side:
                values_RV[torch.searchsorted(slots_R, side[block].slots_R)] = side[block].after_RV
        rows[block] = (slots_R, held_RV, wanted_RV)
    return rows


def _overwrite(folder: Path, block: int, slots_R: Tensor, held_RV: Tensor, values_RV: Tensor) -> None:
    """Write rows of a value table into its file, after checking that the file holds ``held_RV``."""
    if overwrite_stored_rows(folder, block, slots_R, held_RV, values_RV):
        return
    suffix = f"layers.{block}.mlp.memory.values_SV"
    for path in weight_files(folder):
        with open(path, "rb+") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            for name, entry in header.items():
                if not name.endswith(suffix):
                    continue
                num_slots, width = entry["shape"]
                if (_TYPES.get(entry["dtype"]), width) != (values_RV.dtype, values_RV.shape[1]):
                    raise CheckpointError(f"{name} in {path} is {entry['dtype']} of {width}, the patch is not")
                if len(slots_R) and int(slots_R[-1]) >= num_slots:
                    raise CheckpointError(f"the patch writes slots beyond the {num_slots:,} of {name} in {path}")
                start = 8 + length + entry["data_offsets"][0]
                row_bytes = width * values_RV.element_size()
                held, raw = (
                    rows_RV.contiguous().view(torch.uint8).reshape(len(slots_R), row_bytes).numpy()
                    for rows_RV in (held_RV, values_RV)
                )
                for slot, old, new in zip(slots_R.tolist(), held, raw, strict=True):
                    file.seek(start + slot * row_bytes)
                    if file.read(row_bytes) != old.tobytes():
                        raise CheckpointError(
                            f"slot {slot} of {name} is not what the patches say; get new copies of them"
                        )
                    file.seek(start + slot * row_bytes)
                    file.write(new.tobytes())
                return
    raise CheckpointError(f"{folder} has no memory in block {block}, where the patch has rows")
