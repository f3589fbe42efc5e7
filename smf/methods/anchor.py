"""Anchors to the start model: on other text the model learns to predict what it predicted at the start.

Learning without forgetting (Li and Hoiem, 2016) keeps the start model's outputs on the new task's inputs. On those,
facts require other outputs, so here the outputs on other text are kept: on background text, or on contrast texts, which
are the facts' own wordings about other subjects. A step on B sequences of facts reads n = max(1, round(B s / (1 - s)))
sequences, new ones each time, with the share s = ``anchor_share``, and minimizes

    L_facts + weight * mean over tokens of KL(p_start || p_now), in nats,

over the whole vocabulary, in float32. Unlike replay's, this gradient is zero as long as the model has not changed. The
last token of a sequence counts too: behind a contrast text, which has no answer, it predicts the answer.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from smf.methods.kind_settings import GivenSettings, KindSettings
from smf.methods.method import Footprint
from smf.methods.ordinary_text import ReadsOrdinaryText, ShareOfText, number_beside
from smf.settings.section import NonNegativeNumber

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.batches import Batch


class AnchorSettings(KindSettings):
    """Settings of the anchor."""

    anchor_on: Literal["background", "contrast", "both"] = "background"
    """Texts whose predictions are kept: background text, contrast texts (data.contrast: what smf_trust counts as
    background beside it), or any of either."""
    anchor_share: ShareOfText = 0.5
    """Share of a step's sequences that are such texts; at least one is."""
    weight: NonNegativeNumber = 1.0
    """Weight of KL(p_start || p_now), in nats like the facts' loss, whose weight is 1."""


class Anchored(ReadsOrdinaryText):
    """Mixin that adds the anchor to a method; list it before the method among the bases of a class.

    It keeps a copy of the start model. Both models read the texts, so their tokens count twice.
    """

    settings_class: ClassVar[type[AnchorSettings]]
    settings: AnchorSettings

    def begin(self) -> None:
        """Copy the start model, before anything trains."""
        super().begin()
        self._start: PreTrainedModel = copy.deepcopy(self.model).requires_grad_(False).eval()

    @classmethod
    def reads_texts(cls, settings: GivenSettings) -> bool:
        """Whether the anchor is on background text."""
        return cls.settings_class.read(settings).anchor_on != "contrast"

    @classmethod
    def reads_contrast_texts(cls, settings: GivenSettings) -> bool:
        """Whether it is on contrast texts."""
        return cls.settings_class.read(settings).anchor_on != "background"

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Adds the start model, and passes over text."""
        own = super().footprint(settings, base, memory, **stream)
        share = cls.settings_class.read(settings).anchor_share
        return replace(own, start_copies=base.num_parameters + own.added, text_share=share)

    def add_gradients(self, batch: Batch) -> int:
        """Add the anchor's gradient on newly drawn text."""
        num_tokens, rows = super().add_gradients(batch), len(batch.input_ids_BT)
        text = self.drawn(number_beside(rows, self.settings.anchor_share))
        for part, _ in self.parts(text, rows):
            share = part.num_tokens / text.num_tokens
            (self._divergence(part) * (self.settings.weight * share)).backward()
        return num_tokens + 2 * text.num_tokens

    def _divergence(self, text: Batch) -> Tensor:
        import torch

        from smf.models.logits import final_states, mean_divergence

        tokens_BT = text.attention_mask_BT.bool()

        def states_of(model: PreTrainedModel) -> Tensor:
            ids_BT, mask_BT = text.input_ids_BT, text.attention_mask_BT
            return final_states(model, input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)[tokens_BT]

        with torch.no_grad():
            start_states_XD = states_of(self._start)
        return mean_divergence(self.model, states_of(self.model), self._start, start_states_XD)
