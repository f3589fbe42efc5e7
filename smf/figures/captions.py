"""The words of a figure: which data was used, over how many seeds, and what the marks mean."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smf.errors import DataError
from smf.figures.style import GREY, INK, LARGE, NORMAL, SMALL
from smf.scores.metrics import HeldOutMetric
from smf.scores.words import asked_by, forgotten

LINE_HEIGHT = 0.155
"""Inches from one line of small print to the next."""
_SMALL_CHARACTERS_PER_INCH = 17
REQUIRED_LABELS = ("held_out", "facts")


def check_labels(labels: Mapping) -> None:
    """Refuse a figure that would not say which data it shows.

    Raises:
        DataError: A text is missing.
    """
    if missing := [name for name in REQUIRED_LABELS if not labels.get(name)]:
        raise DataError(f"the labels lack {', '.join(missing)}; say there which data was used")


def tuning_rule(metric: HeldOutMetric, retained: str) -> str:
    """How learning rates are chosen, by the first metric of the headline and one of the new facts."""
    return (
        f"highest retained F1, asked by {asked_by(retained)}, minus {forgotten(metric)}, on tuning seeds of which none "
        "is shown here"
    )


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 seed``, ``3 seeds``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def wrap(text: str, inches: float) -> list[str]:
    """Break a text in the small font into lines that fit a width in inches."""
    return textwrap.wrap(text, max(20, int(inches * _SMALL_CHARACTERS_PER_INCH)))


def panel_title(axes: Axes, letter: str, title: str, lines: Sequence[str] = ()) -> None:
    """Write a letter and a title above a panel, left aligned, with small lines below them that name the data."""
    write = partial(
        axes.annotate, xy=(0, 1), xycoords="axes fraction", textcoords="offset points", va="bottom",
        annotation_clip=False,
    )  # fmt: skip
    write("\n".join(lines), xytext=(0, 5), fontsize=SMALL, color=GREY, linespacing=1.25)
    above = 8 + 11.5 * len(lines)
    write(letter, xytext=(0, above), fontsize=NORMAL + 1, fontweight="bold")
    write(title, xytext=(13 * bool(letter), above), fontsize=NORMAL + 1, color=INK)


def figure_title(figure: Figure, left: float, title: str, subtitle: str) -> None:
    """Write the question that the figure answers, and below it what was done."""
    across, down = figure.get_size_inches()
    figure.text(left / across, 1 - 0.22 / down, title, fontsize=LARGE, fontweight="bold", va="top")
    figure.text(left / across, 1 - 0.56 / down, subtitle, fontsize=NORMAL, color=GREY, va="top")


def small_print(figure: Figure, left: float, top: float, lines: Sequence[str]) -> None:
    """Write small lines downwards from a place given in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    for number, line in enumerate(lines):
        place = (left / across, 1 - (top + number * LINE_HEIGHT) / down)
        figure.text(*place, line, fontsize=SMALL, color=GREY, va="top")
