"""The table of scores between a start model and what a method learned."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from smf.errors import DataError
from smf.scores.columns import require_columns
from smf.scores.metrics import is_held_out
from smf.scores.table import end_values, forgetting, relative_loss, scores_table, start_values

INTERPOLATION_COLUMNS = ("method", "seed", "share", "metric", "value", "forgetting")
"""One row per method, seed, share and metric.

``share``: 0 for the start model, 1 for what was learned, between them that share of the way. ``forgetting``: how much
worse a held-out score is than the start model's (:func:`smf.scores.table.forgetting`); empty for scores on new facts.
"""


def interpolation_table(
    at_start: Iterable[Mapping], by_share: Mapping[float, Iterable[Mapping]], starts: Mapping[str, str]
) -> pd.DataFrame:
    """Build the table.

    Args:
        at_start: Evaluations of the start models, see :func:`smf.scores.table.scores_table`: share 0.
        by_share: Evaluations of all methods at the stream's end, by share above 0.
        starts: For each method, in the order wanted, the model that it starts from: ``"base"`` or ``"healed"``.

    Returns:
        The columns of ``INTERPOLATION_COLUMNS``, by method in the order of ``starts``, then by seed, share and metric.

    Raises:
        DataError: An evaluation is missing, damaged or there twice.
    """
    at_start = list(at_start)
    tables = {share: scores_table([*at_start, *by_share[share]]) for share in sorted(by_share)}
    parts = []
    for method in starts:
        for share, scores in tables.items():
            for metric in sorted(scores.loc[scores["method"] == method, "metric"].unique()):
                before, after = start_values(scores, method, metric, starts), end_values(scores, method, metric)
                lost = forgetting(scores, method, metric, starts) if is_held_out(metric) else math.nan
                rows = {"method": method, "seed": after.index, "share": share, "metric": metric}
                parts.append(pd.DataFrame({**rows, "value": after.to_numpy(), "forgetting": lost}))
                if share == max(tables):
                    nothing = [relative_loss(metric, value, value) for value in before] if is_held_out(metric) else lost
                    parts.append(
                        pd.DataFrame({**rows, "share": 0.0, "value": before.to_numpy(), "forgetting": nothing})
                    )
    table = pd.concat(parts, ignore_index=True)
    order = {method: place for place, method in enumerate(starts)}
    table = table.sort_values(
        ["method", "seed", "share", "metric"],
        key=lambda column: column.map(order) if column.name == "method" else column,
        ignore_index=True,
    )
    return table[list(INTERPOLATION_COLUMNS)]


def values_by_share(table: pd.DataFrame, method: str, metric: str, column: str) -> pd.DataFrame:
    """A method's values of a metric, or its forgetting: a row for each share and a column for each seed, ascending.

    Raises:
        DataError: There are none, or a seed lacks a share that another seed has.
    """
    require_columns("table of interpolation", table, INTERPOLATION_COLUMNS)
    rows = table[(table["method"] == method) & (table["metric"] == metric)]
    values = rows.pivot(index="share", columns="seed", values=column).sort_index(axis=0).sort_index(axis=1)
    if values.empty or values.isna().any(axis=None):
        raise DataError(
            f"the table of interpolation lacks {column} of {metric} of {method}; evaluate it at every share, and train "
            "the base until it can forget something"
        )
    return values
