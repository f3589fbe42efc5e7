"""The settings of one method: which are its kind's own, and whether they are as that kind declares them."""

from collections.abc import Mapping

from smf.config.checking import check
from smf.errors import ConfigError, Key
from smf.methods.registry import method_class

_COMMON_SETTINGS = ("kind", "label", "sweep", "frontier_only")


def method_settings(method: Mapping) -> dict:
    """What the method itself gets; a label or another sweep must not make finished runs stale."""
    return {key: value for key, value in method.items() if key not in _COMMON_SETTINGS[1:]}


def check_method(where: str, settings: dict, places: Mapping[str, list[str]] | None = None) -> list[Key]:
    """Check one method against the schema that its kind declares; gives the keys that were null, see ``check``."""
    key = tuple(where.split("."))
    try:
        method = method_class(settings["kind"])
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}", (*key, "kind")) from error
    common = {key: settings.pop(key) for key in _COMMON_SETTINGS if key in settings}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": method.schema,
        "required": list(method.required),
    }
    settings.update(method.with_defaults(settings))
    removed = check(settings, schema, where, places)
    if wrong := method.disagreement(settings):
        raise ConfigError(f"{where}: {wrong}", key)
    if common.get("sweep") and "learning_rate" not in method.schema:
        raise ConfigError(
            f"{where}.sweep: methods of kind {common['kind']} have no learning_rate to sweep; drop it", (*key, "sweep")
        )
    settings.update(common)
    return removed
