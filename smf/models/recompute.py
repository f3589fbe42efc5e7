"""Activation checkpointing (Chen et al., 2016): a block's activations are recomputed in the backward pass.

transformers has a switch for this, but it works in training mode only. Streams are learned in evaluation mode, so that
methods do not differ by dropout.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from smf.models.memory_model import MemoryForCausalLM, decoder_blocks


def recompute_activations(model: PreTrainedModel) -> None:
    """Keep only the blocks' inputs for the backward pass, which then recomputes each block.

    Gradients and passes without gradient stay the same.

    Args:
        model: With memory or without; changed in place.

    Raises:
        CheckpointError: The architecture is not supported.
    """
    language_model = model.language_model if isinstance(model, MemoryForCausalLM) else model
    for block in decoder_blocks(language_model):
        block.forward = partial(_recomputed, block.forward)


def recomputes_activations(model: PreTrainedModel) -> bool:
    """Whether :func:`recompute_activations` changed the model."""
    blocks = getattr(model.get_decoder(), "layers", ())
    return any(isinstance(block.forward, partial) and block.forward.func is _recomputed for block in blocks)


def _recomputed(forward: Callable, *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    return checkpoint(partial(forward, **options), *inputs, use_reentrant=False)
