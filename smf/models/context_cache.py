"""Keys and values of a context that several sequences stand behind: computed once, repeated for each.

Shapes: B sequence, T token of its own, C token of the context.
"""

import copy

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from smf.models.logits import final_states
from smf.models.recompute import recomputes_activations
from smf.streams.batches import Batch

_KNOWN = {"full_attention", "sliding_attention"}


def gives_the_same(model: PreTrainedModel, longest: int) -> bool:
    """Whether sequences behind a cache get the logits and gradients of whole ones, but for rounding.

    Not where dropout would be drawn once for all of them, where a block's second pass would go on in the cache that its
    first one filled, or where a sliding window forgets some of the context.

    Args:
        model: With memory or without.
        longest: Tokens of the longest sequence, with its context.
    """
    if any(module.training for module in model.modules()) or recomputes_activations(model):
        return False
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return set(kinds) <= _KNOWN and sees_all(model, longest)


def sees_all(model: PreTrainedModel, longest: int) -> bool:
    """Whether no sliding window is shorter than the longest sequence, with its context, in tokens."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return window is None or longest <= window


def inputs_of(model: PreTrainedModel, batch: Batch, context: Cache | None = None) -> dict[str, object]:
    """The inputs of the model's ``forward`` for a batch, behind its context if it has one.

    Args:
        model: With memory or without.
        batch: The sequences.
        context: What :func:`context_cache` gives for the batch's context; by default it is computed here.
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
    """The keys and values of a context, as one row."""
    cache = DynamicCache(config=model.config.get_text_config())
    final_states(model, input_ids=ids_C.unsqueeze(0), past_key_values=cache, use_cache=True)
    return cache


def _repeated(cache: Cache, number: int) -> Cache:
    """A cache of several rows; the one that it is made of stays as it is."""
    several = copy.copy(cache)
    several.layers = [copy.copy(layer) for layer in cache.layers]
    several.batch_repeat_interleave(number)
    return several
