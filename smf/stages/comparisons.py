"""Methods against each other: tests of every pair, the cost of a fact, and the leaderboard."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from smf.analysis.costs import Cost, costs_table
from smf.analysis.leaderboard.page import leaderboard_page
from smf.analysis.leaderboard.table import About, joined, leaderboard_table
from smf.analysis.pairs import pairs_table
from smf.errors import DataError
from smf.files.artifacts import read_jsonl, read_table, write_table, write_text

_COSTS = {"tokens": (int, float), "seconds": (int, float)}


def write_costs(
    facts_paths: Mapping[tuple[str, int], str | Path],
    delta_paths: Mapping[tuple[str, int], str | Path],
    path: str | Path,
) -> None:
    """Write what a fact costs each method.

    Args:
        facts_paths: For each method and seed, learning's log of each fact.
        delta_paths: For each method and seed, the delta at the stream's end.
        path: Where the table goes (:func:`smf.analysis.costs.costs_table`).

    Raises:
        DataError: A log is broken.
    """
    costs = {}
    for run, facts_path in facts_paths.items():
        number, tokens, seconds = cost_of(facts_path)
        costs[run] = Cost(number, tokens, seconds, Path(delta_paths[run]).stat().st_size / number)
    write_table(path, costs_table(costs))


def write_pairs(
    scores_path: str | Path, starts: Mapping[str, str], headline: Sequence[str], learned: str, path: str | Path
) -> None:
    """Write tests of every pair of methods; see :func:`smf.analysis.pairs.pairs_table`."""
    write_table(path, pairs_table(read_table(scores_path), starts, headline, learned))


def write_leaderboard(
    scores_path: str | Path, costs_path: str | Path, starts: Mapping[str, str], about: Mapping, path: str | Path
) -> None:
    """Write an experiment's rows of the leaderboard.

    Args:
        scores_path: The tidy table.
        costs_path: The table of :func:`write_costs`.
        starts: For each method the model that it starts from.
        about: What the rows have in common (:class:`smf.analysis.leaderboard.table.About`).
        path: Where the rows go (:func:`smf.analysis.leaderboard.table.leaderboard_table`).
    """
    write_table(path, leaderboard_table(read_table(scores_path), read_table(costs_path), starts, About(**about)))


def write_leaderboard_page(folders: Iterable[str | Path], path: str | Path) -> int:
    """Write the leaderboard of several experiments as one page.

    Args:
        folders: The experiments' folders, each with the table of :func:`write_leaderboard`.
        path: Where the page goes.

    Returns:
        The number of rows.

    Raises:
        DataError: A folder has no such table, or it is broken.
    """
    tables = []
    for folder in folders:
        rows = Path(folder) / "tables/leaderboard.csv"
        if not rows.is_file():
            raise DataError(
                f"{rows} does not exist; make it with the config of that experiment: snakemake --cores 1 {rows}"
            )
        tables.append(read_table(rows))
    table = joined(tables)
    write_text(path, leaderboard_page(table))
    return len(table)


def cost_of(path: str | Path) -> tuple[int, float, float]:
    """The number of facts of a run, and their mean tokens and seconds, from learning's log of each fact.

    Raises:
        DataError: The log is broken.
    """
    rows = read_jsonl(path, _COSTS)
    for number, row in enumerate(rows, start=1):
        for name in _COSTS:
            if not row[name] >= 0:
                raise DataError(
                    f"{path}, line {number}: {name} of a fact is {row[name]}, but a cost cannot be negative: learn "
                    "again"
                )
    tokens, seconds = (sum(row[name] for row in rows) / len(rows) for name in _COSTS)
    return len(rows), tokens, seconds
