"""The tidy table of scores, and the two quantities that judge every method: ``forgetting`` and ``retained``.

``forgetting`` is how much worse a held-out score of a method became, relative to the model that it started from: the
share of an accuracy that was lost, or the relative rise of a loss or a perplexity. ``retained`` is the score on all new
facts at the end of the stream. Both are defined here and nowhere else.
"""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from smf.errors import DataError
from smf.scores.metrics import (
    FACTS_DIVERGENCE,
    FACTS_METRICS,
    LOCALITY,
    PARTIAL_METRICS,
    higher_is_better,
    is_cost,
    is_divergence,
    is_held_out,
    is_share,
)

BASE, HEALED = "base", "healed"
"""The two models that a stream can start from; in the table they are methods at position 0."""

COLUMNS = ("method", "seed", "position", "metric", "value", "stderr")
DECIMALS = 12
"""Values that agree to this many decimals are equal: means of the same shares can differ in their last bit."""
_KEY = ["method", "seed", "position", "metric"]


def scores_table(evaluations: Iterable[Mapping]) -> pd.DataFrame:
    """Collect evaluation results into one row per method, seed, position and metric.

    Args:
        evaluations: The contents of the evaluation files: ``method``, ``seed``, ``position`` (number of facts taught)
            and ``scores``, a list of ``metric``, ``value`` and ``stderr`` (or None).

    Returns:
        The columns of ``COLUMNS``, sorted by method, seed, position and metric.

    Raises:
        DataError: A key is missing, a metric is unknown, a value is out of its metric's range, or a row comes twice.
    """
    rows = [row for evaluation in evaluations for row in _rows(evaluation)]
    if not rows:
        raise DataError("no evaluation results to collect; evaluate at least one model first")
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float, "stderr": float})
    check_scores(table)
    return table.sort_values(_KEY, ignore_index=True)


def check_scores(scores: pd.DataFrame) -> None:
    """Check a table of scores, collected or read from a file.

    Raises:
        DataError: A column is missing, a metric is unknown, or a row comes twice.
    """
    if missing := [column for column in COLUMNS if column not in scores.columns]:
        raise DataError(f"the table of scores has no column {', '.join(missing)}; found {', '.join(scores.columns)}")
    known = (*FACTS_METRICS, *PARTIAL_METRICS, LOCALITY, FACTS_DIVERGENCE)
    others = (metric for metric in set(scores["metric"]) - set(known) if not is_cost(metric))
    if unknown := sorted(metric for metric in others if metric.startswith("facts_")):
        raise DataError(f"unknown metric {', '.join(unknown)} in the scores; known of the facts are {', '.join(known)}")
    repeated = scores[scores.duplicated(_KEY)]
    if len(repeated):
        method, seed, position, metric = repeated.iloc[0][_KEY]
        raise DataError(
            f"{metric} of {method}, seed {seed}, position {position} appears twice in the scores; "
            "each evaluation may be collected once"
        )


def final_position(scores: pd.DataFrame) -> int:
    """The stream's end: the number of facts taught at the last snapshot, the same for every method and seed.

    Raises:
        DataError: There is no method but the start models, or the methods or seeds stop at different positions.
    """
    taught = scores[~scores["method"].isin((BASE, HEALED)) & (scores["position"] > 0)]
    if taught.empty:
        raise DataError("the scores hold the start models only; learn and evaluate at least one method")
    ends = taught.groupby(["method", "seed"])["position"].max()
    if ends.nunique() > 1:
        short, long = ends.idxmin(), ends.idxmax()
        raise DataError(
            f"{short[0]}, seed {short[1]} ends at position {ends.min()}, but {long[0]}, seed {long[1]} at "
            f"{ends.max()}; methods are compared at one position: evaluate the same snapshots of all"
        )
    return int(ends.iloc[0])


def curve(scores: pd.DataFrame, method: str, metric: str) -> pd.DataFrame:
    """One score along the stream.

    Returns:
        Values with a row for each position and a column for each seed, both ascending.

    Raises:
        DataError: There is no such row, or a seed lacks a position that another seed has.
    """
    rows = scores[(scores["method"] == method) & (scores["metric"] == metric)]
    if rows.empty:
        raise DataError(f"the scores hold no {metric} of {method}; evaluate it, or leave the method out")
    values = rows.pivot(index="position", columns="seed", values="value").sort_index(axis=0).sort_index(axis=1)
    if values.isna().any(axis=None):
        position, seed = values.isna().stack().idxmax()
        raise DataError(f"the scores hold no {metric} of {method}, seed {seed}, at position {position}; evaluate it")
    return values


def end_values(scores: pd.DataFrame, method: str, metric: str) -> pd.Series:
    """A score at the stream's end, by seed; for a start model, its only score.

    Raises:
        DataError: There is no such row.
    """
    position = 0 if method in (BASE, HEALED) else final_position(scores)
    if metric in PARTIAL_METRICS:  # a seed may have taught no such fact at earlier positions
        scores = scores[scores["position"] == position]
    values = curve(scores, method, metric)
    if position not in values.index:
        raise DataError(f"the scores hold no {metric} of {method} at position {position}; evaluate that snapshot")
    return values.loc[position]


