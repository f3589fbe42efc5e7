"""One score along the stream: a line for every method, means over seeds with their intervals."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from smf.figures.style import GREY, INK, START_COLOUR, MethodStyle
from smf.scores.metrics import FACTS_METRICS
from smf.scores.summary import mean_interval
from smf.scores.table import curve, final_position, start_model, start_values

_DODGE = 0.011
"""Sideways shift from one method to the next, as a share of the stream, so that equal values stay visible."""


def draw_curves(
    axes: Axes,
    scores: pd.DataFrame,
    metric: str,
    starts: Mapping[str, str],
    styles: Mapping[str, MethodStyle],
) -> None:
    """Draw a score from the start model (position 0) to the stream's end.

    For the new facts the start model is not joined to the line: it is asked about all facts, a snapshot only about
    those taught so far.

    Args:
        axes: The panel.
        scores: The tidy table.
        metric: The score to draw.
        starts: Each method's start model.
        styles: Each method's colour and marker.
    """
    end = final_position(scores)
    step = end * min(_DODGE, 0.06 / max(len(starts), 1))
    ticks = {0}
    for index, method in enumerate(starts):
        shift = (index - (len(starts) - 1) / 2) * step
        rows = curve(scores, method, metric)
        rows = rows[rows.index > 0]
        means = [mean_interval(values) for values in rows.to_numpy()]
        places = rows.index.to_numpy() + shift
        style = styles[method]
        heights = [value.mean for value in means]
        if metric in FACTS_METRICS:
            axes.plot(places, heights, color=style.colour, linewidth=1.5)
        else:
            start = start_values(scores, method, metric, starts).mean()
            axes.plot([0, *places], [start, *heights], color=style.colour, linewidth=1.5)
        spread = [[value.mean - value.low for value in means], [value.high - value.mean for value in means]]
        axes.errorbar(
            places, heights, yerr=spread if rows.shape[1] > 1 else None, fmt=style.marker,
            color=style.colour, markersize=4.6, markeredgecolor="white", markeredgewidth=0.4, elinewidth=0.9,
            zorder=3,
        )  # fmt: skip
        ticks.update(rows.index)
    for name in dict.fromkeys(start_model(method, starts) for method in starts):
        value = scores.loc[(scores["method"] == name) & (scores["metric"] == metric), "value"].mean()
        axes.plot([0], [value], "o", markersize=5.5, color="white", markeredgecolor=START_COLOUR, zorder=4)
    axes.set_xlim(-0.04 * end, 1.05 * end)
    axes.set_xticks(_spread_out(sorted(ticks), end))
    axes.set_xlabel("facts taught so far", color=INK)


def reference_line(axes: Axes, height: float, text: str) -> None:
    """Draw a dotted line across the panel, labelled at its left end, as there may be no room right of the panel."""
    axes.axhline(height, color=GREY, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1.5)
    axes.annotate(
        text, (0.08, height), xycoords=("axes fraction", "data"), xytext=(0, 1), textcoords="offset points", ha="left",
        va="bottom", fontsize=6.5, color=GREY,
    )  # fmt: skip


def share_limits(axes: Axes, highest: float) -> None:
    """Set a scale for shares: from 0 to 1 or, if all values are small, to a little above the highest one."""
    top = 1.0 if highest > 0.6 else max(0.2, 1.25 * highest)
    axes.set_ylim(-0.025 * top, 1.05 * top)


def free_limits(axes: Axes, lowest: float, highest: float) -> None:
    """Set a scale for values that are not shares, such as losses: it holds all values and, within reason, intervals.

    It spans at least a twentieth of the highest value, so that noise does not look like a change.
    """
    span = max(highest - lowest, 0.05 * abs(highest), 1e-6)
    low, high = axes.dataLim.intervaly
    low, high = max(low, lowest - 0.5 * span), min(high, highest + 0.5 * span)
    room = 0.06 * span + max(0.0, span - (high - low)) / 2
    axes.set_ylim(low - room, high + room)


def _spread_out(positions: list[int], end: int) -> list[int]:
    """The positions whose tick labels do not overlap; the last position is always labelled."""
    kept = [end]
    for position in reversed(positions):
        if kept[-1] - position >= 0.09 * end:
            kept.append(position)
    return kept[::-1]
