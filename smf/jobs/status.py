"""How a run stands: which jobs are done, which are running and how far they are, which failed and why.

    smf status [RESULTS]

reads what each job wrote beside its log (:mod:`smf.jobs.job`). Jobs that have not begun are known to Snakemake alone:
``snakemake --dry-run``.
"""

import os
import re
import socket
import time
from collections import Counter
from pathlib import Path

from smf.errors import DataError
from smf.files.artifacts import Columns, read_json, require_columns
from smf.jobs.job import STATE_SUFFIX
from smf.logs import PROGRESS

_WIDTH = 8
_NUMBER = (int, float)
_COLUMNS: Columns = {"rule": str, "wildcards": dict, "state": str, "why": str, "host": str, "pid": int}
_COLUMNS |= {"started": _NUMBER, "changed": _NUMBER}
_ORDER = ("failed", "killed", "interrupted", "unknown", "running", "done")
_RARE = ("interrupted", "unknown")  # their columns are there only if such jobs are


def job_states(results: str | Path) -> list[dict]:
    """The state of every job that ever began, most urgent first, then by rule.

    Each has ``rule``, ``wildcards``, ``state``, ``why``, ``seconds`` (so far, or in all), ``log``, and ``progress``,
    the last line of a progress bar, and ``heard``, when it last wrote. One that says it is running, but whose process
    on this host is gone, is ``killed``; one whose file cannot be read is ``unknown``.

    Raises:
        DataError: Nothing was run there.
    """
    paths = sorted(Path(results).glob(f"logs/*/*{STATE_SUFFIX}"))
    if not paths:
        raise DataError(f"no job has run in {results}; name a results folder, e.g. results/nq_cpu")
    states = []
    for path in paths:
        known = _read_state(path)
        log = path.with_name(path.name.removesuffix(STATE_SUFFIX) + ".log")
        known["heard"] = max(known["changed"], log.stat().st_mtime if log.is_file() else 0.0)
        if known["state"] == "running" and known["host"] == socket.gethostname() and not _is_alive(known["pid"]):
            known["state"] = "killed"
        # A job that was killed could not write when.
        end = {"running": time.time(), "killed": known["heard"]}.get(known["state"], known["changed"])
        states.append({**known, "log": str(log), "seconds": end - known["started"], "progress": _progress(log)})
    return sorted(states, key=lambda state: (_ORDER.index(state["state"]), state["rule"], state["log"]))


def _read_state(path: Path) -> dict:
    """What a job wrote; of a file that is damaged only what its name tells, so that the others are still shown."""
    try:
        known = read_json(path)
        require_columns(known, _COLUMNS, str(path))
        require_columns(known["wildcards"], dict.fromkeys(known["wildcards"], str), f"{path}, wildcards")
        if known["state"] in _ORDER:
            return known
        why = f"{path}: {known['state']!r} is no state of a job"
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
    """The states for people.

    Raises:
        DataError: Nothing was run there.
    """
    states = job_states(results)
    counts = Counter(state["state"] for state in states)
    lines = [", ".join(f"{counts[name]} {name}" for name in _ORDER if counts[name])]
    for state in states:
        if state["state"] == "done":
            continue
        lines += ["", f"{state['state']:<{_WIDTH}} {_name(state)}  {_duration(state['seconds'])}"]
        if state["why"]:
            lines.append(f"         {state['why']}")
        if state["state"] in ("killed", "interrupted"):
            lines.append("         repeat the command (if Snakemake says that the folder is locked, first --unlock)")
        if state["state"] == "running" and state["host"] != socket.gethostname():
            silent = _duration(max(time.time() - state["heard"], 0))
            lines.append(f"         on {state['host']}, last heard of {silent} ago: whether it lives is not known here")
        if state["progress"] and state["state"] != "failed":
            lines.append(f"         {state['progress']}")
        lines.append(f"         {state['log']}")
    rules: dict[str, Counter] = {}
    for state in states:
        rules.setdefault(state["rule"], Counter())[state["state"]] += 1
    columns = {name: max(len(name), _WIDTH) for name in reversed(_ORDER) if name not in _RARE or counts[name]}
    lines += ["", f"{'rule':<24} " + " ".join(f"{name:>{width}}" for name, width in columns.items())]
    for rule, found in sorted(rules.items()):
        cells = " ".join(f"{found[name] or '':>{width}}" for name, width in columns.items())
        lines.append(f"{rule:<24} {cells}".rstrip())
    return "\n".join([*lines, *_branches(states)])


def _branches(states: list[dict]) -> list[str]:
    """Of each method and seed the job that began last; trials of a sweep are too many for that."""
    last: dict[tuple[str, str], dict] = {}
    for state in sorted(states, key=lambda state: state["started"]):
        method, seed = state["wildcards"].get("method"), state["wildcards"].get("seed")
        if method and seed and "--" not in method:
            last[method, seed] = state
    if not last:
        return []
    methods = list(dict.fromkeys(method for method, _ in last))
    seeds = sorted({seed for _, seed in last}, key=lambda seed: (len(seed), seed))
    width = max(len(method) for method in [*methods, "branch"])
    lines = ["", f"{'branch':<{width}}  " + " ".join(f"{f'seed {seed}':<18}" for seed in seeds).rstrip()]
    for method in sorted(methods):
        found = [last.get((method, seed)) for seed in seeds]
        cells = ["–" if state is None else f"{state['rule']} {state['state']}" for state in found]
        lines.append(f"{method:<{width}}  " + " ".join(f"{cell:<18}" for cell in cells).rstrip())
    return lines


def _name(state: dict) -> str:
    wildcards = ", ".join(f"{name} {value}" for name, value in state["wildcards"].items())
    return f"{state['rule']} {wildcards}".strip()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's
        return True
    return True


def _progress(log: Path) -> str:
    if not log.is_file():
        return ""
    found = re.findall(rf"INFO {PROGRESS}: (.*)", log.read_text(encoding="utf-8", errors="replace"))
    return found[-1] if found else ""
