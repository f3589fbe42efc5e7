"""A config against its JSON schema: defaults filled in, and the first mistake told in one line."""

import contextlib
import copy
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from smf.errors import ConfigError, Key, did_you_mean

_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}
_TOO_LARGE = 2**63
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def _is_whole(_, value: object) -> bool:
    """JSON Schema takes 3.0 for an integer, ``range`` does not; nothing here is larger than 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _TOO_LARGE


def _is_number(_, value: object) -> bool:
    """YAML also knows .inf and .nan."""
    return _is_whole(_, value) or (isinstance(value, float) and math.isfinite(value))


_Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_number}),
)


def unshared(value: object) -> object:
    """A copy in which each mapping is in one place, as what YAML's aliases name is not: defaults are told by place."""
    if isinstance(value, Mapping):
        return {key: unshared(part) for key, part in value.items()}
    return copy.deepcopy(value)


def check(value: dict, schema: Mapping, where: str, places: Mapping[str, list[str]] | None = None) -> list[Key]:
    """Take out what is null, fill defaults into ``value`` and validate it.

    Args:
        value: The settings; changed in place.
        schema: Their JSON schema.
        where: The key of ``value`` in the config, ``""`` for the config itself.
        places: Where keys of the whole config belong, see :func:`key_places`; for keys that stand elsewhere.

    Returns:
        The keys, from the config itself on, that were taken out because they were null and null is no value of theirs.

    Raises:
        ConfigError: Something is wrong; the message names the first such key, what is wrong and what is right.
    """
    validator = _Validator(schema)
    outer = tuple(filter(None, where.split(".")))
    removed = [(*outer, *key) for key in _take_out_nulls(value, schema, schema)]
    _fill_defaults(value, schema, schema)
    errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        error = errors[0]
        key = (*outer, *(str(part) for part in error.absolute_path), *_stranger(error), *_missing(error))
        raise ConfigError(_explain(error, where, places or {}), key)
    return removed


def key_places(schema: Mapping, root: Mapping | None = None, path: str = "") -> dict[str, list[str]]:
    """Where each key of a schema belongs: the dotted paths of all keys that are called so."""
    root = root or schema
    schema = _resolved(schema, root)
    places: dict[str, list[str]] = {}
    for key, child in schema.get("properties", {}).items():
        inner = f"{path}.{key}".lstrip(".")
        places.setdefault(key, []).append(inner)
        for name, found in key_places(child, root, inner).items():
            places.setdefault(name, []).extend(found)
    if isinstance(child := schema.get("additionalProperties"), Mapping):
        for name, found in key_places(child, root, f"{path}.<name>").items():
            places.setdefault(name, []).extend(found)
    return places


def _resolved(schema: Mapping, root: Mapping) -> Mapping:
    reference = schema.get("$ref")
    return root["$defs"][reference.rsplit("/", 1)[1]] if reference else schema


def _take_out_nulls(value: object, schema: Mapping, root: Mapping) -> Iterator[Key]:
    """Take out the keys whose value is null, where null is no value of theirs; gives what it took out."""
    schema = _resolved(schema, root)
    if not isinstance(value, dict):
        return
    others = schema.get("additionalProperties") or {}
    for key in list(value):
        child = _resolved(schema.get("properties", {}).get(key, others), root)
        if value[key] is None and not _may_be_null(child):
            del value[key]
            yield (str(key),)
        elif key in value:
            yield from ((str(key), *inner) for inner in _take_out_nulls(value[key], child, root))


def _may_be_null(schema: Mapping) -> bool:
    """Whether null is a value, or is near enough to one, which is ``none``, to be told apart from it."""
    if "enum" in schema:
        return None in schema["enum"] or "none" in schema["enum"]
    return "type" not in schema or "null" in schema["type"]


