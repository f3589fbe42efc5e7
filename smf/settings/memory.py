"""Settings of memory layers, their place and size: the config's ``memory``, from which the library builds layers."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

from smf.settings.check import Arguments
from smf.settings.section import Count, Natural, Number, Whole, as_tuple, distinct


def _not_empty(layers: object) -> object:
    """Turn a list into a tuple. Refuse an empty one here, as pydantic counts only a tuple's valid members."""
    if isinstance(layers, list) and not layers:
        raise PydanticKnownError("too_short", {"field_type": "List", "min_length": 1, "actual_length": 0})
    return as_tuple(layers)


Layers = Annotated[
    tuple[Natural, ...],
    Field(json_schema_extra={"minItems": 1, "uniqueItems": True}),
    BeforeValidator(_not_empty),
    BeforeValidator(distinct),
]


class MemorySettings(Arguments):
    """Where memory layers go and how large they are.

    Raises:
        ConfigError: A name is unknown, or a value is missing or out of range.

    Example:
        >>> memory = MemorySettings(layers=(1,), num_keys=256, value_dim=576)
        >>> memory.start
        'output'
        >>> MemorySettings(layers=(1,), num_kyes=256)
        Traceback (most recent call last):
        smf.errors.ConfigError: MemorySettings: unknown key 'num_kyes'; did you mean 'num_keys'? known: ...
    """

    layers: Layers
    """Blocks that get a memory layer, counted from 0."""
    mode: Literal["additive", "replace"] = "additive"
    """additive: beside the feed-forward network, starting at zero. replace: in its place."""
    num_keys: Annotated[Whole, Field(ge=2)] = 128
    """Sub-keys per half; a table has num_keys² slots."""
    num_heads: Count = 4
    """Heads per layer; each has its own query and reads top_k slots."""
    top_k: Count = 8
    """Slots read per head and token."""
    key_dim: Annotated[Whole, Field(ge=2, multiple_of=2)] = 64
    """Size of a query."""
    value_dim: Count = 128
    """Size of a slot."""
    value_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the value tables, whatever base.dtype is. bfloat16 halves their memory; steps below 1/256 of a value may
    be lost to rounding."""
    query_norm: Literal["none", "rms"] = "none"
    """rms divides each head's query by its root mean square before it meets the keys."""
    output_gate: Literal["none", "scalar"] = "none"
    """scalar multiplies the memory's output by one learned number (Gupta et al., 2026), healed with the memory, frozen
    in sparse finetuning."""
    output_gate_init: Number = 0.0
    """Initial value of the gate. With 0 an additive memory leaves the model's output as it was."""
    start: Literal["output", "values"] = "output"
    """Which part starts at zero, so that an additive memory adds nothing. output: the output projection; no gradient
    reaches the values before healing has moved it. values: the value table; the output projection starts random, and
    facts can be taught without healing (healing.num_steps 0)."""
