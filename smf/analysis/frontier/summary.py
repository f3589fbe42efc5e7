"""Compare methods by their fronts: numbers for each front with intervals, and tests of whether two methods differ.

Settings are averaged over seeds first and the front is that of the means: the best of many single runs would be the
luckiest, and luckier the more settings a method has. For the same reason tests compare single settings that were chosen
on other seeds (:func:`paired_tests`). Intervals come from resampled seeds, the same for all methods
(:mod:`smf.analysis.frontier.bootstrap`); with few seeds they tend to be too short.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from smf.analysis.frontier import fronts
from smf.analysis.frontier.bootstrap import percentile_interval, resampled_seeds
from smf.analysis.frontier.table import check_frontier
from smf.errors import DataError
from smf.scores.paired import holm, p_values
from smf.scores.summary import mean_interval

LEVELS = (0.5, 0.7, 0.8)
"""Retained shares at which forgetting is reported."""
COMPARED = 0.8
"""The level at which pairs of methods are compared."""
_COSTS = ["tokens_per_fact", "seconds_per_fact"]
_ENDS = ("", "_ci95_low", "_ci95_high")

Values = tuple[np.ndarray, np.ndarray]
"""A method's retained shares and its forgetting, each seeds × settings."""


def at_level(level: float) -> str:
    """The column of the forgetting at a retained level."""
    return f"forgetting_at_{level:g}"


def summary_columns() -> tuple[str, ...]:
    """The columns of the summary of fronts."""
    levels = [at_level(level) for level in LEVELS]
    intervals = [f"{name}_{end}" for name in levels for end in ("ci95_low", "ci95_high")]
    first = ("method", "hypervolume", "hypervolume_ci95_low", "hypervolume_ci95_high")
    return (*first, *levels, *intervals, *_COSTS, "reference", "num_seeds")


def summary(frontier: pd.DataFrame, reference: float) -> pd.DataFrame:
    """Summarise each method's front in numbers.

    Args:
        frontier: The table of runs (:func:`smf.analysis.frontier.table.frontier_table`).
        reference: The largest forgetting that the hypervolume averages over, a share above 0.

    Returns:
        A row for each method, in the order of the table, with the columns of :func:`summary_columns`:

        * ``hypervolume``: the retained share averaged over budgets of forgetting from 0 to ``reference``
          (:func:`smf.analysis.frontier.fronts.hypervolume`).
        * ``forgetting_at_L``: the least forgetting, a share and not cut off at the reference, at which ``L`` is
          retained (:func:`smf.analysis.frontier.fronts.forgetting_at`); NaN where it never is.
        * 95 % percentile intervals over resampled seeds, NaN for one seed. Resamples that do not reach a level count
          as infinite forgetting: if the lower end is a number and the upper one NaN, the interval has no upper bound.
        * the tokens and seconds per fact, means over the method's runs; the reference; the number of seeds.

    Raises:
        DataError: The table is incomplete, methods differ in their seeds, or the reference is not above 0.
    """
    values = _by_method(frontier)
    fronts.check_reference(reference)
    num_seeds = frontier["seed"].nunique()
    measures = {"hypervolume": None, **{at_level(level): level for level in LEVELS}}
    rows = []
    for method, (retained, forgetting) in values.items():
        row = {"method": method, "reference": reference, "num_seeds": num_seeds}
        row |= frontier.loc[frontier["method"] == method, _COSTS].mean().to_dict()
        means, resampled = (_mean_of(retained, forgetting, draw) for draw in (None, resampled_seeds(num_seeds)))
        for name, level in measures.items():
            row[name] = _finite(_measure(*means, level, reference))
            ends = (
                percentile_interval(_measure(*resampled, level, reference)) if num_seeds > 1 else (math.nan, math.nan)
            )
            row[f"{name}_ci95_low"], row[f"{name}_ci95_high"] = ends
        rows.append(row)
    return pd.DataFrame(rows)[list(summary_columns())]


def pair_columns() -> tuple[str, ...]:
    """The columns of the table of pairs."""
    names = [f"{name}_difference" for name in ("hypervolume", at_level(COMPARED), "chosen")]
    intervals = [f"{name}{end}" for name in names for end in _ENDS]
    return ("method_a", "method_b", *intervals, "p_t_test", "p_holm", "p_sign_flip", "num_seeds")


