"""Scores at the stream's end, over seeds: the summary table, and the same as plain text for a terminal."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from smf.errors import DataError
from smf.scores.metrics import LOCALITY, STALE, TWO_HOP, UPDATED, HeldOutMetric, in_order, is_held_out
from smf.scores.table import BASE, HEALED, check_scores, end_values, forgetting
from smf.scores.words import data_words, loss_word, set_words, short_unit

SUMMARY_COLUMNS = ("method", "metric", "mean", "ci95_low", "ci95_high", "relative_drop", "num_seeds")
WIDTH = 100
"""Terminal width that the text fits, in columns."""
_NAME_WIDTH = 20


class Interval(NamedTuple):
    """A mean over seeds and its 95 % interval; the ends are NaN for a single seed."""

    mean: float
    low: float
    high: float


def mean_interval(values: Iterable[float]) -> Interval:
    """The mean and its 95 % Student t interval: mean ± t(0.975, n - 1) · s / √n, not clipped to [0, 1].

    Args:
        values: One value per seed, at least one. A NaN makes the whole result NaN.
    """
    array = np.asarray(list(values), dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(stdtrit(len(array) - 1, 0.975) * array.std(ddof=1) / math.sqrt(len(array)))
    return Interval(mean, mean - half, mean + half)


def summary_table(scores: pd.DataFrame, starts: Mapping[str, str], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Summarise every score at the stream's end, over seeds.

    Args:
        scores: The tidy table (see :mod:`smf.scores.table`).
        starts: For each method, in the order wanted, the model that it starts from: ``"base"`` or ``"healed"``.
        kinds: The held-out sets by name, each with its kind; they order the metrics.

    Returns:
        The columns of ``SUMMARY_COLUMNS``: the start models first, then the methods in the order of ``starts``.
        ``relative_drop`` is forgetting, averaged over seeds (a relative rise where lower is better); NaN for the new
        facts, for the base, and where a start model scored 0 or below. ``num_seeds`` is how many seeds the mean is of:
        those that taught no fact for one of ``PARTIAL_METRICS`` (:mod:`smf.scores.metrics`) have no such score.

    Raises:
        DataError: A method was not evaluated or is not in ``starts``, or a start model lacks a seed.
    """
    check_scores(scores)
    present = set(scores["method"])
    if strangers := sorted(present - set(starts) - {BASE, HEALED}):
        raise DataError(f"no start model is given for {', '.join(strangers)} of the scores; give it or drop the rows")
    if absent := [method for method in starts if method not in present]:
        raise DataError(f"the scores hold nothing of {', '.join(absent)}; evaluate it or leave the method out")
    rows = []
    for method in [name for name in (BASE, HEALED) if name in present] + list(starts):
        measured = set(scores.loc[scores["method"] == method, "metric"])
        for metric in in_order(measured, kinds):
            drop = math.nan
            if is_held_out(metric) and method != BASE:
                drop = mean_interval(forgetting(scores, method, metric, starts)).mean
            values = end_values(scores, method, metric)
            rows.append((method, metric, *mean_interval(values), drop, len(values)))
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def summary_cell(summary: pd.DataFrame, method: str, metric: str) -> pd.Series:
    """One row of the summary: mean, ends of the interval, relative drop, seeds; all NaN if it was not measured."""
    rows = summary[(summary["method"] == method) & (summary["metric"] == metric)]
    columns = list(SUMMARY_COLUMNS[2:])
    return rows.iloc[0][columns].astype(float) if len(rows) else pd.Series(math.nan, index=columns)


def neighbours_beside(summary: pd.DataFrame, headline: Sequence[HeldOutMetric]) -> bool:
    """Whether locality was measured and is not already shown as a headline metric."""
    return LOCALITY in set(summary["metric"]) and LOCALITY not in {metric.name for metric in headline}


