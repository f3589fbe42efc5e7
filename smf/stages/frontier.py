"""The frontier of methods over their settings: tables from scores, and the figure from the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smf.analysis.frontier.figure import frontier_figure
from smf.analysis.frontier.summary import paired_tests, summary
from smf.analysis.frontier.table import frontier_table, settings_table
from smf.figures.style import save_figure
from smf.files.artifacts import read_table, write_table
from smf.stages.comparisons import cost_of
from smf.stages.shown import Shown


@dataclass(frozen=True)
class Compared:
    """The runs that a frontier compares, and by what.

    Attributes:
        points: For each run its method and its setting in words.
        starts: For each method the model that it starts from.
        headline: The held-out metrics; forgetting is measured on the first.
        learned: The metric on the new facts that measures retention.
        tuned_by: The metric on the new facts that the tuning rule weighs; None for the rule's own choice.
        reference: Largest forgetting that the hypervolume averages over, as a share.
    """

    points: Mapping[str, tuple[str, str]]
    starts: Mapping[str, str]
    headline: Sequence[str]
    learned: str
    tuned_by: str | None
    reference: float


def write_frontier(
    compared: Compared,
    scores_path: str | Path,
    tuning_scores_path: str | Path,
    facts_paths: Mapping[tuple[str, int], str | Path],
    *,
    table_path: str | Path,
    settings_path: str | Path,
    summary_path: str | Path,
    tests_path: str | Path,
) -> None:
    """Write the frontier's tables of runs, settings, methods and pairs of methods.

    Args:
        compared: What to compare.
        scores_path: The tidy table of the runs shown.
        tuning_scores_path: The tidy table of the same runs on tuning seeds.
        facts_paths: For each run and seed shown, learning's log of each fact, which holds the cost.
        table_path: Where the runs go (:func:`smf.analysis.frontier.table.frontier_table`).
        settings_path: Where the settings go (:func:`smf.analysis.frontier.table.settings_table`).
        summary_path: Where the methods go (:func:`smf.analysis.frontier.summary.summary`).
        tests_path: Where the pairs go (:func:`smf.analysis.frontier.summary.paired_tests`).
    """
    scores = read_table(scores_path)
    points, starts, headline, learned = compared.points, compared.starts, compared.headline, compared.learned
    costs = {key: cost_of(path)[1:] for key, path in facts_paths.items()}
    frontier = frontier_table(scores, points, starts, headline, learned, costs)
    tuning = read_table(tuning_scores_path)
    settings = settings_table(scores, tuning, points, starts, headline, learned, compared.tuned_by)
    write_table(table_path, frontier)
    write_table(settings_path, settings)
    write_table(summary_path, summary(frontier, compared.reference))
    chosen = settings[settings["chosen"]].set_index("method")["setting"].to_dict()
    write_table(tests_path, paired_tests(frontier, chosen, compared.reference))


def draw_frontier(
    shown: Shown,
    learned: str,
    table_path: str | Path,
    settings_path: str | Path,
    summary_path: str | Path,
    figure_paths: Sequence[str | Path],
) -> None:
    """Draw what each method retains against what it forgets, from the tables of :func:`write_frontier`.

    Args:
        shown: What the figure shows; forgetting is measured on the first held-out metric. The word ``tuned_by`` is the
            metric on the new facts that the tuning rule weighs; None for the rule's own choice.
        learned: The metric on the new facts that measures retention.
        table_path: The table of runs.
        settings_path: The table of settings.
        summary_path: The table of methods.
        figure_paths: Where the figure goes, in the formats of the paths' suffixes.
    """
    figure = frontier_figure(
        read_table(table_path),
        read_table(settings_path),
        read_table(summary_path),
        shown.starts,
        shown.labels(),
        shown.metrics[0],
        learned,
    )
    for path in figure_paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
