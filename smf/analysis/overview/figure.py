"""The result at a glance: what each method learned, what it forgot in exchange, and what it left unchanged."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smf.analysis.overview.columns import MOST_LOSSES, Column, cut, limits, overview_columns, scale
from smf.figures.captions import LINE_HEIGHT, check_labels, count, small_print, wrap
from smf.figures.method_dots import draw_dots
from smf.figures.style import (
    GREY,
    INK,
    LARGE,
    NORMAL,
    SMALL,
    MethodStyle,
    add_panel,
    drawing,
    method_styles,
    new_figure,
)
from smf.scores.metrics import LOCALITY, HeldOutMetric
from smf.scores.summary import shorten
from smf.scores.table import HEALED, check_scores, final_position, start_model
from smf.scores.words import NEIGHBOURS_DATA, data_words

_WIDTH, _LEFT, _RIGHT = 9.0, 0.2, 0.15
"""Inches. A README shows a figure 900 pixels wide, so one point of font size is 1.4 pixels."""
_NAMES_WIDTH, _NUMBER_WIDTH, _GAP = 2.8, 0.62, 0.16
_ROW, _GROUP_HEAD = 0.4, 0.3
_TITLE_CHARACTERS, _HEAD_CHARACTERS_PER_INCH = 70, 11.6
_GROUPS = {True: "With memory layers", False: "Without memory layers"}


class _Font(TypedDict, total=False):
    fontsize: float
    fontweight: str
    color: str
    linespacing: float


def overview_figure(
    scores: pd.DataFrame,
    starts: Mapping[str, str],
    labels: Mapping,
    headline: Sequence[HeldOutMetric],
    learned: str = "facts_question_f1",
) -> Figure:
    """Draw the stream's end: new facts, losses of the headline metrics and, where they were asked, neighbours.

    Methods with and without memory layers form two groups, each sorted by new facts answered; the group of the best
    method comes first.

    Args:
        scores: The tidy table of scores.
        starts: For each method, in the order that fixes the colours, the model that it starts from.
        labels: Data descriptions: ``held_out`` (a text for each set), ``facts`` and, if wanted, ``notes`` (a list),
            ``methods`` (for each method a few words on what it is) and ``model`` (the base model's name).
        headline: The held-out metrics; the first three are shown.
        learned: The metric of the new facts that is shown.

    Raises:
        DataError: A row or a label is missing.
    """
    check_scores(scores)
    check_labels(labels)
    with drawing():
        return _draw(scores, starts, labels, headline, learned)


def _draw(
    scores: pd.DataFrame, starts: Mapping[str, str], labels: Mapping, headline: Sequence[HeldOutMetric], learned: str
) -> Figure:
    num_facts = final_position(scores)
    num_seeds = scores.loc[scores["method"].isin(starts), "seed"].nunique()
    columns = overview_columns(scores, starts, headline, learned)
    groups = _groups(starts, columns[0])
    across = _WIDTH - _LEFT - _RIGHT
    pitch = (across - _NAMES_WIDTH) / len(columns)
    heads = [textwrap.wrap(column.title, int((pitch - _GAP) * _HEAD_CHARACTERS_PER_INCH)) for column in columns]
    lines = [wrap(column.line, pitch - _GAP) for column in columns]
    title = textwrap.wrap(
        f"What {labels.get('model', 'a language model')} keeps and loses when taught {count(num_facts, 'new fact')}",
        _TITLE_CHARACTERS,
    )
    notes = [line for note in _notes(scores, labels, headline, num_seeds) for line in wrap(note, across)]

    lines_top = 0.75 + 0.27 * len(title) + 0.18 * (max(map(len, heads)) - 1)
    top = lines_top + LINE_HEIGHT * max(map(len, lines)) + 0.1
    height = sum(_GROUP_HEAD * (len(groups) > 1) + _ROW * len(group) for _, group in groups)
    notes_top = top + height + 0.52
    figure = new_figure(_WIDTH, notes_top + len(notes) * LINE_HEIGHT + 0.12)
    _text(figure, _LEFT, 0.18, "\n".join(title), fontsize=LARGE, fontweight="bold", color=INK, linespacing=1.15)
    _text(figure, _LEFT, 0.2 + 0.27 * len(title), _subtitle(num_facts, num_seeds), fontsize=NORMAL, color=GREY)
    lefts = [_LEFT + _NAMES_WIDTH + index * pitch for index in range(len(columns))]
    for left, head, line in zip(lefts, heads, lines, strict=True):
        _text(
            figure, left, lines_top - 0.05, "\n".join(head), "bottom", fontsize=NORMAL + 1, fontweight="bold", color=INK
        )
        _text(figure, left, lines_top, "\n".join(line), fontsize=SMALL, color=GREY, linespacing=1.25)

    styles = method_styles(list(starts))
    for number, (name, methods) in enumerate(groups):
        if len(groups) > 1:
            _text(figure, _LEFT, top + 0.09, name, fontsize=NORMAL, fontweight="bold", color=GREY)
            top += _GROUP_HEAD
        _stripes(add_panel(figure, _LEFT, top, across, _ROW * len(methods)), len(methods))
        _names(add_panel(figure, _LEFT, top, _NAMES_WIDTH, _ROW * len(methods)), methods, labels, styles)
        for left, column in zip(lefts, columns, strict=True):
            axes = add_panel(figure, left, top, pitch - _NUMBER_WIDTH - _GAP, _ROW * len(methods))
            _dots(axes, column, methods, styles, last=number == len(groups) - 1)
        top += _ROW * len(methods)
    small_print(figure, _LEFT, notes_top, notes)
    return figure


def _groups(starts: Mapping[str, str], learned: Column) -> list[tuple[str, list[str]]]:
    ranked = sorted(starts, key=lambda method: -learned.values[method][0])
    groups: dict[bool, list[str]] = {}
    for method in ranked:
        groups.setdefault(start_model(method, starts) == HEALED, []).append(method)
    return [(_GROUPS[has_memory], methods) for has_memory, methods in groups.items()]


def _text(figure: Figure, left: float, down: float, text: str, edge: str = "top", **font: Unpack[_Font]) -> None:
    """Write a text whose upper or lower edge is ``down`` inches below the figure's upper edge."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - down / height, text, va=edge, **font)


def _subtitle(num_facts: int, num_seeds: int) -> str:
    spread = f"means and 95 % intervals over {num_seeds} seeds" if num_seeds > 1 else "one seed, so without intervals"
    return f"Per cent, after the last of {count(num_facts, 'fact')} taught one after the other; {spread}"


def _stripes(axes: Axes, num_rows: int) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(num_rows - 0.5, -0.5))
    for row in range(0, num_rows, 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f7f7f7", linewidth=0)


def _names(axes: Axes, methods: Sequence[str], labels: Mapping, styles: Mapping[str, MethodStyle]) -> None:
    """Write a row per method: a short description, and below it its name in the tables and the rest of its label."""
    axes.set_axis_off()
    axes.set(xlim=(0, _NAMES_WIDTH), ylim=(len(methods) - 0.5, -0.5))
    for row, method in enumerate(methods):
        axes.plot(
            [0.14], [row], styles[method].marker, color=styles[method].colour, markersize=6.8, markeredgecolor="white",
            markeredgewidth=0.6, clip_on=False,
        )  # fmt: skip
        # up to the first comma outside brackets
        head, *rest = re.split(r", (?![^(]*\))", labels.get("methods", {}).get(method, method), maxsplit=1)
        told = ", ".join([method, *rest] if head != method else rest)
        _fitted(axes, row - 0.19 * bool(told), head, fontsize=NORMAL, color=INK)
        _fitted(axes, row + 0.22, told, fontsize=SMALL - 0.5, color=GREY)


def _fitted(axes: Axes, y: float, words: str, **font: Unpack[_Font]) -> None:
    """Write words beside a marker, shortened to fit the column of names."""
    text = axes.text(0.3, y, words, va="center", **font)
    room = (_NAMES_WIDTH - 0.3 - 0.1) * axes.figure.dpi
    characters = len(words)
    while text.get_window_extent().width > room:
        characters -= 1
        text.set_text(shorten(words, characters))


def _dots(axes: Axes, column: Column, methods: Sequence[str], styles: Mapping[str, MethodStyle], *, last: bool) -> None:
    axes.patch.set_visible(False)
    axes.spines["bottom"].set_visible(last)
    scale(axes, column)
    values = (
        column.values
        if column.is_share
        else {method: cut(value, *limits(column)) for method, value in column.values.items()}
    )
    draw_dots(axes, methods, values, column.texts, styles, "start knew none", size=NORMAL + 0.5, room=43.0, colour=INK)
    if not column.is_share:
        axes.axvline(0, color=GREY, linewidth=0.9, zorder=1.5)
    axes.tick_params(axis="x", labelsize=SMALL, length=2.5, pad=1.5, labelbottom=last, bottom=last)
    if last:
        axes.set_xlabel("better →" if column.is_share else "← better", fontsize=SMALL, color=GREY, labelpad=1)


def _notes(scores: pd.DataFrame, labels: Mapping, headline: Sequence[HeldOutMetric], num_seeds: int) -> list[str]:
    spread = (
        "Bars: Student t intervals, with an arrow where one leaves the scale; each seed draws its own facts and order. "
        if num_seeds > 1
        else ""
    )
    neighbours = f" Neighbours: {NEIGHBOURS_DATA}." if LOCALITY in set(scores["metric"]) else ""
    return [
        f"{spread}Drops and rises are relative to the model that a method started from; negative: better than it.",
        f"{data_words(labels, headline[:MOST_LOSSES])}{neighbours} New facts: {labels['facts']}.",
        *labels.get("notes", ()),
    ]
