"""The legend above the panels: the colour and marker of each method."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from smf.figures.style import INK, NORMAL, START_COLOUR, MethodStyle
from smf.scores.summary import shorten

ROW_HEIGHT = 0.24
"""Inches from one row of the legend to the next."""
NAME_WIDTH = 22
"""Characters of a name that a figure shows; longer names are cut, with an ellipsis."""
_SAMPLE, _CHARACTER, _SPACE = 0.36, 0.082, 0.26
"""Inches of a line sample, a character and the space between two entries."""


def legend_rows(names: Sequence[str], width: float) -> list[list[tuple[str, float]]]:
    """Names with their distance from the left, in inches, broken into rows that fit the width."""
    rows: list[list[tuple[str, float]]] = [[]]
    left = 0.0
    for name in names:
        needed = _SAMPLE + _CHARACTER * min(len(name), NAME_WIDTH) + _SPACE
        if rows[-1] and left + needed > width:
            rows.append([])
            left = 0.0
        rows[-1].append((name, left))
        left += needed
    return rows


def draw_legend(
    axes: Axes, rows: list[list[tuple[str, float]]], styles: Mapping[str, MethodStyle], width: float
) -> None:
    """Draw the rows into an empty panel of ``width`` × ``len(rows) * ROW_HEIGHT`` inches."""
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(-len(rows) * ROW_HEIGHT, 0))
    for number, row in enumerate(rows):
        y = -(number + 0.5) * ROW_HEIGHT
        for name, left in row:
            draw_sample(axes, styles.get(name), left, left + 0.29, y)
            axes.text(left + _SAMPLE, y, shorten(name, NAME_WIDTH), va="center", fontsize=NORMAL, color=INK)


def draw_sample(axes: Axes, style: MethodStyle | None, left: float, right: float, y: float) -> None:
    """Draw a piece of a method's line with its marker, or a start model's open circle if there is no style."""
    middle = (left + right) / 2
    if style is None:
        axes.plot([middle], [y], "o", color="white", markeredgecolor=START_COLOUR, markersize=5.5, clip_on=False)
        return
    axes.plot([left, right], [y, y], color=style.colour, linestyle=style.line, linewidth=1.6, clip_on=False)
    axes.plot(
        [middle], [y], style.marker, color=style.colour, markersize=6.5, markeredgecolor="white", markeredgewidth=0.5,
        clip_on=False,
    )  # fmt: skip
