"""LoRA with experience replay (Chaudhry et al., 2019), see :mod:`smf.methods.replay`."""

from smf.methods.lora import LoRA
from smf.methods.replay import REPLAY_SCHEMA, Replay


class LoRAReplay(Replay, LoRA):
    """Trains low-rank adapters on facts and on background text (experience replay, Chaudhry et al., 2019).

    The adapters' dropout acts on both.
    """

    schema = {**LoRA.schema, **REPLAY_SCHEMA}
