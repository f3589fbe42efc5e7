"""How far what a choice of slots writes carries to unseen wordings, against how much reaches neighbours."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from smf.analysis.read_overlap.table import OVERLAP_COLUMNS
from smf.errors import DataError
from smf.figures.captions import LINE_HEIGHT, count, figure_title, panel_title, small_print, wrap
from smf.figures.direct_labels import place_labels
from smf.figures.style import MethodStyle, add_panel, drawing, method_styles, new_figure
from smf.scores.columns import require_columns

_LEFT, _RIGHT, _TOP, _BETWEEN = 0.95, 0.5, 1.3, 1.15
_WIDTH, _HEIGHT = 8.0, 4.0
_CARRIES = {"unseen": "the fact's unseen wordings", "question": "the fact's question"}
_LEAKS = {"neighbours": "the fact's neighbours", "other_facts": "questions about other facts"}
"""What is drawn along each axis: the first of these columns that has numbers."""


def read_overlap_figure(table: pd.DataFrame, labels: Mapping, methods: Sequence[str]) -> Figure:
    """Draw a panel for each memory layer, with a point for each setting, the mean over seeds.

    Settings that select the same slots, such as those that differ in their rate alone, are one point. Where facts have
    no unseen wordings their question takes its place, and questions about other facts that of neighbours; the axes say
    so.

    Args:
        table: See :mod:`smf.analysis.read_overlap.table`.
        labels: Data descriptions: ``facts``, if known, and ``notes``.
        methods: All methods of the experiment, so that each has the colour that it has in other figures.

    Raises:
        DataError: A column is missing, the table is empty, or the facts have none of the texts that an axis shows.
    """
    require_columns("table of read overlap", table, OVERLAP_COLUMNS)
    if table.empty:
        raise DataError("the table of read overlap is empty; a method of kind smf is needed")
    with drawing():
        return _draw(table, labels, methods)


def _draw(table: pd.DataFrame, labels: Mapping, methods: Sequence[str]) -> Figure:
    carries, leaks = _shown(table, _CARRIES), _shown(table, _LEAKS)
    means = table.groupby(["layer", "method", "setting"], sort=False)[[carries, leaks]].mean().dropna()
    layers = sorted(means.index.unique("layer"))
    if not layers:
        raise DataError(f"no setting has both {carries} and {leaks} in the table of read overlap; make it again")
    notes = [line for note in _notes(table, labels, carries, leaks) for line in wrap(note, _WIDTH - _LEFT)]
    notes_top = _TOP + len(layers) * (_HEIGHT + _BETWEEN) - 0.45
    figure = new_figure(_LEFT + _WIDTH + _RIGHT, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    settings = len(means.loc[layers[0]])
    figure_title(
        figure,
        0.4,
        "How far does what is written carry, and how much of it leaks?",
        f"Before anything is learned, from reads alone: {count(settings, 'setting')}, mean of "
        f"{count(table['seed'].nunique(), 'stream')}",
    )
    styles = method_styles(methods)
    for row, layer in enumerate(layers):
        axes = add_panel(figure, _LEFT, _TOP + row * (_HEIGHT + _BETWEEN), _WIDTH, _HEIGHT)
        panel_title(axes, "", f"Memory in block {layer}", ("best: upper left",))
        axes.set_ylabel(f"arrives in {_CARRIES[carries]}      better →")
        axes.set_xlabel(f"← better      arrives in {_LEAKS[leaks]}")
        _points(axes, means.loc[layer], styles)
    small_print(figure, 0.4, notes_top, notes)
    return figure


def _shown(table: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """The first of these columns that has numbers."""
    known = [name for name in columns if table[name].notna().any()]
    if not known:
        raise DataError(
            f"the table of read overlap has no numbers in its columns {' and '.join(columns)}, which the figure shows; "
            "read the table, or give the facts such texts"
        )
    return known[0]


def _points(axes: Axes, means: pd.DataFrame, styles: Mapping[str, MethodStyle]) -> None:
    drawn: dict[tuple[float, float], list[tuple[str, str]]] = {}
    for (method, setting), (carried, leaked) in zip(means.index, means.to_numpy(), strict=True):
        drawn.setdefault((round(leaked, 6), round(carried, 6)), []).append((method, setting))
    numbers = means.groupby("method").size()
    places = {str(number): place for number, place in enumerate(drawn)}
    names, colours, artists = {}, {}, []
    for number, (place, settings) in enumerate(drawn.items()):
        style = styles[settings[0][0]]
        artists += axes.plot(
            *place, style.marker, color=style.colour, markersize=7, markeredgecolor="white", markeredgewidth=0.5
        )
        names[str(number)], colours[str(number)] = _name(settings, numbers), style.colour
    # Limits are set before labels are placed, whose leaders would move them; the right edge leaves room for names.
    across, up = zip(*drawn, strict=True)
    room = 0.1 * (max(up) - min(up) or max(up))
    axes.set_ylim(min(up) - room, max(up) + room)
    axes.set_xlim(min(0, 1.1 * min(across)), 1.18 * max(*across, 0.01))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %".replace("-", "−")))
    place_labels(axes, artists, places, names, colours)


def _name(settings: Sequence[tuple[str, str]], numbers: pd.Series) -> str:
    """The label of a point: its methods, each with its settings unless all of its settings are there."""
    by_method: dict[str, list[str]] = {}
    for method, setting in settings:
        by_method.setdefault(method, []).append(setting)
    return "\n".join(
        method if len(given) == numbers[method] else f"{method}, {' or '.join(given)}"
        for method, given in by_method.items()
    )


def _notes(table: pd.DataFrame, labels: Mapping, carries: str, leaks: str) -> list[str]:
    facts = f" New facts: {labels['facts']}." if labels.get("facts") else ""
    return [
        "A token reads a weighted sum of slots, and the weights do not change while slots are learned. So what a "
        "fact's first step would change can be computed before it is taken: a point is the change of reads in other "
        "texts, 100 % being the change in the wordings that are taught, if the loss pulls alike at all their tokens.",
        f"Up: the change that arrives in {_CARRIES[carries]}, which should be as large. Right: the change that arrives "
        f"in {_LEAKS[leaks]}, which should be none. Each fact is as the first of its stream; means over facts.{facts}",
        "Settings that select the same slots and move them alike are one point, whatever their learning rate.",
        *labels.get("notes", ()),
    ]
