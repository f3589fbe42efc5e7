"""Finds the methods: each file in this folder that defines a :class:`Method` is a kind, named after the file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING

import smf.methods
from smf.errors import ConfigError, did_you_mean
from smf.methods.method import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from smf.selection.background import BackgroundCounts
    from smf.streams.background_texts import BackgroundTexts

_NOT_KINDS = {"adapter", "anchor", "deltas", "dense", "editing", "kind_settings", "loss", "memory_passes", "method"}
_NOT_KINDS |= {"optimizers", "ordinary_text", "registry", "replay", "row_steps", "settings", "surprise_buffer"}


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


def start_method(
    settings: Mapping,
    model: PreTrainedModel,
    background: BackgroundCounts | None = None,
    texts: BackgroundTexts | None = None,
    *,
    seed: int = 0,
) -> Method:
    """A method at the beginning of its stream.

    Args:
        settings: Its ``kind``, and the settings of that kind; those with a default may be missing.
        model: The start model; the method changes it.
        background: Background counts, if the kind needs them.
        texts: Background text, if the kind reads it while it learns.
        seed: The run's seed.

    Raises:
        ConfigError: There is no such kind, settings conflict, or something that the kind needs is missing.
    """
    kind = method_class(settings["kind"])
    return kind(model, settings, background, seed, texts)


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """A message for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    return f"unknown {what} {name!r}; {did_you_mean(name, known)}known: {', '.join(known)}"
