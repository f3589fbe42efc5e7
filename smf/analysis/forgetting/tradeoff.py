"""The trade-off at the stream's end, as the papers plot it: learned against forgotten."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from smf.figures.direct_labels import place_labels
from smf.figures.legend import NAME_WIDTH
from smf.figures.method_dots import draw_arrow
from smf.figures.style import FAINT, GREY, SMALL, MethodStyle
from smf.scores.summary import Interval, mean_interval, shorten, summary_cell
from smf.scores.table import forgetting, retained


def draw_tradeoff(
    axes: Axes,
    scores: pd.DataFrame,
    summary: pd.DataFrame,
    starts: Mapping[str, str],
    styles: Mapping[str, MethodStyle],
    metric: str,
    learned: str,
) -> None:
    """Draw a point for every method: ``learned`` new facts against the forgetting of a held-out metric, per cent.

    Means are those of the summary; the small points are single seeds. An interval that leaves the panel ends in an
    arrow at its edge. A method whose start model scored 0 or below has no drop: it is named in the panel instead.
    """
    drops = {method: 100 * forgetting(scores, method, metric, starts) for method in starts}
    retention = {method: retained(scores, method, learned) for method in starts}
    shown = [method for method in starts if not drops[method].isna().any()]
    means = {
        method: (
            100 * summary_cell(summary, method, metric)["relative_drop"],
            summary_cell(summary, method, learned)["mean"],
        )
        for method in shown
    }
    _limits(axes, [drops[method] for method in shown])
    ideal = _mark_ideal(axes)
    for method in shown:
        style = styles[method]
        sideways, upward = mean_interval(drops[method]), mean_interval(retention[method])
        several = len(drops[method]) > 1
        if several:
            axes.plot(
                drops[method], retention[method], style.marker, color=style.colour, markersize=3.6, alpha=0.45,
                markeredgewidth=0, zorder=2.8,
            )  # fmt: skip
        axes.errorbar(
            *means[method], xerr=_reach(sideways) if several else None, yerr=_reach(upward) if several else None,
            fmt=style.marker, color=style.colour, markersize=8.5, markeredgecolor="white", markeredgewidth=0.8,
            elinewidth=1.2, zorder=3,
        )  # fmt: skip
        _mark_cuts(axes, sideways, upward, style.colour)
    if absent := [method for method in starts if method not in shown]:
        note = "not shown, its start model answers nothing: " + ", ".join(absent)
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", fontsize=SMALL, color=GREY, wrap=True)
    place_labels(
        axes,
        ideal,
        means,
        {method: shorten(method, NAME_WIDTH) for method in shown},
        {method: styles[method].colour for method in shown},
        [(0.0, float(y)) for y in np.linspace(0, 1, 41)]
        + [place for method in shown for place in zip(drops[method], retention[method], strict=True)]
        + [place for method in shown for place in _bars(drops[method], retention[method])],
    )


def _limits(axes: Axes, drops: list[pd.Series]) -> None:
    """Set limits that hold every seed and, within reason, the intervals: an interval of three seeds can be wide."""
    seeds = np.concatenate([values.to_numpy() for values in drops]) if drops else np.zeros(1)
    ends = [mean_interval(values) for values in drops]
    low = min(0.0, seeds.min(), max(min((end.low for end in ends if end.low < 0), default=0.0), seeds.min() - 15))
    high = max(10.0, seeds.max(), min(max((end.high for end in ends if end.high > 0), default=0.0), seeds.max() + 15))
    room = 0.05 * (high - low)
    axes.set_xlim(low - room, high + 1.5 * room)
    axes.set_ylim(-0.04, 1.14)  # above 1, where no method can be, is room for the note at the ideal point


def _mark_cuts(axes: Axes, sideways: Interval, upward: Interval, colour: str) -> None:
    """Draw an arrow for each end of an interval that the limits cut off; a single seed has no ends."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if sideways.low < left:
        draw_arrow(axes, (left, upward.mean), "<", colour)
    if sideways.high > right:
        draw_arrow(axes, (right, upward.mean), ">", colour)
    if upward.low < bottom:
        draw_arrow(axes, (sideways.mean, bottom), "v", colour)
    if upward.high > top:
        draw_arrow(axes, (sideways.mean, top), "^", colour)


def _mark_ideal(axes: Axes) -> list[Artist]:
    axes.axvline(0, color=GREY, linewidth=0.9, zorder=1.5)
    star = axes.plot([0], [1], "*", markersize=15, color=FAINT, markeredgecolor=GREY, markeredgewidth=0.8, zorder=2)
    note = axes.annotate(
        "ideal: all learned, nothing forgotten", (0, 1), xytext=(4, 9), textcoords="offset points", ha="left",
        va="bottom", fontsize=SMALL, color=GREY, zorder=2,
    )  # fmt: skip
    return [*star, note]


def _reach(interval: Interval) -> list[list[float]]:
    return [[interval.mean - interval.low], [interval.high - interval.mean]]


def _bars(drops: pd.Series, retention: pd.Series) -> list[tuple[float, float]]:
    """Points along the interval's bars, which labels should not cover."""
    if len(drops) < 2:
        return []
    sideways, upward = mean_interval(drops), mean_interval(retention)
    across = [(float(x), upward.mean) for x in np.linspace(sideways.low, sideways.high, 15)]
    return across + [(sideways.mean, float(y)) for y in np.linspace(upward.low, upward.high, 15)]
