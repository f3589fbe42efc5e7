"""The figure of interpolation: learned against forgotten between the start model and what each method learned."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from smf.analysis.interpolation.table import values_by_share
from smf.errors import DataError
from smf.figures.captions import (
    LINE_HEIGHT,
    check_labels,
    count,
    figure_title,
    panel_title,
    small_print,
    wrap,
)
from smf.figures.direct_labels import place_labels
from smf.figures.learned_forgotten import forgetting_scale, is_wide, mark_ideal
from smf.figures.legend import NAME_WIDTH
from smf.figures.style import (
    GREY,
    SMALL,
    START_COLOUR,
    Look,
    MethodStyle,
    add_panel,
    drawing,
    method_styles,
    new_figure,
)
from smf.scores.metrics import HeldOutMetric
from smf.scores.summary import shorten
from smf.scores.words import asked_by, data_words, forgotten, retained_axis

_WIDTH, _LEFT, _RIGHT, _TOP = 11.6, 0.65, 0.25, 1.2
_MAIN_WIDTH, _MAIN_HEIGHT, _GAP = 6.7, 5.3, 0.85
_SIDE_HEIGHT = 2.15
_KEY_WIDTH = 4.6
_LINE: Look = {"linewidth": 1.6, "alpha": 0.85, "zorder": 2.8}
_END: Look = {"markersize": 8.5, "markeredgecolor": "white", "markeredgewidth": 0.8, "linestyle": "none", "zorder": 3.4}
_SMALL_END: Look = {**_END, "markersize": 6.8}
_BETWEEN: Look = {**_END, "markersize": 5.0, "markeredgewidth": 0.5, "zorder": 3.2}
_SEED: Look = {"markersize": 2.9, "alpha": 0.3, "markeredgewidth": 0, "linestyle": "none", "zorder": 2.6}
_START: Look = {
    "marker": "o", "color": "white", "markeredgecolor": START_COLOUR, "markersize": 5.5, "linestyle": "none",
    "zorder": 3.6,
}  # fmt: skip


class _Way(NamedTuple):
    """What a method retains, and what it has forgotten in per cent: a row for each share and a column for each seed."""

    kept: pd.DataFrame
    lost: pd.DataFrame


def interpolation_figure(
    table: pd.DataFrame, methods: Sequence[str], labels: Mapping, metric: HeldOutMetric, learned: str
) -> Figure:
    """Draw learned against forgotten, a line a method from its start model to what it learned, and both by share.

    Args:
        table: The table (:func:`smf.analysis.interpolation.table.interpolation_table`).
        methods: All methods of the experiment, in the order that fixes the colours; those not in the table are left
            out.
        labels: Data descriptions: ``held_out`` (a text for each set), ``facts`` and, if wanted, ``notes`` (a list).
        metric: The held-out metric whose forgetting is shown.
        learned: The metric of the new facts that says what is retained.

    Raises:
        DataError: The table is incomplete or holds none of the methods, nothing can be forgotten, or a label is
            missing.
    """
    check_labels(labels)
    shown = [method for method in methods if method in set(table["method"])]
    if not shown:
        raise DataError(f"the table of interpolation holds none of {', '.join(methods)}; make it again")
    ways = {
        method: _Way(
            values_by_share(table, method, learned, "value"),
            100 * values_by_share(table, method, metric.name, "forgetting"),
        )
        for method in shown
    }
    styles = method_styles(methods)
    with drawing():
        return _draw(ways, {method: styles[method] for method in shown}, labels, metric, learned)


def _draw(
    ways: Mapping[str, _Way], styles: Mapping[str, MethodStyle], labels: Mapping, metric: HeldOutMetric, learned: str
) -> Figure:
    first = next(iter(ways.values())).kept
    num_seeds = first.shape[1]
    notes = [
        line
        for note in _notes(labels, metric, learned, [float(share) for share in first.index], num_seeds)
        for line in wrap(note, _WIDTH - _LEFT - _RIGHT)
    ]
    notes_top = _TOP + _MAIN_HEIGHT + 0.62
    figure = new_figure(_WIDTH, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    figure_title(
        figure,
        _LEFT,
        "Does going part of the way back to the start model give a better trade-off?",
        f"{count(len(ways), 'method')} at the end of the stream, as learned and at {count(len(first) - 2, 'share')} of "
        f"the way from the start model, without training; {count(num_seeds, 'seed')}",
    )
    lost = [value for way in ways.values() for value in way.lost.to_numpy().ravel()]
    wide = is_wide(lost)
    scale = "; scale compressed away from 0" if wide else ""

    axes = add_panel(figure, _LEFT, _TOP, _MAIN_WIDTH, _MAIN_HEIGHT)
    forgetting_scale(axes, lost, wide)
    axes.set_ylim(-0.03, 1.07)
    axes.set_xlabel(f"← better      forgotten: {forgotten(metric)} (%{scale})")
    axes.set_ylabel(retained_axis(learned))
    _draw_ways(axes, ways, styles)
    panel_title(axes, "a", "Learned against forgotten")
    left = _LEFT + _MAIN_WIDTH - _KEY_WIDTH
    _draw_key(add_panel(figure, left, _TOP - 0.3, _KEY_WIDTH, 0.24), num_seeds > 1)

    left, width = _LEFT + _MAIN_WIDTH + _GAP, _WIDTH - _LEFT - _MAIN_WIDTH - _GAP - _RIGHT
    axes = add_panel(figure, left, _TOP, width, _SIDE_HEIGHT)
    _draw_by_share(axes, {method: way.kept for method, way in ways.items()}, styles)
    axes.set_ylim(-0.03, 1.07)
    axes.set_ylabel("retained (F1)")
    panel_title(axes, "b", "What is left of the new facts")
    axes = add_panel(figure, left, _TOP + _MAIN_HEIGHT - _SIDE_HEIGHT, width, _SIDE_HEIGHT)
    _draw_by_share(axes, {method: way.lost for method, way in ways.items()}, styles)
    forgetting_scale(axes, lost, wide, vertical=True)
    axes.set_ylabel("forgotten (%)")
    axes.set_xlabel("share of the way from the start model")
    panel_title(axes, "c", "What is forgotten")

    small_print(figure, _LEFT, notes_top, notes)
    return figure


def _draw_ways(axes: Axes, ways: Mapping[str, _Way], styles: Mapping[str, MethodStyle]) -> None:
    """Draw each method's line with its marks and its name at its end."""
    ideal = mark_ideal(axes)
    obstacles = [(0.0, float(height)) for height in np.linspace(0, 1, 41)]
    ends = {}
    for method, way in ways.items():
        style = styles[method]
        x, y = way.lost.mean(axis=1).to_numpy(), way.kept.mean(axis=1).to_numpy()
        if way.kept.shape[1] > 1:
            axes.plot(way.lost.to_numpy()[1:], way.kept.to_numpy()[1:], style.marker, color=style.colour, **_SEED)
        axes.plot(x, y, color=style.colour, **_LINE)
        axes.plot(x[1:-1], y[1:-1], style.marker, color=style.colour, **_BETWEEN)
        axes.plot(x[-1:], y[-1:], style.marker, color=style.colour, **_END)
        axes.plot(x[:1], y[:1], **_START)
        steps = np.linspace(0, len(x) - 1, 10 * (len(x) - 1) + 1)
        along = (np.interp(steps, np.arange(len(x)), values) for values in (x, y))
        obstacles += [(float(one), float(other)) for one, other in zip(*along, strict=True)]
        ends[method] = float(x[-1]), float(y[-1])
    before = len(axes.texts)
    place_labels(
        axes,
        ideal,
        ends,
        {method: shorten(method, NAME_WIDTH) for method in ways},
        {method: style.colour for method, style in styles.items()},
        obstacles,
    )
    for text in axes.texts[before:]:
        text.set_path_effects([withStroke(linewidth=2.2, foreground="white", alpha=0.85)])


