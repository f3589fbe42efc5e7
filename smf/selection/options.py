"""Settings of the selection that the papers do not have (docs/selection.md). Free of torch, as method settings are."""

from collections.abc import Mapping

from smf.selection.names import ALL_ACCESSED, WRITE_AT

OPTIONS = {
    "write_at": {
        "enum": list(WRITE_AT),
        "default": "all",
        "description": "Tokens of the training wordings whose reads may be selected: all, those of the fact's subject, "
        "or those of the answer too. Where a wording does not hold the subject: the words that all wordings share.",
    },
    "pooled": {
        "type": "boolean",
        "default": False,
        "description": "Pick the best top_t * layers slots over all layers together.",
    },
    "document": {
        "enum": ["batch", "sequence", None],
        "default": None,
        "description": "Document whose frequency tfidf and kl_background documents use; null: background.document.",
    },
    "count_by": {
        "enum": ["accesses", "weights"],
        "default": "accesses",
        "description": "What a batch's term frequency is made of: how often each slot is read, or the sum of the "
        "softmax weights with which it is. Not used by selectors random and none.",
    },
    "score_share": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": None,
        "description": "Of the top_t slots take only the best ones, as few as hold this share of the sum of all "
        "positive scores, and none whose score is not positive, but at least one slot. null: all top_t.",
    },
    "past_writes": {
        "type": "number",
        "minimum": 0,
        "default": 0.0,
        "description": "Further background documents, and accesses, as which each earlier batch of the stream counts "
        "for the slots that it was allowed to write.",
    },
    "contrast": {
        "type": "number",
        "minimum": 0,
        "default": 0.0,
        "description": "What contrast texts (data.contrast) weigh in the background, where all ordinary text weighs 1: "
        "text of the shape of what is taught, about other subjects. 0: ordinary text alone.",
    },
}


def disagreement(settings: Mapping) -> str:
    """Which settings of a selection do not go together, and the remedy; empty if all do."""
    share, selector = settings["score_share"], settings["selector"]
    if share is not None and selector in ("random", ALL_ACCESSED):
        return (
            f"score_share is {share}, but selector {selector} has no scores that mean anything; use tfidf, kl or tf, "
            "or leave score_share out"
        )
    return ""
