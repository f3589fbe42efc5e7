"""Interpolation with the start model: the table from scores, and the figure from the table."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from smf.analysis.interpolation.figure import interpolation_figure
from smf.analysis.interpolation.table import interpolation_table
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_table, write_table
from smf.stages.shown import Shown


def write_interpolation(
    start_paths: Iterable[str | Path],
    between_paths: Iterable[str | Path],
    learned_paths: Iterable[str | Path],
    starts: Mapping[str, str],
    path: str | Path,
) -> None:
    """Write the table of scores by share (:func:`smf.analysis.interpolation.table.interpolation_table`).

    Args:
        start_paths: Scores of the start models: share 0.
        between_paths: What :func:`smf.stages.interpolate.interpolate_run` wrote.
        learned_paths: Scores of the same snapshots as they were learned: share 1.
        starts: For each method, in the order wanted, the model that it starts from.
        path: Where the table goes.
    """
    by_share = defaultdict(list, {1.0: [read_json(learned_path) for learned_path in learned_paths]})
    for between_path in between_paths:
        scores = read_json(between_path)
        by_share[scores["share"]].append(scores)
    write_table(path, interpolation_table([read_json(start_path) for start_path in start_paths], by_share, starts))


def draw_interpolation(shown: Shown, learned: str, table_path: str | Path, figure_paths: Sequence[str | Path]) -> None:
    """Draw what each method retains and forgets at each share.

    Args:
        shown: All methods of the experiment, and what the figure shows; forgetting is measured on the first metric.
        learned: The metric on the new facts that measures retention.
        table_path: The table.
        figure_paths: Where the figure goes, in the formats of the paths' suffixes.
    """
    methods, metric = list(shown.starts), shown.metrics[0]
    figure = interpolation_figure(read_table(table_path), methods, shown.labels(), metric, learned)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
