"""Orthogonal subspace finetuning (Nayak et al., 2025) through peft: top singular directions stay, the rest trains.

Each linear layer's weight is split by its singular values, W = U_high S_high V_high + U_low S_low V_low. The high part
is frozen; the low factors train, and peft removes from their gradients the components along the high part's singular
directions.

With SGD, also with momentum, weight decay and clipping, this guarantees that U_low and V_low stay orthogonal to the
high directions, so that the layer's effect on these does not change. The limits of that guarantee:

- Gradients are projected, steps are not. AdamW scales each entry of a gradient separately, which turns the step out of
  the subspace; peft does not project it back.
- Weight decay pulls the low part to zero, not to where it started: that part of the base model fades.
- S_low may grow beyond S_high: the split is made at the start and never again.
- The high directions are those of the weights' singular values; nothing ensures that old knowledge lies there.

Factors are computed and kept in float32, whatever the dtype of the base. From a bfloat16 weight peft 0.21 would make
bfloat16 factors, orthogonal to only two or three digits, and cast the trained ones to float32 as new parameters, which
lack the hooks that project gradients: nothing would be kept.

The adapter adds U_low S_low V_low minus its initial value, so the model starts at the base, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from smf.errors import ConfigError
from smf.methods.deltas import Load, overwrite
from smf.methods.dense import DenseMethod, DenseSettings
from smf.methods.kind_settings import GivenSettings, TargetModules
from smf.methods.method import Footprint
from smf.methods.optimizers import optimizer_values
from smf.settings.section import Count, Number, one_of_several

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape

    EffectiveRank = float
else:
    EffectiveRank = one_of_several(
        Count | Annotated[Number, Field(gt=0, lt=1)],
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            ]
        },
    )


class OSFSettings(DenseSettings):
    """Settings of orthogonal subspace finetuning."""

    effective_rank: EffectiveRank = 0.5
    """Singular directions of each map that stay frozen: a number below 1 is a share of its smaller dimension, an
    integer a count. The others train."""
    target_modules: TargetModules = "all-linear"
    """Linear maps that are split: all of the blocks, or a list of module names."""


class OrthogonalSubspaceFinetuning(DenseMethod):
    """Trains the smallest singular values of linear layers, with their directions (OSF; Nayak et al., 2025)."""

    settings_class = OSFSettings
    settings: OSFSettings

    def begin(self) -> None:
        """Split each linear layer.

        Raises:
            ConfigError: Nothing of a layer would train.
        """
        self.model = self.extended(self.model, self.settings, self.seed)
        super().begin()
        for name, factor in self.model.named_parameters():
            if factor.requires_grad and not factor.numel():
                raise ConfigError(
                    f"effective_rank is {self.settings.effective_rank}, which keeps all directions of "
                    f"{name.split('.osf_')[0]}, so that nothing of it would train; lower effective_rank, give a "
                    "share, or name other target_modules"
                )

    @classmethod
    def extended(cls, model: PreTrainedModel, settings: GivenSettings, seed: int) -> PreTrainedModel:
        """The model with each linear layer split by its singular values."""
        import peft

        settings = cls.settings_class.read(settings)
        rank, targets = settings.effective_rank, settings.target_modules
        given = rank if rank < 1 else int(rank)  # peft takes 1.0 as a share, and 1 as a count
        config = peft.OSFConfig(task_type="CAUSAL_LM", effective_rank=given, target_modules=targets)
        try:
            with _in_float32(model):
                return peft.get_peft_model(model, config)
        except ValueError as error:
            raise ConfigError(
                f"peft refuses effective_rank {rank} with target_modules {targets} ({error}); a share must keep one "
                "direction of each map at least, and modules must be there"
            ) from error

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Trained factors, their initial values, and the kept directions; unknown module names are ignored."""
        settings = cls.settings_class.read(settings)
        rank, targets = settings.effective_rank, settings.target_modules
        trained = values = kept = products = width = 0
        for name, sides in base.linear_maps.items():
            if targets == "all-linear" or name in targets:
                high = min(int(min(sides) * rank) if rank < 1 else int(rank), min(sides))
                low = min(sides) - high
                trained += low * (sum(sides) + 1)
                values += low
                # peft stores the kept directions of the larger side, which the trained factors' initial values do not
                # determine.
                kept += max(sides) * high if sides[0] != sides[1] else 0
                products += 2 * low * sum(sides)
                width += 2 * low
        number = base.num_layers * trained
        return Footprint(
            number,
            optimizer_values(settings, number - base.num_layers * values, base.num_layers * values),
            2 * number,
            added=2 * number + base.num_layers * kept,
            kept_inputs="adapters",
            adapter_maps=products,
            adapter_width=width,
        )

    def delta(self) -> dict[str, Tensor]:
        """The trained factors and their initial values."""
        return {name: tensor.detach().clone() for name, tensor in _factors(self.model).items()}

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Overwrites both."""
        factors = _factors(model)
        return lambda delta: overwrite(
            factors, delta, "other factors than the settings describe; learn the stream again"
        )


def _factors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The trained factors and their initial values.

    The initial values are included because another process would decompose the base again, and another library or
    number of threads finds singular vectors that differ in their last bits, or in sign.
    """
    trained = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    start = {name: tensor for name, tensor in model.named_buffers() if "_low_init" in name}
    return {**trained, **start}


@contextmanager
def _in_float32(model: PreTrainedModel) -> Iterator[None]:
    """Cast weights of lower precision to float32 inside the ``with`` block; restore the original tensors afterwards."""
    import torch

    lower = [
        (weight, weight.data)
        for weight in model.parameters()
        if weight.dtype != torch.promote_types(weight.dtype, torch.float32)
    ]
    try:
        for weight, tensor in lower:
            weight.data = tensor.float()
        yield
    finally:
        for weight, tensor in lower:
            weight.data = tensor
