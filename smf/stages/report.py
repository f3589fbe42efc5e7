"""Tables from scores, and figures from tables."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from smf.analysis.compute import compute_table
from smf.analysis.forgetting.figure import forgetting_figure
from smf.analysis.overview.figure import overview_figure
from smf.analysis.tuning.figure import tuning_figure
from smf.analysis.tuning.rule import tuning_table
from smf.figures.style import save_figure
from smf.files.artifacts import read_json, read_jsonl, read_table, write_table, write_text
from smf.scores.columns import require_columns
from smf.scores.summary import SUMMARY_COLUMNS, summary_table, terminal_summary
from smf.scores.table import scores_table
from smf.stages.shown import Shown

logger = logging.getLogger(__name__)


def write_scores(score_paths: Iterable[str | Path], path: str | Path) -> None:
    """Gather the scores of all snapshots into one tidy table."""
    write_table(path, scores_table([read_json(score_path) for score_path in score_paths]))


def write_summary(
    scores_path: str | Path, starts: Mapping[str, str], kinds: Mapping[str, str], path: str | Path
) -> None:
    """Summarise the stream's end over seeds; ``kinds`` are the held-out sets by name, each with its kind."""
    write_table(path, summary_table(read_table(scores_path), starts, kinds))


def write_compute(folder: str | Path, counted: Mapping[tuple[str, str], Mapping], path: str | Path) -> None:
    """Write time and memory of all jobs that ran, by rule and method.

    Args:
        folder: Folder of Snakemake's benchmarks, ``<rule>/<job>.jsonl``.
        counted: By rule and job, what jobs counted themselves, in place of what Snakemake sampled.
        path: Where the table goes.

    Raises:
        DataError: There are none, or one is broken.
    """
    found = sorted(Path(folder).glob("*/*.jsonl"))
    names = [(file.parent.name, file.stem) for file in found]
    jobs = (
        (*name, {**row, **counted.get(name, {})})
        for name, file in zip(names, found, strict=True)
        for row in read_jsonl(file, {})
    )
    write_table(path, compute_table(jobs))


def write_tuning(
    scores_path: str | Path,
    runs: Mapping[str, tuple[str, float]],
    starts: Mapping[str, str],
    rates: Mapping[str, float],
    headline: Sequence[str],
    tuned_by: str | None,
    path: str | Path,
) -> None:
    """Write the learning-rate sweep with the chosen rate; see :func:`smf.analysis.tuning.rule.tuning_table`."""
    write_table(path, tuning_table(read_table(scores_path), runs, starts, rates, headline, tuned_by))


def draw_forgetting(
    shown: Shown,
    learned: str,
    scores_path: str | Path,
    summary_path: str | Path,
    figure_paths: Sequence[str | Path],
    text_path: str | Path,
) -> None:
    """Draw the forgetting figure, and write the same results as text, which the terminal shows too.

    Args:
        shown: What the figure shows. Its words name ``untuned`` methods, whose learning rate the config has no sweep
            for (the figure must not claim one), ``rate_free`` ones, and ``tuned_by``, the metric of the new facts that
            the tuning rule weighs; None for the rule's own choice.
        learned: The metric of the new facts that is shown.
        scores_path: The tidy table.
        summary_path: The summary table.
        figure_paths: Where the figure goes, in the formats of the paths' suffixes.
        text_path: Where the text goes.

    Raises:
        DataError: The summary table lacks a column, as one of an older version does.
    """
    summary, labels = read_table(summary_path), shown.labels()
    require_columns("summary table", summary, SUMMARY_COLUMNS)
    figure = forgetting_figure(read_table(scores_path), summary, shown.starts, labels, shown.metrics, learned)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
    text = terminal_summary(summary, shown.starts, labels, shown.metrics)
    write_text(text_path, text + "\n")
    logger.info("\n%s\n", text)


def draw_overview(shown: Shown, learned: str, scores_path: str | Path, figure_paths: Sequence[str | Path]) -> None:
    """Draw the result at a glance, see :func:`draw_forgetting`; the word ``model`` names the base model."""
    figure = overview_figure(read_table(scores_path), shown.starts, shown.labels(), shown.metrics, learned)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path, small=True)


def draw_tuning(shown: Shown, learned: str, tuning_path: str | Path, figure_paths: Sequence[str | Path]) -> None:
    """Draw the sweep of every method, see :func:`draw_forgetting`; of the words only ``tuned_by`` is used."""
    figure = tuning_figure(read_table(tuning_path), shown.starts, shown.labels(), shown.metrics, learned)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
