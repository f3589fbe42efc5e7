"""Config files laid over one another, and the file and line of each setting."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smf.config.yaml_file import Place, plain_value, read_config
from smf.errors import ConfigError, Key, did_you_mean

COMMAND_LINE = "--config"
"""The source that messages name for settings that are in no file."""


class ConfigFiles:
    """The layers of a config: files, each laid over those before it, and the command line's settings over all of them.

    Args:
        paths: The files.
        overrides: The command line's settings, see :func:`typed`.

    Raises:
        ConfigError: A file cannot be read, or holds one of YAML's traps; names file and line.
    """

    def __init__(self, paths: Sequence[str | Path], overrides: Mapping[str, object] | None = None):
        self._layers = [read_config(path) for path in paths]
        if overrides:
            self._layers.append((dict(overrides), dict(_unread(overrides, ()))))

    @property
    def config(self) -> dict:
        """All layers as one config: mappings are merged, everything else is replaced."""
        merged: dict = {}
        for layer, _ in self._layers:
            _lay_over(merged, layer)
        return merged

    def require_underneath(self, removed: Iterable[Key]) -> None:
        """Refuse each null that takes nothing out: the name is misspelled, or its value was forgotten.

        Args:
            removed: Where the config has a null that is no value; see ``Experiment.removed``.

        Raises:
            ConfigError: A file says null where no file underneath it says anything.
        """
        for key in removed:
            holding = [index for index, (layer, _) in enumerate(self._layers) if _holds(layer, key)]
            if len(holding) > 1:
                continue
            owner: Any = self.config
            for part in key[:-1]:
                owner = owner.get(part) if isinstance(owner, dict) else None
            names = [name for name, value in (owner or {}).items() if value is not None]
            raise ConfigError(
                f"{'.'.join(key)} is null, which removes the value of an earlier file, but no earlier file sets it; "
                f"{did_you_mean(key[-1], names)}give it a value, or leave it out",
                key,
            )

    def place(self, key: Key) -> Place | None:
        """Where the topmost file sets this key, or else its nearest parent; None if no file sets any of these."""
        for length in range(len(key), 0, -1):
            for _, places in reversed(self._layers):
                if (place := places.get(key[:length])) is not None:
                    # How a mapping or a neighbour is written says nothing about the value inside it.
                    return place if length == len(key) else Place(place.file, place.line)
        return None

    def explain(self, error: ConfigError) -> str:
        """The error's message, with the file and the line of the setting that it is about, or that it begins with."""
        place = self.place(error.key or tuple(str(error).partition(" ")[0].rstrip(":").split(".")))
        if place is None:
            return str(error)
        return f"{error} [{place}{_misread(place)}]"


def typed(overrides: Mapping[str, object]) -> dict:
    """Settings from ``--config`` with the types that a file would give; Snakemake reads nested values as strings.

    Args:
        overrides: As Snakemake parsed them.
    """
    return {key: _typed(value) for key, value in overrides.items()}


def _typed(value: object) -> object:
    if isinstance(value, Mapping):
        return typed(value)
    if isinstance(value, list):
        return [_typed(part) for part in value]
    return plain_value(value) if isinstance(value, str) else value


def _lay_over(below: dict, above: Mapping) -> None:
    """Lay one mapping over another, as Snakemake does."""
    for key, value in above.items():
        if isinstance(value, Mapping):
            inner = below[key] if isinstance(below.get(key), dict) else {}
            _lay_over(inner, value)
            below[key] = inner
        else:
            below[key] = value


def _holds(layer: object, key: Key) -> bool:
    for part in key:
        if not isinstance(layer, Mapping) or part not in layer:
            return False
        layer = layer[part]
    return True


def _unread(value: object, key: Key) -> Iterable[tuple[Key, Place]]:
    """The places of settings that no file holds."""
    if key:
        yield key, Place(COMMAND_LINE, None)
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _unread(part, (*key, str(name)))


def _misread(place: Place) -> str:
    """How YAML read a word that was meant as a string, and how to set a key from the command line."""
    if place.file == COMMAND_LINE:
        return ", where a key within another is written as in --config stream='{num_facts: 5}'"
    if place.written is None:
        return ""
    read = plain_value(place.written)
    if isinstance(read, bool) and place.written.lower() not in ("true", "false"):
        return f": {place.written}, which YAML reads as {str(read).lower()}; put text in quotes"
    return ""
