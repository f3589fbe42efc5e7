"""The JSON schema of a section, for editors and as a manual: one node per key, as short as possible."""

from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from smf.settings.declared import one_line
from smf.settings.section import Section

_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
"""JSON Schema's keywords for limits that pydantic 2.14 leaves under its own names."""
_ORDER = ("type", "enum", "default", "description", "additionalProperties", "required", "properties")
_DEFINITION = "#/$defs/"


def json_schema(section: type[Section], title: str) -> dict:
    """The JSON schema (draft 2020-12) of a section."""
    schema = section.model_json_schema(schema_generator=_Generator)
    definitions = schema.pop("$defs", {})
    schema = _tidy(schema)
    definitions = {name: _tidy(part) for name, part in definitions.items()}
    used = [name for part in (schema, *definitions.values()) for name in _references(part)]
    once = {name for name in used if used.count(name) == 1}
    schema = _with_inlined(schema, definitions, once)
    shared = {name: _with_inlined(part, definitions, once) for name, part in definitions.items() if name not in once}
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": title, **schema, "$defs": shared}


class _Generator(GenerateJsonSchema):
    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if "enum" in inner:
            return {**inner, "enum": [*inner["enum"], None]}
        return {**inner, "type": [inner["type"], "null"]} if "type" in inner else inner

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        return {"enum": list(schema["expected"])}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        names = self.generate_inner(schema["keys_schema"])
        values = self.generate_inner(schema["values_schema"])
        limits = {"minProperties": schema["min_length"]} if "min_length" in schema else {}
        named = {} if names == {"type": "string"} else {"propertyNames": names}
        return {"type": "object", **limits, **named, "additionalProperties": values}


def _tidy(node: Any) -> Any:
    """Remove titles, line breaks, and the default of keys that have none."""
    if isinstance(node, list):
        return [_tidy(part) for part in node]
    if not isinstance(node, dict):
        return node
    node = {_LIMITS.get(key, key): part for key, part in node.items() if key != "title"}
    optional = node.pop("x-absent", None)
    if optional:
        node.pop("default", None)
    if optional == "only" and isinstance(node.get("type"), list):
        node["type"] = node["type"][0]
    if optional == "only" and "enum" in node:
        node["enum"] = [option for option in node["enum"] if option is not None]
    if isinstance(node.get("description"), str):
        node["description"] = one_line(node["description"])
    return {
        key: {name: _tidy(child) for name, child in part.items()} if key in ("properties", "$defs") else _tidy(part)
        for key, part in sorted(node.items(), key=_place)
    }


def _place(item: tuple[Any, object]) -> int:
    """Sort key of a node's entries: those that most keys have come first."""
    return _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER)


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(_DEFINITION)
        for part in node.values():
            yield from _references(part)


def _with_inlined(node: Any, definitions: dict, once: set[str]) -> Any:
    """Inline the definitions that are referenced only once."""
    if not isinstance(node, dict):
        return node
    name = node.get("$ref", "").removeprefix(_DEFINITION) if isinstance(node.get("$ref"), str) else ""
    if name in once:
        own = {key: part for key, part in node.items() if key != "$ref"}
        node = {**definitions[name], **own}
    return {key: _with_inlined(part, definitions, once) for key, part in node.items()}
