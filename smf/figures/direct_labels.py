"""Names beside their points: each label takes the nearest free place, tried in a fixed order."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from smf.figures.style import GREY, SMALL

_DISTANCES = (7, 13, 20, 28, 38, 50, 64, 80)
"""Points from the marker to the label's nearest edge."""
# horizontal and vertical first: the code tells them apart by index
_ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, 35, 145, 325, 215, 60, 120, 300, 240))
_LEADER_FROM = 13
_PADDING = 1.5


def place_labels(
    axes: Axes,
    drawn: Sequence[Artist],
    points: Mapping[str, tuple[float, float]],
    names: Mapping[str, str],
    colours: Mapping[str, str],
    obstacles: Sequence[tuple[float, float]] = (),
) -> None:
    """Write each point's name near it, clear of other names and points and inside the axes where there is room.

    The axes must have their final place and limits.

    Args:
        axes: Where the points are drawn.
        drawn: Artists already there that must not be covered.
        points: Places in data coordinates, by any key.
        names: The labels' texts, by the same key.
        colours: The labels' colours, by the same key.
        obstacles: More places, in data coordinates, that a name should not cover.
    """
    pixels = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    marks = [axes.transData.transform(place) for place in points.values()]
    light = [axes.transData.transform(place) for place in obstacles]
    taken = [artist.get_window_extent() for artist in drawn]
    # crowded points choose first: an isolated one finds room anywhere
    for key in sorted(points, key=lambda key: (_nearest(axes, points, key), key)):
        place = axes.transData.transform(points[key])
        text = axes.annotate(
            names[key], points[key], xytext=(0, 0), textcoords="offset points", ha="center", va="center",
            fontsize=SMALL + 0.5, color=colours[key], zorder=6, annotation_clip=False,
        )  # fmt: skip
        size = text.get_window_extent()
        best, best_cost = (0.0, 0.0, 0), math.inf
        for distance in _DISTANCES:
            for rank, angle in enumerate(_ANGLES):
                x, y = _centre(angle, distance * pixels, size.width, size.height)
                box = _box(place[0] + x, place[1] + y, size.width, size.height, _PADDING * pixels)
                cost = distance + 0.3 * rank + _cost(box, frame, taken, marks, light, pixels)
                # a horizontal or vertical leader would look like part of an interval
                cost += 18 * (distance >= _LEADER_FROM and rank < 4)
                others = [mark for mark in marks if math.dist(mark, place) > pixels]
                cost += 25 * sum(_off(mark, place, _edge(box, place)) < 5 * pixels for mark in others)
                if cost < best_cost:
                    best, best_cost = (x, y, distance), cost
        x, y, distance = best
        text.set_position((x / pixels, y / pixels))
        box = _box(place[0] + x, place[1] + y, size.width, size.height, _PADDING * pixels)
        taken.append(box)
        if distance >= _LEADER_FROM:
            ends = axes.transData.inverted().transform([place, _edge(box, place)])
            axes.plot(ends[:, 0], ends[:, 1], color=GREY, linewidth=0.6, zorder=2.5, clip_on=False)


def _nearest(axes: Axes, points: Mapping[str, tuple[float, float]], key: str) -> float:
    place = axes.transData.transform(points[key])
    others = [axes.transData.transform(point) for other, point in points.items() if other != key]
    return min((round(math.dist(place, other), 3) for other in others), default=math.inf)


def _centre(angle: float, gap: float, width: float, height: float) -> tuple[float, float]:
    """The label's centre, so that the label's edge is ``gap`` away from the point in the direction of ``angle``."""
    x, y = math.cos(angle), math.sin(angle)
    return x * gap + round(x, 6) * width / 2, y * gap + round(y, 6) * height / 2


def _box(x: float, y: float, width: float, height: float, padding: float) -> Bbox:
    return Bbox.from_extents(
        x - width / 2 - padding, y - height / 2 - padding, x + width / 2 + padding, y + height / 2 + padding
    )


def _cost(
    box: Bbox,
    frame: Bbox,
    taken: Sequence[Bbox],
    marks: Sequence[np.ndarray],
    light: Sequence[np.ndarray],
    pixels: float,
) -> float:
    cost = 0.0
    if box.x0 < frame.x0 or box.x1 > frame.x1 + 40 * pixels or box.y0 < frame.y0 or box.y1 > frame.y1 + 6 * pixels:
        cost += 1000
    cost += 500 * sum(Bbox.intersection(box, other) is not None for other in taken)
    grown = _box(*_middle(box), box.width, box.height, 3 * pixels)
    cost += 200 * sum(grown.contains(*mark) for mark in marks)
    return cost + 12 * sum(grown.contains(*mark) for mark in light)


def _edge(box: Bbox, place: np.ndarray) -> np.ndarray:
    """The point of a box that is nearest to a place: where the leader ends."""
    return np.clip(place, (box.x0, box.y0), (box.x1, box.y1))


def _off(mark: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """The distance of a mark from the leader between two points."""
    along = np.subtract(end, start)
    share = np.clip(np.dot(np.subtract(mark, start), along) / max(np.dot(along, along), 1e-9), 0, 1)
    return math.dist(mark, start + share * along)


def _middle(box: Bbox) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
