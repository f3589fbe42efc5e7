"""Spread the reads of new memory layers over the table, before healing.

Lample et al. (2019, section 3.3) normalize queries over the batch: without that most slots are never read, because
hidden states share a large common component, so all queries look alike. A batch norm in the model would let padding and
batch composition leak into addresses. Here its mean and scale over background text are folded into the query projection
once.

Shapes: B batch, T token, X real token, H head, Q = H * key_dim.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from smf.logs import progress
from smf.models.memory_model import MemoryForCausalLM, decoder_blocks
from smf.streams.batches import Batch


@torch.no_grad()
def calibrate_queries(model: MemoryForCausalLM, probe: Sequence[Batch]) -> None:
    """Shift and scale each layer's query projection so that queries have mean 0 and std 1 over real tokens.

    Goes layer by layer, from the bottom: a memory that replaces a network changes the inputs of higher layers. In a
    model that acts as its base (see :mod:`smf.models.base_networks`) they get the same inputs as in the base.

    Args:
        model: A retrofitted model, not yet healed.
        probe: Background batches.

    Example:
        >>> new = retrofit(load_model("base"))
        >>> calibrate_queries(new, text_batches(tokenizer, ["The sun rose late.", "Nobody came."]))
    """
    model.eval()
    for block, layer in model.memory_layers().items():
        read = progress(probe, f"calibrating block {block}")
        queries_XQ = torch.cat([_queries(model, block, batch.to(model.device)).float() for batch in read])
        mean_Q, deviation_Q = queries_XQ.mean(0), queries_XQ.std(0).clamp_min(1e-6)
        layer.query.weight.div_(deviation_Q.unsqueeze(1))
        layer.query.bias.sub_(mean_Q).div_(deviation_Q)


def _queries(model: MemoryForCausalLM, number: int, batch: Batch) -> Tensor:
    """The queries of one block's memory for the real tokens of a batch, (tokens, H * key_dim)."""
    block, seen = decoder_blocks(model.language_model)[number].mlp, []
    hook = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.read_memories(batch.input_ids_BT, batch.attention_mask_BT)
    hook.remove()
    return block.memory.query(seen[0].flatten(0, 1))[batch.attention_mask_BT.bool().flatten()]
