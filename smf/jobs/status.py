"""Status of a run: which jobs are done, which are running and how far they are, which failed and why.

    smf status [RESULTS]

reads what each job wrote beside its log (:mod:`smf.jobs.job`). Only Snakemake knows the jobs that have not begun:
``snakemake --dry-run``.
"""

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from smf.errors import DataError
from smf.files.artifacts import Columns, read_json, require_columns
from smf.jobs.cost import COUNTED
from smf.jobs.job import STATE_SUFFIX
from smf.jobs.process import process_start
from smf.logs import PROGRESS

_WIDTH = 8
_NUMBER = (int, float)
_COLUMNS: Columns = {
    "rule": str,
    "wildcards": dict,
    "state": str,
    "why": str,
    "host": str,
    "pid": int,
    "started": _NUMBER,
    "changed": _NUMBER,
}
_ORDER = ("failed", "killed", "interrupted", "unknown", "running", "done")
_RARE = ("interrupted", "unknown")  # their columns appear only if there are such jobs


def job_states(results: str | Path) -> list[dict]:
    """The state of every job that ever began, most urgent first, then by rule.

    Each has ``rule``, ``wildcards``, ``state``, ``why``, ``seconds`` (so far, or in total), ``log``, ``progress`` (the
    last line of its progress bar) and ``heard`` (when it last wrote). A job that is recorded as running but whose
    process on this host is gone, even if another has its number now, is ``killed``; a job whose state file cannot be
    read is ``unknown``.

    Raises:
        DataError: No job has run there.
    """
    paths = sorted(Path(results).glob(f"logs/*/*{STATE_SUFFIX}"))
    if not paths:
        raise DataError(f"no job has run in {results}; name a results folder, e.g. results/nq_cpu")
    states = []
    for path in paths:
        known = _read_state(path)
        log = path.with_name(path.name.removesuffix(STATE_SUFFIX) + ".log")
        known["heard"] = max(known["changed"], log.stat().st_mtime if log.is_file() else 0.0)
        if known["state"] == "running" and known["host"] == socket.gethostname() and not _is_alive(known):
            known["state"] = "killed"
        # A killed job could not record when it ended.
        end = {"running": time.time(), "killed": known["heard"]}.get(known["state"], known["changed"])
        states.append({**known, "log": str(log), "seconds": end - known["started"], "progress": _progress(log)})
    return sorted(states, key=lambda state: (_ORDER.index(state["state"]), state["rule"], state["log"]))


def costs(logs: str | Path) -> dict[tuple[str, str], dict[str, float]]:
    """What finished jobs counted themselves, by rule and job, see :func:`smf.jobs.cost.cost`.

    Args:
        logs: Folder of the jobs' logs, ``<rule>/<job>.log``, and of the states beside them.
    """
    found = {}
    for path in sorted(Path(logs).glob(f"*/*{STATE_SUFFIX}")):
        state = _read_state(path)
        if state["state"] == "done":
            counted = {name: state[name] for name in COUNTED if name in state}
            found[path.parent.name, path.name.removesuffix(STATE_SUFFIX)] = counted
    return found


def _read_state(path: Path) -> dict:
    """Read a job's state file; from a damaged one take only what its name tells, so that the others are still shown."""
    try:
        known = read_json(path)
        require_columns(known, _COLUMNS, str(path))
        require_columns(known["wildcards"], dict.fromkeys(known["wildcards"], str), f"{path}, wildcards")
        if known["state"] in _ORDER:
            return known
        why = f"{path}: {known['state']!r} is not a state of a job"
    except DataError as error:
        why = str(error)
    changed = path.stat().st_mtime
    return {
        "rule": path.parent.name,
        "wildcards": {},
        "state": "unknown",
        "why": why,
        "host": "",
        "pid": 0,
        "started": changed,
        "changed": changed,
    }


