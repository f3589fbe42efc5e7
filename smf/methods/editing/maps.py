"""The weights that knowledge editors change: the last map of the feed-forward networks of some blocks.

Editors add to these weights; nothing trains by gradient. Weights of lower precision than float32 change through a
float32 copy, because an edit is spread over all entries of a map, and many small ones would be rounded away.

Shapes: B sequence, T token, U hidden unit (the map's input, the *key*), D model (its output).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from smf.errors import CheckpointError
from smf.methods.deltas import Load, shapes
from smf.methods.loss import language_model_loss
from smf.models.context_cache import context_cache
from smf.models.value_vectors import value_maps

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from smf.streams.batches import Batch


class EditedMaps:
    """The maps of some blocks. Freezes the whole model.

    Args:
        model: The model.
        blocks: Blocks whose maps may change.

    Attributes:
        maps: The maps, by block, lowest first.
    """

    def __init__(self, model: PreTrainedModel, blocks: Collection[int]):
        model.requires_grad_(False)
        self.maps = {block: value_map for block, value_map in value_maps(model).items() if block in blocks}
        self._copies: dict[int, Tensor] = {}
        self.read()

    @torch.no_grad()
    def add(self, block: int, shift_DU: Tensor) -> None:
        """Add to the weight of a block."""
        weight = self.maps[block].weight
        if block not in self._copies:
            weight.add_(shift_DU.to(weight.dtype))
            return
        self._copies[block] += shift_DU.to(self._copies[block].dtype)
        weight.copy_(self._copies[block])

    def read(self) -> None:
        """Set the float32 copies to their weights."""
        for block, value_map in self.maps.items():
            weight = value_map.weight.detach()
            precise = torch.promote_types(weight.dtype, torch.float32)
            if weight.dtype != precise:
                self._copies[block] = weight.to(precise)

    def state_dict(self) -> dict[str, Tensor]:
        """The float32 copies."""
        return {f"copy.{block}": copy.clone() for block, copy in self._copies.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the float32 copies."""
        for block, copy in self._copies.items():
            copy.copy_(state[f"copy.{block}"])

    def delta(self) -> dict[str, Tensor]:
        """The whole weights (D, U) of these blocks."""
        return {_name(block): value_map.weight.detach().clone() for block, value_map in self.maps.items()}


@contextmanager
def recorded_keys(maps: Mapping[int, nn.Linear]) -> Iterator[dict[int, Tensor]]:
    """Inside the ``with`` block, keep the input (B, T, U) of each map's last call, by block."""
    keys: dict[int, Tensor] = {}

    def keep(block: int, value_map: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        return value_map.register_forward_pre_hook(lambda _, inputs: keys.update({block: inputs[0].detach()}))

    hooks = [keep(block, value_map) for block, value_map in maps.items()]
    try:
        yield keys
    finally:
        for hook in hooks:
            hook.remove()


def keys_and_gradients(
    model: PreTrainedModel, maps: Mapping[int, nn.Linear], batch: Batch
) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    """What an edit by gradients is made of, at the tokens X that predict a label.

    Args:
        model: The model; nothing of it requires gradient.
        maps: The maps, by block.
        batch: The sequences.

    Returns:
        The negative log-likelihood, summed over labels; and by block the keys (X, U) and the gradient of that sum for
        the map's outputs (X, D), in float32 or more.
    """
    outputs: dict[int, Tensor] = {}

    def keep(block: int, output: Tensor) -> Tensor:
        outputs[block] = output if output.requires_grad else output.requires_grad_()
        return outputs[block]

    context = None
    if batch.context_ids_C is not None:
        with torch.no_grad():
            context = context_cache(model, batch.context_ids_C)
    hooks = [
        value_map.register_forward_hook(lambda _, __, output, block=block: keep(block, output))
        for block, value_map in maps.items()
    ]
    try:
        with recorded_keys(maps) as keys:
            loss = language_model_loss(model, batch, context) * batch.num_labels
        gradients = torch.autograd.grad(loss, [outputs[block] for block in maps])  # may run blocks again, with hooks
    finally:
        for hook in hooks:
            hook.remove()
    rows_X, positions_X = batch.predictions_X2.unbind(1)
    precise = torch.promote_types(loss.dtype, torch.float32)
    found = {
        block: (keys[block][rows_X, positions_X].to(precise), gradient_BTD[rows_X, positions_X].to(precise))
        for block, gradient_BTD in zip(maps, gradients, strict=True)
    }
    return loss.detach(), found


def loader_of_maps(model: PreTrainedModel) -> Load:
    """Writes a delta's weights, after restoring those that an earlier delta overwrote.

    It knows all blocks, so that loading needs no settings.
    """
    weights = {_name(block): value_map.weight.data for block, value_map in value_maps(model).items()}
    start: dict[str, Tensor] = {}

    def load(delta: Mapping[str, Tensor]) -> None:
        fitting = {name: weights[name] for name in delta if name in weights}
        if not delta or shapes(delta) != shapes(fitting):
            raise CheckpointError(
                f"the delta holds {', '.join(sorted(delta)[:3]) or 'nothing'}, not last maps of this model's "
                "feed-forward networks; learn the stream again"
            )
        for name, tensor in start.items():
            weights[name].copy_(tensor)
        for name, tensor in delta.items():
            start.setdefault(name, weights[name].clone())
            weights[name].copy_(tensor)

    return load


def _name(block: int) -> str:
    return f"{block}.map"
