"""Tensors with metadata as safetensors files; apart from ``artifacts``, so that tables need not wait for torch."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from smf.artifacts import atomic_path
from smf.errors import CheckpointError

FORMAT_VERSION = 1


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write tensors as safetensors, with ``metadata`` (JSON values) and the format version in the header."""
    # One entry only: safetensors writes several in a random order, and equal tensors shall give equal bytes.
    header = {"smf": json.dumps({"format_version": FORMAT_VERSION, "metadata": metadata}, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, header)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read what :func:`write_tensors` wrote.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        CheckpointError: The file is missing, truncated, foreign or of another format version.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("smf", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; delete it and rerun the rule that makes it") from error
    if header.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {header.get('format_version')}, this smf reads {FORMAT_VERSION}; "
            "delete it and rerun the rule that makes it"
        )
    return tensors, header["metadata"]
