"""Every pair of methods at the stream's end, on the same seeds: how far apart, and whether that could be chance."""

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd

from smf.errors import DataError
from smf.scores.metrics import LOCALITY
from smf.scores.paired import effect_size, holm, p_values
from smf.scores.summary import mean_interval
from smf.scores.table import check_scores, end_values, forgetting, retained

PAIRS_COLUMNS = (
    "measure",
    "method_a",
    "method_b",
    "num_seeds",
    "difference",
    "ci95_low",
    "ci95_high",
    "effect_size",
    "p_t_test",
    "p_holm",
    "p_sign_flip",
)


def pairs_table(scores: pd.DataFrame, starts: Mapping[str, str], headline: Sequence[str], learned: str) -> pd.DataFrame:
    """Test every unordered pair of methods on what was learned, what was forgotten, and on locality if it was measured.

    Args:
        scores: The tidy table (see :mod:`smf.scores.table`).
        starts: For each method, in the order wanted, the model that it starts from: ``"base"`` or ``"healed"``.
        headline: Held-out metrics; each gives a measure ``<metric>_drop``, its relative drop (or rise).
        learned: The metric of the new facts that says what is retained.

    Returns:
        A row for each measure and pair, with the columns of ``PAIRS_COLUMNS``. ``difference`` is the first method's
        value less the second's, averaged over seeds, with its 95 % Student t interval; ``effect_size`` and the p
        values are those of :mod:`smf.scores.paired`. ``p_holm`` corrects the t test for all pairs of a measure. What is
        not defined is NaN: tests with one seed, drops of what the start model scores 0 or below on, the t test of a
        difference that is the same on all seeds and not 0.

    Raises:
        DataError: A method was not evaluated, or two methods differ in their seeds.
    """
    check_scores(scores)
    measures: dict[str, dict[str, pd.Series]] = {learned: {name: retained(scores, name, learned) for name in starts}}
    for metric in headline:
        measures[f"{metric}_drop"] = {name: forgetting(scores, name, metric, starts) for name in starts}
    if LOCALITY in set(scores["metric"]) and LOCALITY not in headline:
        measures[LOCALITY] = {name: end_values(scores, name, LOCALITY) for name in starts}
    parts = [_pairs(measure, values) for measure, values in measures.items()]
    return pd.concat(parts, ignore_index=True)[list(PAIRS_COLUMNS)]


def _pairs(measure: str, values: Mapping[str, pd.Series]) -> pd.DataFrame:
    rows = []
    for one, other in itertools.combinations(values, 2):
        if sorted(values[one].index) != sorted(values[other].index):
            raise DataError(
                f"{one} has {measure} of the seeds {sorted(values[one].index)}, {other} of "
                f"{sorted(values[other].index)}; methods are compared on the same seeds: evaluate the missing ones"
            )
        differences = (values[one] - values[other]).to_numpy()
        by_t, by_flip = p_values(differences)
        row = (measure, one, other, len(differences), *mean_interval(differences), effect_size(differences))
        rows.append(dict(zip(PAIRS_COLUMNS, (*row, by_t, float("nan"), by_flip), strict=True)))
    table = pd.DataFrame(rows, columns=list(PAIRS_COLUMNS))
    table["p_holm"] = holm(table["p_t_test"])
    return table
