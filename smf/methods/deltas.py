"""Load what was learned onto a start model: the part of a method that evaluation needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smf.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

Load = Callable[[Mapping[str, "Tensor"]], None]
"""Puts the model into the state that a delta describes; nothing remains of a delta loaded before."""


@dataclass(frozen=True)
class Holder:
    """A start model that holds the deltas of a run, one at a time.

    Attributes:
        model: The model, with the parameters that the method adds to it.
        load: Loads a delta. Raises CheckpointError if the delta does not fit.
    """

    model: PreTrainedModel
    load: Load


def overwrite(tensors: Mapping[str, Tensor], delta: Mapping[str, Tensor], others: str) -> None:
    """Copy a delta's values into the tensors of the same names.

    Args:
        tensors: The model's tensors.
        delta: Their new values.
        others: What the delta holds if names or shapes differ, and the remedy.

    Raises:
        CheckpointError: Names or shapes differ; nothing was changed.
    """
    if shapes(delta) != shapes(tensors):
        raise CheckpointError(f"the delta holds {others}")
    for name, tensor in tensors.items():
        tensor.data.copy_(delta[name])


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of each tensor: it must be the same in a delta and in the model that the delta is for."""
    return {name: tensor.shape for name, tensor in tensors.items()}
