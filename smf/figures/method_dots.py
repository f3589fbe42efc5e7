"""A row for each method: a dot with its interval in every panel, and the number beside it."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from smf.figures.legend import NAME_WIDTH, draw_sample
from smf.figures.style import FAINT, GREY, SMALL, MethodStyle
from smf.scores.summary import shorten

ROW_HEIGHT = 0.225
"""Inches from one row to the next."""

Value = tuple[float, float, float]
"""A number and the ends of its interval; NaN where one is missing."""


def draw_names(axes: Axes, methods: Sequence[str], styles: Mapping[str, MethodStyle], width: float) -> None:
    """Write the methods with their markers in an empty panel of ``width`` inches and a ``ROW_HEIGHT`` per method."""
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(len(methods) - 0.5, -0.5))
    for row, method in enumerate(methods):
        draw_sample(axes, styles[method], 0.0, 0.29, row)
        axes.text(
            0.36, row, shorten(method, NAME_WIDTH), va="center", fontsize=SMALL + 0.5, color=styles[method].colour
        )


def draw_dots(
    axes: Axes,
    methods: Sequence[str],
    values: Mapping[str, Value],
    texts: Mapping[str, str],
    styles: Mapping[str, MethodStyle],
    absent: str = "",
    *,
    size: float = SMALL,
    room: float = 34.0,
    colour: str = GREY,
) -> None:
    """Draw a dot in each method's row, its interval as a line, and the number at the panel's right edge.

    The scale and its limits must be set. An interval that has a lower end and no upper one ends in an arrow at the
    panel's edge, and so does one with an infinite end.

    Args:
        axes: The panel.
        methods: The rows, from the top down.
        values: The numbers.
        texts: The numbers as they are written.
        styles: The methods' styles.
        absent: The text in the row of a method without a number.
        size: Font size of the numbers, in points.
        room: Distance from the panel's right edge to the numbers' right end, in points.
        colour: Colour of the numbers.
    """
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.tick_params(left=False, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    left, right = axes.get_xlim()
    for row, method in enumerate(methods):
        style = styles[method]
        value, low, high = values[method]
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="#f7f7f7", zorder=0.4, linewidth=0)
        if math.isnan(value):
            axes.annotate(
                absent, (0, row), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=SMALL, color=GREY,
            )  # fmt: skip
            continue
        if not math.isnan(low):
            end = high if math.isfinite(high) else right
            axes.plot([max(low, left), end], [row, row], color=style.colour, linewidth=1.4, zorder=2.8, clip_on=True)
            if math.isinf(low):
                draw_arrow(axes, (left, row), "<", style.colour)
            if not math.isfinite(high):
                draw_arrow(axes, (right, row), ">", style.colour)
        axes.plot(
            [value], [row], style.marker, color=style.colour, markersize=6.8, markeredgecolor="white",
            markeredgewidth=0.6, zorder=3, clip_on=False,
        )  # fmt: skip
        axes.annotate(
            texts[method], (1, row), xycoords=("axes fraction", "data"), xytext=(room, 0), textcoords="offset points",
            ha="right", va="center", fontsize=size, color=colour, annotation_clip=False,
        )  # fmt: skip
    axes.axhline(len(methods) - 0.5, color=FAINT, linewidth=0.8, zorder=0.6)


def draw_arrow(axes: Axes, place: tuple[float, float], marker: str, colour: str) -> None:
    """Mark an interval that leaves the panel, where it meets the edge; ``marker`` is ``<``, ``>``, ``v`` or ``^``."""
    axes.plot([place[0]], [place[1]], marker, color=colour, markersize=4.5, clip_on=False, zorder=2.9)
