"""Sparse finetuning of the base model's own memory: a batch trains a few value vectors of its feed-forward networks.

The control for sparse memory finetuning: is it the memory, or is it the sparsity? The hidden units of a feed-forward
network act as a memory of keys and values (Geva et al., 2021), whose values are the columns of its last map
(:mod:`smf.models.value_vectors`). So the base model has slots of its own. Of these a batch trains ``top_t``, chosen
before its first step by ``selector``:

- ``gradient``: those with the largest |g_i|², g_i being the gradient of value i on the batch;
- ``fisher``: those with the largest |g_i|² / (F_i + damping). F_i is the mean of |g_i|² over single sequences of
  background text, as in :mod:`smf.methods.ewc`, but summed over the vector's entries and divided by its mean over all
  vectors. So damping is in units of the average vector's;
- ``random``: any, from the run's seed.

Steps are those of slots (:mod:`smf.methods.row_steps`): the same optimizers, with state for selected vectors only, and
Polyak's step where there is no rate. Everything else keeps its bits.

Shapes: U unit, D model, R selected unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from smf.errors import CheckpointError, ConfigError
from smf.methods.deltas import Load
from smf.methods.dense import add_batch_gradients
from smf.methods.kind_settings import GivenSettings, KindSettings, Sizes
from smf.methods.method import Footprint, Start, StepReport
from smf.methods.ordinary_text import ReadsOrdinaryText
from smf.methods.row_steps import row_rate, row_steps
from smf.selection.step_options import RowStepSettings, step_disagreement
from smf.selection.value_vectors import ValueSelectionSettings, value_selection_misfit

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.memory import RowGradient
    from smf.memory.changed_rows import ChangedRows
    from smf.memory.polyak import StepShares
    from smf.streams.batches import Batch


class SparseFinetuningSettings(RowStepSettings, ValueSelectionSettings, KindSettings):
    """Settings of sparse finetuning: which value vectors train, and how far they move."""

    def disagreement(self) -> str:
        """A message about conflicting settings of the step."""
        return step_disagreement(self)

    def misfit(self, sizes: Sizes) -> str:
        """A message about blocks that are not there, or more vectors than there are."""
        return value_selection_misfit(self, sizes.num_layers, sizes.num_units)


@dataclass
class _Lesson:
    """The steps on one batch: the selected units by block, the steps' lengths, and the loss that ended them."""

    batch: Batch
    shares: StepShares
    units: dict[int, Tensor] = field(default_factory=dict)
    known: Tensor | None = None


