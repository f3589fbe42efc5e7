"""The cost of a run: time and memory of its jobs, by rule and method, in the terms of Snakemake's benchmarks."""

from collections.abc import Iterable, Mapping

import pandas as pd

from smf.errors import DataError

COMPUTE_COLUMNS = ("rule", "method", "jobs", "seconds", "cpu_seconds", "peak_memory_mb")
_MEASURED = ("s", "cpu_time", "max_rss")


def compute_table(jobs: Iterable[tuple[str, str, Mapping]]) -> pd.DataFrame:
    """One row per rule and method: number of jobs, their total time, and the highest peak memory.

    Args:
        jobs: The rule, the job's name (``<method>.seed-<seed>`` where it has a method) and what was measured:
            ``s`` (wall clock), ``cpu_time``, both in seconds, and ``max_rss`` in MB. A missing measurement, as of a job
            that was too short, counts as 0.

    Raises:
        DataError: There are none.
    """
    rows = [
        {"rule": rule, "method": _method(name), **{key: _number(measured.get(key)) for key in _MEASURED}}
        for rule, name, measured in jobs
    ]
    if not rows:
        raise DataError("no job has been benchmarked yet; run the experiment first")
    groups = pd.DataFrame(rows).groupby(["rule", "method"], sort=False)
    table = groups.agg(
        jobs=("s", "size"), seconds=("s", "sum"), cpu_seconds=("cpu_time", "sum"), peak_memory_mb=("max_rss", "max")
    ).reset_index()
    table[["seconds", "cpu_seconds", "peak_memory_mb"]] = table[["seconds", "cpu_seconds", "peak_memory_mb"]].round(1)
    return table.sort_values("seconds", ascending=False, kind="stable")[list(COMPUTE_COLUMNS)].reset_index(drop=True)


def _method(name: str) -> str:
    """The method in a job's name, without a trial's settings; empty for a job without a method."""
    return name.partition(".seed-")[0].partition("--")[0] if ".seed-" in name else ""


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
