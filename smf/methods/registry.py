"""Finds the methods: each file in this folder that defines a :class:`Method` is a kind, named after the file."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache

import smf.methods
from smf.errors import ConfigError, did_you_mean
from smf.methods.method import Method

_NOT_KINDS = {"method", "registry", "dense", "memory_passes", "ordinary_text", "replay", "kind_settings"}


def method_kinds() -> list[str]:
    """The known kinds, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(smf.methods.__path__) if module.name not in _NOT_KINDS)


@cache
def method_class(kind: str) -> type[Method]:
    """The method of a kind.

    Raises:
        ConfigError: There is no such kind, or its file does not define exactly one method.
    """
    if kind not in method_kinds():
        raise ConfigError(unknown_name("method kind", kind, method_kinds()))
    module = importlib.import_module(f"smf.methods.{kind}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ConfigError(f"smf/methods/{kind}.py defines {len(found)} methods; one subclass of Method is expected")
    return found[0]


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """A message for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    return f"unknown {what} {name!r}; {did_you_mean(name, known)}known: {', '.join(known)}"
