"""MEMIT (Meng et al., 2023) and AlphaEdit (Fang et al., 2025): a fact is written into the key of its subject.

A feed-forward network's last map W maps a key k, its input at some token, to a value. An edit of one fact, or of
several in one batch, changes W in each of the ``blocks``, so that the keys of the subjects' last tokens are mapped to
new values and the keys of ordinary text nearly to the old ones:

1. For each fact Adam finds a vector δ that makes the model say the answer when it is added, at the subject's last
   token, to what leaves the last of the blocks (:mod:`smf.methods.editing.target_vectors`). Each step of the stream is
   Adam's.
2. When the lesson ends, the weights are written, block by block from the lowest: W changes by Rᵀ X. Row f of R is what
   is missing at the last block, target minus state, divided by the number of blocks still to be written. X spreads the
   keys (:mod:`smf.methods.editing.key_statistics`): as in MEMIT, by the covariance of ordinary text's keys, or as in
   AlphaEdit, within its null space. Keys and states are measured anew after each block, as earlier ones move them.

With one block this is close to ROME. What differs from the papers, or what these leave open:

- Keys and states are means over the fact's training wordings that hold its subject, in place of random prefixes before
  one prompt; in each its first mention counts.
- The papers keep the next word after "{subject} is a" in place by a divergence; here no such text is read.
- The decay of δ is on its squared length relative to the state's.
- The loss that a step reports is that of the target: of the unchanged weights with δ. How much of it the written
  weights keep is seen only by what the model answers.
- The covariance is measured on the texts that the experiment gives every method, so on thousands of tokens, not on the
  papers' 100,000 samples of Wikipedia.
- A stream's ``max_gradient_norm`` has no effect: Adam divides a gradient by its own size.

Shapes: F fact of a batch, U hidden unit, D model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from smf.errors import CheckpointError
from smf.methods.editing.editor import Editor
from smf.methods.editing.settings import EditorSettings
from smf.methods.kind_settings import GivenSettings
from smf.methods.method import Footprint, StepReport
from smf.methods.ordinary_text import ReadsOrdinaryText
from smf.settings.section import Count, NonNegativeNumber, PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.methods.editing.key_statistics import KeyRidge
    from smf.methods.editing.subjects import LocatedPart
    from smf.methods.editing.target_vectors import TargetVectors
    from smf.streams.batches import Batch
    from smf.streams.facts import Fact
    from smf.streams.write_places import WriteAt


class MemitSettings(EditorSettings):
    """Settings of MEMIT and AlphaEdit. Null for ``blocks`` is five, from an eighth of the model's depth on."""

    default_blocks = (1 / 8, 5)  # 4 to 8 of 32, as for Llama 3 in AlphaEdit
    projection: Literal["none", "null_space"] = "none"
    """none: MEMIT. null_space: AlphaEdit, whose edits stay out of the directions that ordinary text's keys vary in, and
    hold on to earlier edits."""
    learning_rate: PositiveNumber = 0.5
    """Adam's step size for the target vector, see stream.schedule; chosen by the sweep in results/tables/tuning.csv."""
    weight_decay: NonNegativeNumber = 0.5
    """Weight of the target vector's squared length, relative to that of the state that it is added to, in the loss."""
    bound: PositiveNumber | None = 0.75
    """Longest target vector, as a share of the length of that state; null: no bound."""
    covariance_sequences: Count = 256
    """Sequences of background text that the covariance of keys is measured on, once."""
    covariance_weight: PositiveNumber = 1.0
    """Weight λ of that covariance against one edited key, divided by the number of hidden units, for projection none.
    The papers' λ of 15,000 is about 1 here, as GPT-J has 16,384 units."""
    null_space_threshold: PositiveNumber = 0.02
    """Eigenvalue of the covariance below which a direction is free to be edited, for projection null_space."""
    null_space_ridge: PositiveNumber = 10.0
    """Weight of the shift's own size against one edited key, for projection null_space."""
    without_subject: Literal["refuse", "shared"] = "refuse"
    """What to do with a fact none of whose wordings holds its subject, such as a question without one. shared: take the
    longest run of words that all its wordings share."""


@dataclass
class _Lesson:
    """The steps on one batch: its parts and their contexts, keys and states (F, D) at its start, and the targets."""

    batch: Batch
    parts: list[LocatedPart]
    contexts: list[Cache | None]
    keys_FU: Tensor
    states_FD: Tensor
    targets: TargetVectors


