"""What several choices of slots reach in one stream: from the model, the facts and the background to numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from smf.analysis.read_overlap.choice import FirstChoice
from smf.analysis.read_overlap.reads import Weights, as_rows, read_asked, read_taught
from smf.analysis.read_overlap.table import LayerReads, overlap_numbers
from smf.logs import progress
from smf.methods.smf import SparseSettings
from smf.models.memory_model import MemoryForCausalLM
from smf.selection.background import BackgroundCounts
from smf.streams.facts import Fact
from smf.training.learn import StreamSettings

Numbers = dict[int, dict[str, float]]
"""By block, what :func:`smf.analysis.read_overlap.table.overlap_numbers` returns."""


def stream_overlap(
    model: MemoryForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    stream: StreamSettings,
    choices: Mapping[str, tuple[SparseSettings, BackgroundCounts]],
    disturbance: Mapping[int, Mapping[str, np.ndarray]],
) -> dict[str, Numbers]:
    """Score choices of slots by what they reach. Texts are read once for all choices, wordings once per ``write_at``.

    Args:
        model: The memory model, in evaluation mode.
        tokenizer: Its tokenizer.
        facts: The stream.
        stream: How it is learned.
        choices: By any key, the settings that choose and the background that they see.
        disturbance: By block, see :func:`smf.analysis.read_overlap.table.overlap_numbers`.

    Returns:
        The numbers of each choice.

    Raises:
        DataError: A text is too long, or no token of a wording may write.
    """
    asked = [read_asked(model, tokenizer, fact, stream) for fact in progress(facts, "facts")]
    found: dict[str, Numbers] = {}
    for write_at in sorted({settings.write_at for settings, _ in choices.values()}):
        choosing = {
            key: FirstChoice(settings, background, stream.seed, model.device)
            for key, (settings, background) in choices.items()
            if settings.write_at == write_at
        }
        taught: list[Weights] = []
        shares: dict[str, list[Weights]] = defaultdict(list)
        for lesson in read_taught(model, tokenizer, facts, stream, write_at):
            taught += lesson.facts
            for key, choice in choosing.items():
                shares[key] += [choice.shares(lesson.passes)] * len(lesson.facts)
        for block, layer in model.memory_layers().items():
            texts = [taught, *([one[name] for one in asked] for name in ("unseen", "question", "neighbours"))]
            reads = LayerReads(*(as_rows(each, block, layer.num_slots) for each in texts))
            for key in choosing:
                shares_FS = as_rows(shares[key], block, layer.num_slots)
                found.setdefault(key, {})[block] = overlap_numbers(shares_FS, reads, disturbance[block])
    return found
