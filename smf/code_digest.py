"""A digest of the code that a script runs: editing a module makes stale what the module made, and nothing else."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "smf"


def code_digest(*files: str | Path) -> str:
    """SHA-256 over the given files and every module of smf that the Python files among them import, directly or not.

    It follows contents, not modification times: a fresh clone or a ``git checkout`` changes nothing.
    """
    reached: set[Path] = set()
    waiting = [Path(file).resolve() for file in files]
    while waiting:
        if (path := waiting.pop()) not in reached:
            reached.add(path)
            waiting += _imports(path)
    digest = hashlib.sha256()
    for path in sorted(reached, key=lambda path: (path.name, str(path))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Files of smf that one file imports."""
    if path.suffix != ".py":
        return ()
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(path for name in names if name.split(".")[0] == PACKAGE for path in _files(name))


@cache
def _files(name: str) -> tuple[Path, ...]:
    """A module's file and those of the packages above it, which an import runs too."""
    files = []
    root = _package_root()
    parts = name.split(".")[1:]
    for depth in range(len(parts) + 1):
        place = root.joinpath(*parts[:depth])
        files += [path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()]
    return tuple(files)


@cache
def _package_root() -> Path:
    spec: Iterable[str] = find_spec(PACKAGE).submodule_search_locations
    return Path(next(iter(spec))).resolve()


def package_file(*parts: str) -> Path:
    """A file inside the package, e.g. ``package_file("methods", "lora.py")``."""
    return _package_root().joinpath(*parts)
