"""Full finetuning with an anchor to the start model's predictions, see :mod:`smf.methods.anchor`."""

from smf.methods.anchor import Anchored, AnchorSettings
from smf.methods.dense import DenseSettings
from smf.methods.full import FullFinetuning


class SelfDistillationSettings(AnchorSettings, DenseSettings):
    """Settings of the optimizer and of the anchor."""


class SelfDistillation(Anchored, FullFinetuning):
    """Trains all weights, anchored to the start model's predictions on other text (after Li and Hoiem, 2016)."""

    settings_class = SelfDistillationSettings
    settings: SelfDistillationSettings
