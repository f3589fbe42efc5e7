"""Which slots each method wrote and how far it moved them, by how much ordinary text uses them; a column per layer."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from smf.analysis.slot_writes.table import SLOT_WRITE_COLUMNS
from smf.errors import DataError
from smf.figures.captions import LINE_HEIGHT, count, figure_title, panel_title, small_print, wrap
from smf.figures.style import FAINT, SMALL, MethodStyle, add_panel, drawing, method_styles, new_figure
from smf.scores.columns import require_columns

_LEFT, _RIGHT, _GAP, _TOP = 1.05, 0.35, 0.75, 1.45
_PANEL_WIDTH, _ROW_HEIGHT, _ROW_GAP, _CHANGE_HEIGHT = 3.6, 0.85, 0.6, 1.5


def slot_writes_figure(table: pd.DataFrame, labels: Mapping, methods: Sequence[str]) -> Figure:
    """Draw a row of panels for each method and one below for how far slots were moved.

    Args:
        table: The slot-write table (see :mod:`smf.analysis.slot_writes.table`).
        labels: Data descriptions: ``notes``.
        methods: All methods of the experiment, so that each has the colour that it has in other figures.

    Raises:
        DataError: A column is missing, or the table is empty.
    """
    require_columns("slot-write table", table, SLOT_WRITE_COLUMNS)
    if table.empty:
        raise DataError("the slot-write table is empty; a method of kind smf must have learned a stream")
    with drawing():
        return _draw(table, labels, methods)


def _draw(table: pd.DataFrame, labels: Mapping, methods: Sequence[str]) -> Figure:
    layers, num_seeds = sorted(table["layer"].unique()), table["seed"].nunique()
    shown = [method for method in methods if method in set(table["method"])]
    styles = method_styles(methods)
    means = table.groupby(["method", "layer", "reads_from"], sort=True).mean(numeric_only=True)
    width = _LEFT + len(layers) * (_PANEL_WIDTH + _GAP) - _GAP + _RIGHT
    notes = [line for note in _notes(num_seeds, labels) for line in wrap(note, width - 0.4 - _RIGHT)]
    changes_top = _TOP + len(shown) * (_ROW_HEIGHT + _ROW_GAP) + 0.3
    notes_top = changes_top + _CHANGE_HEIGHT + 0.75
    figure = new_figure(width, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    slots = int(means.loc[(shown[0], layers[0])]["slots"].sum())
    subtitle = f"{count(len(layers), 'memory layer')} of {slots:,} slots; mean of {count(num_seeds, 'stream')}"
    figure_title(figure, 0.4, "Which slots does a stream write?", subtitle)
    most = 1.6 * means["slots"].max()
    changes = means["change"] / means["slots_written"].where(means["slots_written"] > 0)
    for column, layer in enumerate(layers):
        left = _LEFT + column * (_PANEL_WIDTH + _GAP)
        for row, method in enumerate(shown):
            part = means.loc[(method, layer)]
            axes = add_panel(figure, left, _TOP + row * (_ROW_HEIGHT + _ROW_GAP), _PANEL_WIDTH, _ROW_HEIGHT)
            _slots(axes, part, styles[method], most)
            panel_title(axes, "", f"{method}, block {layer}", (_in_words(part),))
            axes.tick_params(labelbottom=row == len(shown) - 1)
            if column == 0:
                axes.set_ylabel("slots", fontsize=SMALL)
        axes = add_panel(figure, left, changes_top, _PANEL_WIDTH, _CHANGE_HEIGHT)
        panel_title(axes, "", f"How far, block {layer}", ("mean norm of the change of a written slot's value",))
        for method in shown:
            _changes(axes, changes.loc[(method, layer)], styles[method], method)
        _bins(axes, means.loc[(shown[0], layer)].index)
        axes.set_yscale("log")
        axes.set_ylim(*_limits(changes))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("how often ordinary text reads the slot, from", fontsize=SMALL)
        if column == 0:
            axes.legend(fontsize=SMALL, frameon=False, loc="best", handlelength=1.4, labelspacing=0.25)
    small_print(figure, 0.4, notes_top, notes)
    return figure


def _slots(axes: Axes, part: pd.DataFrame, style: MethodStyle, most: float) -> None:
    """Draw all slots of a bin, and those that were written, as nested bars."""
    places = range(len(part))
    axes.bar(places, part["slots"], width=0.86, color=FAINT)
    axes.bar(places, part["slots_written"], width=0.86, color=style.colour)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, most)
    axes.set_yticks([tick for tick in (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000) if tick <= most][::2])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(False, axis="x")
    _bins(axes, part.index)


def _changes(axes: Axes, changes: pd.Series, style: MethodStyle, name: str) -> None:
    axes.plot(
        range(len(changes)), changes, color=style.colour, marker=style.marker, markersize=4.5, linewidth=1.4,
        markeredgecolor="white", markeredgewidth=0.5, label=name,
    )  # fmt: skip


def _bins(axes: Axes, starts: Sequence[int]) -> None:
    """Label the bins on the x axis."""
    names = ["never", *(f"{start:,}" if start < 10_000 else f"{start // 1_000:,}k" for start in starts[1:])]
    axes.set_xticks(range(len(starts)), names)
    axes.set_xlim(-0.6, len(starts) - 0.4)
    axes.tick_params(labelsize=SMALL)


def _limits(changes: pd.Series) -> tuple[float, float]:
    """Limits of the y axis, the same in all panels."""
    positive = changes[changes > 0]
    return (0.5 * positive.min(), 2 * positive.max()) if len(positive) else (0.1, 1.0)


def _in_words(part: pd.DataFrame) -> str:
    written, slots = part["slots_written"].sum(), part["slots"].sum()
    share = part["reads_of_written"].sum() / part["reads"].sum()
    return f"{written:,.0f} written ({written / slots:.1%}), which take {share:.1%} of ordinary reads".replace(
        "%", " %"
    )


def _notes(num_seeds: int, labels: Mapping) -> list[str]:
    return [
        "Bars: slots of the memory by how often the background text reads them; grey all, coloured those whose value "
        f"the stream changed; mean of {count(num_seeds, 'stream')}. The scale is logarithmic.",
        "Below: the norm of the change of a slot's value, mean over the written slots of a bin. It is absolute, as "
        "a memory may start with values of zero. A method that spares the slots of ordinary text writes few at the "
        "right, or moves them little.",
        *labels.get("notes", ()),
    ]
