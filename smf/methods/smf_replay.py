"""Sparse memory finetuning with experience replay (Chaudhry et al., 2019), see :mod:`smf.methods.replay`.

The batch of facts alone selects the slots. Other slots that the text reads do not change; replay only moves the
selected slots so that the text suffers less.
"""

from smf.methods.replay import Replay, ReplaySettings
from smf.methods.smf import SparseMemoryFinetuning, SparseSettings


class SparseReplaySettings(ReplaySettings, SparseSettings):
    """Settings of the method and of replay."""


class SparseReplay(Replay, SparseMemoryFinetuning):
    """Trains selected slots on facts and on background text (experience replay, Chaudhry et al., 2019)."""

    settings_class = SparseReplaySettings
    settings: SparseReplaySettings
