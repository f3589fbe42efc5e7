"""The configuration of a language model with memory layers, in the form that transformers saves and loads."""

from dataclasses import dataclass, field
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from smf.memory import OutputGate, QueryNorm, ValueType

MODEL_TYPE = "smf_memory"
FORMAT_VERSION = 1

Mode = Literal["additive", "replace"]
Start = Literal["output", "values"]


@dataclass(frozen=True)
class MemorySettings:
    """Where memory layers go and how large they are.

    Attributes:
        layers: Blocks that get a memory layer, counted from 0.
        mode: ``additive`` adds the memory to the block's feed-forward output; ``replace`` takes its place.
        num_keys: Sub-keys per half; a table has ``num_keys ** 2`` slots.
        num_heads: Addressings per layer.
        top_k: Slots read per head and token.
        key_dim: Size of a query, even.
        value_dim: Size of a slot.
        query_norm: Whether queries are normalised, see :class:`smf.memory.MemoryLayer`.
        value_dtype: Type of the value tables; all other new parameters have the type of the base.
        output_gate: Whether a learned number multiplies the output, see there.
        output_gate_init: Its start. In mode ``additive`` the output map starts at zero without the gate; with it the
            map is drawn, and 0 here keeps the model's output as it was.
        start: What is zero at the start, so that an additive memory adds nothing. ``output``: the output map, or the
            gate if there is one; the values are drawn, and no gradient reaches them before healing has moved the map.
            ``values``: the value table; the output map is drawn, and the first gradient step reaches the values, so
            that the model needs no healing. In mode ``replace`` either start changes the model: with ``output`` all is
            drawn, with ``values`` the model is the base without the network.

    Example:
        >>> memory = MemorySettings(
        ...     layers=(1,), mode="additive", num_keys=256, num_heads=4, top_k=16, key_dim=128, value_dim=576
        ... )
        >>> memory.start
        'output'
    """

    layers: tuple[int, ...]
    mode: Mode
    num_keys: int
    num_heads: int
    top_k: int
    key_dim: int
    value_dim: int
    query_norm: QueryNorm = "none"
    value_dtype: ValueType = "float32"
    output_gate: OutputGate = "none"
    output_gate_init: float = 0.0
    start: Start = "output"


@strict
class MemoryConfig(PreTrainedConfig):
    """A base model's configuration (``text_config``) and the memory settings.

    The base keeps its own class, so the same code serves every architecture whose blocks have an ``mlp``.
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

    @property
    def num_slots(self) -> int:
        """Slots of one layer."""
        return self.num_keys**2
