"""Settings of slot selection, with options that the papers do not have (docs/selection.md). Does not import torch."""

from typing import Annotated, Literal

from pydantic import Field

from smf.selection.names import ALL_ACCESSED, Selector, WritingTokens
from smf.settings.section import Count, NonNegativeNumber, Number, Section


class SelectionSettings(Section):
    """How slots are selected."""

    selector: Selector = "tfidf"
    """Score that picks slots: tfidf (Lin et al.), kl (Goyal et al.), tf, random among those accessed; none trains every
    accessed slot."""
    top_t: Count = 64
    """Slots that may train in one step, per memory layer. Not used by selector none."""
    write_at: WritingTokens = "all"
    """Tokens of the training wordings whose reads may be selected: all, those of the fact's subject, or those of the
    answer too. Where a wording does not hold the subject: the words that all wordings share."""
    pooled: bool = False
    """Pick the best top_t * layers slots over all layers together."""
    document: Literal["batch", "sequence"] | None = None
    """Document whose frequency tfidf and kl_background documents use; null: background.document."""
    count_by: Literal["accesses", "weights"] = "accesses"
    """Term frequency of a slot in a batch: how often it is read, or the sum of the softmax weights with which it is
    read. Not used by selectors random and none."""
    score_share: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Train only the best of the top_t slots: as few as hold this share of the sum of all positive scores, none whose
    score is not positive, but at least one. null: all top_t."""
    past_writes: NonNegativeNumber = 0.0
    """Each earlier batch of the stream counts as this many background documents, with their accesses, for the slots
    that it was allowed to write."""
    contrast: NonNegativeNumber = 0.0
    """Weight of contrast texts (data.contrast) in the background, where all ordinary text weighs 1: texts shaped like
    the facts, about other subjects. 0: ordinary text alone."""
    kl_background: Literal["accesses", "documents"] = "accesses"
    """Source of KL's background distribution: access counts or document frequencies."""


def selection_disagreement(settings: SelectionSettings) -> str:
    """A message about selection settings that conflict, with the remedy; empty if none do."""
    if settings.score_share is not None and settings.selector in ("random", ALL_ACCESSED):
        return (
            f"score_share is {settings.score_share}, but selector {settings.selector} has no meaningful scores; use "
            "tfidf, kl or tf, or leave score_share out"
        )
    return ""
