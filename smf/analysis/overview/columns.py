"""The columns of the overview: what each method learned, what it forgot, and what it left unchanged, in per cent."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from smf.figures.method_dots import Value
from smf.scores.metrics import LOCALITY, NEIGHBOURS, HeldOutMetric
from smf.scores.summary import Interval, mean_interval, rounded
from smf.scores.table import end_values, forgetting, start_model
from smf.scores.words import asked_by, column_unit, loss_word, lost_words

MOST_LOSSES = 3
"""Columns of held-out metrics, the first ones of the headline."""
_NARROWEST = 5.0
"""Per cent that a scale of losses spans at least, so that noise does not look like a loss."""
_BEYOND = 0.6
"""How far an interval may stretch a scale of losses, as a share of what the means span; a longer one is cut."""


class Column(NamedTuple):
    """A column of the overview: percentages by method, and their texts."""

    title: str
    line: str
    is_share: bool
    values: Mapping[str, Value]
    texts: Mapping[str, str]


def overview_columns(
    scores: pd.DataFrame, starts: Mapping[str, str], headline: Sequence[HeldOutMetric], learned: str
) -> list[Column]:
    """Build the columns: new facts, then losses of old knowledge, then neighbours of the facts if they were asked.

    Raises:
        DataError: A row of the scores is missing.
    """
    columns = [_share("New facts answered", _before(scores, starts, learned), scores, starts, learned)]
    lost = [metric for metric in headline if metric.kind != NEIGHBOURS]
    columns += [_loss(scores, starts, metric) for metric in lost[:MOST_LOSSES]]
    if LOCALITY in set(scores["metric"]):
        columns.append(_share("Neighbours unchanged", "same answer as before (F1)", scores, starts, LOCALITY))
    return columns


def limits(column: Column) -> tuple[float, float]:
    """The scale's ends: 0 and 100 for shares; for losses around 0, the means and, within reason, the intervals."""
    if column.is_share:
        return 0.0, 100.0
    means = [value[0] for value in column.values.values() if not math.isnan(value[0])]
    low, high = min([0.0, *means]), max([0.0, *means])
    high = max(high, low + _NARROWEST)
    span = high - low
    ends = [end for value in column.values.values() for end in value if not math.isnan(end)]
    left, right = max(min([low, *ends]), low - _BEYOND * span), min(max([high, *ends]), high + _BEYOND * span)
    return left - 0.05 * (right - left) * (left < 0), right


def cut(value: Value, left: float, right: float) -> Value:
    """Make the ends of a loss's interval infinite where they leave the scale, so that they are drawn as arrows."""
    mean, low, high = value
    return mean, -math.inf if low < left else low, math.inf if high > right else high


def scale(axes: Axes, column: Column) -> None:
    """Set a panel's scale, ticks and direction."""
    axes.set_xlim(*limits(column))
    if column.is_share:
        axes.set_xticks([0, 50, 100])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], integer=True))


def _share(title: str, line: str, scores: pd.DataFrame, starts: Mapping[str, str], metric: str) -> Column:
    values = {method: _percent(mean_interval(end_values(scores, method, metric))) for method in starts}
    texts = {method: f"{value[0]:.0f} %" for method, value in values.items()}
    return Column(title, line, True, values, texts)


def _loss(scores: pd.DataFrame, starts: Mapping[str, str], metric: HeldOutMetric) -> Column:
    values = {method: _percent(mean_interval(forgetting(scores, method, metric.name, starts))) for method in starts}
    texts = {method: f"{rounded(value[0], 1)} %".replace("-", "−") for method, value in values.items()}
    line = f"{metric.probe}: relative {loss_word(metric)} of {column_unit(metric)}"
    return Column(lost_words(metric), line, False, values, texts)


def _before(scores: pd.DataFrame, starts: Mapping[str, str], learned: str) -> str:
    used = dict.fromkeys(start_model(method, starts) for method in starts)
    known = sorted({f"{100 * end_values(scores, start, learned).mean():.0f}" for start in used}, key=float)
    return f"asked by {asked_by(learned)} (F1); {' to '.join(known)} % before"


def _percent(interval: Interval) -> Value:
    mean, low, high = interval
    return 100 * mean, 100 * low, 100 * high
