"""Check that a loaded base model is the one that the experiment was planned for."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from smf.errors import CheckpointError
from smf.files.model_shape import TRANSFORMERS_NAMES
from smf.models.memory_model import MemoryForCausalLM, decoder_blocks


def require_architecture(
    where: object, model: PreTrainedModel, expected: Mapping[str, int | str | bool], memory_layers: Sequence[int]
) -> None:
    """Refuse a model whose sizes are not the expected ones, or that lacks blocks that are to get memory.

    Args:
        where: The checkpoint, for messages.
        model: The base model.
        expected: Sizes, with the keys of the config's ``base.architecture``; any may be missing.
        memory_layers: Blocks that must exist, counted from 0.

    Raises:
        CheckpointError: The model differs, or its architecture is not supported.
    """
    if isinstance(model, MemoryForCausalLM):
        raise CheckpointError(f"{where} already has memory layers; name the model that it was made from")
    num_blocks = len(decoder_blocks(model))
    config = model.config.get_text_config()
    for key, value in expected.items():
        found = getattr(config, TRANSFORMERS_NAMES.get(key, key), None)
        if key == "head_dim" and found is None:  # Qwen2's configuration does not name it
            found = config.hidden_size // config.num_attention_heads
        if found != value:
            raise CheckpointError(
                f"base.architecture.{key} is {value}, but {where} has {found}; correct the config, or name the "
                "intended model"
            )
    if missing := [number for number in memory_layers if number >= num_blocks]:
        raise CheckpointError(
            f"memory.layers names block {missing[0]}, but {where} has blocks 0 to {num_blocks - 1}; choose other blocks"
        )
