"""The project's one picture: what each method learned from a stream of new facts, and what it forgot on the way."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from smf.evaluation.scores import check_scores, final_position, start_model
from smf.figures.captions import (
    LINE_HEIGHT,
    TUNING_RULE,
    check_labels,
    count,
    headline,
    panel_title,
    small_print,
    wrap,
)
from smf.figures.curves import draw_curves, reference_line, share_limits
from smf.figures.legend import ROW_HEIGHT as LEGEND_ROW_HEIGHT
from smf.figures.legend import draw_legend, legend_rows
from smf.figures.number_strip import draw_strip, strip_height, strip_rows
from smf.figures.style import add_panel, drawing, method_styles, new_figure
from smf.figures.tradeoff import draw_tradeoff

_WIDTH, _LEFT, _RIGHT = 11.6, 0.65, 0.25
_LEGEND_TOP, _CURVE_HEIGHT, _CURVE_GAP = 0.86, 2.15, 0.68
_TRADEOFF_WIDTH, _TRADEOFF_HEIGHT = 4.3, 3.55
_CHANCE = 0.25
"""Accuracy of guessing one of HellaSwag's four endings."""
_CURVES = (
    # letter, title, metric, unit
    ("a", "Old knowledge: questions", "nq_f1", "F1"),
    ("b", "Old skill: multiple choice", "hellaswag_acc_norm", "normalised accuracy"),
    ("c", "New facts retained", "facts_question_f1", "F1"),
)


def forgetting_figure(
    scores: pd.DataFrame, summary: pd.DataFrame, starts: Mapping[str, str], labels: Mapping
) -> Figure:
    """Draw held-out scores and retained facts along the stream, and learning against forgetting at its end.

    Args:
        scores: The tidy table of scores.
        summary: The summary table of the same scores.
        starts: For each method, in the order that fixes the colours, the model that it starts from.
        labels: What the data is: ``held_out_qa``, ``held_out_choice``, ``facts`` and, if wanted, ``notes`` (a list),
            ``methods`` (for each method a few words on what it is) and ``rates`` (a sentence on how the learning rates
            were chosen, in place of the tuning rule).

    Raises:
        DataError: A row or a label is missing.
    """
    check_scores(scores)
    check_labels(labels)
    with drawing():
        return _draw(scores, summary, starts, labels)


def _draw(scores: pd.DataFrame, summary: pd.DataFrame, starts: Mapping[str, str], labels: Mapping) -> Figure:
    num_facts = final_position(scores)
    num_seeds = scores.loc[scores["method"].isin(starts), "seed"].nunique()
    styles = method_styles(list(starts))
    across = _WIDTH - _LEFT - _RIGHT
    curve_width = (across - 2 * _CURVE_GAP) / 3
    right_column = _LEFT + _TRADEOFF_WIDTH + 0.45
    right_width = _WIDTH - _RIGHT - right_column

    # what is as long as the experiment has methods and words decides where the rest goes
    legend = legend_rows(list(starts), across)
    subtitles = [wrap(text, curve_width) for text in _data_shown(labels)]
    notes = [line for note in _notes(starts, labels, num_facts, num_seeds) for line in wrap(note, right_width)]
    strip = strip_height(len(strip_rows(summary, starts)))
    curve_top = _LEGEND_TOP + len(legend) * LEGEND_ROW_HEIGHT + 0.42 + LINE_HEIGHT * max(map(len, subtitles))
    lower_top = curve_top + _CURVE_HEIGHT + 1.05
    notes_top = lower_top + strip + 0.12
    figure = new_figure(_WIDTH, max(lower_top + _TRADEOFF_HEIGHT + 0.65, notes_top + len(notes) * LINE_HEIGHT + 0.2))
    headline(
        figure,
        _LEFT,
        "What does a language model forget while it learns new facts?",
        f"{count(num_facts, 'new fact')} ({labels['facts']}) taught one after the other by "
        f"{count(len(starts), 'method')}, {count(num_seeds, 'seed')}{' each' * (len(starts) > 1)}",
    )
    axes = add_panel(figure, _LEFT, _LEGEND_TOP, across, len(legend) * LEGEND_ROW_HEIGHT)
    draw_legend(axes, legend, styles, across)

    for index, (letter, title, metric, unit) in enumerate(_CURVES):
        axes = add_panel(figure, _LEFT + index * (curve_width + _CURVE_GAP), curve_top, curve_width, _CURVE_HEIGHT)
        draw_curves(axes, scores, metric, starts, styles)
        share_limits(axes, scores.loc[scores["metric"] == metric, "value"].max())
        axes.set_ylabel(unit)
        panel_title(axes, letter, title, subtitles[index] + [""] * (max(map(len, subtitles)) - len(subtitles[index])))
        if metric == "hellaswag_acc_norm":
            reference_line(axes, _CHANCE, "chance")

    axes = add_panel(figure, _LEFT, lower_top, _TRADEOFF_WIDTH, _TRADEOFF_HEIGHT)
    axes.set_xlabel("← better      forgotten: relative drop of held-out question F1 (%)")
    axes.set_ylabel("retained new facts, unseen question (F1)      better →")
    draw_tradeoff(axes, scores, summary, starts, styles)
    panel_title(axes, "d", "At the end of the stream: learned against forgotten")

    axes = add_panel(figure, right_column, lower_top, right_width, strip)
    draw_strip(axes, summary, starts, styles)
    panel_title(axes, "", "The numbers at the end of the stream")
    small_print(figure, right_column, notes_top, notes)
    return figure


def _data_shown(labels: Mapping) -> tuple[str, str, str]:
    return labels["held_out_qa"], labels["held_out_choice"], "facts taught so far, asked by an untrained question"


def _notes(starts: Mapping[str, str], labels: Mapping, num_facts: int, num_seeds: int) -> list[str]:
    used = {start_model(method, starts) for method in starts}
    start = f"the {used.pop()} model" if len(used) == 1 else "the healed model for methods with memory, else the base"
    spread = (
        f"Bars and ±: 95 % Student t intervals over {num_seeds} seeds; the small points in d are single seeds."
        if num_seeds > 1
        else "One seed: no intervals can be given."
    )
    described = "; ".join(f"{name}: {text}" for name, text in labels.get("methods", {}).items() if name in starts)
    return [
        f"Data. Held-out questions: {labels['held_out_qa']}. Multiple choice: {labels['held_out_choice']}. "
        f"New facts: {labels['facts']}.",
        *([f"Methods. {described}."] if described else []),
        f"{spread} Open circles: the models that streams start from; in c asked about all {num_facts} facts before any "
        "is taught.",
        "Dotted line in b: guessing one of four endings. "
        f"Drop = (start − end) / start, negative where the score rose; start = {start}.",
        labels.get("rates")
        or "Learning rates are set in the config; the sweep in tables/tuning.csv checks them by one rule for all "
        f"methods: {TUNING_RULE}.",
        *labels.get("notes", ()),
    ]
