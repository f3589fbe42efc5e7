"""The table of what memories of several sizes retain and forget along a stream."""

from collections.abc import Mapping

import pandas as pd

from smf.errors import DataError
from smf.scores.table import curve, relative_loss, start_values

SCALING_COLUMNS = ("method", "num_keys", "num_layers", "seed", "position", "retained", "forgetting")


def scaling_table(
    scores: Mapping[tuple[int, int], pd.DataFrame], starts: Mapping[str, str], learned: str, metric: str
) -> pd.DataFrame:
    """Build the table with one row per memory size, method, seed and snapshot.

    Args:
        scores: The tidy table of runs and start models of each size. A size is the number of sub-keys per half (a layer
            has its square in slots) and the number of memory layers.
        starts: For each method the model that it starts from.
        learned: The metric of the new facts, of all facts taught so far.
        metric: The held-out metric; forgetting is its relative loss (:func:`smf.scores.table.relative_loss`).

    Returns:
        The columns of ``SCALING_COLUMNS``, by method, size, seed and position.

    Raises:
        DataError: There are no scores, or a row is missing.
    """
    if not scores:
        raise DataError("no size of memory was scored; run at least one")
    rows = []
    for method in starts:
        for (num_keys, num_layers), table in sorted(scores.items()):
            retained, held_out = curve(table, method, learned), curve(table, method, metric)
            before = start_values(table, method, metric, starts)
            for seed in retained.columns:
                for position in retained.index:
                    lost = relative_loss(metric, before[seed], held_out.loc[position, seed])
                    size = (method, num_keys, num_layers, int(seed), int(position))
                    rows.append((*size, retained.loc[position, seed], lost))
    return pd.DataFrame(rows, columns=list(SCALING_COLUMNS))
