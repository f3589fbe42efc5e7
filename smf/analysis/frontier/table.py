"""Each method at several strengths: what it retains against what it forgets, as tables of runs and of settings.

A *point* is a run: a method at one setting. At a single setting, the choice of its strength can make a method look
better or worse. Over several settings a method has a front (:mod:`smf.analysis.frontier.fronts`), and fronts are
compared. Shares lie between 0 and 1, except for forgetting (:func:`smf.scores.table.forgetting`), which may lie
outside. Tokens and seconds are means per fact of a run.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from smf.analysis.tuning.rule import RETAINED, best_of, check_same_seeds, retained_column, tuning_score
from smf.errors import DataError
from smf.scores.columns import require_columns
from smf.scores.summary import mean_interval
from smf.scores.table import BASE, HEALED, check_scores, forgetting, retained

FRONTIER_COLUMNS = ("method", "setting", "seed", "retained", "forgetting", "tokens_per_fact", "seconds_per_fact")
_UNSEEN = "retained_unseen_f1"

Points = Mapping[str, tuple[str, str]]
"""The method of each run, and its setting in words, such as ``learning_rate 3000``."""


def settings_columns(headline: Sequence[str]) -> tuple[str, ...]:
    """The columns of the table of settings; each held-out metric of the headline has one, ``<metric>_drop``."""
    intervals = [f"{name}{end}" for name in ("retained", "forgetting") for end in ("", "_ci95_low", "_ci95_high")]
    drops = [f"{metric}_drop" for metric in headline]
    return ("method", "setting", "num_seeds", *intervals, *drops, _UNSEEN, "tuning_score", "chosen")


def frontier_table(
    scores: pd.DataFrame,
    points: Points,
    starts: Mapping[str, str],
    headline: Sequence[str],
    learned: str,
    costs: Mapping[tuple[str, int], tuple[float, float]],
) -> pd.DataFrame:
    """Build the table of every run of every point: what it retained, what it forgot and what it cost.

    Args:
        scores: The tidy table (see :mod:`smf.scores.table`); its methods are the names of runs, and the start
            models.
        points: The runs; a method's settings keep their order.
        starts: For each method, in the order wanted, the model that it starts from: ``"base"`` or ``"healed"``.
        headline: Held-out metrics; forgetting is the relative drop (or rise) of the first.
        learned: The metric of the new facts that says what is retained.
        costs: For each run and seed, the mean tokens and the mean seconds per fact.

    Returns:
        A row for each run and seed, with the columns of ``FRONTIER_COLUMNS``.

    Raises:
        DataError: A run was not evaluated, has no costs or names an unknown method, two runs are the same setting of a
            method, runs differ in their seeds, or a start model knows nothing, so that no drop is defined.
    """
    check_scores(scores)
    parts = []
    for run, method, setting in _ordered(points, starts):
        kept = retained(scores, run, learned)
        lost = _forgotten(scores, run, method, starts, headline[0])
        spent = [_cost(costs, run, seed) for seed in kept.index]
        part = pd.DataFrame(
            {"seed": kept.index, "retained": kept.to_numpy(), "forgetting": lost[kept.index].to_numpy()}
        )
        part[["tokens_per_fact", "seconds_per_fact"]] = pd.DataFrame(spent, dtype=float)
        parts.append(part.assign(method=method, setting=setting))
    table = pd.concat(parts, ignore_index=True)[list(FRONTIER_COLUMNS)]
    check_frontier(table)
    return table


def settings_table(
    scores: pd.DataFrame,
    tuning_scores: pd.DataFrame,
    points: Points,
    starts: Mapping[str, str],
    headline: Sequence[str],
    learned: str,
    tuned_by: str | None,
) -> pd.DataFrame:
    """Average every setting over its seeds, and mark each method's choice by the tuning rule, made on other seeds.

    Args:
        scores: The tidy table of the runs that are shown.
        tuning_scores: The tidy table of the same runs on tuning seeds; used only by the rule
            (:func:`smf.analysis.tuning.rule.tuning_score`).
        points: The runs; the first of a method's equally good settings is chosen.
        starts: For each method, in the order wanted, the model that it starts from.
        headline: Held-out metrics; forgetting, in the table and in the rule, is that of the first.
        learned: The metric of the new facts that says what is retained.
        tuned_by: The metric of the new facts that the rule weighs (:func:`smf.analysis.tuning.rule.retained_column`).

    Returns:
        A row for each setting, with the columns of :func:`settings_columns`: means and 95 % Student t intervals over
        seeds (NaN for one seed). ``retained_unseen_f1`` is NaN where no unseen wording was asked.

    Raises:
        DataError: As :func:`frontier_table`; also where tuning runs of a method differ in their seeds, or a seed is
            both shown and tuned on.
    """
    check_scores(scores)
    check_scores(tuning_scores)
    ordered = _ordered(points, starts)
    _check_apart(scores, tuning_scores, points)
    asked = RETAINED[retained_column(tuning_scores, tuned_by)]
    unseen = scores.loc[scores["metric"] == RETAINED[_UNSEEN], "method"].unique()
    rows = []
    for run, method, setting in ordered:
        drops = {metric: _forgotten(scores, run, method, starts, metric) for metric in headline[:1]}
        drops |= {metric: forgetting(scores, run, metric, {run: starts[method]}) for metric in headline[1:]}
        kept = retained(scores, run, learned)
        rows.append(
            {
                "method": method,
                "setting": setting,
                "num_seeds": len(kept),
                **_interval("retained", kept),
                **_interval("forgetting", drops[headline[0]]),
                **{f"{metric}_drop": drop.mean(skipna=False) for metric, drop in drops.items()},
                _UNSEEN: retained(scores, run, RETAINED[_UNSEEN]).mean() if run in unseen else float("nan"),
                "tuning_score": tuning_score(tuning_scores, run, method, starts[method], headline[0], asked),
            }
        )
    table = pd.DataFrame(rows)
    for method in table["method"].unique():
        check_same_seeds(tuning_scores, [run for run, owner, _ in ordered if owner == method])
    best = [best_of(part["tuning_score"]) for _, part in table.groupby("method")]
    table["chosen"] = table.index.isin(best)
    return table[list(settings_columns(headline))]


def check_frontier(frontier: pd.DataFrame) -> None:
    """Check a table of runs, made or read from a file.

    Raises:
        DataError: A column is missing, there is no row, a value is missing or out of its range, a run comes twice, or
            a setting lacks a seed that another setting, of this or of another method, has.
    """
    require_columns("frontier table", frontier, FRONTIER_COLUMNS)
    if frontier.empty:
        raise DataError("the frontier table is empty; run at least one method at one setting")
    for column in ("retained", "forgetting", "tokens_per_fact", "seconds_per_fact"):
        values = frontier[column]
        wrong = frontier[values.isna() | (values.abs() == float("inf"))]
        if column == "retained":
            wrong = frontier[~values.between(0, 1)]
        if len(wrong):
            row = wrong.iloc[0]
            expected = "a share in [0, 1]" if column == "retained" else "a finite number"
            raise DataError(
                f"the frontier table has {column} {row[column]} for {row['method']} at {row['setting']}, "
                f"seed {row['seed']}, not {expected}; evaluate that run again"
            )
    repeated = frontier[frontier.duplicated(["method", "setting", "seed"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise DataError(
            f"{row['method']} at {row['setting']}, seed {row['seed']} appears twice in the frontier table; drop one"
        )
    seeds = {key: sorted(part.tolist()) for key, part in frontier.groupby(["method", "setting"], sort=False)["seed"]}
    first = next(iter(seeds))
    for key, found in seeds.items():
        if found != seeds[first]:
            raise DataError(
                f"{first[0]} at {first[1]} has the seeds {seeds[first]}, {key[0]} at {key[1]} has {found}; "
                "fronts are compared on the same seeds: run the missing ones"
            )


def _ordered(points: Points, starts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Runs with their method and setting, by method in the order of ``starts``, then as given."""
    if not points:
        raise DataError("no points; run at least one method at one setting")
    seen: dict[tuple[str, str], str] = {}
    for run, (method, setting) in points.items():
        if method not in starts:
            raise DataError(f"run {run} is of the unknown method {method}; known are {', '.join(starts)}")
        if run in (BASE, HEALED):
            raise DataError(f"a run is named {run}, as a start model is; give the point another name")
        if not setting:
            raise DataError(f"run {run} has no setting; name the one at which {method} ran")
        if (method, setting) in seen:
            raise DataError(f"runs {seen[method, setting]} and {run} are both {method} at {setting}; drop one")
        seen[method, setting] = run
    return [(run, *points[run]) for method in starts for run in points if points[run][0] == method]


