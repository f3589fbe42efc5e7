"""Cells of the layer comparison: time by phase, peak memory, slots that changed although they were not selected."""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F

from benchmarks.layers import NUM_DOCUMENTS, STEPS, Sizes, StepInputs, whole_step
from benchmarks.measuring import paired_times, peak_memory, reset_peak_memory
from smf.memory.bags import weighted_sums
from smf.memory.product_keys import best_half_scores, top_slots_by_key
from smf.memory.row_sparse import row_gradient


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
    step.select(inputs.document_frequency_S, NUM_DOCUMENTS)
    moments.append(time.process_time())
    step.backward(out_TD, inputs.upstream_TD)
    moments.append(time.process_time())
    names = ("forward", "select", "backward and update")
    return {name: after - before for name, (before, after) in zip(names, pairwise(moments), strict=True)}


def unavoidable(step, inputs: StepInputs) -> Callable[[], None]:
    """What a step of ours cannot do without: the two half-key products, the best of each half, and the read.

    The queries, and where the read goes, are made beforehand.
    """
    step.forward(inputs.hidden_TD)
    layer, read = step.layer, step.reads[0]
    slots_TL, weights_TL = read.slot_indices_BTHK[0].flatten(1), read.weights_BTHK[0].flatten(1)
    with torch.no_grad():
        queries_TH2C = layer.query(inputs.hidden_TD).view(len(inputs.hidden_TD), layer.num_heads, 2, -1)

    def run() -> None:
        with torch.no_grad():
            best_half_scores(queries_TH2C.permute(1, 2, 0, 3) @ layer.keys_H2NC.transpose(-1, -2), layer.top_k)
            weighted_sums(layer.values_SV, slots_TL, weights_TL)

    return run


def parts(step, inputs: StepInputs, repeats: int) -> dict[str, float]:
    """Median CPU seconds of each part of a step of ours, measured alone."""
    layer, hidden_TD = step.layer, inputs.hidden_TD
    out_TD = step.forward(hidden_TD)
    read = step.reads[0]
    slots_TL, weights_TL = read.slot_indices_BTHK[0].flatten(1), read.weights_BTHK[0].flatten(1)
    chosen_R = step.select(inputs.document_frequency_S, NUM_DOCUMENTS)
    gradient_RV = row_gradient(chosen_R, slots_TL, weights_TL, inputs.upstream_TD)
    with torch.no_grad():
        queries_TH2C = layer.query(hidden_TD).view(len(hidden_TD), layer.num_heads, 2, -1)
        scores_H2TN = queries_TH2C.permute(1, 2, 0, 3) @ layer.keys_H2NC.transpose(-1, -2)
        times = paired_times(
            {
                "query map": lambda: layer.query(hidden_TD),
                "half-key products": lambda: queries_TH2C.permute(1, 2, 0, 3) @ layer.keys_H2NC.transpose(-1, -2),
                "best of each half": lambda: best_half_scores(scores_H2TN, layer.top_k),
                "whole search, the two above included": lambda: top_slots_by_key(
                    queries_TH2C, layer.keys_H2NC, layer.top_k
                ),
                "read": lambda: weighted_sums(layer.values_SV, slots_TL, weights_TL),
                "gate and output map": lambda: layer.output(F.silu(layer.gate(hidden_TD)) * out_TD),
                "count and select": lambda: step.select(inputs.document_frequency_S, NUM_DOCUMENTS),
                "output map backward": lambda: inputs.upstream_TD @ layer.output.weight,
                "row gradient": lambda: row_gradient(chosen_R, slots_TL, weights_TL, inputs.upstream_TD),
                "update": lambda: step.optimizer.step(chosen_R, gradient_RV),
                "whole step": lambda: whole_step_with_gradient(step, inputs),
            },
            repeats,
        )
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def whole_step_with_gradient(step, inputs: StepInputs) -> None:
    """A whole step, also where gradients are switched off around it."""
    with torch.enable_grad():
        whole_step(step, inputs)


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
