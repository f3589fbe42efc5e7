"""The frontier of methods over their settings: tables from scores, and the figure from the tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from smf.analysis.frontier.figure import frontier_figure
from smf.analysis.frontier.summary import paired_tests, summary
from smf.analysis.frontier.table import frontier_table, settings_table
from smf.figures.style import save_figure
from smf.files.artifacts import read_table, write_table
from smf.scores.metrics import held_out_metric
from smf.stages.comparisons import cost_of
from smf.stages.report import read_labels


def write_frontier(
    scores_path: str | Path,
    tuning_scores_path: str | Path,
    facts_paths: Mapping[tuple[str, int], str | Path],
    points: Mapping[str, tuple[str, str]],
    starts: Mapping[str, str],
    headline: Sequence[str],
    learned: str,
    tuned_by: str | None,
    reference: float,
    table_path: str | Path,
    settings_path: str | Path,
    summary_path: str | Path,
    tests_path: str | Path,
) -> None:
    """Write the frontier's tables of runs, settings, methods and pairs of methods.

    Args:
        scores_path: The tidy table of the runs shown.
        tuning_scores_path: The tidy table of the same runs on tuning seeds.
        facts_paths: For each run and seed shown, learning's log of each fact, which holds the cost.
        points: For each run its method and its setting in words.
        starts: For each method the model that it starts from.
        headline: The held-out metrics; forgetting is measured on the first.
        learned: The metric on the new facts that measures retention.
        tuned_by: The metric on the new facts that the tuning rule weighs; None for the rule's own choice.
        reference: Largest forgetting that the hypervolume averages over, as a share.
        table_path: Where the runs go (:func:`smf.analysis.frontier.table.frontier_table`).
        settings_path: Where the settings go (:func:`smf.analysis.frontier.table.settings_table`).
        summary_path: Where the methods go (:func:`smf.analysis.frontier.summary.summary`).
        tests_path: Where the pairs go (:func:`smf.analysis.frontier.summary.paired_tests`).
    """
    scores = read_table(scores_path)
    costs = {key: cost_of(path)[1:] for key, path in facts_paths.items()}
    frontier = frontier_table(scores, points, starts, headline, learned, costs)
    settings = settings_table(scores, read_table(tuning_scores_path), points, starts, headline, learned, tuned_by)
    write_table(table_path, frontier)
    write_table(settings_path, settings)
    write_table(summary_path, summary(frontier, reference))
    write_table(tests_path, paired_tests(frontier, reference))


def draw_frontier(
    table_path: str | Path,
    settings_path: str | Path,
    summary_path: str | Path,
    labels_path: str | Path,
    starts: Mapping[str, str],
    asked: Mapping[str, int | None],
    headline: Sequence[str],
    learned: str,
    kinds: Mapping[str, str],
    figure_paths: Sequence[str | Path],
) -> None:
    """Draw what each method retains against what it forgets, from the tables of :func:`write_frontier`.

    Args:
        table_path: The table of runs.
        settings_path: The table of settings.
        summary_path: The table of methods.
        labels_path: The ``labels.json`` of the data.
        starts: For each method, in the order that fixes the colours, the model that it starts from.
        asked: Number of items asked, for held-out sets that are not asked in full.
        headline: The held-out metrics; forgetting is measured on the first.
        learned: The metric on the new facts that measures retention.
        kinds: The held-out sets and lm-eval tasks by name, each with its kind.
        figure_paths: Where the figure goes, in the formats of the paths' suffixes.
    """
    figure = frontier_figure(
        read_table(table_path),
        read_table(settings_path),
        read_table(summary_path),
        starts,
        read_labels(labels_path, asked),
        held_out_metric(headline[0], kinds),
        learned,
    )
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
