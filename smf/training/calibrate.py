"""Spreading the reads of new memory layers over the table, before healing.

Lample et al. (2019, section 3.3) normalise queries over the batch: without it most slots are never read, because hidden
states share a large common part and so all queries look alike. A batch norm in the model would let padding and batch
composition leak into addresses. Here its mean and scale over background text are folded into the query map once.

Shapes: B batch, T token, X = B * T, H head, Q = H * key_dim.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from smf.memory import MemoryLayer
from smf.models.memory_model import MemoryForCausalLM
from smf.streams.corpus import Batch


@torch.no_grad()
def calibrate_queries(model: MemoryForCausalLM, probe: Sequence[Batch]) -> None:
    """Shift and scale each layer's query map so that queries have mean 0 and standard deviation 1 over real tokens.

    Layers are calibrated together: an additive memory adds nothing yet, so no layer's input depends on another layer.

    Args:
        model: A retrofitted model, not yet healed.
        probe: Background batches.
    """
    model.eval()
    layers = model.memory_layers()
    observed: dict[int, list[Tensor]] = {block: [] for block in layers}
    for batch in (batch.to(model.device) for batch in probe):
        for block, queries_XQ in _queries(model, layers, batch).items():
            observed[block].append(queries_XQ[batch.attention_mask_BT.bool().flatten()].float())
    for block, layer in layers.items():
        queries_XQ = torch.cat(observed[block])
        mean_Q, deviation_Q = queries_XQ.mean(0), queries_XQ.std(0).clamp_min(1e-6)
        layer.query.weight.div_(deviation_Q.unsqueeze(1))
        layer.query.bias.sub_(mean_Q).div_(deviation_Q)


def _queries(model: MemoryForCausalLM, layers: Mapping[int, MemoryLayer], batch: Batch) -> dict[int, Tensor]:
    """The queries of each layer in one forward pass, (B * T, H * key_dim)."""
    queries: dict[int, Tensor] = {}
    hooks = [
        layer.query.register_forward_hook(lambda _, inputs, output, block=block: queries.update({block: output}))
        for block, layer in layers.items()
    ]
    model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, logits_to_keep=1)
    for hook in hooks:
        hook.remove()
    return queries
