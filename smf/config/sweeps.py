"""Sweeps: the settings of a method that are tried, and the name of each one's run."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smf.errors import ConfigError
from smf.methods.registry import method_class, unknown_name
from smf.settings.section import TOO_LARGE

COMBINE = "combine"
"""The key of a sweep that is not a setting, but says how its lists are combined."""


@dataclass(frozen=True)
class Trial:
    """One setting of a method that a sweep tries.

    Attributes:
        run: Name of the run.
        method: The method.
        changes: The settings that the sweep decides, with their values.
    """

    run: str
    method: str
    changes: Mapping[str, Any]

    @property
    def setting(self) -> str:
        """The changes in words, as tables and figures name them."""
        return ", ".join(f"{name} {_text(value)}" for name, value in self.changes.items()) or "as configured"


def trials(method: str, sweep: Mapping[str, Any], where: str) -> list[Trial]:
    """The trials of one method's sweep, in the order of its lists.

    Args:
        method: The method's name.
        sweep: Lists of values by setting; ``combine`` is ``product`` (every combination, the default) or ``paired``
            (the first values of all lists together, then the second ones, and so on). Without a list the method is
            tried as it is configured.
        where: The sweep's key in the config, for messages.

    Raises:
        ConfigError: Paired lists differ in length, or two trials cannot be told apart by name.
    """
    lists = {name: values for name, values in sweep.items() if name != COMBINE}
    found: dict[str, Trial] = {}
    for values in _combined(lists, sweep.get(COMBINE, "product"), where):
        changes = dict(zip(lists, values, strict=True))
        run = "--".join([method, *(f"{_short(name)}-{_text(value)}" for name, value in changes.items())])
        run = re.sub(r"[^A-Za-z0-9_.+-]", "_", run) if changes else f"{method}--as-configured"
        if run in found:
            first, second = _apart(found[run].changes, changes)
            raise ConfigError(f"{where}: {first} and {second} are too close; drop one")
        found[run] = Trial(run, method, changes)
    return list(found.values())


def check_sweeps(config: Mapping) -> None:
    """Check that sweeps name existing methods, and settings that those methods have.

    Raises:
        ConfigError: One does not; the message gives the unknown name and the nearest known one.
    """
    for name, sweep in config["sweeps"].items():
        if name not in config["methods"]:
            raise ConfigError(f"sweeps: {unknown_name('method', name, config['methods'])}")
        known = method_class(config["methods"][name]["kind"]).settings_class.model_fields
        for setting in sweep.keys() - {COMBINE} - known.keys():
            raise ConfigError(f"sweeps.{name}: {unknown_name('setting', setting, known)}")
    for name in config["frontier"]["methods"] or ():
        if name not in config["methods"]:
            raise ConfigError(f"frontier.methods: {unknown_name('method', name, config['methods'])}")


def _combined(lists: Mapping[str, Sequence], combine: str, where: str) -> Iterator[tuple]:
    if combine == "product":
        return itertools.product(*lists.values())
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ConfigError(f"{where}: paired lists are of one length, but {told}; fill up the shorter, or use product")
    return zip(*lists.values(), strict=True)


def _short(name: str) -> str:
    return "lr" if name == "learning_rate" else name


def _text(value: object) -> str:
    """A value as names and tables write it: short, and the same for 3000 and 3000.0."""
    if isinstance(value, list):
        return "+".join(map(_text, value))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int) and abs(value) >= TOO_LARGE:  # refused when the setting is checked
        return str(value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _apart(first: Mapping, second: Mapping) -> tuple[object, object]:
    """What differs between two trials with the same name."""
    if len(first) == 1:
        return next(iter(first.values())), next(iter(second.values()))
    return dict(first), dict(second)
