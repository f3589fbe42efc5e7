"""A config against its JSON schema: defaults filled in, and the first mistake told in one line."""

import contextlib
import copy
import math
from collections.abc import Iterable, Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from smf.errors import ConfigError, did_you_mean

_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
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


def _is_whole(_, value: object) -> bool:
    """JSON Schema takes 3.0 for an integer; ``range`` does not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_, value: object) -> bool:
    """YAML also knows .inf and .nan."""
    return _is_whole(_, value) or (isinstance(value, float) and math.isfinite(value))


_Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_number}),
)


def check(value: dict, schema: Mapping, where: str) -> None:
    """Fill defaults into ``value`` and validate it.

    Args:
        value: The settings; changed in place.
        schema: Their JSON schema.
        where: The key of ``value`` in the config, ``""`` for the config itself.

    Raises:
        ConfigError: Something is wrong; the message names the first such key, what is wrong and what is right.
    """
    validator = _Validator(schema)
    _fill_defaults(value, schema, schema)
    errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise ConfigError(_explain(errors[0], where))


def _fill_defaults(value: object, schema: Mapping, root: Mapping) -> None:
    """Fill in the defaults of all properties that the schema reaches, through $ref too."""
    if reference := schema.get("$ref"):
        schema = root["$defs"][reference.rsplit("/", 1)[1]]
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


def _explain(error: ValidationError, where: str) -> str:
    """One line: which key, what is wrong with it, what is right."""
    path = ".".join([*filter(None, [where]), *(str(part) for part in error.absolute_path)]) or "the config"
    schema, value, limit = error.schema, error.instance, error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        return f"{path}: {value!r} cannot be a name here" + _describe(schema)
    if error.validator == "additionalProperties":
        known = [str(key) for key in schema.get("properties", {})]
        stranger = min(str(key) for key in value if key not in known)
        return f"{path}: unknown key {stranger!r}; {did_you_mean(stranger, known)}known: {', '.join(sorted(known))}"
    if error.validator == "enum":
        options = [str(option) for option in limit]
        return f"{path}: unknown value {value!r}; {did_you_mean(value, options)}known: {', '.join(options)}"
    if error.validator == "required":
        key = next(key for key in limit if key not in value)
        return f"{path}: the key {key!r} is missing" + _describe(schema.get("properties", {}).get(key, {}))
    if error.validator == "type":
        kinds = [limit] if isinstance(limit, str) else limit
        return f"{path} is {value!r}, but must be {' or '.join(_TYPES[kind] for kind in kinds)}" + (
            _describe(schema) + _exponent_hint(value, kinds)
        )
    if error.validator in _LIMITS:
        return f"{path} is {value}, but must be {_LIMITS[error.validator]} {limit}" + _describe(schema)
    return f"{path}: {error.message}" + _describe(schema)


def _describe(schema: Mapping) -> str:
    description = schema.get("description")
    return f" ({description})" if description else ""


def _exponent_hint(value: object, kinds: Iterable[str]) -> str:
    """YAML 1.1 reads 1e-4, without a point, as text."""
    if isinstance(value, str) and not {"integer", "number"}.isdisjoint(kinds):
        with contextlib.suppress(ValueError):
            float(value)
            return "; a number in quotes, or with an exponent but no point, is text in YAML: write 1.0e-4, not 1e-4"
    return ""
