"""Files that come with the package: its code, and the data beside it."""

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "smf"


@cache
def package_root() -> Path:
    """The folder of the package."""
    spec: Iterable[str] = find_spec(PACKAGE).submodule_search_locations
    return Path(next(iter(spec))).resolve()


def package_file(*parts: str) -> Path:
    """A file inside the package, e.g. ``package_file("methods", "lora.py")``."""
    return package_root().joinpath(*parts)
