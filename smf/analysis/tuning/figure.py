"""How each method's learning rate was chosen: the whole sweep, with the rule's choice marked."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from smf.analysis.tuning.rule import RETAINED, tuning_columns
from smf.errors import DataError
from smf.figures.captions import LINE_HEIGHT, check_labels, count, figure_title, panel_title, small_print, wrap
from smf.figures.legend import NAME_WIDTH
from smf.figures.style import GREY, INK, NORMAL, Look, MethodStyle, add_panel, drawing, method_styles, new_figure
from smf.scores.columns import require_columns
from smf.scores.metrics import HeldOutMetric
from smf.scores.summary import shorten
from smf.scores.words import asked_by, data_words, forgotten, loss_word

_LEFT, _RIGHT, _ACROSS_GAP, _DOWN_GAP = 0.65, 0.3, 0.3, 1.0
_PANEL_WIDTH, _PANEL_HEIGHT, _MOST_COLUMNS = 2.45, 1.95, 4
_TOP = 1.72
_FARTHEST = 2.0
"""Scores and rises beyond it are off the scale."""
_RETAINED, _DROP = (0, ()), (0, (3, 2))
"""Line styles of the two terms of the score."""


def tuning_figure(
    tuning: pd.DataFrame, starts: Mapping[str, str], labels: Mapping, headline: Sequence[HeldOutMetric], learned: str
) -> Figure:
    """Draw the tuning score and its two terms against the learning rate, a panel for each method.

    Args:
        tuning: The tuning table (see :mod:`smf.analysis.tuning.rule`).
        starts: All methods of the experiment, in the order that fixes the colours; those not tuned get no panel.
        labels: Data descriptions: ``held_out`` (a text for each set), ``facts`` and, if the config names the metric of
            the new facts that the rule weighs, ``tuned_by``.
        headline: The held-out metrics of the table; the rule weighs the first.
        learned: The metric of the new facts by which the results compare methods.

    Raises:
        DataError: A column or a label is missing, or the table is empty or holds an unknown method.
    """
    check_labels(labels)
    given = next((column for column in RETAINED if column in tuning.columns), next(iter(RETAINED)))
    columns = tuning_columns([metric.name for metric in headline], given)
    require_columns("tuning table", tuning, columns)
    if strangers := sorted(set(tuning["method"]) - set(starts)):
        raise DataError(f"the tuning table holds the unknown method {', '.join(strangers)}; make it again")
    if tuning.empty:
        raise DataError("the tuning table is empty; sweep at least one method")
    with drawing():
        return _draw(tuning, starts, labels, headline[0], given, learned)


def _draw(
    tuning: pd.DataFrame,
    starts: Mapping[str, str],
    labels: Mapping,
    weighed: HeldOutMetric,
    retained: str,
    learned: str,
) -> Figure:
    methods = [method for method in starts if method in set(tuning["method"])]
    styles = method_styles(list(starts))
    columns = min(_MOST_COLUMNS, len(methods))
    rows = math.ceil(len(methods) / columns)
    # the words need some width, however few the panels are
    width = max(7.6, _LEFT + columns * (_PANEL_WIDTH + _ACROSS_GAP) - _ACROSS_GAP + _RIGHT)
    notes = [
        line
        for note in _notes(labels, weighed, RETAINED[retained], learned)
        for line in wrap(note, width - _LEFT - _RIGHT)
    ]
    notes_top = _TOP + rows * (_PANEL_HEIGHT + _DOWN_GAP) - 0.15
    figure = new_figure(width, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    seeds = count(int(tuning["num_seeds"].max()), "tuning seed")
    figure_title(figure, _LEFT, "How was each method's learning rate chosen?", f"One rule for all methods, on {seeds}")
    _legend(add_panel(figure, _LEFT, 0.86, width - _LEFT - _RIGHT, 0.24), width - _LEFT - _RIGHT, loss_word(weighed))
    drop = f"{weighed.name}_drop"
    values = tuning[[retained, drop, "tuning_score"]]
    lowest, highest = min(0.0, float(values.min(axis=None))), max(1.0, float(values.max(axis=None)))
    if not weighed.higher_is_better:  # a share lost ends at 1, but a rate that ruins the model has no end
        lowest, highest = max(-_FARTHEST, lowest), min(_FARTHEST, highest)
    for index, method in enumerate(methods):
        row, column = divmod(index, columns)
        axes = add_panel(
            figure,
            _LEFT + column * (_PANEL_WIDTH + _ACROSS_GAP),
            _TOP + row * (_PANEL_HEIGHT + _DOWN_GAP),
            _PANEL_WIDTH,
            _PANEL_HEIGHT,
        )
        _sweep(axes, tuning[tuning["method"] == method].sort_values("learning_rate"), styles[method], retained, drop)
        axes.set_ylim(lowest - 0.06, highest + 0.06)
        best = tuning.loc[(tuning["method"] == method) & tuning["best"], "learning_rate"].item()
        panel_title(axes, "", shorten(method, NAME_WIDTH), [f"chosen learning rate {best:g}"])
        if column:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("F1, or share lost" if weighed.higher_is_better else "F1, or relative rise")
        if index + columns >= len(methods):
            axes.set_xlabel("learning rate")
    small_print(figure, _LEFT, notes_top, notes)
    return figure


def _sweep(axes: Axes, part: pd.DataFrame, style: MethodStyle, retained: str, drop: str) -> None:
    rates = part["learning_rate"]
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1.5)
    axes.plot(rates, part[retained], color=GREY, linewidth=1.2, linestyle=_RETAINED, marker=".", markersize=4)
    axes.plot(rates, part[drop], color=GREY, linewidth=1.2, linestyle=_DROP, marker=".", markersize=4)
    axes.plot(
        rates, part["tuning_score"], color=style.colour, linewidth=1.8, marker=style.marker, markersize=5.5,
        markeredgecolor="white", markeredgewidth=0.5, zorder=3,
    )  # fmt: skip
    best = part[part["best"]].iloc[0]
    axes.plot(
        best["learning_rate"], best["tuning_score"], "o", markersize=13, color="none", markeredgecolor=INK, zorder=4
    )
    axes.axvline(best["learning_rate"], color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.6)
    for rate in part.loc[part["in_config"], "learning_rate"]:
        axes.plot(
            [rate], [0], "^", transform=axes.get_xaxis_transform(), color=INK, markersize=7, clip_on=False, zorder=5
        )
    span = rates.max() / rates.min()
    room = max(span**0.08, 1.3)
    axes.set_xlim(rates.min() / room, rates.max() * room)


def _legend(axes: Axes, width: float, loss: str) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(-1, 1))
    entries: tuple[tuple[str, Look], ...] = (
        ("tuning score", {"color": INK, "linewidth": 1.8, "marker": "o", "markersize": 5}),
        ("retained F1", {"color": GREY, "linewidth": 1.2, "linestyle": _RETAINED}),
        (f"relative {loss}", {"color": GREY, "linewidth": 1.2, "linestyle": _DROP}),
        ("chosen", {"color": "none", "marker": "o", "markersize": 11, "markeredgecolor": INK}),
        ("in the config", {"color": "none", "marker": "^", "markersize": 7, "markerfacecolor": INK}),
    )
    left = 0.0
    for name, look in entries:
        places = [left + 0.15] if look["color"] == "none" else [left, left + 0.15, left + 0.3]
        axes.plot(places, [0] * len(places), **look, markevery=[len(places) // 2], clip_on=False)
        axes.text(left + 0.38, 0, name, va="center", fontsize=NORMAL)
        left += 0.38 + 0.075 * len(name) + 0.15


def _notes(labels: Mapping, weighed: HeldOutMetric, retained: str, learned: str) -> list[str]:
    loss = loss_word(weighed)
    results = (
        "The results compare methods by this retained F1 too."
        if learned == retained
        else f"The results compare methods on new facts asked by {asked_by(learned)}; the rule does not use that score."
    )
    if retained == RETAINED["retained_question_f1"] and labels.get("tuned_by") is None:
        results = f"No fact has a wording that is never trained, so the rule weighs the question. {results}"
    return [
        f"Tuning score = retained F1 − max(0, relative {loss}), mean over tuning seeds. The highest is chosen, and of "
        "a tie the smaller rate; improvement on held-out data earns nothing.",
        f"Retained F1: all new facts ({labels['facts']}) at the end of the stream, asked by {asked_by(retained)}. "
        f"Relative {loss}: {forgotten(weighed).split(' of ', 1)[1]} against the model that the stream started "
        f"from. {data_words(labels, [weighed])}",
        results,
    ]
