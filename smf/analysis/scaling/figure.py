"""The capacity of a memory: retained facts and forgetting along a long stream, by the size of the memory."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator, PercentFormatter

from smf.analysis.scaling.table import SCALING_COLUMNS
from smf.errors import DataError
from smf.figures.captions import LINE_HEIGHT, check_labels, count, figure_title, panel_title, small_print, wrap
from smf.figures.legend import ROW_HEIGHT, draw_legend, legend_rows
from smf.figures.style import GREY, SMALL, MethodStyle, add_panel, drawing, new_figure
from smf.scores.columns import require_columns
from smf.scores.metrics import HeldOutMetric
from smf.scores.words import asked_by, data_words, forgotten, retained_words

_LEFT, _RIGHT, _GAP, _DOWN = 0.95, 0.35, 0.3, 0.5
_LEGEND, _TITLE = 0.9, 0.55
"""Inches from the top to the legend, and from the legend to the panels."""
_WIDTH, _HEIGHT = 2.35, 2.0
_COLOURS = ("#56B4E9", "#0072B2", "#332288", "#000000")
"""Lighter for smaller tables; more than four sizes take colours in between."""
_LINES, _MARKERS = ("-", (0, (4, 2)), (0, (1, 1.5)), "-."), "os^DvPX"
"""Of methods; past four the lines repeat, with another marker."""


def scaling_figure(table: pd.DataFrame, labels: Mapping, learned: str, metric: HeldOutMetric) -> Figure:
    """Draw a column for each number of layers: retained facts above, forgetting below, against facts learned.

    Args:
        table: See :func:`smf.analysis.scaling.table.scaling_table`.
        labels: Data descriptions: ``held_out`` and ``facts``.
        learned: The metric of the new facts that the table holds.
        metric: The held-out metric whose relative loss it holds.

    Raises:
        DataError: A column or a label is missing, or the table is empty.
    """
    check_labels(labels)
    require_columns("scaling table", table, SCALING_COLUMNS)
    if table.empty:
        raise DataError("the scaling table is empty; run at least one size of memory")
    with drawing():
        return _draw(table, labels, learned, metric)


def _draw(table: pd.DataFrame, labels: Mapping, learned: str, metric: HeldOutMetric) -> Figure:
    layers = sorted(table["num_layers"].unique())
    sizes = _shades(sorted(table["num_keys"].unique()))
    methods = {
        method: MethodStyle(GREY, _MARKERS[index // len(_LINES) % len(_MARKERS)], _LINES[index % len(_LINES)])
        for index, method in enumerate(table["method"].unique())
    }
    width = max(7.6, _LEFT + len(layers) * (_WIDTH + _GAP) - _GAP + _RIGHT)
    across = width - _LEFT - _RIGHT
    of_sizes = {f"{keys**2:,} slots per layer": MethodStyle(colour, "o") for keys, colour in sizes.items()}
    legend = legend_rows(list(of_sizes), across) + legend_rows(list(methods), across)
    top = _LEGEND + len(legend) * ROW_HEIGHT + _TITLE
    seeds = count(table["seed"].nunique(), "seed")
    notes_top = top + 2 * _HEIGHT + _DOWN + 0.55
    notes = [line for note in _notes(labels, learned, metric, seeds) for line in wrap(note, across)]
    figure = new_figure(width, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    figure_title(figure, _LEFT, "How many facts does a memory hold?", f"Streams of {_most(table):,} facts, {seeds}")
    draw_legend(add_panel(figure, _LEFT, _LEGEND, across, len(legend) * ROW_HEIGHT), legend, of_sizes | methods, across)
    lost = 1.06 * max(0.02, float(table["forgetting"].max()))
    for column, number in enumerate(layers):
        left = _LEFT + column * (_WIDTH + _GAP)
        above = add_panel(figure, left, top, _WIDTH, _HEIGHT)
        below = add_panel(figure, left, top + _HEIGHT + _DOWN, _WIDTH, _HEIGHT)
        part = table[table["num_layers"] == number]
        _lines(above, part, "retained", sizes, methods)
        _lines(below, part, "forgetting", sizes, methods)
        above.set_ylim(0, 1.03)
        below.set_ylim(min(-0.01, float(table["forgetting"].min())), lost)
        below.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        panel_title(above, "", count(int(number), "memory layer"))
        below.set_xlabel("facts learned")
        for axes, name in ((above, retained_words(learned)), (below, forgotten(metric))):
            axes.tick_params(labelleft=column == 0)
            if column == 0:
                axes.set_ylabel(name, fontsize=SMALL)
    small_print(figure, _LEFT, notes_top, notes)
    return figure


def _shades(sizes: Sequence[int]) -> dict[int, str]:
    """A colour for each size, however many there are, darker for larger ones."""
    scale = LinearSegmentedColormap.from_list("sizes", _COLOURS)
    last = min(1.0, (len(sizes) - 1) / (len(_COLOURS) - 1))
    return {keys: to_hex(scale(place)) for keys, place in zip(sizes, np.linspace(0, last, len(sizes)), strict=True)}


def _lines(
    axes: Axes, part: pd.DataFrame, value: str, sizes: Mapping[int, str], methods: Mapping[str, MethodStyle]
) -> None:
    for keys, colour in sizes.items():
        for method, style in methods.items():
            rows = part[(part["num_keys"] == keys) & (part["method"] == method)]
            means = rows.groupby("position")[value].mean()
            axes.plot(
                means.index, means, color=colour, linestyle=style.line, linewidth=1.6, marker=style.marker, markersize=4
            )
            axes.plot(rows["position"], rows[value], ".", color=colour, markersize=3, alpha=0.5)
    positions = sorted(part["position"].unique())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(positions))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(positions[0] / 1.25, positions[-1] * 1.25)


def _most(table: pd.DataFrame) -> int:
    return int(table["position"].max())


def _notes(labels: Mapping, learned: str, metric: HeldOutMetric, seeds: str) -> list[str]:
    return [
        f"Lines: means of {seeds}; small points: single seeds. Retained: all facts learned so far ({labels['facts']}), "
        f"asked by {asked_by(learned)}. Forgetting: {forgotten(metric)} against the model that the stream started "
        f"from. {data_words(labels, [metric])}",
        "All memories are installed in the same base model and healed alike; where the line of retained facts bends "
        "down, facts displace each other.",
    ]
