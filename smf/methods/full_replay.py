"""Full finetuning with experience replay (Chaudhry et al., 2019), see :mod:`smf.methods.replay`."""

from smf.methods.full import FullFinetuning
from smf.methods.replay import REPLAY_SCHEMA, Replay


class FullReplay(Replay, FullFinetuning):
    """Trains all weights on facts and on background text (experience replay, Chaudhry et al., 2019)."""

    schema = {**FullFinetuning.schema, **REPLAY_SCHEMA}