def paired_tests(frontier: pd.DataFrame, chosen: Mapping[str, str], reference: float) -> pd.DataFrame:
    """Compare two methods by their fronts, and test whether they differ at their chosen settings, pair by pair.

    The p values do not compare fronts. The front of a single seed is the best of many single runs, so that a method
    with more settings seems better than its equal; jackknife pseudo-values of the front of means keep a part of that
    bias. A setting chosen on other seeds has none, however many were tried.

    Args:
        frontier: The table of runs.
        chosen: The setting of each method, chosen on seeds that are not in the table
            (:func:`smf.analysis.frontier.table.settings_table`).
        reference: The largest forgetting that the hypervolume averages over, a share above 0.

    Returns:
        A row for each unordered pair, in the order of the table, with the columns of :func:`pair_columns`. Differences
        are the first method's value less the second's:

        * of fronts, with 95 % percentile intervals over resampled seeds: of the hypervolume (above 0: the first is
          better) and of the forgetting at which ``COMPARED`` is retained (above 0: the first is worse; NaN if one never
          gets there; a NaN end is unbounded).
        * of the hypervolumes of the chosen settings alone, seed by seed, then averaged (``chosen_difference``), with a
          95 % Student t interval. The p values are of this difference: the paired t test, the same corrected for the
          number of pairs (:func:`smf.scores.paired.holm`), and the sign-flip test
          (:func:`smf.scores.paired.p_values`), not corrected.

        With one seed there are no intervals and no p values (NaN).

    Raises:
        DataError: As :func:`summary`, or a method has no run at its chosen setting.
    """
    values = _by_method(frontier)
    fronts.check_reference(reference)
    num_seeds = frontier["seed"].nunique()
    levels = {"hypervolume": None, at_level(COMPARED): COMPARED}
    draws = resampled_seeds(num_seeds)
    means: dict[str, dict[str, np.ndarray]] = {}
    resampled: dict[str, dict[str, np.ndarray]] = {}
    at_choice = {method: _at_setting(frontier, method, chosen.get(method), reference) for method in values}
    for method, (retained, forgetting) in values.items():
        for found, draw in ((means, None), (resampled, draws)):
            averaged = _mean_of(retained, forgetting, draw)
            found[method] = {name: _measure(*averaged, level, reference) for name, level in levels.items()}
    rows = []
    for one, other in itertools.combinations(values, 2):
        row = {"method_a": one, "method_b": other, "num_seeds": num_seeds}
        for name in levels:
            column = f"{name}_difference"
            row[column] = _finite(_difference(means[one][name], means[other][name]))
            ends = (math.nan, math.nan)
            if num_seeds > 1:
                ends = percentile_interval(_difference(resampled[one][name], resampled[other][name]))
            row[f"{column}_ci95_low"], row[f"{column}_ci95_high"] = ends
        differences = at_choice[one] - at_choice[other]
        row |= {f"chosen_difference{end}": value for end, value in zip(_ENDS, mean_interval(differences), strict=True)}
        row["p_t_test"], row["p_sign_flip"] = p_values(differences)
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(pair_columns()))
    table["p_holm"] = holm(table["p_t_test"])
    return table


def _by_method(frontier: pd.DataFrame) -> dict[str, Values]:
    check_frontier(frontier)
    found = {}
    for method, part in frontier.groupby("method", sort=False):
        kept, lost = (
            part.pivot(index="seed", columns="setting", values=name).sort_index().to_numpy()
            for name in ("retained", "forgetting")
        )
        found[method] = kept, lost
    return found


def _at_setting(frontier: pd.DataFrame, method: str, setting: str | None, reference: float) -> np.ndarray:
    """The hypervolume of one setting alone, by seed."""
    rows = frontier[(frontier["method"] == method) & (frontier["setting"] == setting)].sort_values("seed")
    if rows.empty:
        raise DataError(f"{method} has no run at its chosen setting {setting!r}; make the table of settings again")
    return fronts.hypervolume(rows[["retained"]].to_numpy(), rows[["forgetting"]].to_numpy(), reference)


def _mean_of(retained: np.ndarray, forgetting: np.ndarray, draws: np.ndarray | None) -> Values:
    """Means over seeds, by setting; with ``draws``, for each resample."""
    if draws is None:
        return retained.mean(axis=0), forgetting.mean(axis=0)
    return retained[draws].mean(axis=1), forgetting[draws].mean(axis=1)


def _measure(retained: np.ndarray, forgetting: np.ndarray, level: float | None, reference: float) -> np.ndarray:
    """The forgetting at a level or, without a level, the hypervolume."""
    if level is None:
        return fronts.hypervolume(retained, forgetting, reference)
    return fronts.forgetting_at(retained, forgetting, level)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One less the other; NaN where both are infinite."""
    with np.errstate(invalid="ignore"):
        return one - other


def _finite(value: np.ndarray) -> float:
    return float(value) if np.isfinite(value) else math.nan
