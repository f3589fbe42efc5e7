"""The value vectors of a base model's feed-forward networks.

The hidden units of such a network work as a memory of keys and values (Geva et al., 2021): a unit's activation says how
far the token matches its key, and the network's last linear map adds as much of its value to the residual stream. The
value of unit i is column i of that map.

Shapes: U unit, D model, R some of the units.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from smf.errors import CheckpointError
from smf.models.memory_model import decoder_blocks

_NAMES = ("down_proj", "fc2", "dense_4h_to_h", "c_proj")
"""What transformers calls the last map: in Llama and most others, in Phi, in GPT-NeoX, in StarCoder 2."""


def value_tables(model: PreTrainedModel) -> dict[int, Tensor]:
    """The value vectors of each block, by block: views (U, D) of the weights.

    Raises:
        CheckpointError: A network has no such map where smf looks.
    """
    return {block: weight.detach().T for block, weight in _weights(model).items()}


def value_maps(model: PreTrainedModel) -> dict[int, nn.Linear]:
    """The last linear map of each block's feed-forward network, by block.

    Raises:
        CheckpointError: A network has no such map where smf looks.
    """
    return {block: _value_map(block, decoder.mlp) for block, decoder in enumerate(decoder_blocks(model))}


class TrainedValues:
    """The value vectors that may train, and their gradients. Freezes everything else.

    Args:
        model: The model.
        blocks: Blocks whose vectors may train.

    Attributes:
        tables: The vectors (U, D) that an optimizer steps, by block: views of the weights, or float32 copies of weights
            of lower precision.
    """

    def __init__(self, model: PreTrainedModel, blocks: Collection[int]):
        model.requires_grad_(False)
        self._weights = {block: weight for block, weight in _weights(model).items() if block in blocks}
        self.tables: dict[int, Tensor] = {}
        for block, weight in self._weights.items():
            weight.requires_grad_()
            self.tables[block] = weight.detach().T.to(torch.promote_types(weight.dtype, torch.float32))

    def squared_gradients(self) -> dict[int, Tensor]:
        """The squared norm of each vector's gradient (U), by block; leaves the gradients in place."""
        return {block: gradient_UD.square().sum(1) for block, gradient_UD in self._gradients().items()}

    def take_gradients(self) -> dict[int, Tensor]:
        """The gradients (U, D), by block, in the dtype of the tables; takes them off the weights."""
        gradients = self._gradients()
        for weight in self._weights.values():
            weight.grad = None
        return gradients

    def write(self, block: int, units_R: Tensor) -> None:
        """Write rows of a table to its weight, unless they are the same memory."""
        if block in self.copies():
            weight = self._weights[block].data
            weight.T[units_R] = self.tables[block][units_R].to(weight.dtype)

    def read(self) -> None:
        """Set float32 copies to their weights."""
        for block, table_UD in self.copies().items():
            table_UD.copy_(self._weights[block].data.T)

    def copies(self) -> Mapping[int, Tensor]:
        """The tables that are float32 copies."""
        return {block: table for block, table in self.tables.items() if table.dtype != self._weights[block].dtype}

    def _gradients(self) -> dict[int, Tensor]:
        found = {}
        for block, weight in self._weights.items():
            table_UD = self.tables[block]
            found[block] = torch.zeros_like(table_UD) if weight.grad is None else weight.grad.T.to(table_UD.dtype)
        return found


def _weights(model: PreTrainedModel) -> dict[int, Tensor]:
    return {block: value_map.weight for block, value_map in value_maps(model).items()}


def _value_map(block: int, network: nn.Module) -> nn.Linear:
    for name in _NAMES:
        found = getattr(network, name, None)
        if isinstance(found, nn.Linear):
            return found
    raise CheckpointError(
        f"the {type(network).__name__} of block {block} has no linear map {' or '.join(_NAMES)}, whose columns would "
        "be its value vectors; use a model of the Qwen2, Qwen3, Llama or Gemma families"
    )
