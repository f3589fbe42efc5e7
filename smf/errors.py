"""Named errors: each says which value is wrong, where it came from and what to do about it."""

import difflib
from collections.abc import Iterable

Key = tuple[str, ...]
"""Path of a value in a config: its keys from the outermost inwards, with the index of a list element."""


class SmfError(Exception):
    """Base of every error that smf raises on purpose."""


class ConfigError(SmfError):
    """A setting is unknown, of the wrong type, out of range or contradicts another setting.

    Args:
        message: What is wrong.
        key: Path of the setting in the config, if known; messages look up its file and line by it.
    """

    def __init__(self, message: str, key: Key = ()):
        super().__init__(message)
        self.key = key


class DataError(SmfError):
    """A data file is missing, unreadable or holds a broken row."""


class CheckpointError(SmfError):
    """A model folder, delta or counts file does not fit what it is used for."""


class TrainingError(SmfError):
    """Training cannot go on: the loss is not finite, or a required quality was not reached."""


def did_you_mean(name: object, known: Iterable[str], most: int = 1) -> str:
    """Suggest known names for an unknown one: ``did you mean 'lora'? ``, or "" if none is similar.

    Args:
        name: The unknown name.
        known: The valid names.
        most: Largest number of suggestions.
    """
    near = difflib.get_close_matches(str(name), list(known), n=most)
    return f"did you mean {', '.join(map(repr, near))}? " if near else ""


def refuse(key: str, value: object, expected: str) -> None:
    """Refuse a setting.

    Raises:
        ConfigError: Always; names the key, its value and what it must be.
    """
    raise ConfigError(f"{key} is {value}, but must be {expected}", tuple(key.split(".")))
