"""Dense training of the memory layers: sparse memory finetuning without its sparsity.

The memory layers are those of Berges et al. (2024); Lin et al. (2025) train only selected slots of them. Here all of
their parameters train, so that a comparison separates the effect of the slot selection from that of the memory layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from smf.methods.deltas import Load, overwrite
from smf.methods.dense import DenseMethod
from smf.methods.kind_settings import GivenSettings
from smf.methods.method import Footprint, Start
from smf.methods.optimizers import optimizer_values

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape


class DenseMemory(DenseMethod):
    """Trains values, keys, queries, gates and output projections of all memory layers (Berges et al., 2024).

    The base model is frozen.
    """

    starts_from: ClassVar[Start] = "healed"

    def begin(self) -> None:
        """Freeze everything but the memory layers."""
        from smf.models.memory_model import require_memory

        self.model.requires_grad_(False)
        for layer in require_memory(self.model).memory_layers().values():
            layer.requires_grad_(True)
        super().begin()

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """All parameters of the memory layers, with the state of the optimizer."""
        settings = cls.settings_class.read(settings)
        number = memory.num_values + memory.num_others
        widths = memory.num_heads * memory.key_dim + 2 * memory.value_dim  # of queries, gate and output
        matrices = len(memory.layers) * memory.hidden_size * widths
        return Footprint(
            number,
            optimizer_values(settings, matrices, number - matrices),
            number,
            first_block=min(memory.layers) + 1,
            memory_weights=True,
        )

    def delta(self) -> dict[str, Tensor]:
        """The parameters of the memory layers."""
        return {name: parameter.detach().clone() for name, parameter in _of_memory(self.model).items()}

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Overwrites the memory layers."""
        parameters = _of_memory(model)
        return lambda delta: overwrite(parameters, delta, "other memory layers than the model; learn the stream again")


def _of_memory(model: PreTrainedModel) -> dict[str, Tensor]:
    """The parameters of the memory layers, by their names in the model."""
    from smf.models.memory_model import require_memory

    layers = require_memory(model).memory_layers().values()
    own = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in own}
