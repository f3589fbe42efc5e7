"""Times that are compared pair by pair, and the memory that a process needs at most."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def paired_times(calls: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2) -> dict[str, list[float]]:
    """CPU seconds of each call, taken in turns, so that all meet the same moods of the machine."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.process_time()
            call()
            times[name].append(time.process_time() - started)
    return times


def ratio(first: list[float], second: list[float]) -> dict[str, float]:
    """Median of the pairs' ratios first / second, with its lower and upper quartile."""
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"value": median, "low": low, "high": high}


def row(name: str, value: float, target: str = "", **more: object) -> dict:
    """A result and whether it holds; a target is written as ``<= 1.5`` or ``>= 20``."""
    relation, _, bound = target.partition(" ")
    holds = {"<=": value <= float(bound or 0), ">=": value >= float(bound or 0)}.get(relation)
    return {"name": name, "value": value, "target": target or None, "holds": holds, **more}


def line(result: Mapping) -> str:
    """A result for the terminal."""
    spread = f" ({result['low']:.3g} to {result['high']:.3g})" if "low" in result else ""
    verdict = {True: "holds", False: "MISSED", None: ""}[result["holds"]]
    return f"{result['name']:<86} {result['value']:>9.4g}{spread:<18} {result['target'] or '':<8} {verdict}"


def reset_peak_memory() -> int:
    """Start measuring the peak anew; bytes in use now. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_memory() -> int:
    """The most bytes that this process used since the last reset."""
    return _status("VmHWM")


def page_table_memory() -> int:
    """Bytes of the kernel's tables of this process's pages, which the peak of its memory does not count."""
    return _status("VmPTE")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: peak memory is measured on Linux only")


def in_own_process(module: str, function: str = "main", **arguments: object) -> dict:
    """What ``function(**arguments)`` of a module returns when it runs in a process of its own."""
    code = f"import json, sys; from {module} import {function} as f; print(json.dumps(f(**json.loads(sys.argv[1]))))"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed with {arguments}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
