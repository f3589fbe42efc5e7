"""Versions of the libraries that compute results: sums and scores may differ between them."""

from functools import cache
from importlib.metadata import version

LIBRARIES = ("torch", "transformers", "peft", "lm-eval")


@cache
def library_versions() -> dict[str, str]:
    """The installed version of each of :data:`LIBRARIES`."""
    return {name: version(name) for name in LIBRARIES}
