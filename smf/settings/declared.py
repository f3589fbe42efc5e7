"""The declaration of a setting: its type, whether null is a value, and its description."""

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from smf.settings.section import Section, is_optional


@dataclass(frozen=True)
class Declared:
    """The declaration of a setting or a section.

    Attributes:
        kind: The type, without limits and without None.
        nullable: Whether null is a value.
        description: What it means, in one line; "" if the declaration has no text.
    """

    kind: Any
    nullable: bool = False
    description: str = ""

    @property
    def section(self) -> type[Section] | None:
        """The section that this type is, if it is one."""
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, Section) else None

    @property
    def options(self) -> list[str | None]:
        """The allowed values of a literal type, with None if null is one."""
        return [*get_args(self.kind), *([None] if self.nullable else [])]

    @property
    def keeps_null(self) -> bool:
        """Whether a written null stays: it is a value, is close to one such as ``none``, or anything is allowed."""
        return self.nullable or self.kind is object or _is_union(self.kind) or "none" in self.options

    @property
    def type_names(self) -> list[str]:
        """The allowed types, by their JSON Schema names."""
        names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object"}
        names |= {list: "array", tuple: "array"}
        name = "object" if self.section else names[get_origin(self.kind) or self.kind]
        return [name, "null"] if self.nullable else [name]

    def at(self, key: str | int) -> "Declared | None":
        """The declaration one level down; None if there is none."""
        if (section := self.section) is not None:
            if key in section.model_fields:
                return _of_field(section.model_fields[str(key)])
            extra = section.__annotations__.get("__pydantic_extra__")
            return None if extra is None else declared(get_args(extra)[1])
        if get_origin(self.kind) is dict:
            return declared(get_args(self.kind)[1])
        if get_origin(self.kind) in (list, tuple):
            return declared(get_args(self.kind)[0])
        return None

    def children(self) -> Iterator[tuple[str, "Declared"]]:
        """The keys of a section with their declarations; ``<name>`` stands for the free names in a mapping."""
        if (section := self.section) is not None:
            yield from ((key, _of_field(field)) for key, field in section.model_fields.items())
        elif get_origin(self.kind) is dict:
            yield "<name>", declared(get_args(self.kind)[1])

    def of_names(self) -> str:
        """The description of the free names in a mapping."""
        key = get_args(self.kind)[0] if get_origin(self.kind) is dict else None
        found = [part.json_schema or {} for part in _metadata(key) if isinstance(part, WithJsonSchema)]
        return found[0]["description"] if found else ""


def declared(annotation: object) -> Declared:
    """The declaration that an annotation makes."""
    said = [part.description for part in _metadata(annotation) if isinstance(part, FieldInfo) and part.description]
    kind, nullable = _without_none(annotation)
    return Declared(kind, nullable, one_line(said[-1] if said else _doc(kind)))


def places_of_keys(section: type[Section]) -> dict[str, list[str]]:
    """Where each key belongs: by key name, the dotted paths of all keys of that name."""
    places: dict[str, list[str]] = {}

    def visit(place: Declared, path: str) -> None:
        for key, child in place.children():
            inner = f"{path}.{key}".lstrip(".")
            if place.section:
                places.setdefault(key, []).append(inner)
            visit(child, inner)

    visit(Declared(section), "")
    return places


def one_line(text: str) -> str:
    """A docstring on one line, as messages show it."""
    return " ".join(cleandoc(text).split())


def _of_field(field: FieldInfo) -> Declared:
    kind, nullable = _without_none(field.annotation)
    if is_optional(field) and isinstance(extra := field.json_schema_extra, dict):
        nullable = extra["x-absent"] == "null"
    return Declared(kind, nullable, one_line(field.description or _doc(kind)))


def _doc(kind: object) -> str:
    return kind.__doc__ or "" if isinstance(kind, type) and issubclass(kind, Section) else ""


def _metadata(annotation: object) -> Iterable[object]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _is_union(kind: object) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _without_none(annotation: object) -> tuple[object, bool]:
    """The type without limits and None, and whether it allowed None."""
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if not _is_union(annotation):
        return annotation, False
    parts = [part for part in get_args(annotation) if part is not type(None)]
    nullable = len(parts) < len(get_args(annotation))
    return (_without_none(parts[0])[0], nullable) if len(parts) == 1 else (annotation, nullable)
