"""The section ``base``."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from smf.config.training import Training
from smf.settings.section import (
    Count,
    Section,
    Share,
    Whole,
    absent,
)

PRETRAINED = {
    "vocab_size": 3000,
    "hidden_size": 128,
    "num_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 384,
}
"""Default size of a model that is pretrained here."""


class Architecture(Section):
    """pretrain: size of the model (Qwen2, tied embeddings); omitted keys take the defaults below.

    checkpoint and hub: what the experiment expects of the model, where it says so; a model that differs is refused, and
    memory.layers can be checked before the model is there.
    """

    vocab_size: Annotated[Whole, Field(ge=300)] | None = absent()
    """Tokens in the vocabulary; an upper bound if source is pretrain. Default 3000."""
    hidden_size: Annotated[Whole, Field(ge=8)] | None = absent()
    """Width. Default 128."""
    num_layers: Count | None = absent()
    """Blocks. Default 4."""
    num_attention_heads: Count | None = absent()
    """Attention heads. Default 4."""
    num_key_value_heads: Count | None = absent()
    """Key and value heads. Default 2."""
    intermediate_size: Annotated[Whole, Field(ge=8)] | None = absent()
    """Width of the feed-forward networks. Default 384."""
    head_dim: Count | None = absent()
    """Width of an attention head, where it is not hidden_size / num_attention_heads; not for pretrain."""
    model_type: str | None = absent()
    """transformers' name of the architecture, such as qwen3 or llama; qwen2 if left out, for the plan; not for
    pretrain."""
    tie_word_embeddings: bool | None = absent()
    """Whether input and output embeddings share their weights; true if left out, for the plan; not for pretrain."""


class Base(Section):
    """The base model."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"source": {"const": "pretrain"}}},
            "then": {
                "properties": {
                    "architecture": {"properties": {key: {"default": size} for key, size in PRETRAINED.items()}}
                }
            },
        }
    )

    source: Literal["pretrain", "checkpoint", "hub"]
    """pretrain: train a Qwen2 model on the data's text. checkpoint: load a transformers folder. hub:
    download a model."""
    checkpoint: str | None = None
    """Folder of the checkpoint; read if source is checkpoint."""
    name: str | None = None
    """Model on the Hugging Face hub, owner/name; read if source is hub."""
    revision: str = "main"
    """Branch, tag or commit of the hub's model; a commit makes a run repeatable."""
    max_length: Annotated[Whole, Field(ge=8)]
    """Longest text, in tokens."""
    end_of_text: str | None = None
    """Token that ends a text, for a checkpoint or hub model that was trained without the one its tokenizer names; null
    takes the tokenizer's. A model cannot be taught answers that end in a token it never saw."""
    min_recall: Share = 0.0
    """Share of the known questions that the base model must answer exactly; with less the run stops. It
    is compared when the model is made: another share pretrains nothing again, also a higher one."""
    architecture: Architecture = Field(default_factory=Architecture)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the base model's weights, wherever it comes from, and of the memory layers except their value tables.
    Pretraining itself is in float32."""
    gradient_checkpointing: bool = False
    """Keep only the blocks' inputs for the backward pass, in healing and in streams: less memory, a third more time,
    the same results. Changing it reruns nothing, but for streams with contexts (stream.behind_text, behind_examples),
    which then change by rounding."""
    pretraining: Training = Field(default_factory=Training)
    """How a pretrained base model is trained."""

    @model_validator(mode="before")
    @classmethod
    def _with_size(cls, base: object) -> object:
        """Fill in the default size of a model that is pretrained here."""
        if not isinstance(base, dict) or base.get("source") != "pretrain":
            return base
        given = base.get("architecture", {})
        return {**base, "architecture": {**PRETRAINED, **given}} if isinstance(given, dict) else base
