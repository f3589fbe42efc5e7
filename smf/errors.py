"""Named errors: each says which value is wrong, where it came from and what to do about it."""


class SmfError(Exception):
    """Base of every error that smf raises on purpose."""


class ConfigError(SmfError):
    """A setting is unknown, of the wrong type, out of range or contradicts another setting."""


class DataError(SmfError):
    """A data file is missing, unreadable or holds a broken row."""


class CheckpointError(SmfError):
    """A model folder, delta or counts file does not fit what it is used for."""


class TrainingError(SmfError):
    """Training cannot go on: the loss is not finite, or a required quality was not reached."""
