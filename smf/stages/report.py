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
from smf.scores.metrics import held_out_metric
from smf.scores.summary import summary_table, terminal_summary
from smf.scores.table import scores_table

logger = logging.getLogger(__name__)


def write_scores(score_paths: Iterable[str | Path], path: str | Path) -> None:
    """Gather the scores of all snapshots into one tidy table."""
    write_table(path, scores_table([read_json(score_path) for score_path in score_paths]))


def write_summary(
    scores_path: str | Path, starts: Mapping[str, str], kinds: Mapping[str, str], path: str | Path
) -> None:
    """Summarise the stream's end over seeds; ``kinds`` are the held-out sets by name, each with its kind."""
    write_table(path, summary_table(read_table(scores_path), starts, kinds))


def write_compute(folder: str | Path, path: str | Path) -> None:
    """Write time and memory of all jobs that ran, by rule and method.

    Args:
        folder: Folder of Snakemake's benchmarks, ``<rule>/<job>.jsonl``.
        path: Where the table goes.

    Raises:
        DataError: There are none, or one is broken.
    """
    found = sorted(Path(folder).glob("*/*.jsonl"))
    jobs = ((file.parent.name, file.stem, row) for file in found for row in read_jsonl(file, {}))
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
    scores_path: str | Path,
    summary_path: str | Path,
    labels_path: str | Path,
    starts: Mapping[str, str],
    methods: Mapping[str, str],
    untuned: Sequence[str],
    rate_free: Sequence[str],
    tuned_by: str | None,
    asked: Mapping[str, int | None],
    headline: Sequence[str],
    learned: str,
    kinds: Mapping[str, str],
    figure_paths: Sequence[str | Path],
    text_path: str | Path,
) -> None:
    """Draw the forgetting figure, and write the same results as text, which the terminal shows too.

    Args:
        scores_path: The tidy table.
        summary_path: The summary table.
        labels_path: The ``labels.json`` of the data.
        starts: For each method the model that it starts from.
        methods: A few words on each method.
        untuned: Methods whose learning rate no sweep has chosen; the figure must not claim that one has.
        rate_free: Methods that have no learning rate.
        tuned_by: The metric of the new facts that the tuning rule weighs; None for the rule's own choice.
        asked: Number of items asked, for held-out sets that are not asked in full.
        headline: The held-out metrics shown.
        learned: The metric of the new facts that is shown.
        kinds: The held-out sets and lm-eval tasks by name, each with its kind.
        figure_paths: Where the figure goes, in the formats of the paths' suffixes.
        text_path: Where the text goes.
    """
    summary = read_table(summary_path)
    labels = {**read_labels(labels_path, asked), "methods": dict(methods)}
    labels |= {"untuned": list(untuned), "rate_free": list(rate_free), "tuned_by": tuned_by}
    metrics = [held_out_metric(name, kinds) for name in headline]
    figure = forgetting_figure(read_table(scores_path), summary, starts, labels, metrics, learned)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
    text = terminal_summary(summary, starts, labels, metrics)
    write_text(text_path, text + "\n")
    logger.info("\n%s\n", text)


def draw_overview(
    scores_path: str | Path,
    labels_path: str | Path,
    starts: Mapping[str, str],
    methods: Mapping[str, str],
    model: str | None,
    asked: Mapping[str, int | None],
    headline: Sequence[str],
    learned: str,
    kinds: Mapping[str, str],
    figure_paths: Sequence[str | Path],
) -> None:
    """Draw the result at a glance; see :func:`draw_forgetting` for the arguments; ``model`` names the base model."""
    labels = {**read_labels(labels_path, asked), "methods": dict(methods), **({"model": model} if model else {})}
    metrics = [held_out_metric(name, kinds) for name in headline]
    figure = overview_figure(read_table(scores_path), starts, labels, metrics, learned)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path, small=True)


def draw_tuning(
    tuning_path: str | Path,
    labels_path: str | Path,
    starts: Mapping[str, str],
    asked: Mapping[str, int | None],
    headline: Sequence[str],
    kinds: Mapping[str, str],
    figure_paths: Sequence[str | Path],
) -> None:
    """Draw the sweep of every method; see :func:`draw_forgetting` for the arguments."""
    metrics = [held_out_metric(name, kinds) for name in headline]
    figure = tuning_figure(read_table(tuning_path), starts, read_labels(labels_path, asked), metrics)
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)


def read_labels(path: str | Path, asked: Mapping[str, int | None]) -> dict:
    """Read the data's labels, and add how many items were asked."""
    labels = read_json(path)
    for name, number in asked.items():
        if number is not None and name in labels["held_out"]:
            labels["held_out"][name] += f"; {number:,} asked"
    return labels
