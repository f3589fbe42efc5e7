"""LoRA with experience replay (Chaudhry et al., 2019), see :mod:`smf.methods.replay`."""

from smf.methods.lora import LoRA, LoRASettings
from smf.methods.replay import Replay, ReplaySettings


class LoRAReplaySettings(ReplaySettings, LoRASettings):
    """Settings of the method and of replay."""


class LoRAReplay(Replay, LoRA):
    """Trains low-rank adapters on facts and on background text (experience replay, Chaudhry et al., 2019).

    The adapters' dropout acts on both.
    """

    settings_class = LoRAReplaySettings
    settings: LoRAReplaySettings
