"""Cells of the layer comparison: time by phase, peak memory, slots that changed although they were not selected."""

import time
from itertools import pairwise

import torch

from benchmarks.layers import STEPS, Sizes, StepInputs, whole_step
from benchmarks.measuring import peak_memory, reset_peak_memory
from smf.memory.bags import weighted_sums
from smf.memory.product_keys import best_half_scores


def main(implementation: str, steps: int, **sizes: int) -> dict:
    """Peak bytes of a few steps above what the interpreter takes, in this process (measuring.in_own_process)."""
    torch.set_num_threads(1)
    size = Sizes(**sizes)
    before = reset_peak_memory()
    step = STEPS[implementation](size)
    for seed in range(steps):
        whole_step(step, StepInputs.draw(size, seed))
    return {"peak_bytes": peak_memory() - before}


def phases(step, inputs: StepInputs) -> dict[str, float]:
    """CPU seconds of one step: forward, selection, backward with update."""
    moments = [time.process_time()]
    out_TD = step.forward(inputs.hidden_TD)
    moments.append(time.process_time())
    step.select(inputs.document_frequency_S, 100)
    moments.append(time.process_time())
    step.backward(out_TD, inputs.upstream_TD)
    moments.append(time.process_time())
    names = ("forward", "select", "backward and update")
    return {name: after - before for name, (before, after) in zip(names, pairwise(moments), strict=True)}


def unavoidable(step, inputs: StepInputs) -> None:
    """What a step of ours cannot do without: the two half-key products, the best of each half, and the read."""
    layer = step.layer
    with torch.no_grad():
        queries_TH2C = layer.query(inputs.hidden_TD).view(len(inputs.hidden_TD), layer.num_heads, 2, -1)
        scores_TH2N = torch.einsum("thpc,hpnc->thpn", queries_TH2C, layer.keys_H2NC)
        best_half_scores(scores_TH2N, layer.top_k)
        read = step.reads[0]  # of the forward pass before
        weighted_sums(layer.values_SV, read.slot_indices_BTHK[0].flatten(1), read.weights_BTHK[0].flatten(1))


def changed_outside(implementation: str, sizes: Sizes, steps: int) -> int:
    """Slots that one of ``steps`` steps changed without having selected them, by bits; summed over the steps."""
    torch.manual_seed(0)
    step = STEPS[implementation](sizes)
    changed = 0
    for seed in range(steps):
        before_SV = step.table_SV.detach().clone()
        chosen_R = whole_step(step, StepInputs.draw(sizes, seed))
        differs_S = (before_SV.view(torch.int32) != step.table_SV.detach().view(torch.int32)).any(1)
        differs_S[chosen_R] = False
        changed += int(differs_S.sum())
    return changed