def retained(scores: pd.DataFrame, method: str, metric: str = "facts_question_f1") -> pd.Series:
    """The score on all facts of the stream at its end, by seed.

    Raises:
        DataError: The metric does not measure the new facts, or there is no such row.
    """
    if metric not in FACTS_METRICS:
        raise DataError(f"{metric} does not measure the new facts; one of {', '.join(FACTS_METRICS)} does")
    return end_values(scores, method, metric)


def start_model(method: str, starts: Mapping[str, str]) -> str:
    """The model that a method is compared with; the healed model itself is compared with the base.

    Args:
        method: A method, or ``"healed"``.
        starts: For each method ``"base"`` or ``"healed"``.

    Raises:
        DataError: The method is not in ``starts``, or starts from something else.
    """
    start = BASE if method == HEALED else starts.get(method)
    if start not in (BASE, HEALED):
        told = f"start {start!r}" if method in starts else "no start"
        raise DataError(f"{method} has {told}; give it {BASE!r} or {HEALED!r}, the model that it is compared with")
    return start


def start_values(scores: pd.DataFrame, method: str, metric: str, starts: Mapping[str, str]) -> pd.Series:
    """A score of the model that a method started from, for exactly the method's seeds.

    Locality is agreement with that very model, so it starts at 1, whatever the model's own row in the table was
    compared with. A divergence is from that very model, so it starts at 0.

    Raises:
        DataError: The start model was not evaluated for one of the seeds.
    """
    start = start_model(method, starts)
    rows = scores[(scores["method"] == start) & (scores["metric"] == metric) & (scores["position"] == 0)]
    values = rows.set_index("seed")["value"]
    if metric == LOCALITY:
        values = values * 0.0 + 1.0
    if is_divergence(metric):
        values = values * 0.0
    seeds = sorted(scores.loc[(scores["method"] == method) & (scores["metric"] == metric), "seed"].unique())
    if missing := [seed for seed in seeds if seed not in values.index]:
        raise DataError(
            f"the scores hold no {metric} of the {start} model (position 0) for seed {', '.join(map(str, missing))}, "
            f"which {method} is compared with; evaluate the {start} model for that seed"
        )
    return values.loc[seeds]


def relative_loss(metric: str, start: float, end: float) -> float:
    """How much worse a score became, as a share of its start: (start - end) / start where higher is better.

    Where lower is better it is the relative rise, (end - start) / start. Negative if the score improved. NaN if the
    start is 0 or below, as a correlation can be: nothing was there to lose a share of.
    """
    if not start > 0:
        return math.nan
    return (start - end if higher_is_better(metric) else end - start) / start


def forgetting(scores: pd.DataFrame, method: str, metric: str, starts: Mapping[str, str]) -> pd.Series:
    """How much worse a held-out score is at the stream's end than in the start model (:func:`relative_loss`), by seed.

    Args:
        scores: The tidy table.
        method: A method of ``starts``, or ``"healed"`` (then: what healing itself cost the base).
        metric: A held-out metric.
        starts: For each method ``"base"`` or ``"healed"``.

    Raises:
        DataError: The metric is not held out, or a row is missing.
    """
    if not is_held_out(metric):
        raise DataError(f"{metric} is not a held-out score; it measures the new facts, which are retained or not")
    after = end_values(scores, method, metric)
    before = start_values(scores, method, metric, starts)
    drops = {seed: relative_loss(metric, before[seed], after[seed]) for seed in after.index}
    return pd.Series(drops, name="drop", dtype=float).rename_axis("seed")


def _rows(evaluation: Mapping) -> list[dict]:
    try:
        method, seed, position = (evaluation[key] for key in ("method", "seed", "position"))
        rows = [
            {"metric": row["metric"], "value": row["value"], "stderr": row["stderr"]} for row in evaluation["scores"]
        ]
    except (KeyError, TypeError) as error:
        known = {key: evaluation.get(key) for key in ("method", "seed", "position")}
        raise DataError(
            f"the evaluation result {known} is incomplete ({error}); delete it and evaluate again"
        ) from error
    for row in rows:
        low, high = (0.0, 1.0) if is_share(row["metric"]) else (-math.inf, math.inf)
        if not isinstance(row["value"], int | float) or not low <= row["value"] <= high or math.isinf(row["value"]):
            expected = "a share in [0, 1]" if is_share(row["metric"]) else "a finite number"
            raise DataError(
                f"{row['metric']} of {method}, seed {seed}, position {position} is {row['value']!r}, "
                f"not {expected}; evaluate it again"
            )
    return [{"method": method, "seed": seed, "position": position, **row} for row in rows]
