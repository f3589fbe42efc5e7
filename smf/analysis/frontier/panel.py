"""The panel of retained against forgotten at every setting."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from smf.analysis.frontier.fronts import on_front
from smf.figures.direct_labels import place_labels
from smf.figures.learned_forgotten import mark_ideal
from smf.figures.legend import NAME_WIDTH
from smf.figures.style import GREY, INK, SMALL, Look, MethodStyle
from smf.scores.summary import shorten

_DOTTED = (0, (1, 2))
_PIECES = 40
"""Segments of a drawn line between two neighbours on a front."""
# just small enough for a name beside it, see direct_labels
_RING: Look = {"marker": "o", "markersize": 10.8, "color": "none", "markeredgecolor": INK, "markeredgewidth": 1.1}


def draw_key(axes: Axes, width: float, several: bool) -> None:
    """Draw the key to the panel's marks: one line, right-aligned in an empty panel of ``width`` inches.

    Args:
        axes: The panel.
        width: Its width.
        several: Whether there are several seeds; if so, single runs are shown.
    """
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(-1, 1))
    mark: Look = {"color": GREY, "marker": "o", "linestyle": "none", "markeredgewidth": 0}
    entries: tuple[tuple[str, list[float], Look], ...] = (
        ("chosen on other seeds", [0.19], _RING),
        ("on no front", [0.19], {**mark, "markersize": 5.2, "alpha": 0.45}),
        (
            "setting on the method's front",
            [0.0, 0.13, 0.26],
            {**mark, "markersize": 7, "linestyle": "-", "markevery": [1]},
        ),
        ("single run", [0.19], {**mark, "markersize": 2.9, "alpha": 0.5}),
    )
    right = width
    for words, places, look in entries[: 3 + several]:
        axes.text(right, 0, words, ha="right", va="center", fontsize=SMALL + 0.5)
        left = right - 0.0605 * len(words) - 0.34
        axes.plot([left + place for place in places], [0] * len(places), **look, clip_on=False)
        right = left - 0.18


def draw_fronts(
    axes: Axes,
    frontier: pd.DataFrame,
    settings: pd.DataFrame,
    styles: Mapping[str, MethodStyle],
    reference: float,
) -> None:
    """Draw single runs, means of settings, fronts and chosen settings, each method in its style and with its name.

    Args:
        axes: The panel, with its final place and its scale of forgetting.
        frontier: The table of runs.
        settings: The table of settings.
        styles: The styles of the methods shown, in their order.
        reference: The largest budget of forgetting that counts in the hypervolume, a share.
    """
    axes.set_ylim(-0.03, 1.07)
    budget = float(min(100 * reference, axes.get_xlim()[1]))
    told = "budgets that b averages over" + (" →" if budget < 100 * reference else "")
    axes.axvspan(0, budget, color="#f5f7fa", zorder=0.5)
    axes.annotate(
        told, (budget, 0), xycoords=axes.get_xaxis_transform(),
        xytext=(-4, 3), textcoords="offset points", ha="right", va="bottom", fontsize=SMALL, color=GREY,
    )  # fmt: skip
    ideal = mark_ideal(axes)
    obstacles = [(0.0, float(height)) for height in np.linspace(0, 1, 41)]
    anchors, rings = {}, []
    for method, style in styles.items():
        runs = frontier[frontier["method"] == method]
        means = settings[settings["method"] == method]
        lost, kept = 100 * means["forgetting"].to_numpy(), means["retained"].to_numpy()
        if len(runs) > len(means):
            axes.plot(
                100 * runs["forgetting"], runs["retained"], style.marker, color=style.colour, markersize=2.9,
                alpha=0.3, markeredgewidth=0, zorder=2.6,
            )  # fmt: skip
        best = on_front(kept, lost / 100)
        obstacles += [*zip(lost, kept, strict=True), *_draw_line(axes, lost[best], kept[best], style.colour)]
        for members, size, alpha, above in ((~best, 5.2, 0.45, 3.0), (best, 7.2, None, 3.2)):
            axes.plot(
                lost[members], kept[members], style.marker, color=style.colour, linestyle="none",
                markeredgecolor="white", markeredgewidth=0.6, markersize=size, alpha=alpha, zorder=above,
            )  # fmt: skip
        chosen = means["chosen"].to_numpy(dtype=bool)
        rings += axes.plot(lost[chosen], kept[chosen], **_RING, zorder=4)
        anchors[method] = float(lost[chosen][0]), float(kept[chosen][0])
    names = {method: shorten(method, NAME_WIDTH) for method in styles}
    before = len(axes.texts)
    place_labels(
        axes,
        [*ideal, *rings],
        anchors,
        names,
        {method: style.colour for method, style in styles.items()},
        obstacles,
    )
    for text in axes.texts[before:]:  # in a crowded panel a name crosses lines
        text.set_path_effects([withStroke(linewidth=2.2, foreground="white", alpha=0.85)])


def _draw_line(axes: Axes, lost: np.ndarray, kept: np.ndarray, colour: str) -> list[tuple[float, float]]:
    """Draw a front, from doing nothing on, with lines that are straight on a linear scale; return points along it.

    An improvement is drawn as it counts, as nothing forgotten, with a dotted line to the setting itself.
    """
    order = np.argsort(kept)
    for x, y in zip(lost, kept, strict=True):
        if x < 0:
            axes.plot([x, 0], [y, y], color=colour, linewidth=0.8, alpha=0.6, linestyle=_DOTTED, zorder=2.4)
    lost = np.concatenate([[0.0], lost[order].clip(min=0.0)])
    kept = np.concatenate([[0.0], kept[order]])
    # a straight line bends on the compressed scale, so it needs many points
    steps = np.linspace(0, len(kept) - 1, _PIECES * (len(kept) - 1) + 1)
    x, y = (np.interp(steps, np.arange(len(kept)), values) for values in (lost, kept))
    first = _PIECES + 1
    axes.plot(x[:first], y[:first], color=colour, linewidth=0.8, alpha=0.6, linestyle=_DOTTED, zorder=2.4)
    axes.plot(x[_PIECES:], y[_PIECES:], color=colour, linewidth=1.6, alpha=0.85, zorder=2.8)
    return [(float(one), float(other)) for one, other in zip(x[_PIECES::5], y[_PIECES::5], strict=True)]
