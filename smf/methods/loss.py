"""The loss that every method that trains minimizes on a batch of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache, PreTrainedModel

    from smf.streams.batches import Batch


def language_model_loss(model: PreTrainedModel, batch: Batch, context: Cache | None = None) -> Tensor:
    """Mean negative log-likelihood of the batch's labels, in nats per token.

    Only positions at which some row has a label reach the LM head: with a large vocabulary it is the model's costliest
    matmul, and ``loss_on: answer`` leaves few such positions. Logits that would be too large together are computed in
    slices, and recomputed in the backward pass (see :mod:`smf.models.logits`); the gradient is the same up to rounding.

    Args:
        model: The model.
        batch: The sequences.
        context: Keys and values of the batch's ``context_ids_C``; by default they are computed, and gradients flow
            through them.
    """
    import torch.nn.functional as F

    from smf.models.context_cache import inputs_of
    from smf.models.logits import at_once, final_states, in_float32, mean_loss
    from smf.streams.batches import IGNORED

    positions_P = batch.predicting_positions_P
    labels_BP = batch.labels_BT[:, positions_P + 1]
    inputs = inputs_of(model, batch, context)
    if labels_BP.numel() > at_once(model):
        rows_X, positions_X = batch.predictions_X2.unbind(1)
        states_XD = final_states(model, **inputs)[rows_X, positions_X]
        return mean_loss(model, states_XD, batch.labels_BT[rows_X, positions_X + 1])
    logits_BPV = model(**inputs, logits_to_keep=positions_P).logits
    return F.cross_entropy(in_float32(logits_BPV.flatten(0, 1)), labels_BP.flatten(), ignore_index=IGNORED)
