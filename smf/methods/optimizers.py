"""The torch optimizers of methods that train ordinary parameters, and how much state they keep.

Muon (Jordan et al., 2024) orthogonalizes the momentum of a matrix before it steps: all directions of the matrix move
alike. It is made for the matrices of hidden layers. Biases, norms and all tables of which a token reads rows, such as
embeddings, the output map and the values of a memory, are stepped by AdamW, as its authors advise. Both take the same
``learning_rate``: Muon's step on an A x B matrix is scaled by 0.2 sqrt(max(A, B)), which gives it the usual root mean
square of AdamW's steps (Liu et al., 2025, equation 4), so that AdamW's rates carry over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smf.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.methods.dense import DenseSettings


def make_optimizers(
    model: PreTrainedModel, trained: Sequence[Tensor], stepped: Sequence[Tensor], settings: DenseSettings
) -> list[torch.optim.Optimizer]:
    """The optimizers that the settings name: one, or with Muon a second one for what is not a matrix.

    Args:
        model: The model, which tells matrices from tables.
        trained: Its parameters that train.
        stepped: What is stepped in place of each: the parameter itself, or a copy of it.
        settings: The optimizer and its settings.

    Raises:
        ConfigError: Muon has no matrix to step.
    """
    import torch

    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return [torch.optim.SGD(stepped, lr=rate, weight_decay=decay, momentum=settings.momentum)]
    if settings.optimizer == "adamw":
        return [torch.optim.AdamW(stepped, lr=rate, weight_decay=decay, fused=True)]
    tables = _tables(model)
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for parameter, tensor in zip(trained, stepped, strict=True):
        (matrices if parameter.ndim == 2 and id(parameter) not in tables else others).append(tensor)
    if not matrices:
        raise ConfigError("optimizer muon steps matrices, but no parameter that trains here is one; use adamw")
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return [muon, *([torch.optim.AdamW(others, lr=rate, weight_decay=decay, fused=True)] if others else [])]


def optimizer_values(settings: DenseSettings, matrices: int, others: int = 0) -> int:
    """Values that the optimizers keep.

    Args:
        settings: The optimizer and its settings.
        matrices: Parameter values in matrices.
        others: All others that train.
    """
    if settings.optimizer == "muon":
        return matrices + 2 * others
    return (2 if settings.optimizer == "adamw" else int(settings.momentum > 0)) * (matrices + others)


def _tables(model: PreTrainedModel) -> set[int]:
    """Ids of the parameters of which a token reads or predicts rows."""
    from torch import nn

    from smf.memory.layer import MemoryLayer

    found = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    found |= {id(module.values_SV) for module in model.modules() if isinstance(module, MemoryLayer)}
    return found | {id(model.get_output_embeddings().weight)}
