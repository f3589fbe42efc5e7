"""The figure of read overlap; separate from its table, so that restyling the figure does not read the model again."""

from collections.abc import Sequence
from pathlib import Path

from smf.analysis.read_overlap.figure import read_overlap_figure
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_table


def draw_read_overlap(
    table_path: str | Path, labels_path: str | Path, methods: Sequence[str], figure_paths: Sequence[str | Path]
) -> None:
    """Draw read overlap, in the formats of the paths' suffixes; ``methods`` are all of the experiment."""
    figure = read_overlap_figure(read_table(table_path), read_json(labels_path), methods)
    for path in figure_paths:
        save_figure(figure, path)
