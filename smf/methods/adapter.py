"""Base of the methods that train an adapter of peft beside frozen weights: attach, step, save and load."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from smf.errors import CheckpointError
from smf.methods.deltas import Load, shapes
from smf.methods.dense import DenseMethod, DenseSettings
from smf.methods.kind_settings import GivenSettings
from smf.methods.method import Footprint, StepReport
from smf.methods.optimizers import optimizer_values

if TYPE_CHECKING:
    import peft
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from smf.files.model_shape import BaseShape
    from smf.streams.batches import Batch


class AdapterMethod(DenseMethod):
    """Trains an adapter; every weight of the base is frozen.

    Attributes:
        purpose: Part of the seed of what the adapter draws: its first values, and dropout.
    """

    purpose: ClassVar[str]

    def begin(self) -> None:
        """Attach the adapter."""
        frozen = set(self.model.modules())
        self.model = self.attached(self.model)
        super().begin()
        self._dropouts = [module for module in self.model.modules() if module not in frozen and _drops(module)]
        self._num_steps = 0

    @classmethod
    @abstractmethod
    def adapter_config(cls, settings: GivenSettings) -> peft.PeftConfig:
        """The config of the adapter, as peft takes it."""

    def attached(self, model: PreTrainedModel) -> PreTrainedModel:
        """The model with the adapter as learning starts with it: by default, as it is made for deltas too."""
        return self.extended(model, self.settings, self.seed)

    @classmethod
    def extended(cls, model: PreTrainedModel, settings: GivenSettings, seed: int) -> PreTrainedModel:
        """The model with the adapter, which changes nothing until it is trained."""
        import peft

        config = cls.adapter_config(settings)
        with drawing(model, seed, cls.purpose):
            return peft.get_peft_model(model, config)

    def step(self, batch: Batch) -> StepReport:
        """Take one step; each step draws new dropout for the adapter, from the run's seed."""
        if not self._dropouts:
            return super().step(batch)
        with drawing(self.model, self.seed, f"{self.purpose} dropout", self._num_steps):
            self._num_steps += 1
            for dropout in self._dropouts:
                dropout.train()
            try:
                return super().step(batch)
            finally:
                for dropout in self._dropouts:
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
        """The adapter."""
        return {name: tensor.detach().clone() for name, tensor in adapter_tensors(self.model).items()}

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Overwrites the adapter."""

        def load(delta: Mapping[str, Tensor]) -> None:
            load_adapter(model, delta)

        return load


def adapter_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The adapter's tensors, as peft saves them."""
    import peft

    return peft.get_peft_model_state_dict(model)


def load_adapter(model: PreTrainedModel, delta: Mapping[str, Tensor]) -> None:
    """Overwrite the adapter.

    Raises:
        CheckpointError: The delta is of another adapter; nothing was changed.
    """
    import peft

    if shapes(delta) != shapes(adapter_tensors(model)):
        raise CheckpointError("the delta holds other adapters than the settings describe; learn the stream again")
    peft.set_peft_model_state_dict(model, dict(delta))


def low_rank_footprint(base: BaseShape, settings: DenseSettings, rank: int, targets: str | Sequence[str]) -> Footprint:
    """Two matrices for each adapted linear layer.

    Args:
        base: Sizes of the base model.
        settings: The optimizer's settings.
        rank: Rank of the adapters.
        targets: Names of the adapted layers, of which unknown ones are ignored; a string stands for all.
    """
    chosen = base.linear_maps if isinstance(targets, str) else [name for name in base.linear_maps if name in targets]
    number = base.num_layers * sum(rank * sum(base.linear_maps[name]) for name in chosen)
    return Footprint(number, optimizer_values(settings, number), number, added=number, kept_inputs="adapters")


@contextmanager
def drawing(model: PreTrainedModel, seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch for the block, and leave the state of its generators as it was."""
    import torch

    from smf.seeding import derive_seed

    device = model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, *purpose))
        yield


def _drops(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.Dropout) and module.p > 0