def _check_apart(scores: pd.DataFrame, tuning_scores: pd.DataFrame, points: Points) -> None:
    shown, tuned = (
        set(table.loc[table["method"].isin(points), "seed"].unique().tolist()) for table in (scores, tuning_scores)
    )
    if both := sorted(shown & tuned):
        raise DataError(
            f"seed {both[0]} is in the scores and in the tuning scores; settings must be chosen on separate seeds: "
            "correct seeds or tuning.seeds"
        )


def _forgotten(scores: pd.DataFrame, run: str, method: str, starts: Mapping[str, str], metric: str) -> pd.Series:
    lost = forgetting(scores, run, metric, {run: starts[method]})
    if lost.isna().any():
        raise DataError(
            f"the {starts[method]} model has {metric} 0 or below for seed {lost.isna().idxmax()}, so nothing can be "
            f"forgotten and {method} has no front; train the base until it answers held-out questions, or put another "
            "metric first in evaluation.headline"
        )
    return lost


def _cost(costs: Mapping[tuple[str, int], tuple[float, float]], run: str, seed: int) -> tuple[float, float]:
    if (run, seed) not in costs:
        raise DataError(f"no costs are given for run {run}, seed {seed}; read its learn/facts.jsonl")
    return costs[run, seed]


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    mean, low, high = mean_interval(values)
    return {name: mean, f"{name}_ci95_low": low, f"{name}_ci95_high": high}
