"""Scores of the slots that a batch reads: high for slots that this batch uses and ordinary text does not.

Shapes: U slot that the batch reads (unique, ascending), S all slots. c(i) is how often the batch reads slot i, or the
sum of the weights of these reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from smf.selection.background import LayerCounts

KLBackground = Literal["accesses", "documents"]
CountBy = Literal["accesses", "weights"]


@dataclass(frozen=True)
class BatchCounts:
    """The reads of one batch in one layer.

    Attributes:
        slots_U: Slots read, unique, ascending. On an accelerator padding entries, which stand for no slot, may follow.
        counts_U: How often each is read; 0 for padding entries.
        weights_U: Sums of their softmax weights, if term frequencies are computed from these.
    """

    slots_U: Tensor
    counts_U: Tensor
    weights_U: Tensor | None = None


@dataclass(frozen=True)
class ScoreInputs:
    """The inputs of a score.

    Attributes:
        batch: Reads of the batch.
        background: Background use of the layer.
        kl_background: The counts from which KL computes the background distribution.
        generator: Source of random scores.
    """

    batch: BatchCounts
    background: LayerCounts
    kl_background: KLBackground
    generator: torch.Generator


def tfidf_scores(inputs: ScoreInputs) -> Tensor:
    """TF-IDF (Lin et al., 2025, section 4): c(i) / sum c * ln((|B| + 1) / (df(i) + 1)), |B| background documents."""
    document_frequency_U = _of_slots(inputs.background.document_frequency_S, inputs.batch)
    idf_U = ((inputs.background.num_documents + 1) / (document_frequency_U.double() + 1)).log()
    return _term_frequency(inputs.batch) * idf_U


def kl_scores(inputs: ScoreInputs) -> Tensor:
    """Pointwise KL (Goyal et al., 2026; Gupta et al., 2026): p(i) ln(p(i) / q(i)), q the add-one smoothed background.

    q comes from access counts (``kl_background="accesses"``, as in the authors' code) or from document frequencies.
    """
    background, documents = inputs.background, inputs.kl_background == "documents"
    counts_S = background.document_frequency_S if documents else background.accesses_S
    total = background.total_document_frequency if documents else background.total_accesses
    p_U = _term_frequency(inputs.batch)
    q_U = (_of_slots(counts_S, inputs.batch).double() + 1) / (total + len(counts_S))
    return torch.where(p_U > 0, p_U * (p_U / q_U).log(), 0.0)  # 0 is the limit; a weight may round to 0


def tf_scores(inputs: ScoreInputs) -> Tensor:
    """Access counts alone: TF-IDF without the background (Lin et al., 2025, section 6)."""
    return _term_frequency(inputs.batch)


def random_scores(inputs: ScoreInputs) -> Tensor:
    """Random slots among those that the batch reads, to show the effect of sparsity alone."""
    slots_U = inputs.batch.slots_U
    return torch.rand(len(slots_U), generator=inputs.generator, dtype=torch.double, device=slots_U.device)


SCORES: dict[str, Callable[[ScoreInputs], Tensor]] = {
    "tfidf": tfidf_scores,
    "kl": kl_scores,
    "tf": tf_scores,
    "random": random_scores,
}


def _of_slots(counts_S: Tensor, batch: BatchCounts) -> Tensor:
    """The counts of the slots that the batch reads; padding entries (see BatchCounts) get an arbitrary count."""
    return counts_S[batch.slots_U.clamp(max=len(counts_S) - 1)]


def _term_frequency(batch: BatchCounts) -> Tensor:
    amounts_U = batch.counts_U if batch.weights_U is None else batch.weights_U
    return amounts_U.double() / amounts_U.sum()
