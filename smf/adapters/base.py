"""Which model a memory was made for: told by its weights, so that a copy elsewhere is the same and another one is not.

The hash is over the weights in memory, one after the other as the architecture defines them. It does not depend on how
files are split or where they lie, tied weights count once, and a cast to another type makes another hash.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smf.errors import CheckpointError
from smf.memory import MemoryLayer


@dataclass(frozen=True)
class Base:
    """A model that a memory can be loaded onto.

    Attributes:
        sha256: Of its weights.
        architecture: Its class in transformers.
        dtype: Type of its weights, such as ``bfloat16``.
        num_parameters: Tied weights count once.
        name: Its name on the hub, or the folder that it was loaded from, if known.
        revision: Its commit on the hub, if known.
    """

    sha256: str
    architecture: str
    dtype: str
    num_parameters: int
    name: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        named = self.name or "an unnamed model"
        if self.revision:
            named += f" at revision {self.revision[:12]}"
        sizes = f"{self.num_parameters:,} weights in {self.dtype}"
        return f"{named} ({self.architecture}, {sizes}, hash {self.sha256[:12]})"


def base_of(model: nn.Module) -> Base:
    """What a model is without its memory layers.

    Args:
        model: A language model; of one with memory layers the base that holds them, such as ``language_model``.
    """
    digest = hashlib.sha256()
    num_parameters, dtype = 0, None
    for weight in _base_weights(model):
        digest.update(f"{weight.dtype} {list(weight.shape)};".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        num_parameters += weight.numel()
        dtype = dtype or str(weight.dtype).removeprefix("torch.")
    name, revision = hub_name(getattr(model, "name_or_path", None))
    return Base(digest.hexdigest(), type(model).__name__, str(dtype), num_parameters, name, revision)


def hub_name(name_or_path: str | None) -> tuple[str | None, str | None]:
    """Name and commit of a model in the hub's local cache; anything else is a name already, without commit."""
    path = Path(name_or_path or "")
    found = re.fullmatch(r"models--(.+?)--(.+)", path.parent.parent.name)
    if found and path.parent.name == "snapshots":
        return f"{found[1]}/{found[2]}", path.name
    return name_or_path or None, None


def require_same_base(memory: object, wanted: Base, found: Base) -> None:
    """Refuse to put a memory on another model than its own.

    Args:
        memory: Its folder, for the message.
        wanted: The base that it was made for.
        found: The model that it shall be loaded onto.

    Raises:
        CheckpointError: The weights differ.
    """
    if found.sha256 == wanted.sha256:
        return
    remedy = "load it onto the base that it was made for"
    same_sizes = (found.architecture, found.num_parameters) == (wanted.architecture, wanted.num_parameters)
    if same_sizes and found.dtype != wanted.dtype:
        remedy = f"load the base with dtype=torch.{wanted.dtype}"
    elif wanted.name and wanted.revision:
        remedy = f"load it onto {wanted.name} at that revision"
    raise CheckpointError(f"the memory in {memory} belongs to {wanted}, but this is {found}; {remedy}")


def base_from(where: object, listed: Any, name: Any, revision: Any) -> Base:
    """The base that a file names.

    Args:
        where: The file, for messages.
        listed: Its mapping of hash, architecture, type and size.
        name: Its name of the base, or None.
        revision: Its revision, or None.

    Raises:
        CheckpointError: Something is missing or of another type.
    """
    kinds = {"sha256": str, "architecture": str, "dtype": str, "num_parameters": int}
    whole = isinstance(listed, Mapping) and all(type(listed.get(key)) is kind for key, kind in kinds.items())
    named = all(value is None or isinstance(value, str) for value in (name, revision))
    if not (whole and named and isinstance(getattr(torch, listed["dtype"], None), torch.dtype)):
        raise CheckpointError(f"{where} does not say which base its memory belongs to; save the memory again")
    return Base(**{key: listed[key] for key in kinds}, name=name, revision=revision)


def _base_weights(model: nn.Module) -> Iterator[Tensor]:
    layers = [module for module in model.modules() if isinstance(module, MemoryLayer)]
    memory = {id(weight) for layer in layers for weight in layer.parameters()}
    return (weight for weight in model.parameters() if id(weight) not in memory)
