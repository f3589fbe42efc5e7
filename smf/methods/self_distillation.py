"""Self-distillation: on ordinary text the model learns to predict what it predicted at the start.

Learning without forgetting (Li and Hoiem, 2016) keeps the start model's outputs on the new task's inputs. On those,
facts require other outputs, so here the outputs on background text are kept. A step on B sequences of facts reads
n = max(1, round(B s / (1 - s))) sequences, new ones each time, with the share s = ``anchor_share``, and minimizes

    L_facts + weight * mean over tokens of KL(p_start || p_now), in nats,

over the whole vocabulary, in float32. Unlike replay's, this gradient is zero as long as the model has not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from smf.methods.dense import DenseSettings
from smf.methods.full import FullFinetuning
from smf.methods.kind_settings import GivenSettings
from smf.methods.method import Footprint, StepReport
from smf.methods.ordinary_text import ReadsOrdinaryText, ShareOfText, number_beside
from smf.settings.section import NonNegativeNumber

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.batches import Batch


class SelfDistillationSettings(DenseSettings):
    """Settings of self-distillation."""

    anchor_share: ShareOfText = 0.5
    """Share of a step's sequences that are background text; at least one is."""
    weight: NonNegativeNumber = 1.0
    """Weight of KL(p_start || p_now), in nats like the facts' loss, whose weight is 1."""


class SelfDistillation(ReadsOrdinaryText, FullFinetuning):
    """Trains all weights, anchored to the start model's predictions on text (after Li and Hoiem, 2016).

    The first step keeps a copy of the model. Both models read the text, so its tokens count twice.
    """

    settings_class = SelfDistillationSettings
    settings: SelfDistillationSettings
    _start: PreTrainedModel | None = None

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Adds the start model, and passes over text."""
        full = super().footprint(settings, base, memory, **stream)
        share = cls.settings_class.read(settings).anchor_share
        return replace(full, start_copies=full.gradients, text_share=share)

    def step(self, batch: Batch) -> StepReport:
        """Take one step; before the first, copy the start model."""
        self._start_model()
        return super().step(batch)

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Copy the present model as the start model, as the first step would have done; then load."""
        self._start_model()
        super().load_state_dict(state, delta)

    def add_gradients(self, batch: Batch) -> int:
        """Add the anchor's gradient on newly drawn text."""
        num_tokens, rows = super().add_gradients(batch), len(batch.input_ids_BT)
        text = self.drawn(number_beside(rows, self.settings.anchor_share))
        for part, label_share in self.parts(text, rows):
            (self._divergence(part) * (self.settings.weight * label_share)).backward()
        return num_tokens + 2 * text.num_tokens

    def _start_model(self) -> PreTrainedModel:
        """The start model; the first call copies it, before anything trains."""
        if self._start is None:
            self._start = copy.deepcopy(self.model).requires_grad_(False).eval()
        return self._start

    def _divergence(self, text: Batch) -> Tensor:
        import torch

        from smf.models.logits import final_states, mean_divergence

        start = self._start_model()
        rows_X, positions_X = text.predictions_X2.unbind(1)

        def states_of(model: PreTrainedModel) -> Tensor:
            ids_BT, mask_BT = text.input_ids_BT, text.attention_mask_BT
            states_BTD = final_states(model, input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
            return states_BTD[rows_X, positions_X]

        with torch.no_grad():
            start_states_XD = states_of(start)
        return mean_divergence(self.model, states_of(self.model), start, start_states_XD)
