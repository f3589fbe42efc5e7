"""Check settings against the section that declares them: remove nulls, report the first mistake in one line."""

import contextlib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar

import yaml
from pydantic import ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails

from smf.errors import ConfigError, Key, did_you_mean
from smf.settings.declared import Declared
from smf.settings.section import TOO_LARGE, Section

_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("above", "gt"),
    "less_than": ("below", "lt"),
    "multiple_of": ("a multiple of", "multiple_of"),
}
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_STRANGERS = ("extra_forbidden", "invalid_key")
_REPORTED = "mistakes are reported by check"
_S = TypeVar("_S", bound=Section)


def check(
    value: dict, section: type[_S], where: str = "", places: Mapping[str, list[str]] | None = None
) -> tuple[_S, list[Key]]:
    """Remove nulls and validate the rest.

    Args:
        value: The settings; changed in place.
        section: The section that declares them.
        where: The key of ``value`` in the config, ``""`` for the config itself.
        places: Where keys of the whole config belong, see :func:`smf.settings.declared.places_of_keys`; used to explain
            misplaced keys.

    Returns:
        The settings with all defaults, and the full paths of the keys that were removed because they were null and may
        not be.

    Raises:
        ConfigError: A setting is wrong; the message names the first such key, what is wrong and what is right.
    """
    removed = [(*_path(where), *key) for key in _take_out_nulls(value, Declared(section))]
    try:
        return section.model_validate(value, context=_REPORTED), removed
    except ValidationError as error:
        raise _first_mistake(error, section, where, places or {}) from error


class Arguments(Section):
    """A section that code makes by keyword too: a mistake is then a ConfigError that begins with the class's name."""

    @model_validator(mode="wrap")
    @classmethod
    def _report(cls, given: Any, validate: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        try:
            return validate(given)
        except ValidationError as error:
            if info.context == _REPORTED:
                raise
            raise _first_mistake(error, cls, cls.__name__, {}) from error


def _path(where: str) -> Key:
    return tuple(filter(None, where.split(".")))


def _first_mistake(
    error: ValidationError, section: type[Section], where: str, places: Mapping[str, list[str]]
) -> ConfigError:
    first = min(map(_Mistake, error.errors(include_url=False)), key=lambda mistake: mistake.order)
    return ConfigError(first.explain(Declared(section), where, places), (*_path(where), *map(str, first.key)))


def _take_out_nulls(value: object, place: Declared) -> Iterator[Key]:
    """Remove the keys that are null and may not be; yield them."""
    if not isinstance(value, dict):
        return
    for key in list(value):
        child = place.at(key)
        if child is None:
            continue
        if value[key] is None and not child.keeps_null:
            del value[key]
            yield (str(key),)
        else:
            yield from ((str(key), *inner) for inner in _take_out_nulls(value[key], child))


class _Mistake:
    """One of pydantic's errors.

    Attributes:
        key: Path of the setting that it is about.
        owner: Path of the mapping that pydantic found it in; if a key is missing, unknown or not a valid name, the
            mapping that should hold it.
    """

    def __init__(self, error: ErrorDetails):
        self._kind, self._limits = error["type"], error.get("ctx", {})
        self._value = list(error["input"]) if isinstance(error["input"], tuple) else error["input"]
        self._text = error["msg"]
        self._of_a_name = error["loc"][-1:] == ("[key]",)
        self.key = error["loc"][:-1] if self._of_a_name else error["loc"]
        self.owner = self.key[:-1] if self._of_a_name or self._kind in (*_STRANGERS, "missing") else self.key

    @property
    def order(self) -> tuple[list[str], bool, str]:
        """Sort key: outermost mistakes first; unknown keys by name, and before missing ones."""
        stranger = str(self.key[-1]) if self._kind in _STRANGERS else ""
        return [str(part) for part in self.owner], self._kind == "missing", stranger

    def explain(self, root: Declared, where: str, places: Mapping[str, list[str]]) -> str:
        """One line: which key, what is wrong with it, what is right."""
        place: Declared = root
        for part in self.owner:
            place = place.at(part) or Declared(object)
        path = ".".join([*filter(None, [where]), *map(str, self.owner)]) or "the config"
        value = self._value
        if self._kind == "disagreement":
            return f"{where}: {self._text}" if where else self._text
        if self._of_a_name:
            return f"{path}: {value!r} cannot be a name here" + _in_brackets(place.of_names())
        if self._kind in _STRANGERS:
            return f"{path}: {_unknown_key(str(self.key[-1]), path, place, places)}"
        if self._kind == "missing":
            missing = place.at(self.key[-1]) or Declared(object)
            return f"{path}: the key {self.key[-1]!r} is missing" + _in_brackets(missing.description)
        said = _in_brackets(place.description)
        if self._kind == "literal_error":
            options = [str(option) for option in place.options]
            meant = "none" if value is None else value
            return f"{path}: unknown value {value!r}; {did_you_mean(meant, options)}known: {', '.join(options)}"
        if self._kind.endswith("_type") or self._kind == "finite_number":
            kinds = place.type_names
            right = " or ".join(_TYPES[kind] for kind in kinds)
            return f"{path} is {reprlib.repr(value)}, but must be {right}{said}{_type_hint(value, kinds)}"
        if self._kind in _LIMITS:
            words, name = _LIMITS[self._kind]
            return f"{path} is {value}, but must be {words} {self._limits[name]:g}{said}"
        return f"{path}: {value!r} {self._wrong()}{said}"

    def _wrong(self) -> str:
        """What is wrong with a value, worded to follow it in a message."""
        if self._kind == "too_short":
            return "should be non-empty"
        if self._kind == "too_long":
            return "is too long"
        if self._kind == "is_instance_of":
            return f"is no {self._limits['class']}"
        if self._kind == "string_pattern_mismatch":
            return f"does not match {self._limits['pattern']!r}"
        return self._text


def _unknown_key(stranger: str, path: str, place: Declared, places: Mapping[str, list[str]]) -> str:
    known = list(place.section.model_fields if place.section else ())
    belongs = [found for found in places.get(stranger, ()) if found.rpartition(".")[0] != path]
    near = did_you_mean(stranger, known)
    hint = near if near or not belongs else f"it exists as {', '.join(belongs[:3])}: check the indentation; "
    return f"unknown key {stranger!r}; {hint}known: {', '.join(sorted(known))}"


def _in_brackets(description: str) -> str:
    return f" ({description})" if description else ""


def _type_hint(value: object, kinds: Iterable[str]) -> str:
    """How to write the intended value, where YAML reads something else."""
    numeric = not {"integer", "number"}.isdisjoint(kinds)
    if isinstance(value, str) and numeric:
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
            whole = number.is_integer() and "integer" in kinds
            written = yaml.safe_dump(int(number) if whole else number).splitlines()[0]
            if "e" in value.lower():
                return f"; to YAML a number has a point and a sign before its exponent: write {written}, not {value}"
            return f"; a value in quotes is text: write {written}"
    if isinstance(value, str) and value.lower() == "none" and "null" in kinds:
        return "; write null"
    if isinstance(value, str) and "object" in kinds and (found := re.match(r"([\w-]+):\S", value)):
        return f"; no space after the colon of `{found[1]}:`, YAML needs one"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= TOO_LARGE and numeric:
        return "; this one has more than 64 bits"
    if isinstance(value, float) and numeric:
        return f"; write {int(value)}" if value.is_integer() else ""
    return ""
