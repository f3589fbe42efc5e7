"""Full finetuning with experience replay (Chaudhry et al., 2019), see :mod:`smf.methods.replay`."""

from smf.methods.dense import DenseSettings
from smf.methods.full import FullFinetuning
from smf.methods.replay import Replay, ReplaySettings


class FullReplaySettings(ReplaySettings, DenseSettings):
    """Settings of the method and of replay."""


class FullReplay(Replay, FullFinetuning):
    """Trains all weights on facts and on background text (experience replay, Chaudhry et al., 2019)."""

    settings_class = FullReplaySettings
    settings: FullReplaySettings
