"""Distillation: a memory that replaces a feed-forward network first learns to reproduce its outputs.

The next-token loss says little about what a single block should compute, above all while several blocks output noise.
The network itself is a target for every token and dimension. Each memory learns on the hidden states of the base, so
all layers learn at once and none has to wait for the layers below it. The language-model loss, which follows, adapts
the layers to one another's errors.

Shapes: B batch, T token, X real token, D hidden size.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from smf.files.resume import NO_RESUME, Resume
from smf.models.base_networks import acting_as_base
from smf.models.memory_model import MemoryForCausalLM
from smf.streams.batches import Batch
from smf.training.loop import TrainingSettings, train


def distil(
    model: MemoryForCausalLM,
    networks: Mapping[int, nn.Module],
    parameters: Sequence[nn.Parameter],
    stream: Iterable[Batch],
    probe: Sequence[Batch],
    settings: TrainingSettings,
    resume: Resume = NO_RESUME,
) -> dict[str, dict[str, float]]:
    """Train the memories to reproduce the outputs of the networks that they replace.

    A layer's loss is the unexplained share of variance: of the network's output over the batch, the part that its
    memory does not reproduce. It is 1 for a memory that always outputs the mean. The layers' losses are averaged.

    Args:
        model: A model retrofitted in mode ``replace``.
        networks: The networks, by block.
        parameters: The parameters to train.
        stream: ``settings.num_steps`` batches.
        probe: Batches on which the explained variance is measured.
        settings: Rates and steps.
        resume: Keeps the state of the training.

    Returns:
        The explained variance of each layer by block, ``before`` and ``after``.

    Raises:
        TrainingError: The loss is not finite.
    """

    def loss(_: PreTrainedModel, batch: Batch) -> Tensor:
        pairs = _outputs(model, networks, batch)
        shares = [
            (memory_XD - network_XD).square().sum() / (network_XD - network_XD.mean(0)).square().sum()
            for memory_XD, network_XD in pairs.values()
        ]
        return torch.stack(shares).mean()

    before = explained_variance(model, networks, probe)
    train(model, parameters, stream, settings, "distillation", loss, resume)
    return {"before": before, "after": explained_variance(model, networks, probe)}


@torch.no_grad()
def explained_variance(
    model: MemoryForCausalLM, networks: Mapping[int, nn.Module], probe: Sequence[Batch]
) -> dict[str, float]:
    """The share of the variance of each network's output over a probe that its memory reproduces, by block.

    1 - sum |network - memory|² / sum |network - mean of network|², over all real tokens; below 0 for a memory that is
    further from the network than its mean.
    """
    model.eval()
    errors: dict[int, float] = {}
    squares: dict[int, float] = {}
    sums_D: dict[int, Tensor] = {}
    num_tokens = 0
    for batch in probe:
        pairs = _outputs(model, networks, batch.to(model.device))
        for block, (memory_XD, network_XD) in pairs.items():
            errors[block] = errors.get(block, 0.0) + float((memory_XD - network_XD).square().sum())
            squares[block] = squares.get(block, 0.0) + float(network_XD.square().sum())
            sums_D[block] = sums_D.get(block, 0.0) + network_XD.sum(0).cpu().double()
        num_tokens += int(batch.attention_mask_BT.sum())
    return {
        str(block): 1 - errors[block] / (squares[block] - float(sums_D[block].square().sum()) / num_tokens)
        for block in errors
    }


def _outputs(
    model: MemoryForCausalLM, networks: Mapping[int, nn.Module], batch: Batch
) -> dict[int, tuple[Tensor, Tensor]]:
    """The outputs of memory and network for the base's hidden states, by block; (X, D) each, in float32 at least."""
    with torch.no_grad(), acting_as_base(model, networks) as seen:
        model.read_memories(batch.input_ids_BT, batch.attention_mask_BT)
    is_token_BT = batch.attention_mask_BT.bool()
    outputs = {}
    for block, layer in model.memory_layers().items():
        hidden_XD, network_XD = (states_BTD[is_token_BT] for states_BTD in seen[block])
        precision = torch.promote_types(network_XD.dtype, torch.float32)
        outputs[block] = layer(hidden_XD.unsqueeze(0)).squeeze(0).to(precision), network_XD.to(precision)
    return outputs
