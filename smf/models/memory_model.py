"""A causal language model, of any architecture with an ``mlp`` in its blocks, with memory layers installed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Cache, GenerationConfig, GenerationMixin, PreTrainedModel

from smf.errors import CheckpointError
from smf.memory import MemoryLayer, OutputGate, QueryNorm, ValueType
from smf.models.config import FORMAT_VERSION, MemoryConfig, Mode, Start
from smf.models.packed_tables import expect_written_slots, pack_table, unpack_table


class MemoryBlock(nn.Module):
    """Replaces a block's feed-forward network with network plus memory, or with memory alone."""

    def __init__(self, feed_forward: nn.Module | None, memory: MemoryLayer):
        super().__init__()
        self.feed_forward = feed_forward
        self.memory = memory

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        read_BTD = self.memory(hidden_BTD)
        return read_BTD if self.feed_forward is None else self.feed_forward(hidden_BTD) + read_BTD


class _BaseGenerationConfig(GenerationConfig):
    """Takes generation defaults from the base: the memory's ``top_k`` is not the ``top_k`` of sampling."""

    @classmethod
    def from_model_config(cls, model_config: Any) -> GenerationConfig:
        return GenerationConfig.from_model_config(model_config.text_config)


class MemoryForCausalLM(PreTrainedModel, GenerationMixin):
    """A language model whose chosen blocks read a memory.

    ``AutoModelForCausalLM.from_pretrained`` returns this class or raises: it refuses a checkpoint with missing,
    unexpected or misshapen weights, where transformers would initialize the gaps at random.

    Args:
        config: The base model's configuration and the memory settings.
        language_model: An existing base model to build on; by default one is made from ``config.text_config``.
    """

    config_class = MemoryConfig
    generation_config_class = _BaseGenerationConfig
    base_model_prefix = "language_model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MemoryConfig, language_model: PreTrainedModel | None = None):
        super().__init__(config)
        self.language_model = language_model or AutoModelForCausalLM.from_config(config.text_config)
        install_memory(self.language_model, config)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, output_loading_info: bool = False, **options: Any
    ) -> Any:
        """Load a checkpoint, completely or not at all.

        Raises:
            CheckpointError: Weights are missing, unexpected or misshapen, or another smf version wrote the checkpoint.
        """
        where = pretrained_model_name_or_path
        options["ignore_mismatched_sizes"] = True  # transformers would refuse without naming the weight; we do below
        loaded: Any = super().from_pretrained(where, *args, output_loading_info=True, **options)
        model, info = loaded
        if model.config.smf_format != FORMAT_VERSION:
            raise CheckpointError(
                f"{where} has smf format {model.config.smf_format}, this version reads {FORMAT_VERSION}; heal it again"
            )
        require_all_weights(where, info)
        for layer in model.memory_layers().values():
            unpack_table(where, layer)
        model.config.written_slots = {}
        return (model, info) if output_loading_info else model

    def save_pretrained(self, *args: Any, **options: Any) -> None:
        """Save as any transformers model does, but of a table that started at zero only the written slots.

        A table that takes less space whole is stored whole, and so are those that started with drawn values.
        """
        given = options.get("state_dict")
        tensors = dict(self.state_dict() if given is None else given)
        names = {id(module): name for name, module in self.named_modules()}
        written: dict[str, int] = {}
        for block, layer in self.memory_layers().items() if self.config.start == "values" else ():
            number = pack_table(tensors, f"{names[id(layer)]}.")
            written |= {} if number is None else {str(block): number}
        self.config.written_slots = written
        try:
            super().save_pretrained(*args, **{**options, "state_dict": tensors})
        finally:
            self.config.written_slots = {}

    def memory_layers(self) -> dict[int, MemoryLayer]:
        """The memory layers by block number, lowest first."""
        blocks = decoder_blocks(self.language_model)
        return {number: blocks[number].mlp.memory for number in sorted(self.config.layers)}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **inputs: Any,
    ) -> Any:
        """Like the base model's ``forward``; ``generate`` and ``Trainer`` pass only the inputs that are named here."""
        return self.language_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **inputs,
        )

    def read_memories(
        self, input_ids: Tensor, attention_mask: Tensor, past_key_values: Cache | None = None, use_cache: bool = False
    ) -> None:
        """Run the blocks up to the last memory layer, all that its reads depend on; skip the upper blocks and logits.

        For passes that only record reads, see :func:`smf.memory.record_slot_reads`.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 for tokens, 0 for padding; with a cache (B, C + T).
            past_key_values: Keys and values of C tokens that precede each row.
            use_cache: Whether to use ``past_key_values``.
        """
        decoder = self.language_model.get_decoder()
        blocks = decoder.layers
        decoder.layers = blocks[: max(self.config.layers) + 1]
        try:
            behind = {"past_key_values": past_key_values} if use_cache else {}
            decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache, **behind)
        finally:
            decoder.layers = blocks

    def get_decoder(self) -> nn.Module:
        """The base model's blocks, between embedding and LM head."""
        return self.language_model.get_decoder()

    def get_input_embeddings(self) -> nn.Module:
        """The base model's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the base model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The base model's LM head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the base model's LM head."""
        self.language_model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **options: Any) -> nn.Embedding:
        """Resize as in any transformers model; both configurations, this model's and its base's, get the new size."""
        embedding = self.language_model.resize_token_embeddings(*args, **options)
        self.config.text_config.vocab_size = self.language_model.config.vocab_size
        return embedding


