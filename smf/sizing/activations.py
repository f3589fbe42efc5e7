"""Activation memory in bytes: what a forward pass keeps for the backward pass, and what a pass needs temporarily.

The tensors that blocks of the Qwen2 and Llama families keep were read off autograd's saved tensors with transformers
5.23; tests/unit/test_sizing.py counts them again. Units: numbers per token; D hidden_size, A attention width, F
intermediate_size. Keys and values are repeated to the number of heads before attention, so each is A wide.
"""

from dataclasses import dataclass

from smf.files.model_shape import BaseShape, MemoryShape, positions_at_once
from smf.methods.method import Footprint

FLOAT32 = 4
BYTES = {"float32": 4, "bfloat16": 2}
_LOGIT_BYTES = 12  # log-probabilities, their gradient, and that of the logits, all in float32
_DIVERGENCE_BYTES = 20  # both models' log-probabilities, and three terms of their divergence, all in float32
_INDEX = 8


@dataclass(frozen=True)
class Texts:
    """The size of a batch.

    Attributes:
        rows: Number of sequences.
        tokens: Tokens of the longest sequence.
        predicting: Positions whose next token some row learns.
    """

    rows: int
    tokens: int
    predicting: int

    @property
    def num_tokens(self) -> int:
        """Tokens, padding included."""
        return self.rows * self.tokens


def kept_by_blocks(base: BaseShape, footprint: Footprint, texts: Texts, weight: int, checkpointing: bool) -> int:
    """Bytes that the blocks keep for the backward pass.

    Args:
        base: The base model's sizes.
        footprint: The method's footprint.
        texts: The texts of one forward pass.
        weight: Bytes per weight.
        checkpointing: Blocks keep only their input; one at a time keeps the rest while it is recomputed.
    """
    hidden, heads, wide = base.hidden_size, base.attention_width, base.intermediate_size
    numbers = 4 * heads + 3 * wide  # query, key, value, attention output; gate, its activation, up
    if footprint.kept_inputs == "maps":
        numbers += 4 * hidden + wide  # normalised states before and after their scale; input of the last map
    elif footprint.kept_inputs == "values":
        numbers += wide
    elif footprint.kept_inputs == "adapters" and weight == FLOAT32:
        numbers += 2 * hidden + wide
    block = numbers * weight + 2 * hidden * FLOAT32  # the normalisations keep their input in float32
    if footprint.kept_inputs == "adapters" and weight < FLOAT32:
        block += (5 * hidden + heads + wide) * FLOAT32  # each adapter's input, cast for it alone
    block += footprint.adapter_width * FLOAT32
    a_block = texts.num_tokens * block + footprint.adapter_maps * FLOAT32
    num_blocks = base.num_layers - footprint.first_block
    if checkpointing:
        return texts.num_tokens * num_blocks * hidden * weight + a_block
    return num_blocks * a_block


def kept_by_memory(memory: MemoryShape, texts: Texts, weight: int) -> int:
    """Bytes that the memory layers keep: slots, weights and search indices of each lookup, the gate twice, the read."""
    return (
        texts.num_tokens
        * len(memory.layers)
        * (memory.lookups * (3 * _INDEX + 2 * FLOAT32) + 3 * memory.value_dim * weight)
    )


def search(memory: MemoryShape, texts: Texts, at_once: int | None) -> int:
    """Bytes of the half scores of one layer's search, for all tokens of a pass or ``at_once`` at a time."""
    tokens = texts.num_tokens if at_once is None else min(at_once, texts.num_tokens)
    return tokens * memory.num_heads * 2 * memory.num_keys * FLOAT32


def selection(memory: MemoryShape, batch: Texts) -> int:
    """Bytes of counting a batch's reads and of sorting its lookups for the row gradient."""
    return batch.num_tokens * memory.lookups * 6 * _INDEX


def frozen_prefix(base: BaseShape, memory: MemoryShape, batch: Texts, weight: int) -> int:
    """Bytes of the frozen prefix shared by steps on one batch (:mod:`smf.models.frozen_prefix`), for all its parts."""
    states = (min(memory.layers) + 2) * base.hidden_size + memory.value_dim
    return batch.num_tokens * (states * weight + memory.lookups * (_INDEX + FLOAT32))


def logits(base: BaseShape, texts: Texts) -> int:
    """Peak bytes of the loss over the vocabulary, computed in slices of positions (:mod:`smf.models.logits`)."""
    positions = texts.rows * texts.predicting
    together = min(positions, positions_at_once(base.vocab_size))
    states = 2 * positions * base.hidden_size * FLOAT32 if together < positions else 0  # picked out, and their gradient
    return together * base.vocab_size * _LOGIT_BYTES + states


def divergence(base: BaseShape, texts: Texts, weight: int) -> int:
    """Peak bytes of a divergence from the start model, in slices of positions, and of both models' states."""
    positions = texts.rows * texts.predicting
    together = min(positions, positions_at_once(base.vocab_size))
    return together * base.vocab_size * _DIVERGENCE_BYTES + 2 * positions * base.hidden_size * weight


def momentary(base: BaseShape, footprint: Footprint, texts: Texts, weight: int) -> int:
    """Temporary bytes of one block's pass: gradients of the widest states, and the adapters' results."""
    width = 6 if footprint.kept_inputs == "adapters" else 4
    return texts.num_tokens * width * base.intermediate_size * weight
