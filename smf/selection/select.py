"""The choice of the slots that may train in one step.

Everything is computed from the lookups of the batch; no tensor of the table's size is made. On an accelerator the host
never waits for a result, except in pooled selection: tensors keep a size that is known in advance.

Shapes: L lookup, U slot that the batch reads (unique, ascending), R selected slot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from smf.errors import DataError
from smf.memory import SlotReads, sizes_are_free
from smf.seeding import torch_generator
from smf.selection.background import BackgroundCounts
from smf.selection.names import ALL_ACCESSED
from smf.selection.options import SelectionSettings
from smf.selection.scores import SCORES, BatchCounts, CountBy, KLBackground, ScoreInputs
from smf.streams.batches import Batch
from smf.streams.write_places import WriteAt

_PADDING = torch.iinfo(torch.long).max  # marks the reads of padding; sorts after all slots
_WEIGHT_UNIT = 2.0**-40  # integer sums are the same in any order, on any device
_ROUNDING = 1e-12  # tolerance, so that a share that is met up to rounding, as with equal scores, counts as met


@dataclass(frozen=True)
class Selection:
    """How slots are selected.

    Attributes:
        selector: A name in :data:`SCORES`, or ``none``: every slot that the batch reads trains.
        top_t: Slots that may train in one step, in each layer.
        pooled: Choose the best ``top_t * number of layers`` slots of all layers together instead.
        kl_background: The counts from which KL computes the background distribution.
        score_share: Take only as many of these slots, best first, as are needed to hold this share of the sum of all
            positive scores; none with a score that is not positive, but at least one slot. None for no such limit.
    """

    selector: str
    top_t: int
    pooled: bool = False
    kl_background: KLBackground = "accesses"
    score_share: float | None = None

    @classmethod
    def of(cls, settings: SelectionSettings) -> Self:
        """How a method with these settings selects."""
        return cls(settings.selector, settings.top_t, settings.pooled, settings.kl_background, settings.score_share)


def selection_generator(seed: int, device: torch.device | str) -> torch.Generator:
    """The source of random scores of a run with this seed, at the start of its stream."""
    return torch_generator(seed, "slot selection", device=device)


class SelectedSlots(NamedTuple):
    """The slots of one layer that may train.

    Attributes:
        slots_R: Ascending. On an accelerator the last one may be repeated as padding, so that R is known without
            waiting.
        number: Number of different slots, a scalar.
    """

    slots_R: Tensor
    number: Tensor


Pass = tuple[Mapping[int, SlotReads], Tensor]
"""The reads of a forward pass, by block, and the tokens whose reads count (B, T), see :func:`writing_tokens`."""


def writing_tokens(batch: Batch, write_at: WriteAt) -> Tensor:
    """The tokens of a batch whose reads may be written to, (B, T): those that it marks, or all but padding.

    Raises:
        DataError: The batch marks no tokens.
    """
    if batch.write_mask_BT is not None:
        return batch.write_mask_BT
    if write_at != "all":
        raise DataError(
            f"write_at is {write_at}, but the batch does not mark such tokens; make it by facts_batch(…, write_at=…)"
        )
    return batch.attention_mask_BT


def count_reads(passes: Sequence[Pass], count_by: CountBy = "accesses") -> dict[int, BatchCounts]:
    """Count the slots that the tokens read, by block, over all passes; the cost is independent of the table's size.

    Args:
        passes: The reads to count.
        count_by: The basis of term frequencies: numbers of accesses, or sums of softmax weights.
    """
    blocks = passes[0][0].keys()
    return {block: _count([(reads[block], mask_BT) for reads, mask_BT in passes], count_by) for block in blocks}


def _count(passes: Sequence[tuple[SlotReads, Tensor]], count_by: CountBy) -> BatchCounts:
    lookups = [
        torch.where(mask_BT[..., None, None].bool(), read.slot_indices_BTHK, _PADDING).flatten()
        for read, mask_BT in passes
    ]
    lookups_L, order_L = torch.cat(lookups).sort()
    first_L = lookups_L != _PADDING
    num_real_1 = first_L.sum(0, keepdim=True)
    first_L[1:] &= lookups_L[1:] != lookups_L[:-1]
    # A slot's lookups end where the next slot's begin; those of the last slot end where padding begins.
    places_L = torch.arange(len(lookups_L), device=lookups_L.device)
    places_U = _kept(places_L, first_L, len(lookups_L), fill=num_real_1)
    slots_U = _kept(lookups_L, first_L, len(lookups_L), fill=_PADDING)
    counts_U = places_U.diff(append=num_real_1)
    if count_by == "accesses":
        return BatchCounts(slots_U, counts_U)
    weights_L = torch.cat([read.weights_BTHK.flatten() for read, _ in passes])[order_L]
    sums_L = (weights_L.double() / _WEIGHT_UNIT).round().long().cumsum(0)
    sums_L1 = torch.cat([sums_L.new_zeros(1), sums_L])  # sum over the lookups before each position
    weights_U = sums_L1[places_U].diff(append=sums_L1[num_real_1]).double() * _WEIGHT_UNIT
    return BatchCounts(slots_U, counts_U, weights_U)


def select_slots(
    counts: Mapping[int, BatchCounts],
    background: BackgroundCounts | None,
    selection: Selection,
    generator: torch.Generator,
) -> dict[int, SelectedSlots]:
    """The slots that may train, by block. Ties go to the lower slot (and block).

    Args:
        counts: What the batch reads of each layer.
        background: Background use, on the device of the counts; selector ``none`` needs none.
        selection: How to select.
        generator: Source of random scores, on the device of the counts.
    """
    if selection.selector == ALL_ACCESSED:
        kept = {block: batch.counts_U > 0 for block, batch in counts.items()}
        return {block: _selected(counts[block].slots_U, kept_U, None) for block, kept_U in kept.items()}
    assert background is not None
    score = SCORES[selection.selector]
    scores = {
        block: score(ScoreInputs(batch, background.layers[block], selection.kl_background, generator)).masked_fill(
            batch.counts_U == 0, -torch.inf
        )
        for block, batch in counts.items()
    }
    share = selection.score_share
    if not selection.pooled:
        return {
            block: _selected(counts[block].slots_U, _top(scores_U, selection.top_t, share), selection.top_t)
            for block, scores_U in scores.items()
        }
    chosen = _top(torch.cat(list(scores.values())), selection.top_t * len(scores), share)
    kept = dict(zip(scores, chosen.split([len(part) for part in scores.values()]), strict=True))
    # A layer may get no slot at all, and then has none to repeat: here the host does wait.
    slots = {block: counts[block].slots_U[kept_U] for block, kept_U in kept.items()}
    return {block: SelectedSlots(slots_R, kept[block].sum()) for block, slots_R in slots.items()}


def _top(scores_U: Tensor, number: int, share: float | None) -> Tensor:
    """A mask of the ``number`` highest scores above minus infinity; ties go to the earlier position.

    With a ``share``, it keeps only as many of them as hold that share, see :class:`Selection`.
    """
    real_U = scores_U > -torch.inf
    kept: int | Tensor = number
    if share is not None:
        best = scores_U.topk(min(number, len(scores_U))).values
        kept = _number_in_share(best, scores_U, share)
        lowest = best[kept - 1]
    elif number >= len(scores_U):
        return real_U
    else:
        # A sort would break ties too, but takes several times as long, and only the lowest kept score is needed.
        lowest = scores_U.topk(number, sorted=False).values.min()
    above_U, equal_U = scores_U > lowest, scores_U == lowest
    return real_U & (above_U | equal_U & (equal_U.cumsum(0) <= kept - above_U.sum()))


def _number_in_share(best: Tensor, scores_U: Tensor, share: float) -> Tensor:
    """How many of the ``best`` scores, in descending order, hold the share of all positive scores; an integer, (1)."""
    # Sum from first to last: padding at the end, and scores clamped in between, add zeros and change no bit.
    total = scores_U.clamp(min=0).cumsum(0)[-1]
    held = best.clamp(min=0).cumsum(0)
    needed = torch.cat([held.new_zeros(1), held[:-1]]) < share * total * (1 - _ROUNDING)
    return (needed & (best > 0)).sum(0, keepdim=True).clamp(min=1)


def _selected(slots_U: Tensor, kept_U: Tensor, at_most: int | None) -> SelectedSlots:
    """The kept slots, at least one and at most ``at_most``; repeats of the last one pad them."""
    size = len(slots_U) if at_most is None else min(at_most, len(slots_U))
    return SelectedSlots(_kept(slots_U, kept_U, size, fill=-1).cummax(0).values, kept_U.sum())


def _kept(values_X: Tensor, kept_X: Tensor, size: int, *, fill: int | Tensor) -> Tensor:
    """The kept values, in order; where sizes are not free, padded with ``fill`` to ``size``."""
    if sizes_are_free(values_X.device):
        return values_X[kept_X]
    place_X = torch.where(kept_X, kept_X.cumsum(0) - 1, size)  # the rest goes to a position that is cut off
    filled = values_X.new_empty(size + 1)
    filled[:] = fill
    return filled.scatter_(0, place_X, values_X)[:size]
