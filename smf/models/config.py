"""The configuration of a language model with memory layers, in the form that transformers saves and loads."""

from dataclasses import field
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from smf.memory import OutputGate, QueryNorm, ValueType

MODEL_TYPE = "smf_memory"
FORMAT_VERSION = 1

Mode = Literal["additive", "replace"]
Start = Literal["output", "values"]


@strict
class MemoryConfig(PreTrainedConfig):
    """A base model's configuration (``text_config``) and the memory settings.

    The base keeps its own class, so the same code serves every architecture whose blocks have an ``mlp``. The settings
    repeat those of :class:`smf.settings.memory.MemorySettings`: transformers reads the annotations of this class, even
    in a model's folder on a machine without smf.
    """

    model_type = MODEL_TYPE
    sub_configs_defaults = {"text_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2")}

    text_config: dict | PreTrainedConfig | None = None
    layers: list[int] = field(default_factory=list)
    mode: Mode = "additive"
    num_keys: int = 128
    num_heads: int = 4
    top_k: int = 8
    key_dim: int = 64
    value_dim: int = 128
    query_norm: QueryNorm = "none"
    value_dtype: ValueType = "float32"
    output_gate: OutputGate = "none"
    output_gate_init: float | int = 0.0
    start: Start = "output"
    smf_format: int = FORMAT_VERSION
    written_slots: dict[str, int] = field(default_factory=dict)
    """Of a folder: blocks whose table it holds as its written slots alone, and their number
    (:mod:`smf.models.packed_tables`). Tables of other blocks are stored whole. Empty once a model is loaded."""

    @property
    def num_slots(self) -> int:
        """Slots of one layer."""
        return self.num_keys**2

    def to_dict(self) -> dict[str, Any]:
        """As of any configuration; without ``written_slots`` if all tables are whole, as before there was the key."""
        settings = super().to_dict()
        if not self.written_slots:
            settings.pop("written_slots", None)
        return settings
