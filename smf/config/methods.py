"""The section ``methods``: check each method against the settings that its kind declares."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smf.errors import ConfigError, Key
from smf.methods.kind_settings import MethodEntry
from smf.methods.registry import method_class
from smf.selection.options import SelectionSettings
from smf.settings.check import check
from smf.settings.section import name

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = name(
        "[a-z][a-z0-9_]*",
        "A method's name is lower-case letters, digits and underscores; base and healed are taken.",
        taken=("base", "healed"),
    )
_COMMON = tuple(MethodEntry.model_fields)


def method_settings(method: Mapping) -> dict:
    """The settings that the method itself gets: a new label or sweep must not make finished runs stale."""
    return {key: value for key, value in method.items() if key == "kind" or key not in _COMMON}


def selects_slots(method: Mapping) -> bool:
    """Whether a method's kind selects slots of a memory."""
    return issubclass(method_class(method["kind"]).settings_class, SelectionSettings)


def check_method(where: str, settings: dict, places: Mapping[str, list[str]] | None = None) -> list[Key]:
    """Check one method against the settings that its kind declares, and fill in the defaults.

    Args:
        where: The method's key in the config.
        settings: What the config says of it; changed in place.
        places: Where keys of the whole config belong, see :func:`smf.settings.check.check`.

    Returns:
        The keys that were removed as null, see there.

    Raises:
        ConfigError: Something is wrong; the message names the key and the remedy.
    """
    key = tuple(where.split("."))
    try:
        kind = method_class(settings["kind"])
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}", (*key, "kind")) from error
    common = {key: settings.pop(key) for key in _COMMON if key in settings}
    checked, removed = check(settings, kind.settings_class, where, places)
    if common.get("sweep") and "learning_rate" not in kind.settings_class.model_fields:
        raise ConfigError(
            f"{where}.sweep: methods of kind {common['kind']} have no learning_rate to sweep; drop it", (*key, "sweep")
        )
    settings.update({**checked.plain(), **common})
    return removed
