"""Digest of the code that a script runs: editing a module makes that module's results stale, and nothing else.

Only behaviour counts: comments, layout, docstrings, and the texts of errors and log lines can change freely.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from smf.files.package import PACKAGE, package_file
from smf.jobs.code_meaning import meaning

LEFT_OUT = {
    "__init__": "names for those who import smf elsewhere; neither smf itself nor a script imports through it",
    "errors": "classes of errors and their wording: what is raised ends the job",
    "files/atomic": "how a file gets to its place; what is in it comes from the caller",
    "files/digests": "finds out what files hold",
    "files/package": "finds the package's own files",
    "files/seals": "accepts or refuses files as they are",
    "jobs/code_digest": "finds out what ran",
    "jobs/code_meaning": "finds out what ran",
    "jobs/cost": "counts a job's time and memory",
    "jobs/gpus": "which of several like GPUs a job takes",
    "jobs/hand_over": "which process runs a script",
    "jobs/job": "what is done around the work: log, seals, state",
    "jobs/process": "tells processes apart",
    "jobs/versions": "finds out what is installed; an upgrade alone makes nothing stale",
    "logs": "where messages go, and progress bars, which hand on what they are given",
}
"""Modules of smf that cannot change a result, each with the reason; modules that only they import are left out too.

:mod:`smf.files.resume` is not among them: reading state differently would change results.
"""


def code_digest(*files: str | Path) -> str:
    """SHA-256 over the given files and every module of smf that the Python files among them import, directly or not.

    It depends on what the code does, not on its wording or timestamps: see :func:`smf.jobs.code_meaning.meaning`.
    Modules that cannot change a result (:data:`LEFT_OUT`) are not followed. Files that are not Python count by their
    bytes.
    """
    reached: set[Path] = set()
    waiting = [Path(file).resolve() for file in files]
    while waiting:
        if (path := waiting.pop()) not in reached:
            reached.add(path)
            waiting += _imports(path)
    parts = [_contents(path) for path in sorted(reached, key=lambda path: (path.name, str(path)))]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


@cache
def _contents(path: Path) -> str:
    """One file's contribution to a digest."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(meaning(_tree(path), _is_left_out).encode(errors="surrogatepass")).hexdigest()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Files of smf that one file imports."""
    if path.suffix != ".py":
        return ()
    names: list[str] = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(path for name in names if name.split(".")[0] == PACKAGE for path in _files(name))


def _is_left_out(module: str) -> bool:
    """Whether a module, by its full name, is one that cannot change a result."""
    package, _, name = module.partition(".")
    return package == PACKAGE and name.replace(".", "/") in LEFT_OUT


@cache
def _files(name: str) -> tuple[Path, ...]:
    """The files that importing a module runs: its own and those of its parent packages, except smf's own."""
    parts = name.split(".")[1:]
    files = []
    for depth in range(1, len(parts) + 1):
        if "/".join(parts[:depth]) in LEFT_OUT:
            break
        place = package_file(*parts[:depth])
        files += [path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()]
    return tuple(files)
