"""Retrofit: a pretrained language model gets memory layers."""

import torch
from transformers import PreTrainedModel

from smf.models.config import MemoryConfig
from smf.models.memory_model import MemoryForCausalLM
from smf.seeding import derive_seed
from smf.settings.memory import MemorySettings


def retrofit(base: PreTrainedModel, settings: MemorySettings, seed: int) -> MemoryForCausalLM:
    """Install memory layers in ``base``, which becomes part of the result.

    In mode ``additive`` the new model's logits are bit-identical to the base's: with ``start: values`` the value table
    starts at zero, with ``start: output`` the memory's output map, or its output gate if there is one with
    ``output_gate_init`` 0.

    Args:
        base: A causal language model.
        settings: Where the layers go and how large they are.
        seed: Of the new parameters.

    Raises:
        CheckpointError: The architecture is not supported, or a chosen block does not exist.
    """
    # Where the base lay does not make it another model, and would make the hash another one.
    text_config = {key: value for key, value in base.config.to_dict().items() if key != "_name_or_path"}
    config = MemoryConfig(
        text_config=text_config,
        dtype=base.dtype,
        tie_word_embeddings=base.config.tie_word_embeddings,
        pad_token_id=base.config.pad_token_id,
        bos_token_id=base.config.bos_token_id,
        eos_token_id=base.config.eos_token_id,
        **settings.plain(),
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "retrofit"))
        model = MemoryForCausalLM(config, base)
    model.generation_config = base.generation_config
    return model.train(base.training)
