"""Group a batch's sequences by the context that they share, so that the model computes it once.

Half of a fact's wordings may follow the same solved examples, which are several times as long as the wordings.

Shapes: B sequence, T token, C token of a context.
"""

from math import ceil

import torch

from smf.streams.batches import Batch

_LEAST = 8
"""Fewest tokens of a context that is worth its own forward pass."""


def behind_contexts(batch: Batch, size: int | None) -> list[Batch] | None:
    """Split a batch into parts, and move each shared context out of its sequences into ``context_ids_C``.

    The last token of a context stays in the sequences, because it predicts the first token after the context.

    Args:
        batch: Whole sequences, with ``context_mask_BT``.
        size: Most sequences in a part; None for no limit.

    Returns:
        The parts, split by length; None if no two sequences share a context that is long enough, or if ``size`` is 1.
    """
    groups = {} if size == 1 else _groups(batch)
    if not groups:
        return None
    shared = {row for rows in groups.values() for row in rows}
    rest = [row for row in range(len(batch.input_ids_BT)) if row not in shared]
    parts = _parts(_rows(batch, rest), size) if rest else []
    for context, rows in groups.items():
        parts += _parts(_rows(batch, rows).behind(len(context) - 1), size)
    return parts


def _groups(batch: Batch) -> dict[tuple[int, ...], list[int]]:
    """Row numbers of the sequences that follow each shared context."""
    ids = batch.input_ids_BT.tolist()
    groups: dict[tuple[int, ...], list[int]] = {}
    assert batch.context_mask_BT is not None
    for row, length in enumerate(batch.context_mask_BT.sum(1).tolist()):
        if length >= _LEAST:
            groups.setdefault(tuple(ids[row][:length]), []).append(row)
    return {context: rows for context, rows in groups.items() if len(rows) > 1}


def _rows(batch: Batch, rows: list[int]) -> Batch:
    return batch.rows(torch.tensor(rows, device=batch.input_ids_BT.device))


def _parts(batch: Batch, size: int | None) -> list[Batch]:
    """Parts of at most ``size`` sequences, as even as possible, so that few compute a context for one sequence."""
    number = len(batch.input_ids_BT)
    if size is None or number <= size:
        return [batch]
    return list(batch.split_by_length(ceil(number / ceil(number / size))))
