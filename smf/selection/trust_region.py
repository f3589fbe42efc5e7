"""How far each slot may move: steps that bound the disturbance of ordinary text (docs/trust_region.md).

Selection decides which slots to touch, the bound how far each may move. Ordinary text reads sum_i w_i v_i, so moving
each slot i by d_i disturbs it by E|sum_i w_i d_i|². If the diagonal of E[w wᵀ] replaces the full matrix, the step that
lowers the loss most within a bound on this disturbance is the gradient step with each slot's part scaled by the share λ
/ (q_i + λ). Here q_i is E[w_i²] divided by its mean over slots, so λ is the disturbance, in units of the average
slot's, at which a slot moves half as far as a free one.

The facts of the stream join ordinary text as they are taught. One that a later fact replaces leaves it when that one's
turn comes, because its slots are those to rewrite. Until then the slots that it reads are kept, with what they got from
it: 16 bytes for each, and none for facts that nothing replaces.

Shapes: X real token, L lookup (heads times top_k), S slot, R selected slot, U slot that a fact reads.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory import SlotReads
from smf.selection.background import BackgroundCounts, LayerCounts, squared_read_weights
from smf.selection.select import Pass
from smf.selection.step_options import TrustRegionSettings

Disturbance = Literal["squared_weights", "accesses"]
PartOfPast = dict[int, tuple[Tensor, Tensor]]
"""What one fact adds to the past, by block: slots that it reads, and how much it adds to each (U,)."""


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
        counts_S, num_lookups = self._counted(passes)
        return self.past_S + weight * counts_S / num_lookups / self._mean

    def part_of_past(self, passes: Sequence[tuple[SlotReads, Tensor]], rows: Sequence[Tensor], weight: float) -> Tensor:
        """The part of what a batch adds to ``past_S`` that comes from some of its sequences.

        Args:
            passes: See :meth:`past_with`.
            rows: For each pass, whether a sequence is one of them (B,).
            weight: See :meth:`past_with`.
        """
        some = [(read, mask_BT * rows_B.unsqueeze(1)) for (read, mask_BT), rows_B in zip(passes, rows, strict=True)]
        num_lookups = sum(read.slots_of_tokens(mask_BT).numel() for read, mask_BT in passes)
        return weight * self._counted(some)[0] / num_lookups / self._mean

    def _counted(self, passes: Sequence[tuple[SlotReads, Tensor]]) -> tuple[Tensor, int]:
        """What passes read of each slot, and their number of lookups."""
        counts_S, num_lookups = torch.zeros_like(self.past_S), 0
        for read, mask_BT in passes:
            slots_XL = read.slots_of_tokens(mask_BT)
            num_lookups += slots_XL.numel()
            if self._disturbance == "squared_weights":
                counts_S += squared_read_weights(slots_XL, read.weights_of_tokens(mask_BT), len(counts_S))
            else:
                counts_S += torch.bincount(slots_XL.flatten(), minlength=len(counts_S))
        return counts_S, num_lookups


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
        self._facts: tuple[Tensor, ...] = ()
        self._places: tuple[int, ...] = ()
        self._replaced: Mapping[int, int] = {}
        self._parts: dict[int, PartOfPast] = {}

    @classmethod
    def of(cls, background: BackgroundCounts, settings: TrustRegionSettings) -> Self | None:
        """The trust regions of a method with these settings; None if its slots take whole steps."""
        if settings.damping is None:
            return None
        disturbance, past_weight = settings.disturbance, settings.past_weight
        return cls(background, damping=settings.damping, disturbance=disturbance, past_weight=past_weight)

    def expect_updates(self, replaced: Mapping[int, int]) -> None:
        """Say which facts of the stream will be replaced; their parts of the past are kept until then.

        Args:
            replaced: For the place of each fact that replaces an earlier one, that one's place.
        """
        self._replaced = replaced if self._past_weight else {}

    def see(self, passes: tuple[Pass, ...], facts: tuple[Tensor, ...] = ()) -> None:
        """Record the reads of the current batch.

        Args:
            passes: The reads of each pass.
            facts: For each pass the fact that a sequence teaches (B,), counted from 0 in the batch; needed if a later
                fact replaces one of the batch.
        """
        self._passes, self._facts = passes, facts

    def begin_batch(self, places: tuple[int, ...] = ()) -> None:
        """Move the last batch into the past, without the facts that the next one replaces.

        Args:
            places: Places of the next batch's facts in the stream, if they are known.
        """
        past, self._parts = self._past(), self._parts_of_past()
        for block, past_S in past.items():
            self.layers[block].past_S = past_S
        for place in places:
            for block, (slots_U, amounts_U) in self._parts.pop(self._replaced.get(place, -1), {}).items():
                past_S = self.layers[block].past_S
                # A sum of which a part is taken away may miss what is left in its last bit, also below zero.
                self.layers[block].past_S = past_S.index_add(0, slots_U, -amounts_U).clamp_(min=0)
        self._passes, self._facts, self._places = (), (), places

    def shortened(self, block: int, slots_R: Tensor, gradient_RV: Tensor) -> Tensor:
        """A layer's gradient, with each slot's part scaled by the share of its step."""
        return gradient_RV * self.layers[block].shares(slots_R).to(gradient_RV.dtype).unsqueeze(1)

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the state, if any, that a later process needs to continue with another batch."""
        state = {f"past.{block}": past_S.clone() for block, past_S in self._past().items()}
        for place, part in self._parts_of_past().items():
            for block, (slots_U, amounts_U) in part.items():
                state[f"past.{block}.{place}.slots"], state[f"past.{block}.{place}.amounts"] = slots_U, amounts_U
        return state

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
        self._parts = {}
        for name, slots_U in state.items():
            if name.startswith("past.") and name.endswith(".slots"):
                block, place = (int(number) for number in name.split(".")[1:3])
                device = self.layers[block].past_S.device
                amounts_U = state[name.removesuffix("slots") + "amounts"]
                self._parts.setdefault(place, {})[block] = slots_U.to(device), amounts_U.to(device)

    def _past(self) -> dict[int, Tensor]:
        """Each layer's past once the current batch joins it; nothing if past batches have no weight."""
        if not self._past_weight:
            return {}
        if not self._passes:
            return {block: region.past_S for block, region in self.layers.items()}
        return {
            block: region.past_with(self._of_layer(block), self._past_weight) for block, region in self.layers.items()
        }

    def _parts_of_past(self) -> dict[int, PartOfPast]:
        """The parts that are kept once the current batch joins the past."""
        parts, weight = dict(self._parts), self._past_weight
        for number, place in enumerate(self._places if self._passes else ()):
            if place in self._replaced.values():
                rows = [fact_B == number for fact_B in self._facts]
                parts[place] = {
                    block: _sparse(
                        region.part_of_past(self._of_layer(block), rows, weight), parts.get(place, {}).get(block)
                    )
                    for block, region in self.layers.items()
                }
        return parts

    def _of_layer(self, block: int) -> list[tuple[SlotReads, Tensor]]:
        return [(reads[block], mask_BT) for reads, mask_BT in self._passes]


def _sparse(part_S: Tensor, earlier: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """The slots of a part and their amounts, together with those of the same fact in an earlier epoch."""
    if earlier is not None:
        part_S = part_S.index_add(0, *earlier)
    slots_U = part_S.nonzero().squeeze(1)
    return slots_U, part_S[slots_U]
