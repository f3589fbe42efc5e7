"""What a config tells of the base model before the model is there, and what can be refused by that alone."""

import json
from collections.abc import Mapping
from pathlib import Path

from smf.errors import ConfigError


def check_base(base: Mapping) -> None:
    """Check that the config's ``base`` agrees with itself and with the folder that it names.

    Raises:
        ConfigError: It does not; names the key, its value and what is right.
    """
    architecture = base["architecture"]
    if base["source"] == "pretrain":
        heads, width = architecture["num_attention_heads"], architecture["hidden_size"]
        if width % heads or (width // heads) % 2:
            raise ConfigError(
                f"base.architecture.hidden_size is {width}, but must be an even multiple of num_attention_heads "
                f"({heads})"
            )
        if heads % (groups := architecture["num_key_value_heads"]):
            raise ConfigError(
                f"base.architecture.num_key_value_heads is {groups}, but must be a divisor of {heads} "
                "(num_attention_heads)"
            )
    elif base["source"] == "checkpoint":
        found, expected = _layers_of_checkpoint(base["checkpoint"]), architecture.get("num_layers")
        if None not in (found, expected) and found != expected:
            raise ConfigError(
                f"base.architecture.num_layers is {expected}, but the model in {base['checkpoint']} has {found}; "
                "correct or drop it, or name another checkpoint"
            )
    elif base["name"] is None:
        raise ConfigError("base.source is hub, but base.name is not set; name a model as owner/name")


def known_num_layers(base: Mapping) -> tuple[int | None, str]:
    """How many blocks the base model has, and how that is known; None if only the loaded model tells."""
    if base["source"] == "checkpoint" and (found := _layers_of_checkpoint(base["checkpoint"])) is not None:
        return found, f"the model in {base['checkpoint']}"
    return base["architecture"].get("num_layers"), "base.architecture.num_layers"


def _layers_of_checkpoint(folder: str | None) -> int | None:
    if folder is None:
        raise ConfigError("base.source is checkpoint, but base.checkpoint is not set; name a transformers folder")
    path = Path(folder) / "config.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))).get("num_hidden_layers")
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"base.checkpoint: cannot read {path} ({error}); name a transformers folder") from error
