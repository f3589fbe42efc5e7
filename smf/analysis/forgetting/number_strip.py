"""A table of the summary's numbers inside a figure, with one row per method and start model."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from smf.figures.legend import draw_sample
from smf.figures.style import FAINT, GREY, INK, SMALL, MethodStyle
from smf.scores.metrics import LOCALITY, HeldOutMetric
from smf.scores.summary import neighbours_beside, percent, rounded, shorten, summary_cell
from smf.scores.table import BASE, HEALED
from smf.scores.words import column_unit, loss_word, set_words

ROW_HEIGHT = 0.215
"""Inches from one row to the next."""
HEAD_HEIGHT = 0.5
_FACTS = (
    # group, head, metric, what to show
    ("new facts retained (F1)", "unseen\nquestion", "facts_question_f1", "mean"),
    ("new facts retained (F1)", "unseen\nwording", "facts_unseen_f1", "mean"),
    ("new facts retained (F1)", "taught\nwording", "facts_seen_f1", "mean"),
)
_NEIGHBOURS = ("neighbours", "unchanged\n(F1)", LOCALITY, "mean")
_FIRST = 0.235
"""Where the columns of numbers begin, as a share of the strip's width."""
_FACTS_WEIGHTS, _HELD_OUT_WEIGHTS, _NEIGHBOURS_WEIGHT = (1.05, 1.0, 1.0), (1.05, 0.86), 1.25

Column = tuple[str, str, str, str]


def strip_height(num_rows: int) -> float:
    """The height of a strip with ``num_rows`` rows, in inches."""
    return HEAD_HEIGHT + num_rows * ROW_HEIGHT + 0.08


def strip_rows(summary: pd.DataFrame, starts: Mapping[str, str]) -> list[str]:
    """The rows that a strip shows: the methods, then the start models."""
    return list(starts) + [name for name in (HEALED, BASE) if name in set(summary["method"])]


def draw_strip(
    axes: Axes,
    summary: pd.DataFrame,
    starts: Mapping[str, str],
    styles: Mapping[str, MethodStyle],
    headline: Sequence[HeldOutMetric],
) -> None:
    """Write the summary into an empty panel of :func:`strip_height` inches, two columns per headline metric.

    Neighbours of the facts have a column of their own where they were asked and are not in the headline.
    """
    columns = [*_FACTS, *(column for metric in headline for column in _held_out(metric, headline))]
    weights = [*_FACTS_WEIGHTS, *_HELD_OUT_WEIGHTS * len(headline)]
    if neighbours_beside(summary, headline):
        columns.append(_NEIGHBOURS)
        weights.append(_NEIGHBOURS_WEIGHT)
    rows = strip_rows(summary, starts)
    height = strip_height(len(rows))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(-height, 0))
    rights = _right_edges(weights)
    _heads(axes, rights, columns)
    for number, name in enumerate(rows):
        y = -(HEAD_HEIGHT + (number + 0.5) * ROW_HEIGHT)
        draw_sample(axes, styles.get(name), 0.0, 0.036, y)
        colour = INK if name in styles else GREY
        axes.text(0.047, y, shorten(name, 19), va="center", fontsize=SMALL + 0.5, color=colour)
        for right, (_, _, metric, column) in zip(rights, columns, strict=True):
            cell = summary_cell(summary, name, metric)
            value, spread = (percent(cell[column]).replace("-", "−"), "") if column == "relative_drop" else _value(cell)
            axes.text(
                right - 0.047 * (column == "mean"),
                y,
                value,
                va="center",
                ha="right",
                fontsize=SMALL + 0.5,
                color=colour,
            )
            axes.text(right, y, spread, va="center", ha="right", fontsize=6.5, color=GREY)
    edge = -(HEAD_HEIGHT + len(starts) * ROW_HEIGHT)
    if len(rows) > len(starts):
        axes.plot([0, rights[-1]], [edge, edge], color=FAINT, linewidth=0.8)


def _held_out(metric: HeldOutMetric, headline: Sequence[HeldOutMetric]) -> list[Column]:
    group = set_words(metric, headline)
    return [
        (group, column_unit(metric), metric.name, "mean"),
        (group, loss_word(metric), metric.name, "relative_drop"),
    ]


def _right_edges(weights: Sequence[float]) -> list[float]:
    # few columns do not fill the strip: wider columns would be hard to read across
    total, edges = max(sum(weights), sum((*_FACTS_WEIGHTS, *_HELD_OUT_WEIGHTS * 2))), []
    for index in range(len(weights)):
        edges.append(_FIRST + (1 - _FIRST) * sum(weights[: index + 1]) / total)
    return edges


def _heads(axes: Axes, rights: Sequence[float], columns: Sequence[Column]) -> None:
    lefts = [_FIRST, *rights[:-1]]
    groups: dict[str, list[int]] = {}
    for index, (group, *_) in enumerate(columns):
        groups.setdefault(group, []).append(index)
    for group, members in groups.items():
        left, right = lefts[members[0]] + 0.012, rights[members[-1]]
        axes.text((left + right) / 2, -0.02, group, ha="center", va="top", fontsize=SMALL, color=INK)
        axes.plot([left, right], [-0.165, -0.165], color=GREY, linewidth=0.7)
    for right, (_, head, _, _) in zip(rights, columns, strict=True):
        axes.text(right, -0.425, head, ha="right", va="baseline", fontsize=SMALL, color=GREY, linespacing=1.1)
    axes.plot([0, rights[-1]], [-0.48, -0.48], color=INK, linewidth=0.8)


def _value(cell: pd.Series) -> tuple[str, str]:
    if math.isnan(cell["mean"]):
        return "–", ""
    half = cell["ci95_high"] - cell["mean"]
    return rounded(cell["mean"], 2), "" if math.isnan(half) else f"±{half:.2f}"
