"""How every figure looks and how it is saved: the same table gives the same bytes on the same machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from smf.figures.palette import with_a_palette
from smf.files.atomic import atomic_path

INK, GREY, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
START_COLOUR = "#4a4a4a"
"""The open circles of the models that streams start from."""
SMALL, NORMAL, LARGE = 7.5, 9.0, 14.0
"""Font sizes in points."""

# Okabe and Ito's colours without yellow (too pale for a line), then dark ones of Paul Tol's: distinguishable with any
# colour vision, and by their markers in black and white.
_COLOURS = (
    "#D55E00",
    "#E69F00",
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#CC79A7",
    "#882255",
    "#332288",
    "#999933",
    "#000000",
)
_MARKERS = ("s", "D", "o", "^", "v", "P", "X", "<", ">", "p")
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": NORMAL,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "pdf.fonttype": 42,  # text stays text: searchable, and editable in a vector program
    "savefig.dpi": 200,
}
_METADATA = {
    ".pdf": {"Creator": "smf", "Producer": "matplotlib", "CreationDate": None},
    ".png": {"Software": "smf"},
}


class MethodStyle(NamedTuple):
    """The colour and marker of one method in every figure; lines are solid unless the line style carries meaning."""

    colour: str
    marker: str
    line: str | tuple = "-"


class Look(TypedDict, total=False):
    """How a line and its markers are drawn: keywords of matplotlib's ``plot``; sizes and widths in points."""

    color: str
    alpha: float
    linestyle: str | tuple
    linewidth: float
    marker: str
    markersize: float
    markerfacecolor: str
    markeredgecolor: str
    markeredgewidth: float
    markevery: list[int]
    zorder: float


def method_styles(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """Assign one style per method, by the order of ``methods``: always pass all methods of the experiment."""
    styles = {}
    for index, method in enumerate(dict.fromkeys(methods)):
        # past ten methods the colours repeat, with other markers
        shift = index // len(_COLOURS)
        styles[method] = MethodStyle(_COLOURS[index % len(_COLOURS)], _MARKERS[(index + shift) % len(_MARKERS)])
    return styles


@contextmanager
def drawing() -> Iterator[None]:
    """The settings that figures are built and saved under, whatever the user's own matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of ``width`` × ``height`` inches, made without pyplot and its global state."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def add_panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def save_figure(figure: Figure, path: str | Path, small: bool = False) -> None:
    """Write a figure as PDF or PNG, by the path's suffix; the file appears whole or not at all.

    Args:
        figure: The figure.
        path: The file to write.
        small: Whether to reduce a PNG to a palette, for a file kept in a repository.

    Raises:
        ValueError: The suffix is neither ``.pdf`` nor ``.png``.
    """
    path = Path(path)
    if path.suffix not in _METADATA:
        raise ValueError(f"cannot save a figure as {path}; the suffix must be one of {', '.join(_METADATA)}")
    with atomic_path(path) as temporary, drawing():
        figure.savefig(temporary, format=path.suffix[1:], metadata=_METADATA[path.suffix])
        if small and path.suffix == ".png":
            Path(temporary).write_bytes(with_a_palette(Path(temporary).read_bytes()))
