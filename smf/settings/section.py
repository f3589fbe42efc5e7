"""Types for declaring settings: a mapping with known keys, and numbers, lists and names with limits.

A key is declared once, as a pydantic field: its type with limits, its default, and the docstring below it, which
messages and the JSON schema show. As a standalone string, it can be reworded without rerunning anything
(:mod:`smf.jobs.code_meaning`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

TOO_LARGE = 2**63
"""Whole numbers must fit into 64 bits."""


def _as_written(value: object, check: Callable[[object], object]) -> object:
    """Keep a number as it was written, 3000 or 3000.0: finished runs have recorded it that way."""
    check(value)
    if isinstance(value, int) and abs(value) >= TOO_LARGE:
        raise PydanticKnownError("int_type")
    return value


def distinct(values: object) -> object:
    """Refuse a list that holds a value twice; 1 and 1.0 are the same, 1 and true are not."""
    if isinstance(values, list):
        marked = [(isinstance(value, bool), value) for value in values]
        if any(value in marked[:place] for place, value in enumerate(marked)):
            raise PydanticCustomError("not_distinct", "has non-unique elements")
    return values


def as_tuple(values: object) -> object:
    """Turn a list into a tuple, for settings whose values must be hashable or stay as they are."""
    return tuple(values) if isinstance(values, list) else values


Whole = Annotated[int, Field(strict=True), WrapValidator(_as_written)]
"""A whole number; 3.0 is refused."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), WrapValidator(_as_written)]
"""A finite number."""
Natural = Annotated[Whole, Field(ge=0)]
Count = Annotated[Whole, Field(ge=1)]
PositiveNumber = Annotated[Number, Field(gt=0)]
NonNegativeNumber = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]

_Item = TypeVar("_Item")
Distinct = Annotated[list[_Item], BeforeValidator(distinct), Field(json_schema_extra={"uniqueItems": True})]
"""A list that holds no value twice."""


def one_of_several(kind: Any, described: Mapping[str, object]) -> Any:
    """The type of a value that may be of several kinds; if it is of none, that is one mistake, not one per kind.

    Args:
        kind: A union.
        described: Its JSON schema.
    """

    def check(value: object, validate: Callable[[object], object]) -> object:
        try:
            validate(value)
        except ValidationError as error:
            raise PydanticCustomError("no_kind", "is not valid under any of the given schemas") from error
        return value

    return Annotated[kind, WrapValidator(check), WithJsonSchema(dict(described))]


def name(pattern: str, description: str, taken: Sequence[str] = ()) -> Any:
    """The type of keys that are names of the user's choice.

    Args:
        pattern: Regular expression that the whole name must match.
        description: The pattern in words.
        taken: Names that cannot be chosen.
    """

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value) or value in taken:
            raise PydanticCustomError("not_a_name", "cannot be a name here")
        return value

    schema = {"type": "string", "pattern": f"^{pattern}$", "description": description}
    not_taken = {"not": {"enum": list(taken)}} if taken else {}
    return Annotated[str, AfterValidator(check), WithJsonSchema({**schema, **not_taken})]


class Section(BaseModel):
    """A mapping with known keys; any other is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    def plain(self) -> dict[str, Any]:
        """The section as a mapping of plain values, with defaults; keys without one appear only if given."""
        given = {
            name: getattr(self, name) for name, field in type(self).model_fields.items() if self._holds(name, field)
        }
        return {name: _plain(value) for name, value in {**given, **(self.model_extra or {})}.items()}

    def _holds(self, name: str, field: FieldInfo) -> bool:
        return getattr(self, name) is not None or name in self.model_fields_set or not is_optional(field)


def absent(*, null: bool = False) -> Any:
    """Declare a key that may be left out and has no default: it is then None, and not in the plain mapping.

    Args:
        null: Whether null is a value; otherwise null in a file removes the key.
    """
    return Field(default=None, json_schema_extra={"x-absent": "null" if null else "only"})


def is_optional(field: FieldInfo) -> bool:
    """Whether a field was declared by :func:`absent`."""
    return isinstance(field.json_schema_extra, dict) and "x-absent" in field.json_schema_extra


def _plain(value: object) -> Any:
    if isinstance(value, Section):
        return value.plain()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