class SparseFinetuning(ReadsOrdinaryText):
    """Trains, for each batch, a few value vectors of the base model's feed-forward networks.

    Attributes:
        optimizers: One optimizer for the value vectors of each block that may train.
        fisher: The information of each value vector (U), by block, 1 on average; none before the first step.
    """

    settings_class = SparseFinetuningSettings
    settings: SparseFinetuningSettings
    starts_from: ClassVar[Start] = "base"
    needs_texts = False  # only selector fisher does, see reads_texts

    def begin(self) -> None:
        """Freeze everything but the value vectors that may train, and make an optimizer for those of each block.

        Raises:
            ConfigError: Settings do not fit the model.
            CheckpointError: The model has no value vectors where smf looks.
        """
        from smf.memory import RowGradient
        from smf.memory.row_optimizers import row_optimizer
        from smf.models.value_vectors import TrainedValues, value_tables
        from smf.seeding import torch_generator

        super().begin()
        tables = value_tables(self.model)
        if wrong := self.settings.misfit(Sizes(num_layers=len(tables), num_units=len(tables[0]))):
            raise ConfigError(wrong)
        self._values = TrainedValues(self.model, self.settings.chosen_of(len(tables)))
        self._gradients: dict[int, RowGradient] = {block: RowGradient() for block in self._values.tables}
        plain = self.settings.plain()
        self.optimizers = {block: row_optimizer(table_UD, plain) for block, table_UD in self._values.tables.items()}
        self.fisher: dict[int, Tensor] = {}
        self._generator = torch_generator(self.seed, "selection of value vectors")
        self._lesson: _Lesson | None = None
        self._changed = _changed_values(self.model)

    @classmethod
    def reads_texts(cls, settings: GivenSettings) -> bool:
        """Whether the selector does."""
        return cls.settings_class.read(settings).uses_fisher

    @classmethod
    def footprint(
        cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, *, num_steps: int, tokens_per_step: int
    ) -> Footprint:
        """Gradients of all vectors that may train; state and delta for at most as many as all steps can select."""
        settings = cls.settings_class.read(settings)
        blocks = settings.chosen_of(base.num_layers)
        units = len(blocks) * base.intermediate_size
        changed = min(settings.top_t * num_steps, units)
        moments = {"adamw": 2, "adagrad": 1}.get(settings.optimizer, int(settings.momentum > 0))
        # The state grows by doubling, up to the table's size, and has a free row: see smf.memory.row_state.
        room = moments * min(2 * changed + len(blocks), units + len(blocks))
        return Footprint(
            units * base.hidden_size,
            room * base.hidden_size,
            changed * base.hidden_size,
            first_block=min(blocks),
            kept_inputs="values",
            copies=units * base.hidden_size,
            text_share=0.0 if settings.uses_fisher else None,
        )

    def step(self, batch: Batch) -> StepReport:
        """Take one step on the vectors that the selector picked for this batch."""
        num_tokens = self._measure() if self.settings.uses_fisher and not self.fisher else 0
        if self._lesson is None or batch is not self._lesson.batch:
            self._lesson = self._begun(batch)
        lesson = self._lesson
        if lesson.known is not None:
            return StepReport(lesson.known, num_tokens=num_tokens)
        loss = add_batch_gradients(self, batch)
        num_tokens += batch.num_tokens
        if self.settings.stop_loss is not None and loss < self.settings.stop_loss:
            lesson.known = loss
            self._values.take_gradients()
            return StepReport(loss, num_tokens=num_tokens)
        if not lesson.units:
            lesson.units = self._choose()
        num_tokens += self.add_gradients(batch)
        gradients = self._values.take_gradients()
        for block, gradient in self._gradients.items():
            gradient.select(lesson.units[block])
            gradient.gradient_RV = gradients[block][lesson.units[block]]
        rate = row_rate(self.settings, self.rate_share)
        steps = row_steps(self.settings, self._gradients, loss, rate, lesson.shares, max_norm=self.max_gradient_norm)
        for block, step_RD in steps.items():
            self._changed.add(block, lesson.units[block])
            self.optimizers[block].learning_rate = rate
            self.optimizers[block].step(lesson.units[block], step_RD)
            self._values.write(block, lesson.units[block])
        return StepReport(loss, num_tokens=num_tokens)

    def _begun(self, batch: Batch) -> _Lesson:
        from smf.memory.polyak import StepShares

        for block in self._values.tables:
            self._changed.of(block)
        return _Lesson(batch, StepShares())

    def _choose(self) -> dict[int, Tensor]:
        """The units that train on this batch, ascending, by block."""
        from smf.selection.value_vectors import highest

        return highest(self._scores(), self.settings.top_t)

    def _scores(self) -> dict[int, Tensor]:
        """The score of each value vector (U), by block."""
        import torch

        if self.settings.selector == "random":
            return {
                block: torch.rand(len(table_UD), generator=self._generator).to(table_UD.device)
                for block, table_UD in self._values.tables.items()
            }
        squares = self._values.squared_gradients()
        if not self.settings.uses_fisher:
            return squares
        damping = self.settings.fisher_damping
        return {block: square_U / (self.fisher[block] + damping) for block, square_U in squares.items()}

    def _measure(self) -> int:
        """Measure the Fisher information; returns the number of tokens read."""
        import torch

        sums = {block: torch.zeros_like(table_UD[:, 0]) for block, table_UD in self._values.tables.items()}
        num_tokens = 0
        for tokens in self.sequence_gradients(self.settings.fisher_sequences):
            num_tokens += tokens
            for block, square_U in self._values.squared_gradients().items():
                sums[block] += square_U
            self._values.take_gradients()
        mean = torch.cat(list(sums.values())).mean()
        self.fisher = {block: sum_U / mean for block, sum_U in sums.items()}
        return num_tokens

    def state_dict(self) -> dict[str, Tensor]:
        """Adds the optimizers' state, float32 copies of lower precision, the information and the random state."""
        state = {
            f"{block}.{name}": tensor
            for block, optimizer in self.optimizers.items()
            for name, tensor in optimizer.state_dict().items()
        }
        copies = {
            f"copy.{block}": table_UD[self._changed.of(block)] for block, table_UD in self._values.copies().items()
        }
        fisher = {f"fisher.{block}": fisher_U.clone() for block, fisher_U in self.fisher.items()}
        return {**super().state_dict(), **state, **copies, **fisher, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore them too."""
        if "generator" not in state:
            raise CheckpointError(f"the state holds {sorted(state)}, no `generator`; learn the stream again")
        super().load_state_dict(state, delta)
        for block, optimizer in self.optimizers.items():
            prefix, table_UD = f"{block}.", self._values.tables[block]
            part = {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
            optimizer.load_state_dict(part)
            if f"copy.{block}" in state:
                table_UD[self._changed.of(block)] = state[f"copy.{block}"].to(table_UD.device)
            if f"fisher.{block}" in state:
                self.fisher[block] = state[f"fisher.{block}"].to(table_UD.device)
        self._generator.set_state(state["generator"])

    def delta(self) -> dict[str, Tensor]:
        """Of each block, the units whose values were ever selected, and these values."""
        return self._changed.delta()

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Write the values, see :meth:`loader`; they count as changed."""
        self._changed.resume(delta)
        self._values.read()

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Writes a delta's values, after restoring those that an earlier delta wrote."""
        return _changed_values(model).load


def _changed_values(model: PreTrainedModel) -> ChangedRows:
    """Of all blocks: a delta has room for those that do not train, so that loading one needs no settings."""
    from smf.memory.changed_rows import ChangedRows
    from smf.models.value_vectors import value_tables

    return ChangedRows(value_tables(model), "units", "feed-forward networks")
