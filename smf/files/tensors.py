"""Tensors with metadata as safetensors files; not in ``artifacts``, so that code for tables need not import torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from smf.errors import CheckpointError
from smf.files.atomic import atomic_path

FORMAT_VERSION = 2
_REMEDY = "get a new copy, or rerun the job that made it"


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write tensors as safetensors; the header holds ``metadata`` (JSON values), a digest and the format version."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    known = {"format_version": FORMAT_VERSION, "metadata": metadata, "sha256": _digest(on_cpu, metadata)}
    # One metadata entry only: safetensors writes several in random order, but equal tensors must give equal bytes.
    with atomic_path(path) as temporary:
        try:
            save_file(on_cpu, temporary, {"smf": json.dumps(known, sort_keys=True)})
        except safetensors.SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error  # e.g. a full disk


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read what :func:`write_tensors` wrote.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        CheckpointError: The file is missing, truncated, changed, foreign or of another format version.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("smf", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; {_REMEDY}") from error
    version = header.get("format_version") if isinstance(header, dict) else None
    if version is None:
        raise CheckpointError(f"{path} was not written by smf: its header names no format version")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path} has format version {version}, this smf reads {FORMAT_VERSION}; {_REMEDY}")
    metadata = header.get("metadata")
    if not isinstance(metadata, dict) or header.get("sha256") != _digest(tensors, metadata):
        raise CheckpointError(f"{path} was changed after it was written; {_REMEDY}")
    return tensors, metadata


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> str:
    """SHA-256 of names, types, shapes, bytes and metadata."""
    as_read = json.loads(json.dumps(metadata))  # JSON keys are always strings
    digest = hashlib.sha256(json.dumps(as_read, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        if number := tensor.numel():
            # torch calls a one-element tensor contiguous whatever its stride, but view() checks the stride.
            digest.update(tensor.reshape(-1).as_strided((number,), (1,)).view(torch.uint8).numpy().data)
    return digest.hexdigest()
