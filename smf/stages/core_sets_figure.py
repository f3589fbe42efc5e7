"""The figure of core sets; separate from their table, so that restyling the figure does not rerun the learning."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.analysis.core_sets.figure import core_sets_figure
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_table


def draw_core_sets(
    table_path: str | Path,
    labels_path: str | Path,
    settings: Mapping,
    methods: Sequence[str],
    figure_paths: Sequence[str | Path],
) -> None:
    """Draw core sets, in the formats of the paths' suffixes.

    Args:
        table_path: The table of core sets.
        labels_path: The ``labels.json`` of the data.
        settings: The config's ``core_sets``, with its method filled in.
        methods: All methods of the experiment, so that each has the colour that it has in other figures.
        figure_paths: Where the figure goes.
    """
    figure = core_sets_figure(read_table(table_path), settings, methods, read_json(labels_path))
    for path in figure_paths:
        save_figure(figure, path)
