"""The leaderboard's rows: each method of an experiment with everything measured of it, and the command of its runs."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from smf.errors import DataError
from smf.scores.columns import require_columns
from smf.scores.metrics import FACTS_METRICS, LOCALITY, in_order, is_divergence, is_held_out
from smf.scores.summary import mean_interval
from smf.scores.table import check_scores, end_values, final_position, forgetting

FIRST_COLUMNS = ("experiment", "model", "method", "label", "seeds", "num_facts")
COSTS = ("tokens_per_fact", "seconds_per_fact", "bytes_per_fact")
COMMAND = "command"
_ENDS = ("_ci95_low", "_ci95_high")


@dataclass(frozen=True)
class About:
    """What the rows of an experiment have in common.

    Attributes:
        results: The experiment's folder, relative to where the command is run.
        model: The base model.
        labels: A few words on each method.
        kinds: The held-out sets by name, each with its kind.
        options: Options of the command besides its target.
    """

    results: str
    model: str
    labels: Mapping[str, str]
    kinds: Mapping[str, str]
    options: Sequence[str] = ()


def leaderboard_table(
    scores: pd.DataFrame, costs: pd.DataFrame, starts: Mapping[str, str], about: About
) -> pd.DataFrame:
    """Build the rows of one experiment: one for each method, at the stream's end.

    Args:
        scores: The tidy table (see :mod:`smf.scores.table`).
        costs: Its costs (:func:`smf.analysis.costs.costs_table`).
        starts: For each method, in the order wanted, the model that it starts from: ``"base"`` or ``"healed"``.
        about: What the rows have in common.

    Returns:
        The columns of ``FIRST_COLUMNS``, then the measures, each followed by the ends of its 95 % interval over seeds:
        the scores of the new facts, locality, divergences and, as ``<metric>_drop``, the relative drop (or rise) of
        each held-out score; then ``COSTS`` as means over seeds, and the command that makes the row's runs again.

    Raises:
        DataError: A method was not evaluated.
    """
    check_scores(scores)
    end = final_position(scores)
    measures = [*reversed(FACTS_METRICS), LOCALITY, *in_order(set(scores["metric"]), about.kinds)]
    rows = []
    for method in starts:
        measured = set(scores.loc[scores["method"] == method, "metric"])
        seeds = sorted(scores.loc[scores["method"] == method, "seed"].unique().tolist())
        row = dict(
            zip(
                FIRST_COLUMNS,
                (about.results, about.model, method, about.labels.get(method, ""), len(seeds), end),
                strict=True,
            )
        )
        for metric in dict.fromkeys(measures):
            if metric in measured:
                row |= _measure(scores, method, metric, starts)
        row |= costs.loc[costs["method"] == method, list(COSTS)].mean().to_dict()
        row[COMMAND] = command(about, method, seeds, end)
        rows.append(row)
    return _ordered(pd.DataFrame(rows))


def joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Rows of several experiments in one table; what an experiment did not measure is NaN.

    Raises:
        DataError: There is no table, or one is no leaderboard.
    """
    tables = list(tables)
    if not tables:
        raise DataError("a leaderboard of nothing: name at least one experiment's folder")
    for table in tables:
        require_columns("leaderboard", table, [*FIRST_COLUMNS, COMMAND])
    return _ordered(pd.concat(tables, ignore_index=True))


def measures_of(table: pd.DataFrame) -> list[str]:
    """The columns that hold numbers to compare methods by."""
    others = {*FIRST_COLUMNS, COMMAND}
    return [name for name in table.columns if name not in others and not name.endswith(_ENDS)]


def command(about: About, method: str, seeds: Sequence[int], position: int) -> str:
    """The command that makes a method's runs, for a shell that expands braces."""
    numbers = ",".join(map(str, seeds))
    chosen = f"{{{numbers}}}" if len(seeds) > 1 else numbers
    # quoted in two parts, because a shell expands no braces within quotes
    before, after = (
        shlex.quote(part) for part in (f"{about.results}/runs/{method}/seed-", f"/evaluate/position-{position}.json")
    )
    return " ".join([f"snakemake --cores 1 {before}{chosen}{after}", *map(shlex.quote, about.options)])


def _measure(scores: pd.DataFrame, method: str, metric: str, starts: Mapping[str, str]) -> dict[str, float]:
    relative = is_held_out(metric) and metric != LOCALITY and not is_divergence(metric)
    values = forgetting(scores, method, metric, starts) if relative else end_values(scores, method, metric)
    name = f"{metric}_drop" if relative else metric
    return dict(zip((name, *(f"{name}{end}" for end in _ENDS)), mean_interval(values), strict=True))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """The command last, costs before it; measures as they come."""
    last = [name for name in (*COSTS, COMMAND) if name in table.columns]
    return table[[*(name for name in table.columns if name not in last), *last]]
