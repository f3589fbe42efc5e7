"""Logits from hidden states, a slice of positions at a time.

With a vocabulary of 151,936 tokens the logits of one position take as much memory as hundreds of hidden states, and
those of a batch of running text take tens of gigabytes. So passes stop at the last hidden states, and code that needs
logits computes them slice by slice. Each slice goes through the model's own forward pass, in which the blocks just
return the given states: an adapted LM head or capped logits (Gemma) keep their effect.

Shapes: B batch, T token, D hidden size, V vocabulary, X any position of any row.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from smf.files.model_shape import positions_at_once


def final_states(model: PreTrainedModel, **inputs: object) -> Tensor:
    """The last hidden states (B, T, D) of a pass without logits; inputs as for ``model.forward``."""
    return model.get_decoder()(**inputs).last_hidden_state


def logits_of(model: PreTrainedModel, states_BTD: Tensor) -> Tensor:
    """The logits (B, T, V) that the model gives for these last hidden states."""
    with _giving(model.get_decoder(), states_BTD):
        return model(use_cache=False).logits


def at_once(model: PreTrainedModel) -> int:
    """Number of positions whose logits are computed together."""
    return positions_at_once(model.config.get_text_config().vocab_size)


def mean_loss(model: PreTrainedModel, states_XD: Tensor, labels_X: Tensor) -> Tensor:
    """Mean negative log-likelihood of the labels, in nats; the backward pass recomputes each slice's logits."""

    def loss(states_XD: Tensor, labels_X: Tensor) -> Tensor:
        return F.cross_entropy(_logits_XV(model, states_XD), labels_X, reduction="sum")

    return _mean_over_slices(loss, at_once(model), states_XD, labels_X)


def mean_divergence(
    model: PreTrainedModel, states_XD: Tensor, start: PreTrainedModel, start_states_XD: Tensor
) -> Tensor:
    """Mean of KL(p_start || p_model) over positions, in nats; the backward pass recomputes each slice's logits.

    Args:
        model: The model that gets a gradient.
        states_XD: Its last hidden states.
        start: The model that it is compared with; gets no gradient.
        start_states_XD: Its last hidden states at the same positions.
    """

    def divergence(states_XD: Tensor, start_states_XD: Tensor) -> Tensor:
        with torch.no_grad():
            start_XV = _logits_XV(start, start_states_XD).log_softmax(-1)
        return F.kl_div(_logits_XV(model, states_XD).log_softmax(-1), start_XV, reduction="sum", log_target=True)

    return _mean_over_slices(divergence, at_once(model), states_XD, start_states_XD)


@torch.no_grad()
def divergences(model: PreTrainedModel, states_XD: Tensor, start: PreTrainedModel, start_states_XD: Tensor) -> Tensor:
    """KL(p_start || p_model) at each position (X,), in nats and without gradients; arguments as above."""
    size = at_once(model)
    parts = zip(states_XD.split(size), start_states_XD.split(size), strict=True)
    return torch.cat([_divergences_X(model, now_XD, start, then_XD) for now_XD, then_XD in parts])


def _divergences_X(
    model: PreTrainedModel, states_XD: Tensor, start: PreTrainedModel, start_states_XD: Tensor
) -> Tensor:
    start_XV = _logits_XV(start, start_states_XD).log_softmax(-1)
    now_XV = _logits_XV(model, states_XD).log_softmax(-1)
    return F.kl_div(now_XV, start_XV, reduction="none", log_target=True).sum(-1)


def _logits_XV(model: PreTrainedModel, states_XD: Tensor) -> Tensor:
    return in_float32(logits_of(model, states_XD.unsqueeze(0)).squeeze(0))


def _mean_over_slices(total: Callable[..., Tensor], size: int, *columns_X: Tensor) -> Tensor:
    """The mean over positions; ``total`` gives the sum over a slice."""
    parts = zip(*(column_X.split(size) for column_X in columns_X), strict=True)
    return sum(checkpoint(total, *part, use_reentrant=False) for part in parts) / len(columns_X[0])


def in_float32(logits: Tensor) -> Tensor:
    """The logits in float32, or wider if they are wider."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def _giving(decoder: nn.Module, states_BTD: Tensor) -> Iterator[None]:
    """Inside the ``with`` block, the decoder returns these hidden states, whatever its inputs."""
    hidden = vars(decoder).get("forward")  # an instance attribute shadows the class's method
    decoder.forward = lambda *_, **__: BaseModelOutputWithPast(last_hidden_state=states_BTD)
    try:
        yield
    finally:
        del decoder.forward
        if hidden is not None:
            decoder.forward = hidden
