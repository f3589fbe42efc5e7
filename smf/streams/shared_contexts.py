"""Sequences of a batch that stand behind the same context: what is needed to compute it once.

Half of a fact's wordings may stand behind the same solved examples, which are several times as long as they are.

Shapes: B sequence, T token, C token of a context.
"""

from math import ceil

import torch

from smf.streams.batches import Batch

_LEAST = 8
"""Tokens of a context that is worth a pass of its own."""


def behind_contexts(batch: Batch, size: int | None) -> list[Batch] | None:
    """The batch in parts, of which some have a context that is not in their sequences any more.

    A context's last token stays in the sequences: it predicts their first one.

    Args:
        batch: Whole sequences, with ``context_mask_BT``.
        size: Sequences in a part, at most; None for no such limit.

    Returns:
        The parts, of like length each; None where no two sequences share a context of some length, or where parts have
        one sequence.
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
    """The sequences behind each context that several have."""
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
    """Parts of at most ``size`` sequences, as equal as can be, so that few compute a context for one alone."""
    number = len(batch.input_ids_BT)
    if size is None or number <= size:
        return [batch]
    return list(batch.split_by_length(ceil(number / ceil(number / size))))