def _fill_defaults(value: object, schema: Mapping, root: Mapping) -> None:
    """Fill in the defaults of all properties that the schema reaches, through $ref too."""
    schema = _resolved(schema, root)
    if not isinstance(value, dict):
        return
    for key, child in schema.get("properties", {}).items():
        if key not in value and "default" in child:
            value[key] = copy.deepcopy(child["default"])
        if key in value:
            _fill_defaults(value[key], child, root)
    for key in value.keys() - schema.get("properties", {}).keys():
        _fill_defaults(value[key], schema.get("additionalProperties") or {}, root)
    # Defaults that hold only if other settings have certain values.
    if "then" in schema and _Validator(schema["if"]).is_valid(value):
        _fill_defaults(value, schema["then"], root)


def _stranger(error: ValidationError) -> tuple[str, ...]:
    """The key that is not known, if that is the error."""
    if "propertyNames" in error.absolute_schema_path:
        return (str(error.instance),)
    if error.validator != "additionalProperties":
        return ()
    return (min(str(key) for key in error.instance if key not in error.schema.get("properties", {})),)


def _missing(error: ValidationError) -> tuple[str, ...]:
    """The key that is missing, if that is the error."""
    if error.validator != "required":
        return ()
    return (next(key for key in error.validator_value if key not in error.instance),)


def _explain(error: ValidationError, where: str, places: Mapping[str, list[str]]) -> str:
    """One line: which key, what is wrong with it, what is right."""
    path = ".".join([*filter(None, [where]), *(str(part) for part in error.absolute_path)]) or "the config"
    schema, value, limit = error.schema, error.instance, error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        return f"{path}: {value!r} cannot be a name here" + _describe(schema)
    if error.validator == "additionalProperties":
        known = [str(key) for key in schema.get("properties", {})]
        (stranger,) = _stranger(error)
        belongs = [place for place in places.get(stranger, ()) if place.rpartition(".")[0] != path]
        near = did_you_mean(stranger, known)
        hint = near if near or not belongs else f"it is known as {', '.join(belongs[:3])}: look at the indentation; "
        return f"{path}: unknown key {stranger!r}; {hint}known: {', '.join(sorted(known))}"
    if error.validator == "enum":
        options = [str(option) for option in limit]
        meant = "none" if value is None else value
        return f"{path}: unknown value {value!r}; {did_you_mean(meant, options)}known: {', '.join(options)}"
    if error.validator == "required":
        (key,) = _missing(error)
        return f"{path}: the key {key!r} is missing" + _describe(schema.get("properties", {}).get(key, {}))
    if error.validator == "type":
        kinds = [limit] if isinstance(limit, str) else limit
        return f"{path} is {reprlib.repr(value)}, but must be {' or '.join(_TYPES[kind] for kind in kinds)}" + (
            _describe(schema) + _type_hint(value, kinds)
        )
    if error.validator in _LIMITS:
        return f"{path} is {value}, but must be {_LIMITS[error.validator]} {limit}" + _describe(schema)
    return f"{path}: {error.message}" + _describe(schema)


def _describe(schema: Mapping) -> str:
    description = schema.get("description")
    return f" ({description})" if description else ""


def _type_hint(value: object, kinds: Iterable[str]) -> str:
    """How to write what was meant, where YAML reads something else."""
    numeric = not {"integer", "number"}.isdisjoint(kinds)
    if isinstance(value, str) and numeric:
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
            whole = number.is_integer() and "integer" in kinds
            written = yaml.safe_dump(int(number) if whole else number).splitlines()[0]
            if "e" in value.lower():
                return f"; to YAML a number has a point and a sign before its exponent: write {written}, not {value}"
            return f"; what is in quotes is a text: write {written}"
    if isinstance(value, str) and value.lower() == "none" and "null" in kinds:
        return "; write null"
    if isinstance(value, str) and "object" in kinds and (found := re.match(r"([\w-]+):\S", value)):
        return f"; no space behind the colon of `{found[1]}:`, YAML needs one"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _TOO_LARGE and numeric:
        return "; this one has more than 64 bits"
    if isinstance(value, float) and numeric:
        return f"; write {int(value)}" if value.is_integer() else ""
    return ""
