"""The figure of core sets: how many slots all texts of a fact read, how many of them train, how few are enough."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter

from smf.analysis.core_sets.table import (
    answered_shares,
    core_trained,
    require_core_sets,
    trained_in_core,
    trained_methods,
)
from smf.errors import DataError
from smf.figures.captions import LINE_HEIGHT, count, figure_title, panel_title, small_print, wrap
from smf.figures.legend import NAME_WIDTH
from smf.figures.style import GREY, INK, NORMAL, SMALL, Look, add_panel, drawing, method_styles, new_figure
from smf.scores.summary import shorten

_LEFT, _RIGHT, _TOP, _HEIGHT = 0.75, 0.35, 1.65, 2.5
_SIZES_WIDTH, _TRAINED_WIDTH, _ENOUGH_WIDTH, _GAP = 2.75, 2.55, 3.05, 0.75
_CHARACTER = 0.078
"""Inches per character of a method's name."""
_ROW_HEIGHT, _KEY_HEIGHT = 0.4, 0.5
_WORDINGS, _QUESTION = "#0072B2", "#D55E00"
_ASKED: dict[str, tuple[str, Look]] = {
    "wordings": ("all wordings that were taught", {"color": _WORDINGS, "marker": "o"}),
    "question": ("the question, never trained on", {"color": _QUESTION, "marker": "s"}),
}
_SPREAD = (0.1, 0.9)


class _Bars(TypedDict, total=False):
    """How a histogram is drawn."""

    color: str
    alpha: float
    histtype: Literal["bar", "step"]
    linewidth: float


def core_sets_figure(table: pd.DataFrame, settings: Mapping, methods: Sequence[str], labels: Mapping) -> Figure:
    """Draw the sizes of core sets, the share of them that trains, and how few slots are enough.

    Args:
        table: The table of core sets (see :mod:`smf.analysis.core_sets.table`).
        settings: The settings that made it: ``method``, ``top_t`` and ``rate_factors``.
        methods: All methods of the experiment, so that each has the colour that it has in other figures.
        labels: Data descriptions: ``facts`` and ``notes``.

    Raises:
        DataError: A column is missing, the table holds no fact or no method, or the labels do not name the facts.
    """
    require_core_sets(table)
    if not labels.get("facts"):
        raise DataError("the labels lack facts; say there which facts are taught")
    shown = [name for name in methods if name in trained_methods(table)]
    if not shown:
        raise DataError("the table of core sets shows no method of the experiment; make it again")
    with drawing():
        return _draw(table, settings, shown, methods, labels)


def _draw(
    table: pd.DataFrame, settings: Mapping, shown: Sequence[str], methods: Sequence[str], labels: Mapping
) -> Figure:
    names = _CHARACTER * max(len(shorten(name, NAME_WIDTH)) for name in shown) + 0.2
    lefts = [_LEFT, _LEFT + _SIZES_WIDTH + 0.4 + names]
    lefts.append(lefts[1] + _TRAINED_WIDTH + _GAP)
    width = lefts[2] + _ENOUGH_WIDTH + _RIGHT
    height = max(_HEIGHT, len(shown) * _ROW_HEIGHT + _KEY_HEIGHT)
    notes = [line for note in _notes(table, settings, labels) for line in wrap(note, width - 0.4 - _RIGHT)]
    notes_top = _TOP + height + 0.7
    figure = new_figure(width, notes_top + len(notes) * LINE_HEIGHT + 0.2)
    subtitle = (
        f"{count(len(table), 'fact')} on {labels['facts']}, each by itself, before the model has learned any other"
    )
    figure_title(figure, 0.4, "How many memory slots hold a fact?", subtitle)
    _sizes(add_panel(figure, lefts[0], _TOP, _SIZES_WIDTH, height), table)
    _trained(add_panel(figure, lefts[1], _TOP, _TRAINED_WIDTH, height), table, shown, methods, height)
    _enough(add_panel(figure, lefts[2], _TOP, _ENOUGH_WIDTH, height), table, sorted(settings["top_t"]))
    small_print(figure, 0.4, notes_top, notes)
    return figure


