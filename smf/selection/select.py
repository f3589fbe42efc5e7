"""The choice of the slots that may train in one step. Shapes: U slot that the batch reads, R selected slot."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from smf.memory import SlotReads
from smf.selection.background import BackgroundCounts
from smf.selection.names import ALL_ACCESSED
from smf.selection.scores import SCORES, BatchCounts, KLBackground, ScoreInputs


@dataclass(frozen=True)
class Selection:
    """How slots are selected.

    Attributes:
        selector: A name in :data:`SCORES`, or ``none``: every slot that the batch reads trains.
        top_t: Slots that may train in one step, in each layer.
        pooled: Choose the best ``top_t * number of layers`` slots of all layers together instead.
        kl_background: What KL takes as the background distribution.
    """

    selector: str
    top_t: int
    pooled: bool = False
    kl_background: KLBackground = "accesses"


def count_reads(reads: Mapping[int, SlotReads], attention_mask_BT: Tensor) -> dict[int, BatchCounts]:
    """Slots read by the real tokens of a batch, by block; the cost does not depend on the size of the table."""
    return {
        block: BatchCounts(*read.slots_of_tokens(attention_mask_BT).unique(sorted=True, return_counts=True))
        for block, read in reads.items()
    }


def select_slots(
    counts: Mapping[int, BatchCounts], background: BackgroundCounts, selection: Selection, generator: torch.Generator
) -> dict[int, Tensor]:
    """The slots that may train, by block, each list ascending. Of equal scores the lower slot (and block) wins."""
    if selection.selector == ALL_ACCESSED:
        return {block: batch.slots_U for block, batch in counts.items()}
    score = SCORES[selection.selector]
    scores = {
        block: score(ScoreInputs(batch, background.layers[block], selection.kl_background, generator))
        for block, batch in counts.items()
    }
    if selection.pooled:
        chosen = _top(torch.cat(list(scores.values())), selection.top_t * len(scores))
        kept = dict(zip(scores, chosen.split([len(part) for part in scores.values()]), strict=True))
    else:
        kept = {block: _top(scores_U, selection.top_t) for block, scores_U in scores.items()}
    return {block: counts[block].slots_U[kept_U.to(counts[block].slots_U.device)] for block, kept_U in kept.items()}


def _top(scores_U: Tensor, number: int) -> Tensor:
    """A mask of the ``number`` highest scores; a stable sort makes ties go to the earlier place."""
    mask_U = torch.zeros(len(scores_U), dtype=torch.bool, device=scores_U.device)
    mask_U[scores_U.argsort(descending=True, stable=True)[:number]] = True
    return mask_U
