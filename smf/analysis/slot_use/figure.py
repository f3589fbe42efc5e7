"""How evenly ordinary text uses the memory: each layer and head, as installed, with calibrated queries, and healed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from smf.errors import DataError
from smf.figures.captions import LINE_HEIGHT, count, figure_title, panel_title, small_print, wrap
from smf.figures.style import FAINT, GREY, INK, NORMAL, SMALL, Look, add_panel, drawing, new_figure
from smf.scores.columns import require_columns
from smf.training.slot_use import ALL_HEADS, SLOT_USE_COLUMNS, STAGES

_LEFT, _RIGHT, _GAP, _TOP = 1.25, 0.35, 0.35, 1.85
_PANEL_WIDTH, _ROW_HEIGHT, _LAYER_GAP = 2.15, 0.2, 0.6


class _Panel(NamedTuple):
    """One panel: a measure, divided by ``divisor`` if it is a number of slots."""

    measure: str
    divisor: str | None
    title: str
    lines: tuple[str, ...]


_PANELS = (
    _Panel("slots_read", "slots", "Slots ever read", ("share of the table;", "the rest are dead slots")),
    _Panel("slots_read_first", "slots", "Slots ever read first", ("share of the table;", "some token's best match")),
    _Panel(
        "effective_slots_weighted",
        "slots",
        "Effective slots",
        ("share of the table that would", "do the same if used evenly"),
    ),
    _Panel("busiest_share", None, "Reads of the busiest 1 %", ("share of all reads;", "1 % would be even use")),
    _Panel("busiest_share_first", None, "… of first reads", ("share of all first reads;", "1 % would be even use")),
)
_LOOKS: dict[str, tuple[str, Look]] = {
    "installed": (
        "as installed",
        {"marker": "o", "markersize": 8.5, "markerfacecolor": "white", "markeredgecolor": GREY, "markeredgewidth": 1.1},
    ),
    "calibrated": (
        "queries calibrated",
        {"marker": "D", "markersize": 6.5, "markerfacecolor": "#56B4E9", "markeredgecolor": "white"},
    ),
    "healed": (
        "healed",
        {"marker": "s", "markersize": 5, "markerfacecolor": "#D55E00", "markeredgecolor": "white"},
    ),
}
"""Later stages are drawn smaller, so that coinciding marks all stay visible."""


def slot_use_figure(table: pd.DataFrame, labels: Mapping) -> Figure:
    """Draw a row for each layer and head, a panel for each measure, a mark for each stage.

    Args:
        table: The slot-use table (see :mod:`smf.training.slot_use`).
        labels: Data descriptions: ``notes``.

    Raises:
        DataError: A column is missing, or the table is empty.
    """
    require_columns("slot-use table", table, SLOT_USE_COLUMNS)
    if table.empty:
        raise DataError("the slot-use table is empty; heal the model again")
    with drawing():
        return _draw(table, labels)


def _draw(table: pd.DataFrame, labels: Mapping) -> Figure:
    table = table.assign(head=table["head"].astype(str))
    values = table.set_index(["layer", "head", "stage", "measure"])["value"]
    heads = {layer: list(part["head"].unique()) for layer, part in table.groupby("layer")}
    stages = [stage for stage in STAGES if stage in set(table["stage"])]
    width = _LEFT + len(_PANELS) * (_PANEL_WIDTH + _GAP) - _GAP + _RIGHT
    notes = [line for note in _notes(values, labels) for line in wrap(note, width - 0.4 - _RIGHT)]
    heights = {layer: len(names) * _ROW_HEIGHT for layer, names in heads.items()}
    notes_top = _TOP + sum(heights.values()) + (len(heights) - 1) * _LAYER_GAP + 0.55
    figure = new_figure(width, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    slots = int(values.xs("slots", level="measure").iloc[0])
    subtitle = f"{count(len(heads), 'memory layer')} of {slots:,} slots, read by ordinary text"
    figure_title(figure, 0.4, "How evenly is the memory used?", subtitle)
    _legend(add_panel(figure, 0.4, 0.84, width - 0.4 - _RIGHT, 0.24), width - 0.4 - _RIGHT, stages)
    for column, panel in enumerate(_PANELS):
        shares = values.xs(panel.measure, level="measure")
        if panel.divisor is not None:
            shares = shares / values.xs(panel.divisor, level="measure")
        limit = max(0.02, 1.08 * float(shares.max()))  # the same for all layers
        left, top = _LEFT + column * (_PANEL_WIDTH + _GAP), _TOP
        for number, (layer, names) in enumerate(heads.items()):
            axes = add_panel(figure, left, top, _PANEL_WIDTH, heights[layer])
            _rows(axes, shares[layer], names, stages, limit)
            axes.tick_params(labelleft=column == 0)
            if number == 0:
                panel_title(axes, "", panel.title, panel.lines)
            if column == 0:
                axes.annotate(
                    f"block {layer}", (0, 0.5), xytext=(-58, 0), xycoords="axes fraction", textcoords="offset points",
                    rotation=90, va="center", ha="center", fontsize=NORMAL, annotation_clip=False,
                )  # fmt: skip
            top += heights[layer] + _LAYER_GAP
    small_print(figure, 0.4, notes_top, notes)
    return figure


def _rows(axes: Axes, shares: pd.Series, heads: Sequence[str], stages: Sequence[str], limit: float) -> None:
    """One layer in one panel: a line for each head, from one stage to the next."""
    for row, head in enumerate(heads):
        points = [shares[head, stage] for stage in stages]
        axes.plot(points, [-row] * len(points), color=FAINT, linewidth=2.4, zorder=1.5, solid_capstyle="round")
        for stage, point in zip(stages, points, strict=True):
            axes.plot([point], [-row], **_LOOKS[stage][1], zorder=3, clip_on=False)
    names = ["all heads" if head == ALL_HEADS else f"head {head}" for head in heads]
    axes.set_yticks([-row for row in range(len(heads))], names, fontsize=SMALL)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.set(xlim=(0, limit), ylim=(0.6 - len(heads), 0.6))
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.locator_params(axis="x", nbins=4)


def _legend(axes: Axes, width: float, stages: Sequence[str]) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(-1, 1))
    left = 0.08
    for stage in stages:
        name, look = _LOOKS[stage]
        axes.plot([left], [0], **look, clip_on=False)
        axes.text(left + 0.14, 0, name, va="center", fontsize=NORMAL, color=INK)
        left += 0.14 + 0.075 * len(name) + 0.35


def _notes(values: pd.Series, labels: Mapping) -> list[str]:
    reads = int(values.xs(ALL_HEADS, level="head").xs("reads", level="measure").iloc[0])
    return [
        f"Counted on {reads:,} reads of each layer, without padding. A token reads several slots with each head; the "
        "first is the one with the highest score. “All heads” adds the reads of a table's heads.",
        "Effective slots: the exponential of the entropy of the softmax weights that slots receive. A few busy slots "
        "that nearly every text reads cannot be trained without touching what the model knew; dead slots are wasted.",
        *labels.get("notes", ()),
    ]
