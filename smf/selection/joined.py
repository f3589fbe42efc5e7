"""Ordinary text and contrast texts as one background: a weighted sum of counts, whatever the sizes of the two corpora.

With a weight W the background is a mixture of one part ordinary text and W parts contrast texts. The contrast's counts
are first rescaled to the size of the text's, so that both weigh the same with W = 1. The text's counts keep their
scale, so constants that are added to them elsewhere (one document in TF-IDF, one access in KL, past writes) keep their
meaning. The derivation is in docs/selection.md. Shapes: S slot.
"""

from dataclasses import replace
from pathlib import Path

from smf.errors import CheckpointError
from smf.selection.background import BackgroundCounts, DocumentCounts, LayerCounts


def read_background(
    counts_path: str | Path | None,
    contrast_path: str | Path | None = None,
    weight: float = 0.0,
    *,
    model_hash: str | None = None,
) -> BackgroundCounts | None:
    """The background that a method sees; None without counts.

    Args:
        counts_path: Counts of ordinary text.
        contrast_path: Counts of contrast texts; needed with a ``weight`` above 0, and read only then.
        weight: See :func:`joined`.
        model_hash: Hash of the model that the counts are to be used with; None to skip the check.

    Raises:
        CheckpointError: A file is missing or damaged, or was counted with another model.
    """
    if counts_path is None:
        return None
    text = BackgroundCounts.load(counts_path, model_hash=model_hash)
    if not weight:
        return text
    if contrast_path is None:
        raise CheckpointError(
            f"contrast is {weight}, but no counts of contrast texts are given; name the file that the rule "
            "count_contrast writes, or set contrast: 0"
        )
    return joined(text, BackgroundCounts.load(contrast_path), weight)


def joined(text: BackgroundCounts, contrast: BackgroundCounts, weight: float) -> BackgroundCounts:
    """Mix one part ordinary text with ``weight`` parts contrast texts.

    Args:
        text: Counts of ordinary text.
        contrast: Counts of contrast texts by the same model.
        weight: At least 0. With 0 this is ``text`` itself.

    Raises:
        CheckpointError: The two were counted with different models.
    """
    models = [counts.provenance.get("model_hash") for counts in (text, contrast)]
    if models[0] != models[1] or text.layers.keys() != contrast.layers.keys():
        raise CheckpointError(
            f"ordinary text was counted with model {models[0]}, contrast texts with {models[1]}; count both again"
        )
    if not weight:
        return text
    layers = {block: _joined_layer(layer, contrast.layers[block], weight) for block, layer in text.layers.items()}
    return BackgroundCounts(layers, {**text.provenance, "contrast": weight})


def _joined_layer(text: LayerCounts, contrast: LayerCounts, weight: float) -> LayerCounts:
    # Scale both corpora to equally many lookups: only then are squared weights and accesses comparable.
    lookups = weight * float(text.total_accesses / contrast.total_accesses)
    documents = {
        kind: _joined_documents(found, contrast.in_documents(kind), weight)
        for kind, found in text.by_document().items()
    }
    first = documents.pop(text.document)
    return replace(
        text,
        accesses_S=text.accesses_S.double() + lookups * contrast.accesses_S.double(),
        squared_weights_S=text.squared_weights_S + lookups * contrast.squared_weights_S,
        document_frequency_S=first.frequency_S,
        num_documents=first.number,
        others=next(iter(documents.values()), None),
    )


def _joined_documents(text: DocumentCounts, contrast: LayerCounts, weight: float) -> DocumentCounts:
    documents = weight * text.number / contrast.num_documents
    frequency_S = text.frequency_S.double() + documents * contrast.document_frequency_S.double()
    return DocumentCounts(frequency_S, text.number * (1 + weight))
