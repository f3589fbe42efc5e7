"""Experience replay (Chaudhry et al., 2019): each step also trains on a little text of the kind the model knows.

A step on B sequences of facts reads n = max(1, round(B s / (1 - s))) sequences of background text, new ones each time,
with the share s = ``replay_share``, and minimizes

    L_facts + s / (1 - s) L_text,

each the mean over its own labels. So the weight of the text relative to the facts follows from its share alone, even
where rounding changes the number of sequences or the facts are few.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from smf.methods.kind_settings import GivenSettings, KindSettings
from smf.methods.loss import language_model_loss
from smf.methods.method import Footprint
from smf.methods.ordinary_text import ReadsOrdinaryText, ShareOfText, number_beside, odds

if TYPE_CHECKING:
    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.batches import Batch


class ReplaySettings(KindSettings):
    """Settings of experience replay."""

    replay_share: ShareOfText = 0.5
    """Share of a step's sequences that are background text; at least one is. Its loss weighs share / (1 - share)."""


class Replay(ReadsOrdinaryText):
    """Mixin that adds replay to a method; list it before the method among the bases of a class."""

    settings_class: ClassVar[type[ReplaySettings]]
    settings: ReplaySettings

    def add_gradients(self, batch: Batch) -> int:
        """Add the weighted gradient of the loss on newly drawn text."""
        num_tokens = super().add_gradients(batch)
        share, rows = self.settings.replay_share, len(batch.input_ids_BT)
        text = self.drawn(number_beside(rows, share))
        for part, label_share in self.parts(text, rows):
            (language_model_loss(self.model, part) * (odds(share) * label_share)).backward()
        return num_tokens + text.num_tokens

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """The method's own footprint, with passes over background text."""
        own = super().footprint(settings, base, memory, **stream)
        return replace(own, text_share=cls.settings_class.read(settings).replay_share)
