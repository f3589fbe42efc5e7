"""Sparse memory finetuning: train only slots that the batch uses and ordinary text does not.

Each step: forward (reads all accessed slots), count the slots that the batch's real tokens read, select, backward into
the selected rows alone, step these rows. Keys, queries, gates and the base model are frozen.

With micro-batches the slots are still selected once, from the counts of the whole batch. To avoid keeping graphs until
the whole batch was seen, a first pass without gradients, up to the last memory layer, only counts. benchmarks/README.md
gives its cost. The passes are in :mod:`smf.methods.memory_passes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from smf.errors import CheckpointError, ConfigError
from smf.methods.deltas import Load
from smf.methods.kind_settings import GivenSettings, KindSettings, Sizes
from smf.methods.method import Footprint, Method, Start, StepReport
from smf.methods.row_steps import row_rate, row_steps
from smf.selection.names import ALL_ACCESSED
from smf.selection.options import SelectionSettings, selection_disagreement
from smf.selection.step_options import StepSettings, slot_step_disagreement
from smf.streams.replaced import replaced_places

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.memory import RowGradient, SlotReads
    from smf.memory.polyak import StepShares
    from smf.memory.row_optimizers import RowOptimizer
    from smf.methods.memory_passes import Lesson, MemoryPasses
    from smf.models.memory_model import MemoryForCausalLM
    from smf.selection.select import Pass, SelectedSlots
    from smf.streams.batches import Batch
    from smf.streams.facts import Fact


class SparseSettings(StepSettings, SelectionSettings, KindSettings):
    """Settings of sparse memory finetuning: which slots train, and how far they move."""

    def disagreement(self) -> str:
        """A message about conflicting options of the selection or the step."""
        return slot_step_disagreement(self) or selection_disagreement(self)

    def misfit(self, sizes: Sizes) -> str:
        """A message about more slots than a layer has."""
        if sizes.num_slots is None or self.top_t <= sizes.num_slots:
            return ""
        return (
            f"top_t is {self.top_t}, but a layer has {sizes.num_slots} slots (memory.num_keys²); "
            "lower top_t or raise memory.num_keys"
        )


class SparseMemoryFinetuning(Method):
    """Trains the values of selected slots of the healed memory model.

    Attributes:
        optimizers: One optimizer for the table of each memory layer, by block.
    """

    settings_class = SparseSettings
    settings: SparseSettings
    model: MemoryForCausalLM
    starts_from: ClassVar[Start] = "healed"
    needs_background = True

    def begin(self) -> None:
        """Freeze everything, and make an optimizer for the values of each memory layer.

        Raises:
            ConfigError: There are no background counts.
        """
        from smf.memory import RowGradient
        from smf.memory.changed_slots import ChangedSlots
        from smf.memory.row_optimizers import row_optimizer
        from smf.models.memory_model import require_memory
        from smf.selection.past_writes import PastWrites
        from smf.selection.select import Selection, selection_generator
        from smf.selection.trust_region import TrustRegions

        super().begin()
        settings, device = self.settings, self.model.device
        if self.background is None:
            raise ConfigError("sparse memory finetuning needs background counts; none were given")
        self.model = require_memory(self.model)
        self.write_at = settings.write_at
        self._background = self.background.in_documents(settings.document).to(device)
        self._past_writes = PastWrites(self._background, settings.past_writes)
        self._selection = Selection.of(settings)
        self._generator = selection_generator(self.seed, device)
        self.model.requires_grad_(False)
        self._layers = self.model.memory_layers()
        self._gradients: dict[int, RowGradient] = {}
        self.optimizers: dict[int, RowOptimizer] = {}
        for block, layer in self._layers.items():
            layer.row_gradient = self._gradients[block] = RowGradient()
            self.optimizers[block] = row_optimizer(layer.values_SV, settings.plain())
        self._regions = TrustRegions.of(self._background, settings)
        self._lesson: Lesson | None = None
        self._places: tuple[int, ...] = ()
        self._changed = ChangedSlots(self._layers)

    @classmethod
    def footprint(
        cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, *, num_steps: int, tokens_per_step: int
    ) -> Footprint:
        """The selected rows of a step; state and delta hold at most as many slots as all steps can select."""
        settings = cls.settings_class.read(settings)
        rows = settings.top_t
        if settings.selector == ALL_ACCESSED:
            rows = tokens_per_step * memory.lookups
        width = len(memory.layers) * memory.value_dim
        rows = min(rows, memory.num_slots)
        changed = min(rows * num_steps, memory.num_slots)
        moments = {"adamw": 2, "adagrad": 1}.get(settings.optimizer, int(settings.momentum > 0))
        # The state grows by doubling, up to the table's size, see smf.memory.row_state.
        room = moments * min(2 * changed, memory.num_slots + 1)
        first = min(memory.layers) + 1
        return Footprint(rows * width, room * width, changed * width, first_block=first, history=changed * width)

    def require_facts(self, facts: Sequence[Fact]) -> None:
        """Learn which facts are going to be replaced: from then on they are no past that is protected."""
        super().require_facts(facts)
        if self._regions is not None:
            self._regions.expect_updates(replaced_places(facts))

    def begin_lesson(self, places: tuple[int, ...]) -> None:
        """Remember which facts the next batch teaches."""
        self._places = places

    def step(self, batch: Batch) -> StepReport:
        """Take one step on the slots that the selector picks for this batch."""
        if self._lesson is None or batch is not self._lesson.batch:
            self._lesson = self._begun(batch)
        lesson = self._lesson
        if lesson.known is not None:
            return StepReport(lesson.known, num_tokens=0)
        lesson.passes.begin_step()
        size = self.micro_batch_size
        at_once = size is None or len(batch.input_ids_BT) <= size or len(lesson.passes.parts) == 1
        loss, selected = self._at_once(lesson) if at_once else self._one_by_one(lesson)
        if self.settings.stop_loss is not None and loss < self.settings.stop_loss:
            lesson.known = loss
            return StepReport(loss, num_tokens=batch.num_tokens)
        more_tokens = self.add_gradients(batch)
        rate = row_rate(self.settings, self.rate_share)
        for block, step_RV in self._steps(loss, rate, selected, lesson.shares).items():
            slots_R = selected[block].slots_R
            self._changed.add(block, slots_R)
            self.optimizers[block].learning_rate = rate
            self.optimizers[block].step(slots_R, step_RV)
        num_slots = {block: slots.number for block, slots in selected.items()}
        return StepReport(loss, num_slots, num_tokens=batch.num_tokens + more_tokens)

    def _steps(
        self, loss: Tensor, rate: float, selected: Mapping[int, SelectedSlots], shares: StepShares
    ) -> dict[int, Tensor]:
        """The input to the optimizer for each layer's selected rows: the gradient, scaled as the settings say."""
        regions = self._regions
        return row_steps(
            self.settings,
            self._gradients,
            loss,
            rate,
            shares,
            max_norm=self.max_gradient_norm,
            shortened=lambda block, step_RV: (
                step_RV if regions is None else regions.shortened(block, selected[block].slots_R, step_RV)
            ),
        )

    def _begun(self, batch: Batch) -> Lesson:
        from smf.memory.polyak import StepShares
        from smf.methods.memory_passes import Lesson, MemoryPasses

        if self._regions is not None:
            self._regions.begin_batch(self._places)
            self._places = ()
        self._past_writes.begin_batch()
        for block in self._layers:
            self._changed.of(block)
        return Lesson(batch, MemoryPasses(self.model, self.micro_batches(batch)), StepShares())

    def _at_once(self, lesson: Lesson) -> tuple[Tensor, dict[int, SelectedSlots]]:
        """Keep the graphs of all parts at once, since together they are no larger than the whole batch's."""
        losses, seen = [], []
        for part in lesson.passes.parts:
            loss, reads = lesson.passes.loss(part)
            losses.append(lesson.share_of_loss(loss, part.batch))
            seen.append(self._counted(reads, part.batch))
        selected = self._select(lesson.passes, *seen)
        for part, loss in zip(lesson.passes.parts, losses, strict=True):
            self._backward(loss, part.batch)
        first, *others = (loss.detach() for loss in losses)
        return sum(others, first), selected

    def _one_by_one(self, lesson: Lesson) -> tuple[Tensor, dict[int, SelectedSlots]]:
        """Run two passes per part: one that counts, and one whose graph is freed before the next part's."""
        import torch

        passes = lesson.passes
        selected = self._select(passes, *(self._counted(passes.reads(part), part.batch) for part in passes.parts))
        losses = []
        for part in passes.parts:
            loss = lesson.share_of_loss(passes.loss(part)[0], part.batch)
            self._backward(loss, part.batch)
            losses.append(loss.detach())
        return torch.stack(losses).sum(), selected

    def _counted(self, reads: Mapping[int, SlotReads], part: Batch) -> Pass:
        from smf.selection.select import writing_tokens

        return reads, writing_tokens(part, self.write_at)

    def _backward(self, loss: Tensor, batch: Batch) -> None:
        """Collect the gradient of the slots that the batch's writing tokens read."""
        for gradient in self._gradients.values():
            gradient.writing_BT = batch.write_mask_BT
        loss.backward()
        for gradient in self._gradients.values():
            gradient.writing_BT = None  # all tokens of replayed text contribute

    def _select(self, passes: MemoryPasses, *seen: Pass) -> dict[int, SelectedSlots]:
        from smf.selection.select import count_reads, select_slots

        if self._regions is not None:
            facts = [part.batch.fact_B for part in passes.parts]
            self._regions.see(seen, tuple(fact_B for fact_B in facts if fact_B is not None))
        counts = count_reads(seen, self.settings.count_by)
        selected = select_slots(counts, self._past_writes.background, self._selection, self._generator)
        self._past_writes.see(counts, selected)
        for block, gradient in self._gradients.items():
            gradient.select(selected[block].slots_R)
        return selected

    def state_dict(self) -> dict[str, Tensor]:
        """Optimizer state, the past as selection and trust regions know it, the journal, and the random state."""
        state = {
            f"{block}.{name}": tensor
            for block, optimizer in self.optimizers.items()
            for name, tensor in optimizer.state_dict().items()
        }
        past = {} if self._regions is None else self._regions.state_dict()
        state |= {**past, **self._past_writes.state_dict(), **self._changed.journal.state_dict()}
        return {**state, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore them and the delta, see :meth:`smf.methods.method.Method.load_state_dict`."""
        if "generator" not in state:
            raise CheckpointError(f"the state holds {sorted(state)}, no `generator`; learn the stream again")
        if self._regions is not None:
            self._regions.load_state_dict(state)
        self._past_writes.load_state_dict(state)
        self._changed.resume(delta)
        self._changed.journal.load_state_dict(state)
        for block, optimizer in self.optimizers.items():
            prefix = f"{block}."
            part = {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
            optimizer.load_state_dict(part)
        self._generator.set_state(state["generator"])

    def end_lesson(self, places: tuple[int, ...]) -> None:
        """Record in the journal which lesson moved which slots."""
        self._changed.journal.end_lesson(places)

    def history(self) -> tuple[dict[str, Tensor], tuple[tuple[int, ...], ...]]:
        """The journal's history, and its lessons."""
        return self._changed.journal.history(), self._changed.journal.lessons

    def delta(self) -> dict[str, Tensor]:
        """Indices and values of every slot that was ever selected."""
        return self._changed.delta()

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Write the slots, see :meth:`loader`, and restart the journal."""
        self._changed.load(delta)

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Writes a delta's slots, after restoring the slots that an earlier delta wrote."""
        from smf.memory.changed_slots import ChangedSlots
        from smf.models.memory_model import require_memory

        return ChangedSlots(require_memory(model).memory_layers()).load
