"""What was learned, put onto a start model: what evaluation needs of a method, without what learning takes."""

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
"""Puts the model into the state that a delta describes; whatever delta came before leaves nothing behind."""


@dataclass(frozen=True)
class Holder:
    """A start model that holds the deltas of a run, one at a time.

    Attributes:
        model: The model, with the parameters that the method adds to it.
        load: Puts a delta on it. Raises CheckpointError where the delta does not fit.
    """

    model: PreTrainedModel
    load: Load


def overwrite(tensors: Mapping[str, Tensor], delta: Mapping[str, Tensor], others: str) -> None:
    """Put a delta's values into tensors of the same names.

    Args:
        tensors: Of the model.
        delta: What they shall hold.
        others: What the delta holds if names or shapes differ, and the remedy.

    Raises:
        CheckpointError: Names or shapes differ; nothing was changed.
    """
    if shapes(delta) != shapes(tensors):
        raise CheckpointError(f"the delta holds {others}")
    for name, tensor in tensors.items():
        tensor.data.copy_(delta[name])


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of each tensor: what a delta and the model that it is for have in common."""
    return {name: tensor.shape for name, tensor in tensors.items()}
