"""Spreading the reads of new memory layers over the table, before healing.

Lample et al. (2019, section 3.3) normalise queries over the batch: without it most slots are never read, because hidden
states share a large common part and so all queries look alike. A batch norm in the model would let padding and batch
composition leak into addresses. Here its mean and scale over background text are folded into the query map once.
"""

from collections.abc import Sequence

import torch

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
    queries: dict[int, list[torch.Tensor]] = {block: [] for block in layers}
    for batch in (batch.to(model.device) for batch in probe):
        latest: dict[int, torch.Tensor] = {}
        hooks = [
            layer.query.register_forward_hook(lambda _, inputs, output, block=block: latest.update({block: output}))
            for block, layer in layers.items()
        ]
        model(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, logits_to_keep=1)
        for hook in hooks:
            hook.remove()
        for block, output in latest.items():
            queries[block].append(output[batch.attention_mask_BT.bool().flatten()].float())
    for block, layer in layers.items():
        observed = torch.cat(queries[block])
        mean, scale = observed.mean(0), observed.std(0).clamp_min(1e-6)
        layer.query.weight.div_(scale.unsqueeze(1))
        layer.query.bias.sub_(mean).div_(scale)
