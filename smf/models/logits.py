"""Logits of hidden states, some positions at a time.

With a vocabulary of 151,936 tokens the logits of one position take as much memory as hundreds of hidden states, and
those of a batch of running text tens of gigabytes. So passes stop at the last hidden states, and what needs logits
makes them in slices of positions, each through the model's own forward pass, in which the blocks give these states
back: an adapted output map or capped logits (Gemma) stay what they are.

Shapes: B batch, T token, D hidden size, V vocabulary, X any position of any row.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from smf.model_shape import positions_at_once


def final_states(model: PreTrainedModel, **inputs: object) -> BaseModelOutputWithPast:
    """A pass without logits: the last hidden states (B, T, D) and the cache; inputs as of the model's ``forward``."""
    return model.get_decoder()(**inputs)


def logits_of(model: PreTrainedModel, states_BTD: Tensor) -> Tensor:
    """The logits (B, T, V) that the model gives for these last hidden states."""
    with _giving(model.get_decoder(), states_BTD):
        return model(use_cache=False).logits


def at_once(model: PreTrainedModel) -> int:
    """Positions whose logits are made together."""
    return positions_at_once(model.config.get_text_config().vocab_size)


def mean_loss(model: PreTrainedModel, states_XD: Tensor, labels_X: Tensor) -> Tensor:
    """Mean negative log-likelihood of the labels, in nats; the backward pass makes each slice's logits again."""

    def loss(states_XD: Tensor, labels_X: Tensor) -> Tensor:
        logits_XV = logits_of(model, states_XD.unsqueeze(0)).squeeze(0)
        return F.cross_entropy(in_float32(logits_XV), labels_X, reduction="sum")

    size = at_once(model)
    parts = zip(states_XD.split(size), labels_X.split(size), strict=True)
    return sum(checkpoint(loss, *part, use_reentrant=False) for part in parts) / len(labels_X)


def in_float32(logits: Tensor) -> Tensor:
    """The same logits, in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def _giving(decoder: nn.Module, states_BTD: Tensor) -> Iterator[None]:
    """Inside, the blocks give these hidden states, whatever they are asked."""
    hidden = vars(decoder).get("forward")  # an attribute of the instance hides the method of its class
    decoder.forward = lambda *_, **__: BaseModelOutputWithPast(last_hidden_state=states_BTD)
    try:
        yield
    finally:
        del decoder.forward
        if hidden is not None:
            decoder.forward = hidden