def _sizes(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a histogram of core-set sizes, and one of the slots that the training wordings alone share."""
    parts: dict[str, tuple[str, _Bars]] = {
        "core": ("all wordings and the question", {"color": "#009E73", "alpha": 0.75}),
        "training_core": ("training wordings alone", {"histtype": "step", "color": INK, "linewidth": 1.2}),
    }
    sizes = table[list(parts)].to_numpy()
    step = max(1, round((sizes.max() - sizes.min()) / 20))
    edges = np.arange(sizes.min(), sizes.max() + step + 1, step).tolist()
    tallest = 0
    for column, (name, look) in parts.items():
        heights, *_ = axes.hist(table[column], edges, label=f"{name}: median {table[column].median():g}", **look)
        tallest = max(tallest, int(np.max(heights)))
    lines = ("slots that all texts of a fact read: its core set;", "all memory layers together")
    panel_title(axes, "a", "Slots that a fact's texts share", lines)
    axes.set(ylim=(0, 1.45 * tallest), xlabel="slots", ylabel="facts")
    axes.grid(False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(loc="upper left", fontsize=SMALL, frameon=False, handlelength=1.4, borderaxespad=0.2)


def _trained(axes: Axes, table: pd.DataFrame, shown: Sequence[str], methods: Sequence[str], height: float) -> None:
    """Draw a row per method: the share of the core set that one step trains, and the core's share of trained slots.

    The panel is ``height`` inches high.
    """
    styles = method_styles(methods)
    kinds = (
        ("share of the core set that trains", core_trained, True),
        ("share of the trained slots in the core set", trained_in_core, False),
    )
    for row, method in enumerate(shown):
        style = styles[method]
        for share, filled in ((kind(table, method), filled) for _, kind, filled in kinds):
            if share.empty:
                continue
            y = -row + (0.14 if filled else -0.14)
            axes.plot(share.quantile(_SPREAD), [y, y], color=style.colour, linewidth=1.1, zorder=2)
            axes.plot(
                [share.median()], [y], style.marker, color=style.colour if filled else "white",
                markeredgecolor=style.colour, markersize=7, markeredgewidth=1.2, zorder=3, clip_on=False,
            )  # fmt: skip
    for name, _, filled in kinds:
        axes.plot([], [], "o", color=GREY if filled else "white", markeredgecolor=GREY, markersize=6, label=name)
    panel_title(
        axes,
        "b",
        "How many of them train",
        ("in a method's first step on the fact: median,", "10 to 90 % of the facts"),
    )
    axes.set_yticks([-row for row in range(len(shown))], [shorten(name, NAME_WIDTH) for name in shown])
    rows = 1 - _KEY_HEIGHT / height  # share of the panel
    axes.set(xlim=(0, 1), ylim=(0.6 - len(shown) / rows, 0.6))
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of slots")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.legend(loc="lower right", fontsize=SMALL, frameon=False, handlelength=1.0, borderaxespad=0.1)


def _enough(axes: Axes, table: pd.DataFrame, numbers: Sequence[int]) -> None:
    """Draw the share of facts answered against the number of slots that train."""
    for asked, (name, look) in _ASKED.items():
        if shares := answered_shares(table, asked, numbers):
            axes.plot(numbers, shares, label=name, markersize=5.5, markeredgecolor="white", linewidth=1.6, **look,
                      clip_on=False, zorder=3)  # fmt: skip
    lines = ("share of facts answered with this many slots or fewer;", "each fact is learned alone")
    panel_title(axes, "c", "How few are enough", lines)
    axes.set(ylim=(0, 1), xlabel="slots trained in a step, in each memory layer")
    axes.set_xscale("log")
    axes.set_xlim(numbers[0] / 1.15, numbers[-1] * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(numbers))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    if axes.lines:
        axes.legend(loc="best", fontsize=NORMAL - 0.5, frameon=False, title="asked by", alignment="left",
                    title_fontsize=SMALL)  # fmt: skip
    else:
        text = "none of the facts is asked"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY, fontsize=NORMAL)


def _notes(table: pd.DataFrame, settings: Mapping, labels: Mapping) -> list[str]:
    reads = f"All training wordings of a fact together read a median of {table['training_reads'].median():,.0f} slots."
    if (shared := table["question_shared"].dropna()).size:
        reads += (
            f" Of the slots that its question reads, a median of {shared.median():.0%} are among them: through these, "
            "the learned answer reaches the question."
        ).replace("%", " %")
    factors = ", ".join(f"{factor:g}" for factor in settings["rate_factors"])
    alone = f"Panel c: {settings['method']} learns each fact from the same start, in as many steps as in the stream"
    alone += (
        f"; rates of {factors} times its own are tried, and it is enough if one of them answers." if factors else "."
    )
    if known := _known(table):
        alone += f" Before learning, the model answers {known}; these count from the start."
    alone += " Each step chooses its own slots. Whether other answers change is not measured here."
    return [
        "A slot is in the core set if every text of the fact, with its answer and without padding, reads it at some "
        "token with some head.",
        reads,
        alone,
        *labels.get("notes", ()),
    ]


def _known(table: pd.DataFrame) -> str:
    """The number of facts that the start model already answers, in words; "" if none."""
    words = {"wordings": "all wordings of", "question": "the question of"}
    numbers = {asked: int((table[f"{asked}_top_t"] == 0).sum()) for asked in words}
    return " and ".join(f"{words[asked]} {count(number, 'fact')}" for asked, number in numbers.items() if number)
