"""LoRA with an anchor to the start model's predictions, see :mod:`smf.methods.anchor`."""

from smf.methods.anchor import Anchored, AnchorSettings
from smf.methods.lora import LoRA, LoRASettings


class LoRASelfDistillationSettings(AnchorSettings, LoRASettings):
    """Settings of LoRA and of the anchor."""


class LoRASelfDistillation(Anchored, LoRA):
    """Trains low-rank adapters, anchored to the start model's predictions on other text (after Li and Hoiem, 2016).

    The adapters' dropout acts on the anchor's texts too, but not in the start model.
    """

    settings_class = LoRASelfDistillationSettings
    settings: LoRASelfDistillationSettings