def require_memory(model: PreTrainedModel) -> MemoryForCausalLM:
    """The model itself, checked to have memory: a folder may also hold a base model.

    Raises:
        CheckpointError: The model has no memory.
    """
    if not hasattr(model, "memory_layers"):  # duck typing: a model folder's own code defines another class
        raise CheckpointError(
            f"this {type(model).__name__} has no memory layers; add some with smf.retrofit or `smf retrofit`"
        )
    return cast("MemoryForCausalLM", model)


def require_all_weights(where: object, info: Mapping[str, Collection]) -> None:
    """Refuse a model that did not get exactly the weights of its configuration.

    Args:
        where: The checkpoint.
        info: The loading info of transformers.

    Raises:
        CheckpointError: Weights are missing, unexpected or misshapen; names the first.
    """
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, info[problem])):
            raise CheckpointError(
                f"{where}: {len(keys)} {problem.replace('_', ' ')}, the first {keys[0]}; "
                "the checkpoint is damaged or of another model, make it again"
            )


def decoder_blocks(language_model: PreTrainedModel) -> Sequence[Any]:
    """The transformer blocks of a language model.

    Raises:
        CheckpointError: The architecture keeps its blocks or their feed-forward networks where smf does not look.
    """
    blocks = getattr(language_model.get_decoder(), "layers", None)
    if not isinstance(blocks, nn.ModuleList) or not all(isinstance(getattr(b, "mlp", None), nn.Module) for b in blocks):
        raise CheckpointError(
            f"architecture {type(language_model).__name__} has no decoder blocks with an `mlp` (looked for "
            "`get_decoder().layers[i].mlp`); use a model of the Qwen2, Qwen3, Llama or Gemma families"
        )
    return cast("Sequence[Any]", blocks)


def chosen_blocks(language_model: PreTrainedModel, layers: Collection[int]) -> dict[int, Any]:
    """The blocks that get a memory layer, by number, lowest first.

    Raises:
        CheckpointError: The architecture is not supported, or a chosen block does not exist.
    """
    blocks = decoder_blocks(language_model)
    for number in layers:
        if not 0 <= number < len(blocks):
            raise CheckpointError(
                f"memory.layers names block {number}, but the model has blocks 0 to {len(blocks) - 1}"
            )
    return {number: blocks[number] for number in sorted(layers)}


def install_memory(language_model: PreTrainedModel, config: MemoryConfig) -> None:
    """Put memory layers into the chosen blocks, in place.

    Raises:
        CheckpointError: The architecture is not supported, or a chosen block does not exist.
    """
    for number, block in chosen_blocks(language_model, config.layers).items():
        memory = memory_layer(config, config.get_text_config().hidden_size)
        # The layer has initialized its weights; without the flag transformers would do it again by the base's rules.
        modules: Iterator[Any] = memory.modules()
        for module in modules:
            module._is_hf_initialized = True
        memory.follow(next(block.mlp.parameters()))
        if memory.values_SV.is_meta and str(number) in config.written_slots:  # about to be loaded
            expect_written_slots(memory, config.written_slots[str(number)])
        block.mlp = MemoryBlock(block.mlp if config.mode == "additive" else None, memory)


class _LayerSettings(Protocol):
    """What a layer is made from. Not imported: a model folder carries this module's imports, and pydantic stays out."""

    mode: Mode
    num_keys: int
    num_heads: int
    top_k: int
    key_dim: int
    value_dim: int
    query_norm: QueryNorm
    value_dtype: ValueType
    output_gate: OutputGate
    output_gate_init: float
    start: Start


def memory_layer(settings: _LayerSettings, hidden_size: int) -> MemoryLayer:
    """A new layer, its weights drawn from torch's global generator.

    Args:
        settings: Its sizes and its start: a configuration, or :class:`smf.settings.memory.MemorySettings`.
        hidden_size: Of the model.
    """
    return MemoryLayer(
        hidden_size,
        num_keys=settings.num_keys,
        num_heads=settings.num_heads,
        top_k=settings.top_k,
        key_dim=settings.key_dim,
        value_dim=settings.value_dim,
        query_norm=settings.query_norm,
        value_dtype=getattr(torch, settings.value_dtype),
        # If the gate and the projection were both zero, neither would ever get a gradient.
        zero_output=settings.mode == "additive" and settings.output_gate == "none" and settings.start == "output",
        zero_values=settings.start == "values",
        output_gate=settings.output_gate,
        output_gate_init=settings.output_gate_init,
    )
