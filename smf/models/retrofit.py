"""Retrofit: install memory layers in a pretrained language model."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from smf.models.config import MemoryConfig
from smf.models.memory_model import MemoryForCausalLM, decoder_blocks
from smf.seeding import derive_seed
from smf.settings.memory import MemorySettings

_SHARED = ("tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id")
_DEPTH = 0.1
"""Depth of the memory, as a fraction of the blocks: low, where a subject reads nearly the same slots in any
sentence."""


def memory_for(base: PreTrainedModel, *, layers: Sequence[int] | None = None, num_keys: int = 256) -> MemorySettings:
    """The default memory of ``smf retrofit``: it starts with zero values and needs no healing.

    Args:
        base: The model.
        layers: Blocks that get a memory layer, counted from 0; None for one low block.
        num_keys: Sub-keys per half; a layer has ``num_keys ** 2`` slots.

    Raises:
        CheckpointError: The architecture is not supported.
    """
    num_blocks = len(decoder_blocks(base))
    low = min(num_blocks - 1, max(1, round(_DEPTH * num_blocks)))
    return MemorySettings(
        layers=tuple(sorted(set(layers))) if layers else (low,),
        mode="additive",
        num_keys=num_keys,
        num_heads=4,
        top_k=min(16, num_keys**2),
        key_dim=128,
        value_dim=base.config.get_text_config().hidden_size,
        start="values",
    )


def retrofit(base: PreTrainedModel, settings: MemorySettings | None = None, seed: int = 0) -> MemoryForCausalLM:
    """Install memory layers in ``base``, which becomes part of the result.

    In mode ``additive`` the new model's logits are bit-identical to the base's: with ``start: values`` the value table
    starts at zero; with ``start: output`` the memory's output projection does, or its output gate if it has one with
    ``output_gate_init`` 0.

    Args:
        base: A causal language model.
        settings: Where the layers go and how large they are; None for :func:`memory_for`.
        seed: Seed of the new parameters.

    Raises:
        CheckpointError: The architecture is not supported, or a chosen block does not exist.

    Example:
        >>> memory = MemorySettings(
        ...     layers=(1,), mode="additive", num_keys=16, num_heads=2, top_k=4, key_dim=8, value_dim=16, start="values"
        ... )
        >>> model = retrofit(load_model("base"), memory)
        >>> model.memory_layers()[1].num_slots
        256
    """
    settings = memory_for(base) if settings is None else settings
    # The base's path is not part of the model, but would change the hash.
    text_config = {key: value for key, value in base.config.to_dict().items() if key != "_name_or_path"}
    shared = {name: getattr(base.config, name) for name in _SHARED}
    config = MemoryConfig(text_config=text_config, dtype=base.dtype, **shared, **settings.plain())
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "retrofit"))
        model = MemoryForCausalLM(config, base)
    model.generation_config = base.generation_config
    return model.train(base.training)
