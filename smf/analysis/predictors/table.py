"""What a run changed, beside what it forgot; and how well the one predicts the other.

Shapes: S slot, R row (a slot of a patch), V value.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from smf.errors import CheckpointError, DataError
from smf.scores.metrics import LOCALITY, is_divergence
from smf.scores.table import DECIMALS, check_scores, end_values, forgetting

SLOTS_WRITTEN, CHANGE = "slots_written", "change"
BACKGROUND, CONTRAST = "background", "contrast"
LOCALITY_LOSS = "facts_locality_drop"
_RUN = ["method", "seed"]
CORRELATION_COLUMNS = ("predictor", "outcome", "num_runs", "spearman", "spearman_within_methods")

Patch = Mapping[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Slots, values before and values after, by block: R, R×V and R×V."""
Reads = Mapping[int, np.ndarray]
"""How often texts read each slot (S), by block."""


def written(patch: Patch, reads: Mapping[str, Reads]) -> dict[str, float]:
    """Describe what a run wrote.

    Args:
        patch: What it learned.
        reads: Reads of each slot by kind of text: ``background``, and ``contrast`` where there are contrast texts.

    Returns:
        ``slots_written``, whose value changed; ``change``, the norm of all changes together; and for each kind of
        text ``<kind>_reads``, the share of its reads that fall on written slots, and ``<kind>_change``, the norm of
        the change of the slot that a read finds, averaged over its reads (Σ_s reads_s · ‖Δv_s‖ / Σ_s reads_s).

    Raises:
        CheckpointError: The patch writes slots that the counts do not know.
    """
    changes = {
        block: (slots_R, np.linalg.norm(after_RV.astype(np.float64) - before_RV, axis=1))
        for block, (slots_R, before_RV, after_RV) in patch.items()
    }
    row = {
        SLOTS_WRITTEN: float(sum((norms_R > 0).sum() for _, norms_R in changes.values())),
        CHANGE: float(np.sqrt(sum((norms_R**2).sum() for _, norms_R in changes.values()))),
    }
    for kind, by_block in reads.items():
        total = sum(float(reads_S.sum()) for reads_S in by_block.values())
        found, moved = 0.0, 0.0
        for block, (slots_R, norms_R) in changes.items():
            if len(slots_R) and (block not in by_block or slots_R.max() >= len(by_block[block])):
                raise CheckpointError(
                    f"a run wrote slot {slots_R.max()} of block {block}, whose reads by {kind} texts were not counted; "
                    "count again"
                )
            reads_R = by_block[block][slots_R].astype(np.float64) if len(slots_R) else np.zeros(0)
            found += float(reads_R[norms_R > 0].sum())
            moved += float(reads_R @ norms_R)
        row |= {f"{kind}_reads": found / total, f"{kind}_change": moved / total}
    return row


def predictors_table(
    runs: Mapping[tuple[str, int], Mapping[str, float]],
    scores: pd.DataFrame,
    starts: Mapping[str, str],
    headline: Sequence[str],
    others: Sequence[tuple[str, int]] = (),
) -> pd.DataFrame:
    """Put what each run changed beside what it forgot.

    Args:
        runs: For each method and seed what it wrote (:func:`written`).
        scores: The tidy table (see :mod:`smf.scores.table`).
        starts: For each method the model that it starts from.
        headline: Held-out metrics whose relative drop (or rise) is an outcome.
        others: Methods and seeds of runs that have no slots. Where KL(start‖now) was measured, which any method has,
            they get a row too.

    Returns:
        A row for each run: method, seed, the predictors (KL(start‖now) too, where it was measured; NaN for what a run
        does not have) and the outcomes (:func:`outcomes_of`).

    Raises:
        DataError: A run was not evaluated, or there is none.
    """
    if not runs:
        raise DataError("no run of sparse memory to predict forgetting of; a method of kind smf must learn a stream")
    check_scores(scores)
    divergences = [name for name in dict.fromkeys(scores["metric"]) if is_divergence(name)]
    rows = []
    for (method, seed), predictors in {**runs, **{run: {} for run in others if divergences}}.items():
        measured = {name: end_values(scores, method, name)[seed] for name in divergences}
        lost = {f"{name}_drop": forgetting(scores, method, name, starts)[seed] for name in headline}
        if LOCALITY in set(scores["metric"]):
            lost[LOCALITY_LOSS] = 1.0 - end_values(scores, method, LOCALITY)[seed]
        rows.append({"method": method, "seed": seed, **predictors, **measured, **lost})
    return pd.DataFrame(rows)


def correlations_table(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of each predictor with each outcome.

    Args:
        table: Rows of runs (:func:`predictors_table`).

    Returns:
        The columns of ``CORRELATION_COLUMNS``: Spearman's over all runs that have the predictor, of which ``num_runs``
        is the number; and the same with ranks taken among the runs of each method, so that a difference between methods
        does not count. NaN where a column does not vary.
    """
    rows = []
    for predictor in predictors_of(table):
        for outcome in outcomes_of(table):
            values = table.loc[table[predictor].notna(), [predictor, outcome]].round(DECIMALS)
            among_all, within = values.rank(), values.groupby(table["method"].loc[values.index]).rank()
            rows.append((predictor, outcome, len(values), _correlation(among_all), _correlation(within)))
    return pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))


def outcomes_of(table: pd.DataFrame) -> list[str]:
    """The columns that say what was forgotten."""
    return [name for name in table.columns if name.endswith("_drop")]


def predictors_of(table: pd.DataFrame) -> list[str]:
    """The columns that may predict it."""
    return [name for name in table.columns if name not in (*_RUN, *outcomes_of(table))]


def _correlation(ranks: pd.DataFrame) -> float:
    values = ranks.to_numpy(dtype=float)
    if len(values) < 3 or np.isnan(values).any() or not (np.ptp(values, axis=0) > 0).all():
        return float("nan")
    return float(np.corrcoef(values, rowvar=False)[0, 1])
