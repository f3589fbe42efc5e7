"""What predicts forgetting: tables from patches, counts and scores, and the figure from the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.analysis.predictors.figure import predictors_figure
from smf.analysis.predictors.table import BACKGROUND, CONTRAST, correlations_table, predictors_table, written
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_table, write_table
from smf.selection.background import BackgroundCounts
from smf.stages.shown import Shown
from smf.stages.slot_writes import counted_patch


def write_predictors(
    counts_path: str | Path,
    contrast_path: str | Path | None,
    scores_path: str | Path,
    patch_paths: Mapping[tuple[str, int], str | Path],
    starts: Mapping[str, str],
    headline: Sequence[str],
    others: Sequence[tuple[str, int]],
    table_path: str | Path,
    correlations_path: str | Path,
) -> None:
    """Write what each run changed beside what it forgot, and the correlations.

    Args:
        counts_path: Background counts.
        contrast_path: Counts of contrast texts, if the experiment has them.
        scores_path: The tidy table.
        patch_paths: The patch of each method and seed.
        starts: For each method the model that it starts from.
        headline: Held-out metrics whose relative drop (or rise) is an outcome.
        others: Methods and seeds of runs that have no slots.
        table_path: Where the runs go (:func:`smf.analysis.predictors.table.predictors_table`).
        correlations_path: Where the correlations go (:func:`smf.analysis.predictors.table.correlations_table`).

    Raises:
        CheckpointError: A file is damaged, or a patch is of another model.
    """
    counted = {BACKGROUND: counts_path, **({} if contrast_path is None else {CONTRAST: contrast_path})}
    counts = {kind: BackgroundCounts.load(path) for kind, path in counted.items()}
    reads = {
        kind: {block: layer.accesses_S.numpy() for block, layer in found.layers.items()}
        for kind, found in counts.items()
    }
    runs = {
        run: written(counted_patch(path, counts[BACKGROUND], counts_path), reads) for run, path in patch_paths.items()
    }
    table = predictors_table(runs, read_table(scores_path), starts, headline, others)
    write_table(table_path, table)
    write_table(correlations_path, correlations_table(table))


def draw_predictors(shown: Shown, table_path: str | Path, figure_paths: Sequence[str | Path]) -> None:
    """Draw what runs forgot over what they wrote.

    Args:
        shown: All methods of the experiment, and what the figure shows; its metrics are among the outcomes.
        table_path: The table of runs.
        figure_paths: Where the figure goes, in the formats of the paths' suffixes.
    """
    figure = predictors_figure(read_table(table_path), read_json(shown.labels_path), list(shown.starts), shown.metrics)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
