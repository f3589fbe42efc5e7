"""Which slots ordinary text reads before and after healing: a table and a figure from the healing report."""

from collections.abc import Sequence
from pathlib import Path

from smf.analysis.slot_use.figure import slot_use_figure
from smf.analysis.slot_use.table import slot_use_table
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_table, write_table


def write_slot_use(report_path: str | Path, path: str | Path) -> None:
    """Write the tidy table of slot use."""
    write_table(path, slot_use_table(read_json(report_path)))


def draw_slot_use(table_path: str | Path, labels_path: str | Path, figure_paths: Sequence[str | Path]) -> None:
    """Draw slot use, in the formats of the paths' suffixes."""
    figure = slot_use_figure(read_table(table_path), read_json(labels_path))
    for path in figure_paths:
        save_figure(figure, path)
