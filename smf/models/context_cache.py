"""Keys and values of a context that several sequences share: computed once, repeated for each.

Shapes: B sequence, T token of the sequence itself, C token of the context.
"""

import copy
from typing import NotRequired, TypedDict

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from smf.models.logits import final_states
from smf.models.recompute import recomputes_activations
from smf.streams.batches import Batch

_KNOWN = {"full_attention", "sliding_attention"}


class Inputs(TypedDict):
    """Keyword arguments of a model's ``forward``."""

    input_ids: Tensor
    attention_mask: Tensor
    use_cache: bool
    past_key_values: NotRequired[Cache]


def gives_the_same(model: PreTrainedModel, longest: int) -> bool:
    """Whether sequences after a cached context get the logits and gradients of whole sequences, up to rounding.

    They do not if one draw of dropout would serve all of them, if a recomputed block would append to the cache that its
    first pass has already filled, or if a sliding window drops part of the context.

    Args:
        model: With memory or without.
        longest: Length of the longest sequence in tokens, its context included.
    """
    if any(module.training for module in model.modules()) or recomputes_activations(model):
        return False
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return set(kinds) <= _KNOWN and sees_all(model, longest)


def sees_all(model: PreTrainedModel, longest: int) -> bool:
    """Whether the sliding window, if any, covers the longest sequence, in tokens and with its context."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return window is None or longest <= window


def inputs_of(model: PreTrainedModel, batch: Batch, context: Cache | None = None) -> Inputs:
    """The inputs of the model's ``forward`` for a batch, preceded by its context if it has one.

    Args:
        model: With memory or without.
        batch: The sequences.
        context: The :func:`context_cache` of the batch's context; by default it is computed here.
    """
    ids_BT, mask_BT = batch.input_ids_BT, batch.attention_mask_BT
    if batch.context_ids_C is None:
        return {"input_ids": ids_BT, "attention_mask": mask_BT, "use_cache": False}
    if context is None:
        context = context_cache(model, batch.context_ids_C)
    before_BC = mask_BT.new_ones(len(mask_BT), len(batch.context_ids_C))
    return {
        "input_ids": ids_BT,
        "attention_mask": torch.cat([before_BC, mask_BT], dim=1),
        "past_key_values": _repeated(context, len(ids_BT)),
        "use_cache": True,
    }


def context_cache(model: PreTrainedModel, ids_C: Tensor) -> Cache:
    """The keys and values of a context, with batch size 1."""
    cache = DynamicCache(config=model.config.get_text_config())
    final_states(model, input_ids=ids_C.unsqueeze(0), past_key_values=cache, use_cache=True)
    return cache


def _repeated(cache: Cache, number: int) -> Cache:
    """The cache repeated to ``number`` rows; the original does not change."""
    several = copy.copy(cache)
    several.layers = [copy.copy(layer) for layer in cache.layers]
    several.batch_repeat_interleave(number)
    return several