def status_text(results: str | Path) -> str:
    """The states as readable text.

    Raises:
        DataError: No job has run there.
    """
    states = job_states(results)
    lines = [summary(states)]
    for state in states:
        if state["state"] != "done":
            lines += ["", f"{state['state']:<{_WIDTH}} {job_name(state)}  {duration(state['seconds'])}"]
            lines += [f"         {line}" for line in details(state)]
    header, *rows = rule_table(states)
    widths = [24, *(max(len(name), _WIDTH) for name in header[1:])]
    lines += ["", *(_aligned(row, widths) for row in [header, *rows])]
    if branches := branch_table(states):
        width = max(len(row[0]) for row in branches)
        lines.append("")
        lines += [f"{row[0]:<{width}}  {' '.join(f'{cell:<18}' for cell in row[1:])}".rstrip() for row in branches]
    return "\n".join(lines)


def _aligned(row: list[str], widths: list[int]) -> str:
    first, *numbers = (f"{cell:{'>' if place else '<'}{widths[place]}}" for place, cell in enumerate(row))
    return " ".join([first, *numbers]).rstrip()


def summary(states: list[dict]) -> str:
    """Number of jobs in each state, most urgent first."""
    counts = Counter(state["state"] for state in states)
    return ", ".join(f"{counts[name]} {name}" for name in _ORDER if counts[name])


def details(state: dict) -> list[str]:
    """Details of an unfinished job: why, what to do, its progress, and its log."""
    lines = [state["why"]] if state["why"] else []
    if state["state"] in ("killed", "interrupted"):
        lines.append("repeat the command (if Snakemake says that the folder is locked, first --unlock)")
    if state["state"] == "running" and state["host"] != socket.gethostname():
        silent = duration(max(time.time() - state["heard"], 0))
        lines.append(f"on {state['host']}, last heard from {silent} ago: this machine cannot tell whether it is alive")
    if state["progress"] and state["state"] != "failed":
        lines.append(state["progress"])
    return [*lines, state["log"]]


def rule_table(states: list[dict]) -> list[list[str]]:
    """Number of jobs in each state by rule, below a header; zeros are empty cells."""
    found = {state["state"] for state in states}
    columns = [name for name in reversed(_ORDER) if name not in _RARE or name in found]
    rules: dict[str, Counter] = {}
    for state in states:
        rules.setdefault(state["rule"], Counter())[state["state"]] += 1
    rows = [[rule, *(str(counts[name] or "") for name in columns)] for rule, counts in sorted(rules.items())]
    return [["rule", *columns], *rows]


def branch_table(states: list[dict]) -> list[list[str]]:
    """The latest job of each method and seed, below a header; empty if there are none.

    Trials of a sweep are left out: there are too many.
    """
    last: dict[tuple[str, str], dict] = {}
    for state in sorted(states, key=lambda state: state["started"]):
        method, seed = state["wildcards"].get("method"), state["wildcards"].get("seed")
        if method and seed and "--" not in method:
            last[method, seed] = state
    if not last:
        return []
    seeds = sorted({seed for _, seed in last}, key=lambda seed: (len(seed), seed))
    table = [["branch", *(f"seed {seed}" for seed in seeds)]]
    for method in sorted({method for method, _ in last}):
        found = [last.get((method, seed)) for seed in seeds]
        table.append([method, *("–" if state is None else f"{state['rule']} {state['state']}" for state in found)])
    return table


def job_name(state: dict) -> str:
    """The rule and its wildcards."""
    wildcards = ", ".join(f"{name} {value}" for name, value in state["wildcards"].items())
    return f"{state['rule']} {wildcards}".strip()


def duration(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _is_alive(known: Mapping) -> bool:
    """Whether a job's process is there, and is not another one that got its number."""
    try:
        os.kill(known["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        pass
    recorded, found = known.get("process_start"), process_start(known["pid"])
    return not recorded or not found or recorded == found


def _progress(log: Path) -> str:
    if not log.is_file():
        return ""
    found = re.findall(rf"INFO {PROGRESS}: (.*)", log.read_text(encoding="utf-8", errors="replace"))
    return found[-1] if found else ""