class Memit(Editor, ReadsOrdinaryText):
    """Writes a batch of facts into feed-forward networks, in closed form (MEMIT, AlphaEdit).

    The first step measures the covariance of keys, and adds the tokens that it reads for this to its report. The first
    step on a batch also counts the passes that measure keys and states, one for each block.

    Attributes:
        covariances: The uncentred covariance of keys (U, U) on background text, by block; none before the first step.
    """

    settings_class = MemitSettings
    settings: MemitSettings
    write_at: WriteAt = "subject"

    def begin(self) -> None:
        """Find where the target vectors are added.

        Raises:
            CheckpointError: The model normalizes what its maps give, and several blocks are to be edited.
        """
        from smf.models.memory_model import decoder_blocks

        super().begin()
        chosen = list(self._maps.maps)
        last = decoder_blocks(self.model)[chosen[-1]]
        # What a map gives is added to the residual stream as it is, so that any of the blocks can give what is missing
        # there. Gemma 2 and 3 normalize it first: there the target belongs to one map, and to no other block's.
        self._site = last
        if hasattr(last, "post_feedforward_layernorm"):
            if len(chosen) > 1:
                raise CheckpointError(
                    f"the blocks of {type(self.model).__name__} normalize what their feed-forward networks give, so an "
                    f"edit cannot be spread over blocks {chosen}; name one block"
                )
            self._site = self._maps.maps[chosen[-1]]
        self.covariances: dict[int, Tensor] = {}
        self._ridges: dict[int, KeyRidge] = {}
        self._lesson: _Lesson | None = None

    @classmethod
    def footprint(
        cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, *, num_steps: int, tokens_per_step: int
    ) -> Footprint:
        """Whole maps; the covariance in float32, and in float64 what is made of it."""
        blocks = cls.settings_class.read(settings).chosen_of(base.num_layers)
        maps = len(blocks) * base.intermediate_size * base.hidden_size
        state = 3 * len(blocks) * base.intermediate_size**2
        return Footprint(0, state, maps, first_block=blocks[-1] + 1, copies=maps, text_share=0.0)

    def require_facts(self, facts: Sequence[Fact]) -> None:
        """Refuse facts without a subject in their wordings."""
        from smf.streams.write_places import require_subjects

        require_subjects(facts, shared=self.settings.without_subject == "shared")

    def step(self, batch: Batch) -> StepReport:
        """Take one step of the batch's target vectors; :meth:`end_lesson` writes them.

        A lesson on another batch that was not ended is ended first.
        """
        num_tokens = batch.num_tokens
        if self._lesson is None or batch is not self._lesson.batch:
            self.end_lesson(())
            if not self.covariances:
                num_tokens += self._measure_covariances()
            self._lesson = self._begun(batch)
            num_tokens += len(self._maps.maps) * batch.num_tokens
        lesson = self._lesson
        losses = [
            lesson.targets.add_gradient(self.model, self._site, part, context)
            for part, context in zip(lesson.parts, lesson.contexts, strict=True)
        ]
        lesson.targets.step(self.settings.learning_rate * self.rate_share, batch.num_labels)
        return StepReport(sum(losses[1:], losses[0]) / batch.num_labels, num_tokens=num_tokens)

    def end_lesson(self, places: tuple[int, ...]) -> None:
        """Write the batch's targets into the weights."""
        if self._lesson is None:
            return
        lesson, self._lesson = self._lesson, None
        targets_FD = lesson.states_FD + lesson.targets.vectors_FD.detach()
        keys_FU, states_FD = lesson.keys_FU, lesson.states_FD
        for number, block in enumerate(self._maps.maps):
            if number:
                keys_FU, states_FD = self._measure(lesson.parts, block)
            residuals_FD = (targets_FD - states_FD).double() / (len(self._maps.maps) - number)
            ridge = self._ridge(block)
            self._maps.add(block, residuals_FD.T @ ridge.spread(keys_FU))
            ridge.remember(keys_FU)

    def _begun(self, batch: Batch) -> _Lesson:
        from smf.methods.editing.subjects import located
        from smf.methods.editing.target_vectors import TargetVectors

        parts = located(self.micro_batches(batch))
        keys_FU, states_FD = self._measure(parts, min(self._maps.maps))
        targets = TargetVectors(states_FD, self.settings.weight_decay, self.settings.bound)
        contexts = [part.context(self.model) for part in parts]
        return _Lesson(batch, parts, contexts, keys_FU, states_FD, targets)

    def _measure(self, parts: Sequence[LocatedPart], block: int) -> tuple[Tensor, Tensor]:
        """The keys (F, U) of a block and the states (F, D), as the weights are now."""
        from smf.methods.editing.subjects import subject_means

        return subject_means(self.model, parts, self._maps.maps[block], self._site)

    def _measure_covariances(self) -> int:
        """Measure the covariances of keys on background text; returns the number of tokens read."""
        import torch

        from smf.methods.editing.key_statistics import key_products

        sums: dict[int, Tensor] = {}
        num_tokens = 0
        for _ in range(self.settings.covariance_sequences):
            text = self.drawn(1)
            num_tokens += text.num_tokens
            for block, product_UU in key_products(self.model, self._maps.maps, text.to(self.model.device)).items():
                sums[block] = sums[block] + product_UU if block in sums else product_UU
        precise = torch.promote_types(self.model.dtype, torch.float32)
        self.covariances = {block: (sum_UU / num_tokens).to(precise) for block, sum_UU in sums.items()}
        return num_tokens

    def _ridge(self, block: int) -> KeyRidge:
        from smf.methods.editing.key_statistics import CovarianceRidge, NullSpaceRidge

        if block not in self._ridges:
            given, covariance_UU = self.settings, self.covariances[block]
            self._ridges[block] = (
                CovarianceRidge(covariance_UU, given.covariance_weight * len(covariance_UU))
                if given.projection == "none"
                else NullSpaceRidge(covariance_UU, given.null_space_threshold, given.null_space_ridge)
            )
        return self._ridges[block]

    def state_dict(self) -> dict[str, Tensor]:
        """Adds the covariances and the keys of earlier edits."""
        covariances = {f"covariance.{block}": tensor.clone() for block, tensor in self.covariances.items()}
        earlier = {
            f"earlier.{block}": ridge.earlier_MU.clone()
            for block, ridge in self._ridges.items()
            if ridge.earlier_MU is not None
        }
        return {**super().state_dict(), **covariances, **earlier}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore them too."""
        super().load_state_dict(state, delta)
        device = self.model.device
        for block in self._maps.maps:
            if f"covariance.{block}" in state:
                self.covariances[block] = state[f"covariance.{block}"].to(device)
            if f"earlier.{block}" in state:
                self._ridge(block).earlier_MU = state[f"earlier.{block}"].to(device)
