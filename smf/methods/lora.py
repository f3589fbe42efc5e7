"""LoRA (Hu et al., 2021) through peft: low-rank updates next to the linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from smf.methods.adapter import AdapterMethod, low_rank_footprint
from smf.methods.dense import DenseSettings
from smf.methods.kind_settings import GivenSettings, TargetModules
from smf.methods.method import Footprint
from smf.settings.section import Count, Number, PositiveNumber

if TYPE_CHECKING:
    import peft

    from smf.files.model_shape import BaseShape, MemoryShape


class LoRASettings(DenseSettings):
    """Settings of LoRA."""

    rank: Count = 16
    """Rank r of the adapters."""
    alpha: PositiveNumber = 32
    """Updates scale by alpha / r."""
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Share of the adapters' inputs that a training pass drops; nothing else has dropout."""
    target_modules: TargetModules = "all-linear"
    """Linear maps that get an adapter: all of the blocks, or a list of module names."""


class LoRA(AdapterMethod):
    """Trains low-rank adapters on all linear layers of the blocks; everything else is frozen."""

    settings_class = LoRASettings
    settings: LoRASettings
    purpose = "lora"

    @classmethod
    def adapter_config(cls, settings: GivenSettings) -> peft.LoraConfig:
        """Low-rank updates, of which one factor starts at zero."""
        import peft

        read = cls.settings_class.read(settings)
        return peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=read.rank,
            lora_alpha=read.alpha,
            lora_dropout=read.dropout,
            target_modules=read.target_modules,
        )

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Two matrices for each adapted linear layer; unknown module names are ignored."""
        read = cls.settings_class.read(settings)
        return low_rank_footprint(base, read, read.rank, read.target_modules)
