"""The settings of a method, for use without a config file: checked and complete from the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smf.methods.registry import method_class


class MethodSettings(Mapping):
    """A kind of method and its settings, with defaults for those that are not given. Immutable.

    Args:
        kind: ``smf``, ``full``, ``lora`` or another kind; see :func:`smf.methods.registry.method_kinds`.
        settings: By name, as in the config's ``methods`` (docs/selection.md has those of ``smf``).

    Raises:
        ConfigError: There is no such kind or setting, a value is missing or out of range, or two values conflict.

    Example:
        >>> MethodSettings("lora", learning_rate=1e-4)["rank"]
        16
        >>> MethodSettings("smf", top_tt=8)
        Traceback (most recent call last):
        smf.errors.ConfigError: smf: unknown key 'top_tt'; did you mean 'top_t'? known: ...
    """

    def __init__(self, kind: str, **settings: object):
        checked = method_class(kind).settings_class.read(settings, kind)
        self._settings = {"kind": kind, **checked.plain()}

    def __getitem__(self, name: str) -> object:
        return self._settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._settings.items() if name != "kind")
        return f"MethodSettings({self._settings['kind']!r}, {given})"
