"""The project's main figure: what each method learned from a stream of new facts, and what it forgot on the way."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from smf.analysis.forgetting.curves import draw_curves, free_limits, reference_line, share_limits
from smf.analysis.forgetting.number_strip import draw_strip, strip_height, strip_rows
from smf.analysis.forgetting.tradeoff import draw_tradeoff
from smf.analysis.tuning.rule import RETAINED, retained_column
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
from smf.figures.legend import ROW_HEIGHT as LEGEND_ROW_HEIGHT
from smf.figures.legend import draw_legend, legend_rows
from smf.figures.style import add_panel, drawing, method_styles, new_figure
from smf.scores.metrics import HeldOutMetric, is_share
from smf.scores.summary import neighbours_beside
from smf.scores.table import check_scores, final_position, start_model
from smf.scores.words import (
    NEIGHBOURS_DATA,
    asked_by,
    data_words,
    described,
    forgotten,
    panel_words,
    retained_axis,
    unit,
)

_WIDTH, _LEFT, _RIGHT = 11.6, 0.65, 0.25
_LEGEND_TOP, _CURVE_HEIGHT, _CURVE_GAP = 0.86, 2.15, 0.68
_TRADEOFF_WIDTH, _TRADEOFF_HEIGHT = 4.3, 3.55


class _Panel(NamedTuple):
    """A score along the stream; ``chance`` is the score of guessing, where that is known."""

    metric: str
    title: str
    unit: str
    data: str
    chance: float | None


def forgetting_figure(
    scores: pd.DataFrame,
    summary: pd.DataFrame,
    starts: Mapping[str, str],
    labels: Mapping,
    headline: Sequence[HeldOutMetric],
    learned: str = "facts_question_f1",
) -> Figure:
    """Draw held-out scores and retained facts along the stream, and learning against forgetting at its end.

    Args:
        scores: The tidy table of scores.
        summary: The summary table of the same scores.
        starts: For each method, in the order that fixes the colours, the model that it starts from.
        labels: Data descriptions: ``held_out`` (a text for each set), ``facts`` and, if wanted, ``notes`` (a list),
            ``chance`` (for sets of choices the accuracy of guessing), ``methods`` (for each method a few words on what
            it is), ``untuned`` (methods whose learning rate the config has no sweep for), ``rate_free`` (methods that
            have none) and ``tuned_by`` (the metric of the new facts by which rates are compared, if the config names
            it).
        headline: The held-out metrics that have a panel, one or two; forgetting is that of the first.
        learned: The metric of the new facts that has a panel and is plotted against forgetting.

    Raises:
        DataError: A row or a label is missing.
    """
    check_scores(scores)
    check_labels(labels)
    with drawing():
        return _draw(scores, summary, starts, labels, headline, learned)


def _draw(
    scores: pd.DataFrame,
    summary: pd.DataFrame,
    starts: Mapping[str, str],
    labels: Mapping,
    headline: Sequence[HeldOutMetric],
    learned: str,
) -> Figure:
    num_facts = final_position(scores)
    num_seeds = scores.loc[scores["method"].isin(starts), "seed"].nunique()
    styles = method_styles(list(starts))
    across = _WIDTH - _LEFT - _RIGHT
    panels = _panels(labels, headline, learned)
    curve_width = (across - (len(panels) - 1) * _CURVE_GAP) / len(panels)
    right_column = _LEFT + _TRADEOFF_WIDTH + 0.45
    right_width = _WIDTH - _RIGHT - right_column

    # parts whose size depends on the number of methods and the length of texts decide where the rest goes
    legend = legend_rows(list(starts), across)
    subtitles = [wrap(panel.data, curve_width) for panel in panels]
    weighed = RETAINED[retained_column(scores, labels.get("tuned_by"))]
    notes = _notes(starts, labels, headline, weighed, num_seeds)
    if neighbours_beside(summary, headline):
        notes.insert(1, f"Neighbours: {NEIGHBOURS_DATA}.")
    notes = [line for note in notes for line in wrap(note, right_width)]
    strip = strip_height(len(strip_rows(summary, starts)))
    curve_top = _LEGEND_TOP + len(legend) * LEGEND_ROW_HEIGHT + 0.42 + LINE_HEIGHT * max(map(len, subtitles))
    lower_top = curve_top + _CURVE_HEIGHT + 1.05
    notes_top = lower_top + strip + 0.12
    figure = new_figure(_WIDTH, max(lower_top + _TRADEOFF_HEIGHT + 0.65, notes_top + len(notes) * LINE_HEIGHT + 0.2))
    figure_title(
        figure,
        _LEFT,
        "What does a language model forget while it learns new facts?",
        f"{count(num_facts, 'new fact')} ({labels['facts']}) taught one after the other by "
        f"{count(len(starts), 'method')}, {count(num_seeds, 'seed')}{' each' * (len(starts) > 1)}",
    )
    axes = add_panel(figure, _LEFT, _LEGEND_TOP, across, len(legend) * LEGEND_ROW_HEIGHT)
    draw_legend(axes, legend, styles, across)

    for index, (letter, panel) in enumerate(zip("abc", panels, strict=False)):
        axes = add_panel(figure, _LEFT + index * (curve_width + _CURVE_GAP), curve_top, curve_width, _CURVE_HEIGHT)
        draw_curves(axes, scores, panel.metric, starts, styles)
        values = scores.loc[scores["metric"] == panel.metric, "value"]
        if is_share(panel.metric):
            share_limits(axes, values.max())
        else:
            free_limits(axes, values.min(), values.max())
        axes.set_ylabel(panel.unit)
        blank = [""] * (max(map(len, subtitles)) - len(subtitles[index]))
        panel_title(axes, letter, panel.title, subtitles[index] + blank)
        if panel.chance is not None:
            reference_line(axes, panel.chance, "chance")

    axes = add_panel(figure, _LEFT, lower_top, _TRADEOFF_WIDTH, _TRADEOFF_HEIGHT)
    axes.set_xlabel(f"← better      forgotten: {forgotten(headline[0])} (%)")
    axes.set_ylabel(retained_axis(learned))
    draw_tradeoff(axes, scores, summary, starts, styles, headline[0].name, learned)
    panel_title(axes, "abcd"[len(panels)], "At the end of the stream: learned against forgotten")

    axes = add_panel(figure, right_column, lower_top, right_width, strip)
    draw_strip(axes, summary, starts, styles, headline)
    panel_title(axes, "", "The numbers at the end of the stream")
    small_print(figure, right_column, notes_top, notes)
    return figure


def _panels(labels: Mapping, headline: Sequence[HeldOutMetric], learned: str) -> list[_Panel]:
    data = f"facts taught so far, asked by {asked_by(learned)}"
    return [*_held_out_panels(labels, headline), _Panel(learned, "New facts retained", "F1", data, None)]


def _held_out_panels(labels: Mapping, headline: Sequence[HeldOutMetric]) -> list[_Panel]:
    chances = labels.get("chance", {})
    return [
        _Panel(
            metric.name,
            panel_words(metric, headline),
            unit(metric),
            described(metric, labels),
            chances.get(metric.probe) if metric.measure in ("acc", "acc_norm") else None,
        )
        for metric in headline
    ]


def _notes(
    starts: Mapping[str, str],
    labels: Mapping,
    headline: Sequence[HeldOutMetric],
    weighed: str,
    num_seeds: int,
) -> list[str]:
    retained, tradeoff = "abc"[len(headline)], "bcd"[len(headline)]
    used = {start_model(method, starts) for method in starts}
    start = f"the {used.pop()} model" if len(used) == 1 else "the healed model for methods with memory, else the base"
    spread = (
        f"Bars and ±: 95 % Student t intervals over {num_seeds} seeds; in {tradeoff} an arrow where one leaves the "
        "panel, and small points for single seeds."
        if num_seeds > 1
        else "One seed: no intervals."
    )
    methods = "; ".join(f"{name}: {text}" for name, text in labels.get("methods", {}).items() if name in starts)
    chance = "".join(
        f"Dotted line in {letter}: guessing one of {round(1 / panel.chance)} endings. "
        for letter, panel in zip("ab", _held_out_panels(labels, headline), strict=False)
        if panel.chance is not None
    )
    drop = "Drop = (start − end) / start, negative where the score rose"
    if not all(metric.higher_is_better for metric in headline):
        drop = "Drop = (start − end) / start; rise, where lower is better, = (end − start) / start; negative: better"
    return [
        f"Data. {data_words(labels, headline)} New facts: {labels['facts']}.",
        *([f"Methods. {methods}."] if methods else []),
        f"{spread} Open circles: the models that streams start from; in {retained} asked about the facts of the stream "
        "before any is taught.",
        f"{chance}{drop}; start = {start}.",
        _rates(starts, labels, tuning_rule(headline[0], weighed)),
        *labels.get("notes", ()),
    ]


def _rates(methods: Mapping[str, str], labels: Mapping, rule: str) -> str:
    """By which rule a sweep compares learning rates, which methods have no sweep, and which need no rate.

    Whether the sweep was run, and whether its choice is what the config has, is not known here.
    """
    untuned, rate_free = labels.get("untuned", ()), labels.get("rate_free", ())
    if len(rate_free) == len(methods):
        return "No method needs a learning rate."
    exceptions = f" {', '.join(rate_free)}: no learning rate is needed." if rate_free else ""
    if len(untuned) + len(rate_free) == len(methods):
        return f"Learning rates are those of the config, which has no sweep to check them by.{exceptions}"
    if untuned:
        exceptions = f" {', '.join(untuned)}: no sweep in the config.{exceptions}"
    return (
        "Learning rates are those of the config. They can be checked by the sweep in tables/tuning.csv, which has one "
        f"rule for all methods: {rule}.{exceptions}"
    )
