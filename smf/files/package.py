"""Files that come with the package: its code, and the data beside it."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "smf"


@cache
def package_root() -> Path:
    """The folder of the package."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None  # it is a package
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def package_file(*parts: str) -> Path:
    """A file inside the package, e.g. ``package_file("methods", "lora.py")``."""
    return package_root().joinpath(*parts)
