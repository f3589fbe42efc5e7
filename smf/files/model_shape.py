"""Sizes and parameter counts of a model, from its configuration alone; loads no weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smf.errors import ConfigError
from smf.settings.memory import MemorySettings


@dataclass(frozen=True)
class Family:
    """Differences between otherwise similar architectures.

    Attributes:
        qkv_bias: Whether the query, key and value projections have a bias.
        block_norms: Norms per block that are as wide as the hidden state.
        head_norms: Whether queries and keys are normalised, each with weights as wide as a head.
    """

    qkv_bias: bool = False
    block_norms: int = 2
    head_norms: bool = False


FAMILIES = {
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(head_norms=True),
    "llama": Family(),
    "mistral": Family(),
    "gemma": Family(),
    "gemma2": Family(block_norms=4),
    "gemma3_text": Family(block_norms=4, head_norms=True),
}
"""By transformers' ``model_type``."""

TRANSFORMERS_NAMES = {"num_layers": "num_hidden_layers"}
"""transformers' names for keys of ``base.architecture``, where they differ."""

_LARGEST_LOGITS = 2**27
"""Most bytes of float32 logits computed at once; larger logits are computed in chunks."""


def positions_at_once(vocab_size: int) -> int:
    """Number of positions whose logits are computed at once."""
    return max(1, _LARGEST_LOGITS // (4 * vocab_size))


def checkpoint_config(folder: str | None) -> dict:
    """The ``config.json`` of the folder that ``base.checkpoint`` names.

    Raises:
        ConfigError: No folder is named, or the file cannot be read.
    """
    if folder is None:
        raise ConfigError("base.source is checkpoint, but base.checkpoint is not set; name a transformers folder")
    path = Path(folder) / "config.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(
            f"base.checkpoint: {folder} holds no model, there is no {path.absolute()}; put a transformers folder there "
            "(config.json, weights, tokenizer; a preset's header says where its model comes from), or name the one you "
            "have: `base: {checkpoint: /path/to/it}`, also in a file laid over the preset",
            ("base", "checkpoint"),
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"base.checkpoint: cannot read {path} ({error}); name a transformers folder", ("base", "checkpoint")
        ) from error


_KEYS = ("vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")


@dataclass(frozen=True)
class BaseShape:
    """A decoder without memory; attributes as in transformers' configurations."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    head_dim: int
    tied: bool = True
    model_type: str = "qwen2"
    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def attention_width(self) -> int:
        """Width of a token's queries, all heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_value_width(self) -> int:
        """Width of a token's keys, or values, all heads together."""
        return self.num_key_value_heads * self.head_dim

    @property
    def linear_maps(self) -> dict[str, tuple[int, int]]:
        """Input and output width of a block's linear layers, by module name."""
        hidden, heads, groups = self.hidden_size, self.attention_width, self.key_value_width
        return {
            "q_proj": (hidden, heads),
            "k_proj": (hidden, groups),
            "v_proj": (hidden, groups),
            "o_proj": (heads, hidden),
            "gate_proj": (hidden, self.intermediate_size),
            "up_proj": (hidden, self.intermediate_size),
            "down_proj": (self.intermediate_size, hidden),
        }

    @property
    def num_feed_forward_parameters(self) -> int:
        """Parameters of one block's feed-forward network."""
        biases = 2 * self.intermediate_size + self.hidden_size if self.mlp_bias else 0
        return 3 * self.hidden_size * self.intermediate_size + biases

    @property
    def num_parameters(self) -> int:
        """Number of all parameters; a tied weight counts once."""
        family = FAMILIES[self.model_type]
        attention = sum(math.prod(self.linear_maps[name]) for name in ("q_proj", "k_proj", "v_proj", "o_proj"))
        if family.qkv_bias or self.attention_bias:
            attention += self.attention_width + 2 * self.key_value_width
        if self.attention_bias:
            attention += self.hidden_size
        norms = family.block_norms * self.hidden_size + (2 * self.head_dim if family.head_norms else 0)
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        blocks = self.num_layers * (attention + norms + self.num_feed_forward_parameters)
        return embeddings + blocks + self.hidden_size

    @classmethod
    def from_transformers(cls, config: Mapping, where: str) -> "BaseShape":
        """The shape that a transformers ``config.json`` describes.

        Raises:
            ConfigError: The architecture is unknown, or the config is incomplete.
        """
        model_type = config.get("model_type", "qwen2")
        if model_type not in FAMILIES:
            raise ConfigError(f"{where}: cannot size architecture {model_type!r}; known: {', '.join(sorted(FAMILIES))}")
        if missing := [key for key in (*_KEYS, "num_hidden_layers") if config.get(key) is None]:
            raise ConfigError(f"{where} does not give {missing[0]}, which sizing needs; add it")
        return cls(
            **{key: config[key] for key in _KEYS},
            num_layers=config["num_hidden_layers"],
            head_dim=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
            tied=config.get("tie_word_embeddings", model_type not in ("llama", "mistral")),
            model_type=model_type,
            attention_bias=config.get("attention_bias", False),
            mlp_bias=config.get("mlp_bias", False),
        )

    @classmethod
    def from_base(cls, base: Mapping) -> "BaseShape":
        """The shape of the model that the config names, from its ``architecture`` or from the checkpoint's folder.

        Raises:
            ConfigError: A hub's model whose architecture is not declared, or a folder that cannot be read.
        """
        if base["source"] == "checkpoint":
            return cls.from_transformers(checkpoint_config(base["checkpoint"]), f"{base['checkpoint']}/config.json")
        architecture = {"num_hidden_layers": base["architecture"].get("num_layers"), **base["architecture"]}
        # The small Qwen2.5 and Llama models of the papers tie their embeddings; so do the models pretrained here.
        return cls.from_transformers({"tie_word_embeddings": True, **architecture}, "base.architecture")


class MemoryShape(MemorySettings):
    """The memory layers of a model."""

    hidden_size: int

    @property
    def num_slots(self) -> int:
        """Slots of one layer."""
        return self.num_keys**2

    @property
    def lookups(self) -> int:
        """Slots that a token reads in one layer."""
        return self.num_heads * self.top_k

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of one layer by part."""
        query_width = self.num_heads * self.key_dim
        return {
            "values": self.num_slots * self.value_dim,
            "keys": query_width * self.num_keys,
            "query": (self.hidden_size + 1) * query_width,
            "gate": self.hidden_size * self.value_dim,
            "output": self.value_dim * self.hidden_size,
            "output gate": int(self.output_gate == "scalar"),
        }

    @property
    def num_values(self) -> int:
        """Parameters in the value tables of all layers."""
        return len(self.layers) * self.parameters["values"]

    @property
    def num_others(self) -> int:
        """Parameters of all layers outside the value tables."""
        return len(self.layers) * sum(self.parameters.values()) - self.num_values

    @classmethod
    def from_config(cls, memory: Mapping, hidden_size: int) -> "MemoryShape":
        """The shape that the config's ``memory`` describes."""
        sizes = {name: memory[name] for name in MemorySettings.model_fields if name in memory}
        return cls(hidden_size=hidden_size, **sizes)
