"""Find files lost with a failed, interrupted or killed job: Snakemake deletes a job's outputs before it starts.

Snakemake does not notice a missing intermediate file as long as everything made from it exists.
"""

from pathlib import Path

from smf.errors import DataError
from smf.files.artifacts import read_json
from smf.jobs.job import STATE_SUFFIX


def lost_files(results: Path) -> list[Path]:
    """Files that existed until a job began to remake them and did not finish.

    A file that someone removed by hand, say to save space, is not among them.

    Args:
        results: The results folder.
    """
    unfinished = _unfinished_jobs(results)
    lost = []
    for path in results.glob(".seals/**/*.json") if unfinished else ():
        try:
            known = read_json(path)
            file = results / known["path"]
        except (DataError, KeyError):  # a damaged seal is refused by the job that needs it
            continue
        if known.get("job") in unfinished and not file.exists():
            lost.append(file)
    return sorted(lost)


def _unfinished_jobs(results: Path) -> set[str]:
    """Jobs that began and did not finish, named as in their seals."""
    unfinished = set()
    for path in results.glob(f"logs/*/*{STATE_SUFFIX}"):
        try:
            is_done = read_json(path).get("state") == "done"
        except DataError:
            is_done = False
        if not is_done:
            unfinished.add(f"{path.parent.name}/{path.name.removesuffix(STATE_SUFFIX)}")
    return unfinished
