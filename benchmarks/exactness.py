"""Whether slots outside the selection keep their bits, for every optimizer, with decay, accumulation and resume."""

import torch

from benchmarks.layers import NUM_DOCUMENTS, SelectedRowStep, Sizes, StepInputs
from smf.memory.row_optimizers import RowAdagrad, RowAdamW, RowMomentum, RowSGD

OPTIMIZERS = {
    "SGD": lambda table: RowSGD(table, learning_rate=0.1, weight_decay=0.1),
    "momentum": lambda table: RowMomentum(table, momentum=0.9, learning_rate=0.1, weight_decay=0.1),
    "AdamW": lambda table: RowAdamW(table, learning_rate=0.1, weight_decay=0.1),
    "Adagrad": lambda table: RowAdagrad(table, learning_rate=0.1, weight_decay=0.1),
}


def changed_outside(optimizer: str, sizes: Sizes, steps: int) -> int:
    """Slots that changed without having been selected, over steps of two micro-batches each; resumed half-way."""
    torch.manual_seed(0)
    step = SelectedRowStep(sizes, OPTIMIZERS[optimizer])
    changed = 0
    for number in range(steps):
        before_SV = step.table_SV.clone()
        parts = [StepInputs.draw(sizes, 2 * number + part) for part in (0, 1)]
        outs = [step.forward(part.hidden_TD) for part in parts]
        chosen_R = step.select(parts[0].document_frequency_S, NUM_DOCUMENTS)
        for out_TD, part in zip(outs, parts, strict=True):
            out_TD.backward(part.upstream_TD)
        step.optimizer.step(chosen_R, step.layer.row_gradient.gradient_RV)
        differs_S = (before_SV.view(torch.int32) != step.table_SV.view(torch.int32)).any(1)
        assert differs_S[chosen_R].any()
        differs_S[chosen_R] = False
        changed += int(differs_S.sum())
        if number == steps // 2:
            state = step.optimizer.state_dict()
            step.optimizer = OPTIMIZERS[optimizer](step.table_SV)
            step.optimizer.load_state_dict(state)
    return changed
