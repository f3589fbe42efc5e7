"""Mappings as configs have them: each in one place, and in an order that does not depend on how it was written."""

import copy
from collections.abc import Mapping
from typing import Any


def unshared(value: object) -> Any:
    """A copy in which what YAML's aliases name is in several places: nulls are taken out place by place."""
    if isinstance(value, Mapping):
        return {key: unshared(part) for key, part in value.items()}
    return copy.deepcopy(value)


def sorted_by_key(value: object) -> Any:
    """The same value with the keys of all its mappings in alphabetical order."""
    return {key: sorted_by_key(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
