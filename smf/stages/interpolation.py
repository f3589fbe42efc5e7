"""Interpolation with the start model: the table from scores, and the figure from the table."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from smf.analysis.interpolation.figure import interpolation_figure
from smf.analysis.interpolation.table import interpolation_table
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_table, write_table
from smf.scores.metrics import held_out_metric
from smf.stages.report import read_labels


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


def draw_interpolation(
    table_path: str | Path,
    labels_path: str | Path,
    methods: Sequence[str],
    asked: Mapping[str, int | None],
    headline: Sequence[str],
    learned: str,
    kinds: Mapping[str, str],
    figure_paths: Sequence[str | Path],
) -> None:
    """Draw what each method retains and forgets at each share.

    Args:
        table_path: The table.
        labels_path: The ``labels.json`` of the data.
        methods: All methods of the experiment, so that each has the colour that it has in other figures.
        asked: Number of items asked, for held-out sets that are not asked in full.
        headline: The held-out metrics; forgetting is measured on the first.
        learned: The metric on the new facts that measures retention.
        kinds: The held-out sets and lm-eval tasks by name, each with its kind.
        figure_paths: Where the figure goes, in the formats of the paths' suffixes.
    """
    metric = held_out_metric(headline[0], kinds)
    figure = interpolation_figure(read_table(table_path), methods, read_labels(labels_path, asked), metric, learned)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
