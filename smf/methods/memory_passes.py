"""The forward passes of sparse memory finetuning over one batch; what its steps do not change is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from smf.memory import SlotReads, record_slot_reads
from smf.methods.loss import language_model_loss
from smf.models.context_cache import context_cache, inputs_of
from smf.models.frozen_prefix import FrozenPrefix

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache

    from smf.memory.polyak import StepShares
    from smf.models.memory_model import MemoryForCausalLM
    from smf.streams.batches import Batch


class Part(NamedTuple):
    """Sequences that go through the model together, and what is cached for them."""

    batch: Batch
    prefix: FrozenPrefix
    context: FrozenContext | None

    @property
    def cache(self) -> Cache | None:
        """Keys and values of the context, if there is one."""
        return None if self.context is None else self.context.cache


class FrozenContext:
    """Keys and values of a context none of whose tokens may write: no gradient reaches them.

    Attributes:
        cache: Computed with the memory as it was at the last :meth:`compute`.
    """

    def __init__(self, model: MemoryForCausalLM, ids_C: Tensor):
        self._model, self._ids_C = model, ids_C
        self._prefix = FrozenPrefix(model)
        self.cache: Cache | None = None

    @torch.no_grad()
    def compute(self) -> None:
        """Run the context through the model; below the lowest memory layer, only the first time."""
        before = self.cache
        with self._prefix.reused():
            self.cache = context_cache(self._model, self._ids_C)
        if before is not None:  # no step changes its lower layers
            number = min(self._model.memory_layers()) + 1
            self.cache.layers[:number] = before.layers[:number]


class MemoryPasses:
    """Passes over the parts of one batch.

    Args:
        model: In evaluation mode.
        batches: The parts. Those that follow the same context share its computation.
    """

    def __init__(self, model: MemoryForCausalLM, batches: Sequence[Batch]):
        self._model = model
        self._contexts: dict[tuple[int, ...], FrozenContext] = {}
        self.parts = [Part(batch, FrozenPrefix(model), self._context_of(batch)) for batch in batches]

    def begin_step(self) -> None:
        """Recompute the contexts, as values may have moved since the last step."""
        for context in self._contexts.values():
            context.compute()

    def loss(self, part: Part) -> tuple[Tensor, Mapping[int, SlotReads]]:
        """The part's loss with its graph, and its slot reads."""
        with part.prefix.reused(), record_slot_reads(self._model.memory_layers()) as reads:
            return language_model_loss(self._model, part.batch, part.cache), reads

    @torch.no_grad()
    def reads(self, part: Part) -> Mapping[int, SlotReads]:
        """The part's slot reads."""
        inputs = inputs_of(self._model, part.batch, part.cache)
        with part.prefix.reused(), record_slot_reads(self._model.memory_layers()) as reads:
            self._model.read_memories(**inputs)
        return reads

    def _context_of(self, batch: Batch) -> FrozenContext | None:
        if batch.context_ids_C is None:
            return None
        ids = tuple(batch.context_ids_C.tolist())
        if ids not in self._contexts:
            self._contexts[ids] = FrozenContext(self._model, batch.context_ids_C)
        return self._contexts[ids]


@dataclass
class Lesson:
    """The steps on one batch.

    Attributes:
        batch: The batch.
        passes: Over its parts.
        shares: The lengths of its steps.
        known: Its loss, once that is low enough to stop.
    """

    batch: Batch
    passes: MemoryPasses
    shares: StepShares
    known: Tensor | None = None

    def share_of_loss(self, loss: Tensor, part: Batch) -> Tensor:
        """What the loss of a part contributes to the batch's."""
        return loss if part is self.batch else loss * (part.num_labels / self.batch.num_labels)
