"""Normalise a config's mappings: no shared parts, and an order that does not depend on the file."""

import copy
from collections.abc import Mapping
from typing import Any


def unshared(value: object) -> Any:
    """A copy with YAML's aliases expanded, so that removing a null in one place leaves the others alone."""
    if isinstance(value, Mapping):
        return {key: unshared(part) for key, part in value.items()}
    return copy.deepcopy(value)


def sorted_by_key(value: object) -> Any:
    """The same value with the keys of all its mappings in alphabetical order."""
    return {key: sorted_by_key(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
