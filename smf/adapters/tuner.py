"""The tuner that peft runs for a memory: the layer and the retrofit are smf's own, only the wrapping is peft's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from smf.adapters.base import base_from, base_of, require_same_base
from smf.adapters.folder import ATTRIBUTE, PREFIX, listed_base, require_fitting, tensor_prefixes
from smf.adapters.packing import packed, unpacked
from smf.errors import CheckpointError
from smf.models.memory_model import MemoryForCausalLM, chosen_blocks, decoder_blocks, memory_layer
from smf.models.retrofit import memory_for
from smf.seeding import derive_seed

if TYPE_CHECKING:
    from smf.adapters.peft_config import SparseMemoryConfig
    from smf.memory import MemoryLayer


class SparseMemoryLayer(nn.Module, BaseTunerLayer):
    """A feed-forward network and the memories beside it, one for each adapter."""

    adapter_layer_names = (ATTRIBUTE,)
    if TYPE_CHECKING:  # peft's own, which mypy does not read
        active_adapters: list[str]
        disable_adapters: bool
        set_adapter: Callable[[list[str]], None]

    def __init__(self, base_layer: nn.Module):
        super().__init__()
        self.base_layer = base_layer
        self.sparse_memory_layer = nn.ModuleDict()
        self.merged_adapters: list[str] = []

    def add(self, name: str, memory: MemoryLayer) -> None:
        """Put a new memory beside the network, on its device and in its type."""
        self.sparse_memory_layer[name] = memory
        self._move_adapter_to_device_of_base_layer(name)
        self.set_adapter(self.active_adapters)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        output_BTD = self.base_layer(hidden_BTD)
        for name in () if self.disable_adapters else self.active_adapters:
            if name in self.sparse_memory_layer:
                output_BTD = output_BTD + self.sparse_memory_layer[name](hidden_BTD)
        return output_BTD

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        memory = cast("MemoryLayer", self.sparse_memory_layer[adapter_name])
        weight = next(self.base_layer.parameters())
        # A memory that peft will fill later is of the right type already; then peft asks again for the device.
        memory.follow(weight.to("meta") if memory.values_SV.is_meta else weight)


class SparseMemoryTuner(BaseTuner):
    """Puts memories beside the feed-forward networks of a model's blocks."""

    prefix = PREFIX
    tuner_layer_cls = SparseMemoryLayer

    def memory_layers(self) -> dict[int, MemoryLayer]:
        """The memory layers of the active adapter by block number, lowest first."""
        [name] = self.active_adapters
        blocks = enumerate(decoder_blocks(self.model))
        wrapped = {number: block.mlp for number, block in blocks if isinstance(block.mlp, SparseMemoryLayer)}
        memories = {number: layer.sparse_memory_layer for number, layer in wrapped.items()}
        return {number: cast("MemoryLayer", named[name]) for number, named in memories.items() if name in named}

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """As of any tuner; what is drawn follows from the config's seed."""
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(self.peft_config[adapter_name].seed, "retrofit"))
            super().inject_adapter(model, adapter_name, *args, **kwargs)

    def _prepare_adapter_config(self, peft_config: SparseMemoryConfig, model_config: dict) -> SparseMemoryConfig:
        return peft_config

    def _prepare_model(self, peft_config: SparseMemoryConfig, model: PreTrainedModel) -> None:
        """Refuse a model that the memory is not for, and find the places of its layers."""
        if isinstance(model, MemoryForCausalLM):
            raise CheckpointError("the model already has a memory; give peft its base")
        if peft_config.memory is None:
            peft_config.memory = memory_for(model)
        if peft_config.base is not None:
            named = peft_config.base_model_name_or_path, peft_config.revision
            require_same_base("the peft adapter", base_from("its config", peft_config.base, *named), base_of(model))
        names = {id(module): name for name, module in model.named_modules()}
        networks = [block.mlp for block in chosen_blocks(model, peft_config.settings.layers).values()]
        peft_config.target_modules = "|".join(re.escape(names[id(network)]) for network in networks)

    def _create_and_replace(
        self,
        peft_config: SparseMemoryConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if not isinstance(target, SparseMemoryLayer):
            target = SparseMemoryLayer(target)
            setattr(parent, target_name, target)
        hidden_size = self.model.config.get_text_config().hidden_size
        target.add(adapter_name, memory_layer(peft_config.settings, hidden_size))

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        setattr(parent, child_name, new_module)  # peft's own looks for the weight of one linear map

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Nothing is cast: a memory computes in its base's type, its values have a type of their own."""

    def _check_merge_allowed(self) -> None:
        raise CheckpointError(
            "a memory cannot be merged: its output depends on the slots that each token reads. Remove it with "
            "unload(), or save it and load it onto its base with smf.load_memory"
        )

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: Any,
        config: SparseMemoryConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        """Before peft writes the config, it learns here which base it is of."""
        config.base = listed_base(base_of(model.get_base_model() if hasattr(model, "get_base_model") else model))
        tensors = super()._get_adapter_state_dict(
            model=model,
            config=config,
            adapter_name=adapter_name,
            state_dict=state_dict,
            unwanted_adapter_names=unwanted_adapter_names,
        )
        return packed(tensors)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return key.replace(f".{ATTRIBUTE}.{adapter_name}.", f".{ATTRIBUTE}.")  # peft's own looks at the end only

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls,
        model: Any,
        config: SparseMemoryConfig,
        adapter_name: str,
        state_dict: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """What peft only warns of is refused: tensors missing, a memory would read what was drawn at random."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        blocks = decoder_blocks(base)
        prefixes = tensor_prefixes(base, config.settings)
        layers = {prefix: blocks[number].mlp.sparse_memory_layer[adapter_name] for number, prefix in prefixes.items()}
        tensors = unpacked("the peft adapter", state_dict, config.settings.num_keys**2)
        require_fitting("the peft adapter", tensors, layers)
        return super()._remap_adapter_state_dict_for_load(
            model=model, config=config, adapter_name=adapter_name, state_dict=tensors
        )
