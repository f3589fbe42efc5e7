"""What this process has cost: its CPU time and its peak memory."""

import os
from pathlib import Path

COUNTED = ("cpu_time", "max_rss")
"""What is counted, as Snakemake's benchmarks name it: seconds, and MB."""
_STATUS = Path("/proc/self/status")


def cost() -> dict[str, float]:
    """CPU seconds of this process and of those that it has waited for, and the most memory that it held, in MB.

    Snakemake's benchmarks sample the processes below the one that it started, which a job that is a copy of
    :mod:`smf.jobs.fork_server` is not. A copy's time begins at the fork. Its memory counts what it shares
    with the others: the data of the packages, and of their files what it used itself, so it is less than that of a
    process that has imported them. Empty where there are no copies: there Snakemake measures what it should.
    """
    if not _STATUS.is_file():
        return {}
    # Not getrusage's ru_maxrss, which after exec still counts what called it: for a job, Snakemake.
    (line,) = (line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return dict(zip(COUNTED, (round(sum(os.times()[:4]), 2), round(int(line.split()[1]) / 1024, 1)), strict=True))
