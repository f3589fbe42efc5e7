"""The interface of a learning method: four questions that each method's file in this folder answers.

1. Which settings does it take? (``settings_class``) 2. Which model does it start from? (``starts_from``) 3. How does it
learn from one batch? (``step``) 4. What has it learned? (``delta``, and ``holder`` for a model to load it into)

The workflow reads ``settings_class``, ``starts_from`` and ``needs_background`` at every start. So methods import torch,
transformers and peft inside the functions that use them: a dry run then does not wait for the imports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from smf.methods.deltas import Holder, Load
from smf.methods.kind_settings import GivenSettings, KindSettings

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.selection.background import BackgroundCounts
    from smf.streams.asking import Retrieve
    from smf.streams.background_texts import BackgroundTexts
    from smf.streams.batches import Batch
    from smf.streams.facts import Fact
    from smf.streams.write_places import WriteAt

Start = Literal["base", "healed"]


@dataclass(frozen=True)
class StepReport:
    """The report of one step.

    Attributes:
        loss: The batch's loss before the step, a scalar that is not yet copied from the device.
        num_slots: Number of slots that were trained, by block, each a scalar on the device; empty for methods without
            memory.
        num_tokens: Tokens of the sequences that the step learned from, without padding: the cost of learning. A
            sequence that a second model also reads counts twice.
    """

    loss: Tensor
    num_slots: Mapping[int, Tensor] = field(default_factory=dict)
    num_tokens: int = field(kw_only=True)


@dataclass(frozen=True)
class Footprint:
    """The memory and disk space that a method needs, for the plan (see :mod:`smf.sizing`); counts of values, not bytes.

    Attributes:
        gradients: Parameter values that get a gradient in one step.
        state: float32 values of optimizer state, at most.
        delta: Values in a snapshot, at most.
        added: float32 parameters in addition to the model's.
        own_weights: The model's own weights train; those of lower precision than float32 then get a float32 copy.
        first_block: The lowest block that a backward pass reaches.
        kept_inputs: Which inputs of linear layers a forward pass keeps for the backward pass: none, the last one of
            each feed-forward network, all for the layers' own gradients, or all for those of float32 adapters.
        memory_weights: All weights of the memory layers train, with a float32 copy as for the model's own.
        copies: Some of the model's own weights that train, with a float32 copy as for all of them.
        start_copies: Values of the start model that are kept next to those that train, in their own dtype.
        text_share: Share of background text, at least one sequence, among the sequences that a step reads; None if it
            reads none.
        adapter_maps: float32 values that a block's adapters compute from their parameters and keep for the backward
            pass.
        adapter_width: float32 values that they keep for each token besides their inputs.
        history: Values that a patch holds besides the delta: the original slots. Movements are left out, because they
            are so few (docs/patches.md).
    """

    gradients: int
    state: int
    delta: int
    added: int = 0
    own_weights: bool = False
    first_block: int = 0
    kept_inputs: Literal["none", "values", "maps", "adapters"] = "none"
    memory_weights: bool = False
    copies: int = 0
    start_copies: int = 0
    text_share: float | None = None
    adapter_maps: int = 0
    adapter_width: int = 0
    history: int = 0


class Method(ABC):
    """A way to learn a stream of facts.

    Args:
        model: The start model; the method changes it.
        settings: The method's settings, as ``settings_class`` declares them, or as a mapping that it reads.
        background: Background counts, if ``needs_background``.
        seed: The run's seed.
        texts: Background text, if ``needs_texts``.

    Attributes:
        settings_class: Declares the settings of this kind; by default, it has none.
        settings: The settings that the method was made with.
        starts_from: The model that the method starts from, and that its forgetting is measured against.
        needs_background: Whether the method reads the background counts.
        needs_texts: Whether the method reads background text while it learns.
        retrieves: Whether the method takes no steps, and what was taught is put before questions (``retriever``).
        micro_batch_size: Sequences in one forward pass; None for a whole batch. Gradients of a batch's parts add up to
            the batch's own, so this changes memory use and time, but not what is learned (up to rounding and dropout).
        rate_share: Share of the learning rate that the next step takes, see :class:`smf.training.schedule.Schedule`.
        write_at: Which tokens the batches of facts must mark, see :mod:`smf.streams.write_places`.
        max_gradient_norm: The global gradient norm is clipped to this before a step; None for no clipping.
    """

    settings_class: ClassVar[type[KindSettings]] = KindSettings
    settings: KindSettings
    starts_from: ClassVar[Start]
    needs_background: ClassVar[bool] = False
    needs_texts: ClassVar[bool] = False
    retrieves: ClassVar[bool] = False
    micro_batch_size: int | None = None
    rate_share: float = 1.0
    write_at: WriteAt = "all"
    max_gradient_norm: float | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        settings: GivenSettings,
        background: BackgroundCounts | None,
        seed: int,
        texts: BackgroundTexts | None = None,
    ):
        self.model = model
        self.settings = self.settings_class.read(settings)
        self.background = background
        self.seed = seed
        self.texts = texts
        self.begin()

    def begin(self) -> None:  # noqa: B027 (most methods prepare nothing of their own)
        """Prepare the model for the steps; called once, when all arguments are attributes. Call ``super().begin()``."""

    @classmethod
    def with_defaults(cls, settings: Mapping) -> dict:
        """The settings as a mapping, with defaults for those that are missing.

        Raises:
            ConfigError: Some are invalid, see :meth:`smf.methods.kind_settings.KindSettings.read`.
        """
        return {**settings, **cls.settings_class.read(settings).plain()}

    @classmethod
    def reads_texts(cls, settings: GivenSettings) -> bool:
        """Whether a method with these settings reads background text: by default, as its kind does."""
        return cls.needs_texts

    @classmethod
    def reads_contrast_texts(cls, settings: GivenSettings) -> bool:
        """Whether a method with these settings reads contrast texts, and not only their counts: by default, no."""
        return False

    def micro_batches(self, batch: Batch) -> list[Batch]:
        """Split the batch into parts of ``micro_batch_size`` sequences, see :func:`micro_batches`."""
        return micro_batches(self.model, batch, self.micro_batch_size)

    @classmethod
    def footprint(
        cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, *, num_steps: int, tokens_per_step: int
    ) -> Footprint:
        """The method's maximum footprint: by default, everything trains, with two values of optimizer state each.

        Args:
            settings: The method's settings.
            base: Sizes of the base model.
            memory: Sizes of the memory layers.
            num_steps: Optimizer steps of a stream.
            tokens_per_step: Tokens of a batch.
        """
        number = base.num_parameters
        if cls.starts_from == "healed":
            number += memory.num_values + memory.num_others
        return Footprint(number, 2 * number, number, own_weights=True, kept_inputs="maps")

    def require_facts(self, facts: Sequence[Fact]) -> None:  # noqa: B027 (most methods learn from any text)
        """Called with the stream before anything is learned.

        Raises:
            DataError: The method cannot learn one of the facts; names it and the remedy.
        """

    def begin_lesson(self, places: tuple[int, ...]) -> None:  # noqa: B027 (most methods treat all facts alike)
        """Called before the first step on a batch of facts.

        Args:
            places: Positions of the facts in the stream.
        """

    @abstractmethod
    def step(self, batch: Batch) -> StepReport:
        """Take one optimizer step on a batch."""

    def add_gradients(self, batch: Batch) -> int:
        """Add the gradients of further losses that a step minimizes; by default there are none.

        Called in each step between the batch's backward pass and the update.

        Returns:
            The number of tokens read for them.
        """
        return 0

    def end_lesson(self, places: tuple[int, ...]) -> None:  # noqa: B027 (most methods keep no journal)
        """Called after the last step on a batch of facts.

        Args:
            places: Positions of the facts in the stream.
        """

    def history(self) -> tuple[dict[str, Tensor], tuple[tuple[int, ...], ...]] | None:
        """Which lesson wrote which slots, and the lessons; None if unknown.

        See :meth:`smf.memory.journal.Journal.history`. Methods that return one leave memory patches
        (:mod:`smf.patches`).
        """
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """The state, besides the delta, that a later process needs to continue bit for bit with another batch."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Continue from where :meth:`state_dict` and :meth:`delta` were taken; call it on a newly made method.

        Raises:
            CheckpointError: The state or the delta does not fit this model and these settings.
        """
        self.load_delta(delta)

    @abstractmethod
    def delta(self) -> dict[str, Tensor]:
        """The tensors that hold what was learned since the start; copies, so that later steps do not change them."""

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Put the start model into the state that ``delta`` describes; deltas of one run may be loaded in any order.

        Raises:
            CheckpointError: The delta does not fit the model.
        """
        self.loader(self.model)(delta)

    @classmethod
    def holder(cls, model: PreTrainedModel, settings: GivenSettings) -> Holder:
        """A start model to load deltas into, without what only learning needs, such as background counts.

        Args:
            model: The start model; it becomes part of the holder.
            settings: The method's settings.
        """
        model = cls.extended(model, settings, 0)
        return Holder(model, cls.loader(model))

    @classmethod
    def retriever(cls, settings: GivenSettings, delta: Mapping[str, Tensor], facts: Sequence[Fact]) -> Retrieve | None:
        """What is put before questions to a model with this delta, of a stream of these facts: by default, nothing."""
        return None

    @classmethod
    def extended(cls, model: PreTrainedModel, settings: GivenSettings, seed: int) -> PreTrainedModel:
        """The start model with the parameters that the method adds: by default, none."""
        return model

    @classmethod
    @abstractmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """The function that loads deltas into an :meth:`extended` model."""


def micro_batches(model: PreTrainedModel, batch: Batch, size: int | None) -> list[Batch]:
    """Split a batch into parts of ``size`` sequences of similar length, None for one part; drops parts without labels.

    Sequences that share a context get parts of their own, which compute it once, if that gives the same result.
    """
    from smf.models.context_cache import gives_the_same
    from smf.streams.shared_contexts import behind_contexts

    if batch.context_mask_BT is not None and gives_the_same(model, batch.input_ids_BT.shape[1]):
        parts = behind_contexts(batch, size)
        if parts is not None:
            return [part for part in parts if part.num_labels]
    if size is None or len(batch.input_ids_BT) <= size:
        return [batch]
    return [part for part in batch.split_by_length(size) if part.num_labels]
