"""Scores of the slots that a batch reads: high for slots that this batch uses and ordinary text does not.

Shapes: U slot that the batch reads (unique, ascending), S all slots. c(i) is how often the batch reads slot i.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from smf.selection.background import LayerCounts

KLBackground = Literal["accesses", "documents"]


@dataclass(frozen=True)
class BatchCounts:
    """What one batch reads of one layer.

    Attributes:
        slots_U: Slots read, unique, ascending.
        counts_U: How often.
    """

    slots_U: Tensor
    counts_U: Tensor


@dataclass(frozen=True)
class ScoreInputs:
    """What a score may depend on.

    Attributes:
        batch: Reads of the batch.
        background: Background use of the layer.
        kl_background: What KL takes as the background distribution.
        generator: For random scores.
    """

    batch: BatchCounts
    background: LayerCounts
    kl_background: KLBackground
    generator: torch.Generator


def tfidf_scores(inputs: ScoreInputs) -> Tensor:
    """TF-IDF (Lin et al., 2025, section 4): c(i) / sum c * ln((|B| + 1) / (df(i) + 1)), |B| background documents."""
    document_frequency_U = inputs.background.document_frequency_S.to(inputs.batch.slots_U.device)[inputs.batch.slots_U]
    idf_U = ((inputs.background.num_documents + 1) / (document_frequency_U.double() + 1)).log()
    return _term_frequency(inputs.batch) * idf_U


def kl_scores(inputs: ScoreInputs) -> Tensor:
    """Pointwise KL (Goyal et al., 2026; Gupta et al., 2026): p(i) ln(p(i) / q(i)), q the add-one smoothed background.

    q is made of access counts (``kl_background="accesses"``, the authors' code) or of document frequencies.
    """
    counts_S = inputs.background.accesses_S
    if inputs.kl_background == "documents":
        counts_S = inputs.background.document_frequency_S
    p_U = _term_frequency(inputs.batch)
    total = float(counts_S.sum()) + len(counts_S)
    q_U = (counts_S.to(p_U.device)[inputs.batch.slots_U].double() + 1) / total
    return p_U * (p_U / q_U).log()


def tf_scores(inputs: ScoreInputs) -> Tensor:
    """Access counts alone: TF-IDF without the background (Lin et al., 2025, section 6)."""
    return _term_frequency(inputs.batch)


def random_scores(inputs: ScoreInputs) -> Tensor:
    """Random slots among those that the batch reads: what sparsity alone achieves."""
    return torch.rand(len(inputs.batch.slots_U), generator=inputs.generator, dtype=torch.double)


SCORES: dict[str, Callable[[ScoreInputs], Tensor]] = {
    "tfidf": tfidf_scores,
    "kl": kl_scores,
    "tf": tf_scores,
    "random": random_scores,
}


def _term_frequency(batch: BatchCounts) -> Tensor:
    return batch.counts_U.double() / batch.counts_U.sum()