def terminal_summary(
    summary: pd.DataFrame, starts: Mapping[str, str], labels: Mapping, headline: Sequence[HeldOutMetric]
) -> str:
    """The stream's end as plain text for a terminal of 100 columns.

    Args:
        summary: The summary table.
        starts: The methods, in the order wanted.
        labels: Data descriptions: ``held_out`` (a text for each set), ``facts`` and ``notes`` (a list).
        headline: The held-out metrics shown, one or two.
    """
    methods = [name for name in (BASE, HEALED) if name in set(summary["method"])] + list(starts)
    names = [shorten(name, _NAME_WIDTH) for name in methods]
    width = max(len(name) for name in [*names, "method"])
    groups = f"{'':{width}}  {'new facts retained, F1':^34}"
    heads = ["question", "new wording", "as taught"]
    for metric in headline:
        groups += f"   {shorten(set_words(metric, headline), _NAME_WIDTH):^20}"
        heads += [short_unit(metric), loss_word(metric)]
    lines = [groups.rstrip(), _line("method", width, heads)]
    lines.append("-" * len(lines[1]))
    for method, name in zip(methods, names, strict=True):
        cells = [
            _value(summary_cell(summary, method, f"facts_{kind}_f1"), 2) for kind in ("question", "unseen", "seen")
        ]
        for metric in headline:
            cell = summary_cell(summary, method, metric.name)
            cells += [_value(cell, 3), percent(cell["relative_drop"])]
        lines.append(_line(name, width, cells))
    beside = {
        "Neighbours of the facts, unchanged": (LOCALITY,) if neighbours_beside(summary, headline) else (),
        "Two-hop questions": (TWO_HOP,),
        "Replaced facts, new and outdated answer": (UPDATED, STALE),
    }
    for title, metrics in beside.items():
        if set(metrics) & set(summary["metric"]):
            cells = [
                " ".join([name, " and ".join(_value(summary_cell(summary, method, each), 2) for each in metrics)])
                + _fewer_seeds(summary, method, metrics)
                for method, name in zip(methods, names, strict=True)
            ]
            lines += ["", *textwrap.wrap(f"{title} (F1): {', '.join(cells)}", WIDTH)]
    lower = any(not metric.higher_is_better for metric in headline)
    notes = [
        "At the end of the stream: mean over seeds ± 95 % interval (none for a single seed). "
        f"A {'drop or rise' if lower else 'drop'} is relative to the "
        "model that the method started from (healed with memory, base without); negative: better than before."
        + (" Of losses and perplexities a lower value is better." if lower else ""),
        f"New facts: {labels['facts']}. {data_words(labels, headline)}",
        *labels.get("notes", ()),
    ]
    wrapped = [line for note in notes for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([*lines, "", *wrapped]) + "\n"


def percent(share: float) -> str:
    """A share as per cent with one decimal; a dash where it is not defined."""
    return "–" if math.isnan(share) else f"{rounded(100 * share, 1)} %"


def shorten(name: str, width: int) -> str:
    """A name cut to ``width`` characters, the cut shown."""
    return name if len(name) <= width else name[: width - 1] + "…"


def _value(cell: pd.Series, decimals: int) -> str:
    if math.isnan(cell["mean"]):
        return "–"
    text = rounded(cell["mean"], decimals)
    half = cell["ci95_high"] - cell["mean"]
    return text if math.isnan(half) else f"{text} ±{half:.{decimals}f}"


def _fewer_seeds(summary: pd.DataFrame, method: str, metrics: Sequence[str]) -> str:
    """How many of a method's seeds have some metrics, if not all; metrics shown together have the same seeds."""
    rows = summary[summary["method"] == method]
    have, seeds = rows.loc[rows["metric"].isin(metrics), "num_seeds"].min(), rows["num_seeds"].max()
    return f" ({have:.0f} of {seeds} seeds)" if have < seeds else ""


def _line(name: str, width: int, cells: Iterable[str]) -> str:
    columns = (11, 11, 10, 12, 7, 12, 7)
    return f"{name:{width}} " + " ".join(f"{cell:>{size}}" for cell, size in zip(cells, columns, strict=False))


def rounded(value: float, decimals: int) -> str:
    """Format a number for text and figures: halves round by their binary value, and zero has no sign."""
    text = f"{value:.{decimals}f}"  # numpy rounds halves differently
    return text if float(text) else text.removeprefix("-")
