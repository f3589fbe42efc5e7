"""LoRA (Hu et al., 2021) through peft: low-rank updates next to the linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from smf.errors import CheckpointError
from smf.methods.deltas import Load, shapes
from smf.methods.dense import DenseMethod, DenseSettings, num_moments
from smf.methods.kind_settings import GivenSettings, TargetModules
from smf.methods.method import Footprint, StepReport
from smf.settings.section import Count, Number, PositiveNumber

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.selection.background import BackgroundCounts
    from smf.streams.background_texts import BackgroundTexts
    from smf.streams.batches import Batch


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


class LoRA(DenseMethod):
    """Trains low-rank adapters on all linear layers of the blocks; everything else is frozen."""

    settings_class = LoRASettings
    settings: LoRASettings

    def __init__(
        self,
        model: PreTrainedModel,
        settings: GivenSettings,
        background: BackgroundCounts | None,
        seed: int,
        texts: BackgroundTexts | None = None,
    ):
        super().__init__(self.extended(model, settings, seed), settings, background, seed, texts)
        self._num_steps = 0

    @classmethod
    def extended(cls, model: PreTrainedModel, settings: GivenSettings, seed: int) -> PreTrainedModel:
        """The model with adapters, which change nothing until they are trained."""
        import peft
        import torch

        from smf.seeding import derive_seed

        settings = cls.settings_class.read(settings)
        config = peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=settings.target_modules,
        )
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "lora"))
            return peft.get_peft_model(model, config)

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """Two matrices for each adapted linear layer; unknown module names are ignored."""
        settings = cls.settings_class.read(settings)
        maps, targets = base.linear_maps, settings.target_modules
        chosen = maps if targets == "all-linear" else [name for name in maps if name in targets]
        number = base.num_layers * sum(settings.rank * sum(maps[name]) for name in chosen)
        return Footprint(number, num_moments(settings) * number, number, added=number, kept_inputs="adapters")

    def step(self, batch: Batch) -> StepReport:
        """Take one step; each step draws new dropout for the adapters, from the run's seed."""
        if not self.settings.dropout:
            return super().step(batch)
        import torch

        from smf.seeding import derive_seed

        device = self.model.device
        dropouts = [module for name, module in self.model.named_modules() if name.endswith(".lora_dropout")]
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.seed, "lora dropout", self._num_steps))
            self._num_steps += 1
            for dropout in dropouts:
                dropout.train()
            try:
                return super().step(batch)
            finally:
                for dropout in dropouts:
                    dropout.eval()

    def state_dict(self) -> dict[str, Tensor]:
        """Adds the number of steps that have drawn dropout."""
        import torch

        return {**super().state_dict(), "num_steps": torch.tensor(self._num_steps)}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore that number too."""
        super().load_state_dict(state, delta)
        self._num_steps = int(state["num_steps"])

    def delta(self) -> dict[str, Tensor]:
        """The adapters."""
        import peft

        return {name: tensor.detach().clone() for name, tensor in peft.get_peft_model_state_dict(self.model).items()}

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Overwrites the adapters."""
        import peft

        def load(delta: Mapping[str, Tensor]) -> None:
            if shapes(delta) != shapes(peft.get_peft_model_state_dict(model)):
                raise CheckpointError(
                    "the delta holds other adapters than the settings describe; learn the stream again"
                )
            peft.set_peft_model_state_dict(model, dict(delta))

        return load
