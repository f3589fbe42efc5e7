"""How far each slot may move: steps that bound the disturbance of ordinary text (docs/trust_region.md).

Selection decides which slots to touch, the bound how far each may move. Ordinary text reads sum_i w_i v_i, so moving
each slot i by d_i disturbs it by E|sum_i w_i d_i|². If the diagonal of E[w wᵀ] replaces the full matrix, the step that
lowers the loss most within a bound on this disturbance is the gradient step with each slot's part scaled by the share λ
/ (q_i + λ). Here q_i is E[w_i²] divided by its mean over slots, so λ is the disturbance, in units of the average
slot's, at which a slot moves half as far as a free one.

Shapes: X real token, L lookup (heads times top_k), S slot, R selected slot.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory import SlotReads
from smf.selection.background import BackgroundCounts, LayerCounts, squared_read_weights
from smf.selection.select import Pass

Disturbance = Literal["squared_weights", "accesses"]


class TrustRegion:
    """The share of its step that each slot of one layer may take.

    Args:
        background: Background use of the layer, on the model's device.
        damping: λ, above 0.
        disturbance: The basis of q: squared read weights, as derived, or access counts, a cruder substitute.
    """

    def __init__(self, background: LayerCounts, *, damping: float, disturbance: Disturbance):
        self._damping = damping
        self._disturbance = disturbance
        counts_S = background.squared_weights_S if disturbance == "squared_weights" else background.accesses_S
        per_lookup_S = counts_S.double() / background.total_accesses
        self._mean = per_lookup_S.mean()
        self._cost_S = per_lookup_S / self._mean
        self.past_S = torch.zeros_like(self._cost_S)

    def shares(self, slots_R: Tensor) -> Tensor:
        """λ / (q + λ) for each slot, in float64."""
        return self._damping / (self._cost_S[slots_R] + self.past_S[slots_R] + self._damping)

    def past_with(self, passes: Sequence[tuple[SlotReads, Tensor]], weight: float) -> Tensor:
        """``past_S`` as it will be once a batch is past.

        Args:
            passes: The batch's reads of this layer, each with the tokens that count (B, T).
            weight: Weight of the batch, relative to ordinary text.
        """
        counts_S, num_lookups = torch.zeros_like(self.past_S), 0
        for read, mask_BT in passes:
            slots_XL = read.slots_of_tokens(mask_BT)
            num_lookups += slots_XL.numel()
            if self._disturbance == "squared_weights":
                counts_S += squared_read_weights(slots_XL, read.weights_of_tokens(mask_BT), len(counts_S))
            else:
                counts_S += torch.bincount(slots_XL.flatten(), minlength=len(counts_S))
        return self.past_S + weight * counts_S / num_lookups / self._mean


class TrustRegions:
    """The trust regions of all memory layers, and the reads of the current batch, which will join the past.

    Args:
        background: Background use of all layers.
        damping: See :class:`TrustRegion`.
        disturbance: See :class:`TrustRegion`.
        past_weight: Weight of each earlier batch of the stream, relative to ordinary text, which protects taught facts
            as it does ordinary text. 0 for no protection.

    Attributes:
        layers: The trust region of each layer, by block.
    """

    def __init__(self, background: BackgroundCounts, *, damping: float, disturbance: Disturbance, past_weight: float):
        self.layers = {
            block: TrustRegion(layer, damping=damping, disturbance=disturbance)
            for block, layer in background.layers.items()
        }
        self._past_weight = past_weight
        self._passes: tuple[Pass, ...] = ()

    def see(self, passes: tuple[Pass, ...]) -> None:
        """Record the reads of the current batch."""
        self._passes = passes

    def begin_batch(self) -> None:
        """Move the current batch into the past."""
        for block, past_S in self._past().items():
            self.layers[block].past_S = past_S
        self._passes = ()

    def shortened(self, block: int, slots_R: Tensor, gradient_RV: Tensor) -> Tensor:
        """A layer's gradient, with each slot's part scaled by the share of its step."""
        return gradient_RV * self.layers[block].shares(slots_R).to(gradient_RV.dtype).unsqueeze(1)

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the state, if any, that a later process needs to continue with another batch."""
        return {f"past.{block}": past_S.clone() for block, past_S in self._past().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a :meth:`state_dict`.

        Raises:
            CheckpointError: The state is from a model with other layers.
        """
        for block, region in self.layers.items() if self._past_weight else ():
            past_S = state.get(f"past.{block}")
            if past_S is None or past_S.shape != region.past_S.shape:
                raise CheckpointError(
                    f"the state knows no past of block {block}'s {len(region.past_S):,} slots; learn the stream again"
                )
            region.past_S = past_S.to(region.past_S.device)

    def _past(self) -> dict[int, Tensor]:
        """Each layer's past once the current batch joins it; nothing if past batches have no weight."""
        if not self._past_weight:
            return {}
        if not self._passes:
            return {block: region.past_S for block, region in self.layers.items()}
        return {
            block: region.past_with([(reads[block], mask_BT) for reads, mask_BT in self._passes], self._past_weight)
            for block, region in self.layers.items()
        }
