"""The peak memory of each kind of job, in parts. Estimates: benchmarks/plan.py compares them with measured peaks.

Every text is assumed as long as the config allows (``base.max_length``, for streams ``stream.max_length``), so these
are upper bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from smf.files.model_shape import BaseShape, MemoryShape
from smf.methods.method import Footprint
from smf.sizing import activations
from smf.sizing.activations import FLOAT32, Texts

_CUDA_CONTEXT = 600 * 10**6  # the driver and the libraries' kernels: memory in use that torch does not count
_HEAP_LIMIT = 32 * 2**20  # glibc keeps smaller tensors in its heap, which fragments
_HEAP_GAPS = {
    "none": 0.7,
    "values": 0.7,
    "maps": 0.7,
    "adapters": 1.5,
}  # measured: memory lost to gaps, as a share of the size of such activations
_PAGE = 4096  # bytes; a row that is written takes all pages that it lies on
_COUNTS = 7 * 8  # bytes a slot: counts of ordinary text, and sums made with them
_SLOT_USE = 4 * 8  # bytes a slot and head: counts while healing measures slot use
_SEARCHED_AT_ONCE = 128  # tokens, on a CPU: smf.memory.product_keys


@dataclass(frozen=True)
class Models:
    """Sizes and types of the models, which all jobs share.

    Attributes:
        base: The base model's sizes.
        memory: The memory layers' sizes.
        weight: Bytes per weight of the base model, and of a memory layer outside its table.
        value: Bytes per number of a table.
        on_cpu: Whether jobs compute on the CPU.
        checkpointing: ``base.gradient_checkpointing``.
        zero_tables: Tables start at zero and healing does not train them: files, and the memory of a CPU, hold what is
            written in them.
    """

    base: BaseShape
    memory: MemoryShape
    weight: int
    value: int
    on_cpu: bool
    checkpointing: bool = False
    zero_tables: bool = False

    def bytes_of(self, start: str) -> int:
        """Bytes of the weights of ``base`` or ``healed``."""
        number = self.base.num_parameters
        if start == "base":
            return number * self.weight
        if self.memory.mode == "replace":
            number -= len(self.memory.layers) * self.base.num_feed_forward_parameters
        return number * self.weight + self.bytes_of_memory

    def bytes_in_use(self, start: str, written: int = 0) -> int:
        """Bytes of the weights of ``base`` or ``healed`` in the device's memory.

        Args:
            start: Which.
            written: Values of tables that are written; it counts where only those take memory.
        """
        if start == "base" or not self.tables_are_mapped:
            return self.bytes_of(start)
        tables = self.memory.num_values * self.value
        rows = -(-written // self.memory.value_dim)
        pages = rows * (self.memory.value_dim * self.value + _PAGE)
        return self.bytes_of(start) - tables + min(tables, pages)

    @property
    def tables_are_mapped(self) -> bool:
        """Whether tables take only the memory of what is written (:mod:`smf.memory.tables`)."""
        return self.zero_tables and self.on_cpu

    @property
    def bytes_of_memory(self) -> int:
        """Bytes of the memory layers."""
        return self.memory.num_others * self.weight + self.memory.num_values * self.value

    def num_memory_weights_below(self, size: int) -> int:
        """The number of memory-layer weights that take less than ``size`` bytes each."""
        parts = ((self.memory.num_others, self.weight), (self.memory.num_values, self.value))
        return sum(number for number, one in parts if one < size)


def learning(models: Models, start: str, footprint: Footprint, batch: Texts, micro_batch_size: int | None) -> dict:
    """Parts of the peak of learning a stream, in bytes.

    Args:
        models: Sizes and types.
        start: The model that the method starts from.
        footprint: The method's footprint.
        batch: The batch of one step.
        micro_batch_size: Sequences of it per pass.
    """
    base, memory, weight = models.base, models.memory, models.weight
    texts = Texts(min(micro_batch_size or batch.rows, batch.rows), batch.tokens, batch.predicting)
    parts = {
        "weights": models.bytes_in_use(start, footprint.delta)
        + footprint.added * FLOAT32
        + footprint.start_copies * weight,
        "gradients": footprint.gradients * (weight if footprint.own_weights else FLOAT32),
        "optimizer": footprint.state * FLOAT32,
        "activations": activations.kept_by_blocks(base, footprint, texts, weight, models.checkpointing),
        "logits": activations.logits(base, texts),
        "momentary": activations.momentary(base, footprint, texts, weight),
    }
    if footprint.own_weights:
        parts["momentary"] += base.vocab_size * base.hidden_size * weight  # a second gradient of the embedding
        if weight < FLOAT32:
            parts["optimizer"] += 2 * footprint.gradients * FLOAT32  # float32 copies of weights and gradients
    if models.on_cpu:  # the slots' old values; beside an accelerator the host has room for them
        parts["optimizer"] += footprint.history * models.value
    if weight < FLOAT32:
        parts["optimizer"] += footprint.copies * FLOAT32
    if footprint.memory_weights:  # float32 copies; their gradients are counted above
        parts["optimizer"] += FLOAT32 * models.num_memory_weights_below(FLOAT32)
    if start == "healed":
        parts["activations"] += activations.kept_by_memory(memory, texts, weight)
        at_once = _SEARCHED_AT_ONCE if models.on_cpu else None
        parts["momentary"] += activations.search(memory, texts, at_once) + activations.selection(memory, batch)
        parts["frozen prefix"] = activations.frozen_prefix(base, memory, batch, weight)
        parts["counts"] = _counts(models)
    return _with_device(parts, models, texts, _HEAP_GAPS[footprint.kept_inputs])


def healing(models: Models, texts: Texts, *, trains: bool = True) -> dict:
    """Parts of the peak of healing, in bytes: dense gradients and AdamW for the memory layers, tables included.

    The feed-forward networks that a memory replaces stay in memory for comparison. Measuring loss and slot use takes
    less memory than training; if nothing trains (``healing.num_steps: 0``), only the measuring counts.
    """
    base, memory = models.base, models.memory
    replaced = len(memory.layers) * base.num_feed_forward_parameters if memory.mode == "replace" else 0
    trained = memory.num_values * models.value + memory.num_others * models.weight
    footprint = Footprint(0, 0, 0, first_block=min(memory.layers) + 1)
    parts = {
        "weights": models.bytes_in_use("healed") + replaced * models.weight,
        "gradients": trained,
        "optimizer": 2 * trained,
        "activations": activations.kept_by_blocks(base, footprint, texts, models.weight, models.checkpointing)
        + activations.kept_by_memory(memory, texts, models.weight),
        "logits": activations.logits(base, texts),
        "momentary": activations.momentary(base, footprint, texts, models.weight)
        + activations.search(memory, texts, _SEARCHED_AT_ONCE if models.on_cpu else None),
    }
    if not trains:
        parts = {name: size for name, size in parts.items() if name in ("weights", "logits", "momentary")}
        if models.on_cpu:  # beside an accelerator the host has room for them
            parts["slot use"] = len(memory.layers) * memory.num_heads * memory.num_slots * _SLOT_USE
    return _with_device(parts, models, texts)


def counting(models: Models, batch: Texts) -> dict:
    """Parts of the peak of the background counts, in bytes: passes without gradients up to the last memory layer."""
    parts = {
        "weights": models.bytes_in_use("healed"),
        "counts": _counts(models) if models.on_cpu else 0,
        "momentary": activations.momentary(models.base, Footprint(0, 0, 0), batch, models.weight)
        + activations.search(models.memory, batch, _SEARCHED_AT_ONCE if models.on_cpu else None)
        + activations.selection(models.memory, batch),
    }
    return _with_device(parts, models, batch)


def evaluating(
    models: Models, start: str, footprint: Footprint | None, batch: Texts, *, compared: bool = False
) -> dict:
    """Parts of the peak of scoring snapshots, in bytes: passes without gradients, with a cache of keys and values.

    An upper bound, reached if all rows of a batch have the model's maximum length: a prompt with its answer, or running
    text, which is predicted at every position. If snapshots are ``compared`` with the start model, both are in memory.
    """
    base, weight = models.base, models.weight
    a_position = activations.logits(base, Texts(1, 1, 1))
    parts = {
        "weights": models.bytes_in_use(start, footprint.delta if footprint else 0)
        + (footprint.added * FLOAT32 if footprint else 0),
        "cache": batch.num_tokens * base.num_layers * 2 * base.key_value_width * weight,
        "logits": max(activations.logits(base, batch), batch.rows * a_position),  # generating needs one per row
        "momentary": activations.momentary(base, Footprint(0, 0, 0), batch, weight),
    }
    if start == "healed":
        parts["momentary"] += activations.search(models.memory, batch, _SEARCHED_AT_ONCE if models.on_cpu else None)
    if compared:
        parts["start model"] = models.bytes_in_use(start)
        parts["logits"] = max(parts["logits"], activations.divergence(base, batch, weight))
    if footprint and models.on_cpu:
        parts["delta"] = footprint.delta * (weight if footprint.own_weights else FLOAT32)
    return _with_device(parts, models, batch)


def pretraining(models: Models, texts: Texts) -> dict:
    """Parts of the peak of pretraining, in bytes: AdamW on all weights in float32."""
    number = models.base.num_parameters
    footprint = Footprint(number, 2 * number, number, own_weights=True, kept_inputs="maps")
    in_float32 = Models(models.base, models.memory, FLOAT32, FLOAT32, models.on_cpu)
    return learning(in_float32, "base", footprint, texts, None)


def _counts(models: Models) -> int:
    return len(models.memory.layers) * models.memory.num_slots * _COUNTS


def _with_device(parts: dict, models: Models, texts: Texts, heap_gaps: float = _HEAP_GAPS["none"]) -> dict:
    """Add the device's own overhead to the parts."""
    if not models.on_cpu:
        return {**parts, "CUDA": _CUDA_CONTEXT}
    widest = texts.num_tokens * models.base.intermediate_size * models.weight
    if widest > _HEAP_LIMIT:
        return parts
    return {**parts, "heap": int(heap_gaps * parts.get("activations", parts["momentary"]))}


def total(parts: Mapping[str, int]) -> int:
    """Bytes of all parts."""
    return sum(parts.values())
