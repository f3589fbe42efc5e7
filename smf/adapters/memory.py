"""A memory saved alone, and put back on its base: an additive memory never changes the base's weights."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from smf.adapters.base import base_of, require_same_base
from smf.adapters.folder import (
    WEIGHTS,
    Adapter,
    read_adapter,
    require_additive,
    require_fitting,
    tensor_prefixes,
    write_adapter,
)
from smf.errors import CheckpointError
from smf.files.artifacts import read_json
from smf.models.checkpoint import load_model
from smf.models.hub import find_model
from smf.models.memory_model import MemoryForCausalLM, memory_layer
from smf.models.retrofit import retrofit
from smf.settings.memory import MemorySettings


def save_memory(
    model: MemoryForCausalLM, folder: str | Path, *, base_name: str | None = None, revision: str | None = None
) -> None:
    """Write a model's memory layers without the base, a fraction of what :func:`save_checkpoint` writes.

    Peft reads the folder too. What patches wrote into the values is saved with them.

    Args:
        model: The model, with an additive memory.
        folder: Where the memory goes; another one that is there is replaced.
        base_name: The base's name on the hub (``owner/name``). None for what the model knows: the hub's name and commit
            if the base, or what ``smf retrofit`` made of it, was loaded from there, or a folder.
        revision: Its commit there; of no use without a name.

    Raises:
        CheckpointError: The model has no memory layers, or some that replaced its feed-forward networks.

    Example:
        >>> save_memory(model, "memory", base_name="tiny/base")
        >>> again = load_memory("base", "memory")
        >>> all((layer.values_SV == again.memory_layers()[block].values_SV).all()
        ...     for block, layer in model.memory_layers().items())
        True
    """
    if not isinstance(model, MemoryForCausalLM):
        raise CheckpointError(f"a {type(model).__name__} has no memory to save; retrofit it first")
    settings = MemorySettings(**{name: getattr(model.config, name) for name in MemorySettings.model_fields})
    require_additive(settings)
    prefixes = tensor_prefixes(model.language_model, settings)
    tensors = {
        prefixes[block] + name: tensor
        for block, layer in model.memory_layers().items()
        for name, tensor in layer.state_dict().items()
    }
    base = base_of(model.language_model)
    if base_name is None and base.name is None:
        base_name, revision = _reported_base(Path(model.name_or_path or ""))
    if base_name is not None:
        base = replace(base, name=base_name, revision=revision)
    write_adapter(folder, Adapter(settings, base, tensors))


def load_memory(base: PreTrainedModel | str | Path, folder: str | Path, *, device: str = "cpu") -> MemoryForCausalLM:
    """Put a saved memory on its base. The result is the model that it was saved from, bit for bit.

    Args:
        base: The base, which becomes part of the result; or its folder, or its name on the hub (``owner/name``), from
            which it is loaded in the type that the memory was saved with, and at the revision that it names.
        folder: What :func:`save_memory` wrote, or peft.
        device: Where a base that is loaded here goes.

    Returns:
        The model with its memory, in evaluation mode.

    Raises:
        CheckpointError: It is another base, by its weights; it has a memory already; or a file is missing or damaged.
        ConfigError: The device is not there.

    Example:
        >>> model = retrofit(load_model("base"))
        >>> save_memory(model, "memory")
        >>> again = load_memory("base", "memory")
        >>> list(again.memory_layers()) == list(model.memory_layers())
        True
    """
    adapter = read_adapter(folder)
    require_additive(adapter.memory)
    if isinstance(base, str | Path):
        is_named = str(base) == adapter.base.name
        found, _ = find_model(str(base), (is_named and adapter.base.revision) or "main")
        base = load_model(found, device, getattr(torch, adapter.base.dtype))
    if isinstance(base, MemoryForCausalLM):
        raise CheckpointError(f"the model already has a memory; load the memory in {folder} onto its base")
    require_same_base(folder, adapter.base, base_of(base))
    prefixes = tensor_prefixes(base, adapter.memory)
    with torch.device("meta"):
        layer = memory_layer(adapter.memory, base.config.get_text_config().hidden_size)
        layer.follow(torch.empty(0, dtype=base.dtype))
    require_fitting(Path(folder) / WEIGHTS, adapter.tensors, dict.fromkeys(prefixes.values(), layer))
    model = retrofit(base, adapter.memory).eval()
    for block, layer in model.memory_layers().items():
        layer.load_state_dict({name: adapter.tensors[prefixes[block] + name] for name in layer.state_dict()})
    return model


def _reported_base(folder: Path) -> tuple[str | None, str | None]:
    """The base and its commit, of a model that was loaded from a folder of ``smf retrofit``."""
    report = read_json(folder / "report.json") if (folder / "report.json").is_file() else {}
    return report.get("base"), report.get("commit")
