"""Patches on model folders: the rows are written into a copy of the weights, so that all other bytes stay as they are.

A folder with patches is a model folder like any other. Beside the weights, ``patches/`` keeps the patches that it holds
and, in ``patches.json``, the hash of its base and their order; with them every patch can be taken off again.
"""

import json
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from smf.artifacts import not_written, read_json, sha256, write_json
from smf.errors import CheckpointError, DataError
from smf.models.checkpoint import model_hash
from smf.patches.patch import MemoryPatch, read_patch, require_base
from smf.patches.stack import stack

_LIST = "patches.json"
_TYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def apply_to_folder(folder: str | Path, paths: Sequence[str | Path], out: str | Path) -> None:
    """Write a model folder with patches on top of those that it has.

    Args:
        folder: A healed model, with patches or without.
        paths: The patches.
        out: The new folder; it must not exist.

    Raises:
        CheckpointError: A patch is of another base, or a file is damaged.
        DataError: ``out`` exists, or a patch is on the model already.
    """
    folder, base_hash, old = Path(folder), base_of(folder), _applied(folder)
    held = {sha256(path): path for path in old}
    new = [read_patch(path) for path in paths]
    for path, patch in zip(paths, new, strict=True):
        require_base(patch, base_hash, path, folder)
        if sha256(path) in held:
            raise DataError(f"{path} is on {folder} already, as {held[sha256(path)].name}; leave it out")
    before = [read_patch(path) for path in old]
    _write_folder(folder, out, base_hash, before, [*before, *new], [*old, *map(Path, paths)])


def revert_folder(folder: str | Path, path: str | Path | None, out: str | Path) -> None:
    """Write a model folder without one patch, or without any: the base, bit for bit.

    Args:
        folder: A model with patches.
        path: The patch that shall go; None for all.
        out: The new folder; it must not exist.

    Raises:
        CheckpointError: A file is damaged.
        DataError: ``out`` exists, or the model does not have the patch.
    """
    folder, base_hash, old = Path(folder), base_of(folder), _applied(folder)
    if not old:
        raise DataError(f"{folder} has no patches")
    gone = {sha256(path)} if path is not None else {sha256(each) for each in old}
    left = [each for each in old if sha256(each) not in gone]
    if len(left) == len(old):
        raise DataError(f"{path} is not on {folder}; it has {', '.join(each.name for each in old)}")
    before = [read_patch(each) for each in old]
    _write_folder(folder, out, base_hash, before, [read_patch(each) for each in left], left)
    if not left and (restored := model_hash(out)) != base_hash:
        shutil.rmtree(out)
        raise CheckpointError(
            f"{folder} without its patches has hash {restored[:12]}, not {base_hash[:12]}, its base's: it was changed "
            "after they were put on; take the base itself"
        )


def base_of(folder: str | Path) -> str:
    """The hash of a model folder's base: its own, if it has no patches."""
    listed = Path(folder) / _LIST
    return read_json(listed)["base_hash"] if listed.is_file() else model_hash(folder)


def _applied(folder: Path) -> list[Path]:
    """The patches that a folder has, the first at the bottom.

    Raises:
        CheckpointError: One is missing or was changed.
    """
    if not (folder / _LIST).is_file():
        return []
    paths = []
    for entry in read_json(folder / _LIST)["patches"]:
        name = entry["file"]
        path = folder / "patches" / name
        if Path(name).name != name or not path.is_file() or sha256(path) != entry["sha256"]:
            raise CheckpointError(f"{path} is missing or was changed; without it {folder} cannot be told from its base")
        paths.append(path)
    return paths


def _write_folder(
    folder: Path,
    out: str | Path,
    base_hash: str,
    before: Sequence[MemoryPatch],
    after: Sequence[MemoryPatch],
    paths: Sequence[Path],
) -> None:
    out = Path(out)
    if out.exists():
        raise DataError(f"{out} exists; name a folder that does not")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        for file in folder.iterdir():
            if file.is_file() and file.name != _LIST:
                shutil.copyfile(file, temporary / file.name)
        for block, rows in _rows(before, after).items():
            _overwrite(temporary, block, *rows)
        if paths:
            (temporary / "patches").mkdir()
            entries = []
            for number, path in enumerate(paths, start=1):
                name = f"{number:03d}.safetensors"
                shutil.copyfile(path, temporary / "patches" / name)
                entries.append({"file": name, "sha256": sha256(path)})
            write_json(temporary / _LIST, {"base_hash": base_hash, "patches": entries})
        temporary.chmod(0o755)
        temporary.rename(out)
    except Exception as error:
        error.add_note(not_written(out))
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rows(before: Sequence[MemoryPatch], after: Sequence[MemoryPatch]) -> Mapping[int, tuple[Tensor, Tensor]]:
    """Slots and values to write so that ``after`` stands where ``before`` stood, by block."""
    rows: dict[int, tuple[Tensor, Tensor]] = {}
    for block, layer in (stack(before).layers if before else {}).items():
        rows[block] = (layer.slots_R, layer.before_RV)
    for block, layer in (stack(after).layers if after else {}).items():
        slots, values = rows.get(block, (layer.slots_R[:0], layer.after_RV[:0]))
        old = ~torch.isin(slots, layer.slots_R)
        rows[block] = (torch.cat([slots[old], layer.slots_R]), torch.cat([values[old], layer.after_RV]))
    return rows


def _overwrite(folder: Path, block: int, slots_R: Tensor, values_RV: Tensor) -> None:
    """Write rows of a value table into the file that holds it, in place."""
    suffix = f"layers.{block}.mlp.memory.values_SV"
    for path in sorted(folder.glob("model*.safetensors")):
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
                    raise CheckpointError(f"the patch writes slots beyond the {num_slots} of {name} in {path}")
                start = 8 + length + entry["data_offsets"][0]
                row_bytes = width * values_RV.element_size()
                raw = values_RV.contiguous().view(torch.uint8).reshape(len(slots_R), row_bytes).numpy()
                for slot, row in zip(slots_R.tolist(), raw, strict=True):
                    file.seek(start + slot * row_bytes)
                    file.write(row.tobytes())
                return
    raise CheckpointError(f"{folder} has no memory in block {block}, where the patch has rows")
