"""How evenly a memory is used: measures of slot use, as rows of a table.

A softmax over the ``top_k`` can hide a collapse: Kim and Jung (2020) found nearly all slots among the top 32 of some
token, but only 2 % of them ever ranked first. So reads, first reads (of the slot with the highest score) and softmax
weights are measured separately.

Shapes: H head, S slot.
"""

import numpy as np

SLOT_USE_COLUMNS = ("layer", "head", "stage", "measure", "value")
STAGES = ("installed", "calibrated", "healed")
"""When slot use is measured: after the retrofit, after query calibration, and after training."""
ALL_HEADS = "all"
BUSIEST = 0.01
"""Share of a table's slots that count as its busiest."""


def slot_use(reads_S: np.ndarray, first_reads_S: np.ndarray, weights_S: np.ndarray) -> dict[str, float]:
    """Measure the use of one table by one head, or by all heads together.

    Args:
        reads_S: How often each slot was read.
        first_reads_S: How often each slot had the highest score.
        weights_S: The sum of each slot's softmax weights.

    Returns:
        ``slots`` (of the table), ``reads``, ``slots_read`` (at least once), ``dead_slots`` (never read),
        ``slots_read_first``, ``busiest_share`` and ``busiest_share_first`` (share of the reads, or first reads, that go
        to the busiest 1 % of all slots), ``effective_slots`` and ``effective_slots_weighted`` (the exponential of the
        entropy of reads, or of softmax weights: the number of evenly used slots with that entropy).
    """
    return {
        "slots": len(reads_S),
        "reads": int(reads_S.sum()),
        "slots_read": int((reads_S > 0).sum()),
        "dead_slots": int((reads_S == 0).sum()),
        "slots_read_first": int((first_reads_S > 0).sum()),
        "busiest_share": _busiest_share(reads_S),
        "busiest_share_first": _busiest_share(first_reads_S),
        "effective_slots": _effective_number(reads_S),
        "effective_slots_weighted": _effective_number(weights_S),
    }


def slot_use_rows(
    layer: int, stage: str, reads_HS: np.ndarray, first_reads_HS: np.ndarray, weights_HS: np.ndarray
) -> list[dict]:
    """The measures of each head of one layer, and of all its heads together, as rows of the table."""
    heads = {str(head): (reads_HS[head], first_reads_HS[head], weights_HS[head]) for head in range(len(reads_HS))}
    heads[ALL_HEADS] = (reads_HS.sum(0), first_reads_HS.sum(0), weights_HS.sum(0))
    return [
        dict(zip(SLOT_USE_COLUMNS, (layer, head, stage, measure, value), strict=True))
        for head, counts in heads.items()
        for measure, value in slot_use(*counts).items()
    ]


def _busiest_share(counts_S: np.ndarray) -> float:
    busiest = np.sort(counts_S)[::-1][: max(1, round(BUSIEST * len(counts_S)))]
    return float(busiest.sum() / counts_S.sum())


def _effective_number(amounts_S: np.ndarray) -> float:
    shares = amounts_S[amounts_S > 0] / amounts_S.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
