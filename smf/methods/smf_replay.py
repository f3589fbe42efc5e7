"""Sparse memory finetuning with experience replay (Chaudhry et al., 2019), see :mod:`smf.methods.replay`.

The facts' batch alone selects the slots. What text reads elsewhere stays; the slots that the step changes for the facts
are moved so that the text suffers less.
"""

from smf.methods.replay import REPLAY_SCHEMA, Replay
from smf.methods.smf import SparseMemoryFinetuning


class SparseReplay(Replay, SparseMemoryFinetuning):
    """Trains selected slots on facts and on background text (experience replay, Chaudhry et al., 2019)."""

    schema = {**SparseMemoryFinetuning.schema, **REPLAY_SCHEMA}
