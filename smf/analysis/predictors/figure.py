"""What each run forgot over what it changed: a panel for each predictor, a row for each outcome."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from smf.analysis.predictors.table import (
    BACKGROUND,
    CHANGE,
    CONTRAST,
    LOCALITY_LOSS,
    SLOTS_WRITTEN,
    correlations_table,
    outcomes_of,
    predictors_of,
)
from smf.errors import DataError
from smf.figures.captions import LINE_HEIGHT, count, figure_title, panel_title, small_print, wrap
from smf.figures.legend import draw_legend, legend_rows
from smf.figures.style import SMALL, MethodStyle, add_panel, drawing, method_styles, new_figure
from smf.scores.columns import require_columns
from smf.scores.metrics import HeldOutMetric
from smf.scores.words import lost_words

_LEFT, _RIGHT, _TOP = 0.95, 0.3, 1.0
_WIDTH, _HEIGHT, _GAP, _ROW_GAP = 1.75, 1.4, 0.35, 0.75
_LEGEND_ROW = 0.22
_WORDS = {
    SLOTS_WRITTEN: ("Slots written", "number"),
    CHANGE: ("Total change", "norm of all changes"),
    f"{BACKGROUND}_reads": ("Read by ordinary text", "share of its reads"),
    f"{BACKGROUND}_change": ("Moved for ordinary text", "mean change a read finds"),
    f"{CONTRAST}_reads": ("Read by contrast texts", "share of their reads"),
    f"{CONTRAST}_change": ("Moved for contrast texts", "mean change a read finds"),
}


def predictors_figure(
    table: pd.DataFrame, labels: Mapping, methods: Sequence[str], headline: Sequence[HeldOutMetric]
) -> Figure:
    """Draw the figure.

    Args:
        table: Rows of runs (:func:`smf.analysis.predictors.table.predictors_table`).
        labels: Data descriptions: ``notes``.
        methods: All methods of the experiment, so that each has the colour that it has in other figures.
        headline: The held-out metrics among the outcomes.

    Raises:
        DataError: A column is missing, or the table is empty.
    """
    require_columns("table of predictors", table, ["method", "seed", SLOTS_WRITTEN, CHANGE])
    if table.empty or not outcomes_of(table):
        raise DataError("the table of predictors holds no run or no outcome; make it again")
    with drawing():
        return _draw(table, labels, methods, headline)


def _draw(table: pd.DataFrame, labels: Mapping, methods: Sequence[str], headline: Sequence[HeldOutMetric]) -> Figure:
    styles = method_styles(methods)
    shown = [method for method in methods if method in set(table["method"])]
    predictors, outcomes = predictors_of(table), outcomes_of(table)
    found = correlations_table(table).set_index(["predictor", "outcome"])
    across = len(predictors) * (_WIDTH + _GAP) - _GAP
    legend = legend_rows(shown, across)
    top = _TOP + len(legend) * _LEGEND_ROW + 0.6
    notes = [line for note in _notes(table, labels) for line in wrap(note, _LEFT + across - 0.4)]
    notes_top = top + len(outcomes) * (_HEIGHT + _ROW_GAP) + 0.1
    figure = new_figure(_LEFT + across + _RIGHT, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    figure_title(
        figure,
        0.4,
        "What predicts how much a run forgets?",
        f"{count(len(table), 'run')} of {count(len(shown), 'method')}: what a run changed, against what it forgot",
    )
    draw_legend(add_panel(figure, _LEFT, _TOP - 0.05, across, len(legend) * _LEGEND_ROW), legend, styles, across)
    lost = {f"{metric.name}_drop": lost_words(metric) for metric in headline} | {LOCALITY_LOSS: "Neighbours changed"}
    for row, outcome in enumerate(outcomes):
        for column, predictor in enumerate(predictors):
            left, above = _LEFT + column * (_WIDTH + _GAP), top + row * (_HEIGHT + _ROW_GAP)
            axes = add_panel(figure, left, above, _WIDTH, _HEIGHT)
            _points(axes, table, predictor, outcome, shown, styles)
            title, unit = _WORDS.get(predictor, (f"KL on {predictor.rpartition('_')[0]}", "nats per token"))
            told = _told(found.loc[(predictor, outcome)])
            panel_title(axes, "", title if row == 0 else "", (told,))
            axes.tick_params(labelleft=column == 0)
            if row == len(outcomes) - 1:
                axes.set_xlabel(unit, fontsize=SMALL)
            if column == 0:
                axes.set_ylabel(lost.get(outcome, outcome), fontsize=SMALL)
    small_print(figure, 0.4, notes_top, notes)
    return figure


def _points(
    axes: Axes,
    table: pd.DataFrame,
    predictor: str,
    outcome: str,
    methods: Sequence[str],
    styles: Mapping[str, MethodStyle],
) -> None:
    for method in methods:
        part = table[table["method"] == method]
        style = styles[method]
        axes.plot(
            part[predictor], part[outcome], style.marker, color=style.colour, markersize=5.5,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    axes.margins(0.12)
    least, most = table[outcome].min(), table[outcome].max()
    if least < most:  # one scale for a row of panels, though some have fewer points
        axes.set_ylim(least - 0.12 * (most - least), most + 0.12 * (most - least))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %".replace("-", "−")))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.tick_params(labelsize=SMALL)


def _told(correlation: pd.Series) -> str:
    numbers = [correlation["spearman"], correlation["spearman_within_methods"]]
    overall, within = ("–" if math.isnan(value) else f"{value:.2f}".replace("-", "−") for value in numbers)
    return f"ρ {overall}, within {within}"


def _notes(table: pd.DataFrame, labels: Mapping) -> list[str]:
    without = table["method"][table[SLOTS_WRITTEN].isna()].unique()
    slots = f"{' and '.join(without)} have no slots, and points under KL alone." if len(without) else ""
    return [
        "ρ: Spearman's rank correlation over all runs that have points in a panel; within: the same with ranks among "
        "the runs of each method, so that methods that merely differ from each other do not count. Runs of one method "
        "share everything but the stream, so there is less evidence than points.",
        "Change is the Euclidean norm of the change of a slot's value. Contrast texts: wordings of facts that are "
        "never taught, in the form in which facts are.",
        *([slots] if slots else []),
        *labels.get("notes", ()),
    ]
