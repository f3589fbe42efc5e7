"""Learned against forgotten: a scale of forgetting that can show both 1 % and 70 %, and the ideal."""

from collections.abc import Iterable

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from smf.figures.style import FAINT, GREY, SMALL

_WIDE = 15.0
"""Per cent forgotten beyond which a linear scale would crush the methods that forget little."""
_LINEAR = 2.0
"""Per cent around 0 within which the compressed scale is about linear."""
_STEPS = (1, 2, 5)


def is_wide(values: Iterable[float]) -> bool:
    """Whether values of forgetting, in per cent, need the compressed scale."""
    return max(map(abs, values), default=0.0) > _WIDE


def forgetting_scale(axes: Axes, values: Iterable[float], wide: bool, *, vertical: bool = False) -> None:
    """Set a scale, in per cent, that holds 0 and all values.

    The compressed scale is linear near 0 and logarithmic far from it; its ticks are at 1, 2, 5, 10, 20, 50 … on both
    sides of 0.

    Args:
        axes: The panel.
        values: The values shown, in per cent.
        wide: Whether to compress.
        vertical: Whether it is the panel's vertical scale.
    """
    values = list(values)
    low, high = min(0.0, *values, 0.0), max(1.0, *values, 1.0)
    axis = axes.yaxis if vertical else axes.xaxis
    set_limits, set_scale = (axes.set_ylim, axes.set_yscale) if vertical else (axes.set_xlim, axes.set_xscale)
    if wide:
        set_scale("asinh", linear_width=_LINEAR)
        forward = axis.get_transform()
        ends = forward.transform([low, high])
        room = 0.03 * np.ptp(ends)
        first, last = forward.inverted().transform([ends[0] - room, ends[1] + 1.5 * room])
        set_limits(first, last)
        axis.set_major_locator(FixedLocator(_ticks(first, last)))
        axis.set_minor_locator(NullLocator())
    else:
        room = 0.03 * (high - low)
        set_limits(low - room, high + 1.5 * room)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def mark_ideal(axes: Axes) -> list[Artist]:
    """Mark where everything would be learned and nothing forgotten, and the line of forgetting nothing."""
    axes.axvline(0, color=GREY, linewidth=0.9, zorder=1.5)
    star = axes.plot([0], [1], "*", markersize=15, color=FAINT, markeredgecolor=GREY, markeredgewidth=0.8, zorder=2)
    note = axes.annotate(
        "ideal", (0, 1), xytext=(11, 4), textcoords="offset points", va="center", fontsize=SMALL, color=GREY, zorder=2
    )
    return [*star, note]


def _ticks(low: float, high: float) -> list[float]:
    reach = max(abs(low), abs(high))
    sizes = [step * 10**power for power in range(7) for step in _STEPS if step * 10**power <= reach]
    return [tick for tick in (*(-size for size in reversed(sizes)), 0, *sizes) if low <= tick <= high]
