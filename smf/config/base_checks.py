"""Checks of the base model that need only the config, before the model is there."""

from smf.config.base import Base
from smf.errors import ConfigError
from smf.files.model_shape import TRANSFORMERS_NAMES, checkpoint_config

_LOADED_ONLY = ("head_dim", "model_type", "tie_word_embeddings")
"""Keys of ``base.architecture`` that apply only to models pretrained elsewhere."""


def check_base(base: Base) -> None:
    """Check that the config's ``base`` agrees with itself and with the folder that it names.

    Raises:
        ConfigError: It does not; names the key, its value and what is right.
    """
    architecture = base.architecture.plain()
    if base.source == "pretrain":
        if base.end_of_text is not None:
            raise ConfigError(
                f"base.end_of_text is {base.end_of_text!r}, but base.source is pretrain, which makes a tokenizer "
                "with its own end-of-text token; drop it"
            )
        if given := [key for key in _LOADED_ONLY if key in architecture]:
            raise ConfigError(
                f"base.architecture.{given[0]} is {architecture[given[0]]}, but base.source is pretrain, which makes a "
                "Qwen2 model with tied embeddings; drop it"
            )
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
    elif base.source == "checkpoint":
        config = checkpoint_config(base.checkpoint)
        for key, expected in architecture.items():
            found = config.get(TRANSFORMERS_NAMES.get(key, key))
            if found not in (None, expected):
                raise ConfigError(
                    f"base.architecture.{key} is {expected}, but the model in {base.checkpoint} has {found}; "
                    "correct or drop it, or name another checkpoint"
                )
    elif base.name is None:
        raise ConfigError("base.source is hub, but base.name is not set; name a model as owner/name")


def known_size(base: Base, key: str) -> tuple[int | None, str]:
    """A size of the base model, and the source of that number; None if only the loaded model can tell.

    Args:
        base: The config's ``base``.
        key: Its key in ``base.architecture``.
    """
    if base.source == "checkpoint":
        found = checkpoint_config(base.checkpoint).get(TRANSFORMERS_NAMES.get(key, key))
        if found is not None:
            return found, f"the model in {base.checkpoint}"
    return getattr(base.architecture, key), f"base.architecture.{key}"
