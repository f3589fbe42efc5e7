"""The frontier figure: retained against forgotten at several strengths, and each method's front in numbers."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from smf.analysis.frontier.bootstrap import RESAMPLES
from smf.analysis.frontier.panel import draw_fronts, draw_key
from smf.analysis.frontier.summary import COMPARED, at_level, summary_columns
from smf.analysis.frontier.table import check_frontier, settings_columns
from smf.analysis.tuning.rule import RETAINED
from smf.errors import DataError
from smf.figures.captions import (
    LINE_HEIGHT,
    check_labels,
    count,
    figure_title,
    panel_title,
    small_print,
    tuning_rule,
    wrap,
)
from smf.figures.learned_forgotten import forgetting_scale, is_wide
from smf.figures.method_dots import ROW_HEIGHT, Value, draw_dots, draw_names
from smf.figures.style import add_panel, drawing, method_styles, new_figure
from smf.scores.columns import require_columns
from smf.scores.metrics import HeldOutMetric
from smf.scores.words import asked_by, data_words, forgotten, retained_axis

_WIDTH, _LEFT, _RIGHT = 11.6, 0.65, 0.25
_TOP, _MAIN_HEIGHT, _KEY_WIDTH = 1.2, 5.3, 6.0
_NAMES_WIDTH, _NUMBERS_WIDTH, _GAP = 1.9, 0.5, 0.25


def frontier_figure(
    frontier: pd.DataFrame,
    settings: pd.DataFrame,
    summary: pd.DataFrame,
    starts: Mapping[str, str],
    labels: Mapping,
    metric: HeldOutMetric,
    learned: str,
) -> Figure:
    """Draw all runs with each method's front, and below them a row per method with its front in numbers.

    Args:
        frontier: The table of runs (:func:`smf.analysis.frontier.table.frontier_table`).
        settings: The table of settings of the same runs.
        summary: The summary of the same runs (:func:`smf.analysis.frontier.summary.summary`).
        starts: All methods of the experiment, in the order that fixes the colours; those without a run are left out.
        labels: Data descriptions: ``held_out`` (a text for each set), ``facts`` and, if wanted, ``notes`` (a list) and,
            if the config names the metric of the new facts that the tuning rule weighs, ``tuned_by``.
        metric: The held-out metric whose forgetting the tables hold.
        learned: The metric of the new facts that says what is retained.

    Raises:
        DataError: A table is incomplete or not of the same runs as the others, a method does not have exactly one
            chosen setting, or a label is missing.
    """
    check_labels(labels)
    _check(frontier, settings, summary, starts, metric)
    with drawing():
        return _draw(frontier, settings, summary, starts, labels, metric, learned)


def _draw(
    frontier: pd.DataFrame,
    settings: pd.DataFrame,
    summary: pd.DataFrame,
    starts: Mapping[str, str],
    labels: Mapping,
    metric: HeldOutMetric,
    learned: str,
) -> Figure:
    shown = set(frontier["method"])
    styles = {method: style for method, style in method_styles(list(starts)).items() if method in shown}
    numbers = summary.set_index("method")
    reference, num_seeds = float(summary["reference"].iloc[0]), int(summary["num_seeds"].iloc[0])
    across = _WIDTH - _LEFT - _RIGHT
    notes = [
        line for note in _notes(settings, labels, metric, learned, reference, num_seeds) for line in wrap(note, across)
    ]
    rows_top = _TOP + _MAIN_HEIGHT + 1.2
    notes_top = rows_top + len(styles) * ROW_HEIGHT + 0.62
    figure = new_figure(_WIDTH, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    figure_title(
        figure,
        _LEFT,
        "How much does each method forget for the new facts that it retains?",
        f"{count(len(styles), 'method')}{', each' * (len(styles) > 1)} at {_strengths(settings)}, "
        f"{count(num_seeds, 'seed')} a setting; new facts: {labels['facts']}",
    )

    axes = add_panel(figure, _LEFT, _TOP, across, _MAIN_HEIGHT)
    lost = 100 * frontier["forgetting"]
    # a budget far beyond what anything forgets would leave most of the panel empty
    held = [*lost, *([100 * reference] if 100 * reference <= max(2 * lost.max(), 1.0) else [])]
    wide = is_wide(held)
    axes.set_xlabel(_forgotten_axis(metric, wide))
    axes.set_ylabel(retained_axis(learned))
    forgetting_scale(axes, held, wide)
    draw_fronts(axes, frontier, settings, styles, reference)
    draw_key(add_panel(figure, _WIDTH - _RIGHT - _KEY_WIDTH, _TOP - 0.3, _KEY_WIDTH, 0.24), _KEY_WIDTH, num_seeds > 1)
    panel_title(axes, "a", "Learned against forgotten, at the end of the stream")

    _draw_rows(figure, rows_top, numbers, styles, reference)
    small_print(figure, _LEFT, notes_top, notes)
    return figure


def _draw_rows(figure: Figure, top: float, numbers: pd.DataFrame, styles: Mapping, reference: float) -> None:
    """Draw the three panels that share their rows, best hypervolume first."""
    methods = list(numbers.sort_values("hypervolume", ascending=False, kind="stable").index)
    height = len(methods) * ROW_HEIGHT
    draw_names(add_panel(figure, _LEFT - 0.35, top, _NAMES_WIDTH, height), methods, styles, _NAMES_WIDTH)
    left = _LEFT - 0.35 + _NAMES_WIDTH + 0.05
    width = (_WIDTH - _RIGHT + 0.1 - left - 3 * _NUMBERS_WIDTH - 2 * _GAP) / 3
    panels = [
        add_panel(figure, left + place * (width + _NUMBERS_WIDTH + _GAP), top, width, height) for place in range(3)
    ]

    axes = panels[0]
    values = {method: _value(numbers, method, "hypervolume") for method in methods}
    axes.set_xlim(0, 1.25 * max(_largest(values), 0.04) if _largest(values) < 0.6 else 1.0)
    draw_dots(axes, methods, values, {method: f"{values[method][0]:.3f}" for method in methods}, styles)
    axes.set_xlabel("mean retained F1      better →")
    panel_title(axes, "b", "Retained, averaged over budgets", [f"of forgetting from 0 to {100 * reference:g} %"])

    axes = panels[1]
    values = {method: _value(numbers, method, at_level(COMPARED), 100) for method in methods}
    wide = is_wide([_largest(values)])
    forgetting_scale(axes, [_largest(values)], wide)
    texts = {method: f"{value[0]:.1f} %" for method, value in values.items()}
    draw_dots(axes, methods, values, texts, styles, "not reached")
    axes.set_xlabel(f"← better      forgotten (%{'; compressed' * wide})")
    panel_title(
        axes, "c", f"Forgotten where {100 * COMPARED:g} % is retained", [f"least on the front at F1 {COMPARED:g}"]
    )

    axes = panels[2]
    values = {method: (float(numbers.loc[method, "tokens_per_fact"]), math.nan, math.nan) for method in methods}
    costs = [value[0] for value in values.values()]
    if min(costs) > 0:
        axes.set_xscale("log")
        decades = math.log10(max(costs) / min(costs))
        room = 2.0 if decades > 0.6 else 3.3  # at least a decade in all, for two ticks
        axes.set_xlim(min(costs) / room, max(costs) * room)
        # only decades if there are many, so that tick labels do not collide
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 1.3 else (1.0, 3.0), numticks=20))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.1 * max(*costs, 1.0))
    draw_dots(axes, methods, values, {method: f"{value[0]:,.0f}" for method, value in values.items()}, styles)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
    axes.set_xlabel("← cheaper      tokens per fact")
    panel_title(
        axes, "d", "Read while learning a fact", ["tokens, mean over all runs" + "; logarithmic" * (min(costs) > 0)]
    )


def _value(numbers: pd.DataFrame, method: str, name: str, factor: float = 1.0) -> Value:
    value, low, high = (factor * float(numbers.loc[method, f"{name}{end}"]) for end in ("", "_ci95_low", "_ci95_high"))
    return value, low, high


def _largest(values: Mapping[str, Value]) -> float:
    return max((number for value in values.values() for number in value if not math.isnan(number)), default=0.0)


def _forgotten_axis(metric: HeldOutMetric, wide: bool) -> str:
    scale = "; scale compressed away from 0" if wide else ""
    return f"← better      forgotten: {forgotten(metric)} (%{scale})"


def _strengths(settings: pd.DataFrame) -> str:
    sizes = settings.groupby("method").size()
    if sizes.min() == sizes.max():
        return count(int(sizes.max()), "setting")
    return f"{sizes.min()} to {sizes.max()} settings"


def _notes(
    settings: pd.DataFrame, labels: Mapping, metric: HeldOutMetric, learned: str, reference: float, num_seeds: int
) -> list[str]:
    budget = f"{100 * reference:g} %"
    interval = (
        f"Bars in b and c: 95 % percentile intervals of {RESAMPLES:,} resamples of the {num_seeds} seeds, the same "
        "resamples for all methods; an arrow: no upper bound, as too many resamples never get there. With few seeds "
        "these intervals are rather too narrow."
        if num_seeds > 1
        else "One seed: no intervals."
    )
    points = "the small pale points are its single runs, one per seed" if num_seeds > 1 else "one run, of one seed"
    return [
        f"Data. {data_words(labels, [metric])} New facts: {labels['facts']}; asked by {asked_by(learned)}, all of "
        "them, after the last was taught. Forgetting is measured against the model that the stream started from; left "
        "of 0: better than that model.",
        f"a. A symbol is a method at one setting, such as a learning rate: the mean over seeds; {points}. Lines: each "
        "method's front, the settings that none of its others dominates, where an improvement counts as zero "
        "forgetting; dominated settings are pale. Dotted: from doing nothing, which retains and forgets nothing. "
        f"Ring: the setting chosen by one rule for all methods ({tuning_rule(metric, _weighed(settings, labels))}); "
        "no rule chose the others.",
        "b. Retained F1 of the best setting within a forgetting budget, averaged over all budgets from 0 "
        f"to {budget} (shaded in a): the normalised area below the front's staircase. 0: nothing "
        "retained; 1: everything retained, nothing forgotten.",
        f"c. Interpolated along the front in a. Not reached: no setting retains "
        f"{100 * COMPARED:g} % on average. d. Tokens in all texts that a fact's steps read.",
        interval,
        *labels.get("notes", ()),
    ]


def _weighed(settings: pd.DataFrame, labels: Mapping) -> str:
    """The metric of the new facts that the tuning rule weighed; without a given one as in ``retained_column``."""
    if labels.get("tuned_by") is not None:
        return labels["tuned_by"]
    unseen = settings["retained_unseen_f1"].notna().any()
    return RETAINED["retained_unseen_f1" if unseen else "retained_question_f1"]


def _check(
    frontier: pd.DataFrame,
    settings: pd.DataFrame,
    summary: pd.DataFrame,
    starts: Mapping[str, str],
    metric: HeldOutMetric,
) -> None:
    check_frontier(frontier)
    expected = (
        ("table of settings", settings, settings_columns([metric.name])),
        ("summary of fronts", summary, summary_columns()),
    )
    for name, table, columns in expected:
        require_columns(name, table, columns)
    if strangers := sorted(set(frontier["method"]) - set(starts)):
        raise DataError(f"the frontier table holds the unknown method {', '.join(strangers)}; make it again")
    runs = {tuple(key) for key in frontier[["method", "setting"]].to_numpy()}
    if differing := sorted(runs ^ {tuple(key) for key in settings[["method", "setting"]].to_numpy()}):
        method, setting = differing[0]
        raise DataError(
            f"{method} at {setting} is in only one of the frontier table and the table of settings; make both again"
        )
    ringed = settings.groupby("method", sort=False)["chosen"].sum()
    if (ringed != 1).any():
        method = (ringed != 1).idxmax()
        number = int(ringed[method]) or "no"
        raise DataError(f"{number} setting of {method} is chosen in the table of settings, not one; make it again")
    if differing := sorted(set(frontier["method"]) ^ set(summary["method"])):
        raise DataError(f"{differing[0]} is in only one of the frontier table and the summary; make both again")
