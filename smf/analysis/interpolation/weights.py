"""Weights between a start model and what was learned: (1 - share) · start + share · learned (Wortsman et al., 2022).

- Where a delta overwrites parameters, or slots of a memory, these are mixed.
- LoRA adds a product to a weight. The product is scaled, which gives the same weight without rounding it. Weights that
  an initialization took the product's first value from (PiSSA, CorDA, LoRA-GA) are mixed.
- Any other adapter, DoRA and OSF too, is merged into the weights that it changes, and these are mixed. Refused is one
  that peft cannot merge, or whose merged weights do not answer as the adapter does.

Weights are mixed in float32 at least and stored in their own dtype.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import PreTrainedModel

from smf.errors import ConfigError, refuse
from smf.methods.deltas import Holder

_LOST = 0.05
"""Share of an adapter's effect on logits that merging may lose; rounding in float32 loses 1e-5."""
_ROUNDING = 1e-5
"""What rounding changes in the last place, as a share of the logits: an adapter may have learned nothing."""


class Interpolation:
    """Puts a holder into any state between its start model and a delta.

    Args:
        holder: A holder into which no delta was loaded yet. The start's weights are copied, to the CPU.
    """

    def __init__(self, holder: Holder):
        self._holder, self._model = holder, holder.model
        self._start = {name: _copy(tensor) for name, tensor in _weights(self._model).items()}
        self._layers = [layer for layer in self._model.modules() if isinstance(layer, BaseTunerLayer)]
        self._of_adapters = {name for layer in self._layers for name in layer.adapter_layer_names}
        self._logits = _logits(self._model) if self._layers else torch.empty(0)

    @contextmanager
    def between(self, delta: Mapping[str, Tensor], share: float) -> Iterator[PreTrainedModel]:
        """Hold the interpolated weights inside the ``with`` block; afterwards the holder holds the delta.

        Args:
            delta: What was learned, as the holder loads it.
            share: 0 for the start model and 1 for the delta, both bit for bit.

        Raises:
            ConfigError: The share is not in [0, 1], or the adapter cannot be merged into weights.
            CheckpointError: The delta does not fit the model.
        """
        if not 0 <= share <= 1:
            refuse("share", share, "between 0 (the start model) and 1 (all that was learned)")
        self._holder.load(delta)
        if share == 1:
            yield self._model
            return
        weights = _weights(self._model).items()
        learned = {name: _copy(tensor) for name, tensor in weights if self._differs(name, tensor)}
        scalings = [dict(layer.scaling) for layer in self._layers] if self._scales else []
        try:
            if self._scales:
                for layer, scaling in zip(self._layers, scalings, strict=True):
                    layer.scaling = {name: share * factor for name, factor in scaling.items()}
            else:
                self._merge()
            self._mix(share)
            yield self._model
        finally:
            for layer, scaling in zip(self._layers, scalings, strict=False):
                layer.scaling = scaling
            self._restore(learned)

    @property
    def _scales(self) -> bool:
        """Whether every adapter is a LoRA whose product is added to a weight as it is; in DoRA, say, it is not."""
        return bool(self._layers) and all(
            isinstance(layer, LoraLayer) and not layer.lora_variant for layer in self._layers
        )

    def _differs(self, name: str, tensor: Tensor) -> bool:
        """Whether a weight of the start model has another value now."""
        return name in self._start and not torch.equal(tensor.cpu(), self._start[name])

    def _merge(self) -> None:
        """Merge the adapters into the weights, if there are any."""
        if not self._layers:
            return
        own = _logits(self._model)
        try:
            cast("Any", self._model).merge_adapter()
        except (NotImplementedError, ValueError) as error:
            raise ConfigError(f"{self._adapter} cannot be merged into weights ({error}), so {_REMEDY}") from error
        lost, effect = (_logits(self._model) - own).norm(), (own - self._logits).norm()
        if not lost <= _LOST * effect + _ROUNDING * own.norm():
            raise ConfigError(
                f"{self._adapter}, merged into weights in {self._model.dtype}, changes logits by "
                f"{lost / effect:.2g} of what it has learned, so {_REMEDY}; in float32 it may be exact (base.dtype)"
            )

    @property
    def _adapter(self) -> str:
        kinds = sorted({config.peft_type.value for config in self._model.peft_config.values()})
        return f"an adapter of type {', '.join(kinds)}"

    @torch.no_grad()
    def _mix(self, share: float) -> None:
        for name, tensor in _weights(self._model).items():
            if self._of_adapters.isdisjoint(name.split(".")) and self._differs(name, tensor):
                precise = torch.promote_types(tensor.dtype, torch.float32)
                start, learned = (each.to(tensor.device, precise) for each in (self._start[name], tensor))
                tensor.copy_(start if share == 0 else (1 - share) * start + share * learned)

    @torch.no_grad()
    def _restore(self, learned: Mapping[str, Tensor]) -> None:
        """Take merged adapters out again, and give all weights the bits that loading the delta gave them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it is inexact, or that OSF cannot: see below
            for layer in self._layers:
                if layer.merged:
                    layer.unmerge()
                    layer.merged_adapters.clear()
        for name, tensor in _weights(self._model).items():
            if name in learned or self._differs(name, tensor):
                tensor.copy_(learned.get(name, self._start[name]))


_REMEDY = "there is nothing between it and the start model: leave the method out of interpolation.methods"


def _weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """All parameters and buffers by name, a tied one once."""
    return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", copy=True)


@torch.no_grad()
def _logits(model: PreTrainedModel) -> Tensor:
    """Logits of a fixed sequence of token ids, in float32."""
    ids_BT = torch.arange(min(32, model.config.vocab_size), device=model.device).unsqueeze(0)
    return model(input_ids=ids_BT).logits.float()