def _draw_by_share(axes: Axes, values: Mapping[str, pd.DataFrame], styles: Mapping[str, MethodStyle]) -> None:
    axes.set_xlim(-0.04, 1.04)
    for method, by_seed in values.items():
        style, shares, means = styles[method], by_seed.index.to_numpy(), by_seed.mean(axis=1).to_numpy()
        axes.plot(shares, means, color=style.colour, **_LINE)
        axes.plot(shares[1:-1], means[1:-1], style.marker, color=style.colour, **_BETWEEN)
        axes.plot(shares[-1:], means[-1:], style.marker, color=style.colour, **_SMALL_END)
        axes.plot(shares[:1], means[:1], **_START)


def _draw_key(axes: Axes, several: bool) -> None:
    """Draw the key to the marks, right-aligned in one line; single runs are shown if there are several seeds."""
    axes.set_axis_off()
    axes.set(xlim=(0, _KEY_WIDTH), ylim=(-1, 1))
    grey: Look = {"color": GREY, "marker": "o"}
    entries: tuple[tuple[str, Look], ...] = (
        ("as learned", {**grey, **_END}),
        ("between", {**grey, **_BETWEEN}),
        ("start model", _START),
        ("single run", {**grey, **_SEED, "alpha": 0.5}),
    )
    right = _KEY_WIDTH
    for words, look in entries[: 3 + several]:
        axes.text(right, 0, words, ha="right", va="center", fontsize=SMALL + 0.5)
        left = right - 0.0605 * len(words) - 0.16
        axes.plot([left], [0], **look, clip_on=False)
        right = left - 0.24


def _notes(labels: Mapping, metric: HeldOutMetric, learned: str, shares: Sequence[float], num_seeds: int) -> list[str]:
    told = ", ".join(f"{share:g}" for share in shares)
    seeds = "A mark is the mean over seeds" if num_seeds > 1 else "One seed"
    return [
        f"Data. {data_words(labels, [metric])} New facts: {labels['facts']}; asked by {asked_by(learned)}, all of "
        "them, after the last was taught. Forgetting is measured against the model that the stream started from; left "
        "of 0: better than that model.",
        "Weights. (1 - share) · start + share · learned, for every weight that the method changed; shares: "
        f"{told}. 0 is the start model, 1 the method as in all other figures. For adapters: the weights into which "
        "they can be merged.",
        f"{seeds}. Lines join a method's shares; what lies between two marks was not measured.",
        *labels.get("notes", ()),
    ]
