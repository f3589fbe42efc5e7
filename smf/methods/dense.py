"""Base of the methods that train ordinary parameters with torch's optimizers: settings and step.

Weights of lower precision than float32 train through a float32 copy. A typical step changes a bfloat16 weight by less
than the distance to the next bfloat16 number, so without the copy most steps would change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from smf.methods.kind_settings import GivenSettings, KindSettings
from smf.methods.loss import language_model_loss
from smf.methods.method import Footprint, Method, Start, StepReport
from smf.methods.optimizers import make_optimizers, optimizer_values
from smf.settings.section import NonNegativeNumber, Number, PositiveNumber

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from smf.files.model_shape import BaseShape, MemoryShape
    from smf.streams.batches import Batch


class DenseSettings(KindSettings):
    """Settings of the optimizer."""

    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """AdamW (betas 0.9 and 0.999), SGD, or Muon (momentum 0.95) for the matrices of hidden layers and
    AdamW for the rest."""
    learning_rate: PositiveNumber
    """Highest step size, see stream.schedule; chosen by the sweep in results/tables/tuning.csv."""
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """For SGD."""
    weight_decay: NonNegativeNumber = 0.0
    """As in torch.optim."""


class DenseMethod(Method):
    """Steps all parameters of the model that require gradient."""

    settings_class = DenseSettings
    settings: DenseSettings
    starts_from: ClassVar[Start] = "base"

    def begin(self) -> None:
        """Take the parameters that require gradient as those that train."""
        super().begin()
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._masters: list[Tensor] = []
        self._optimizers: list[torch.optim.Optimizer] = []  # made by the first step; evaluation needs none

    @classmethod
    def footprint(cls, settings: GivenSettings, base: BaseShape, memory: MemoryShape, **stream: int) -> Footprint:
        """All weights, with the state of the optimizer."""
        settings = cls.settings_class.read(settings)
        every = super().footprint(settings, base, memory, **stream)
        matrices = base.num_layers * sum(prod(sides) for sides in base.linear_maps.values())
        return replace(every, state=optimizer_values(settings, matrices, every.gradients - matrices))

    def step(self, batch: Batch) -> StepReport:
        """One step on all trained parameters."""
        if not self._optimizers:
            self._prepare()
        loss = add_batch_gradients(self, batch)
        more_tokens = self.add_gradients(batch)
        self._update()
        return StepReport(loss, num_tokens=batch.num_tokens + more_tokens)

    def add_penalty(self, trained: Sequence[Tensor]) -> None:
        """Add the gradient of a penalty that depends on the weights alone; by default there is none.

        Called in each step before gradients are clipped.

        Args:
            trained: The tensors that the optimizer steps, with their gradients, in the order of the trained parameters:
                these parameters or float32 copies of them.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """The optimizer's state, and float32 copies of weights of lower precision."""
        from smf.files.resume import optimizer_state

        if not self._optimizers:
            return {}
        pairs = enumerate(zip(self._masters, self._trained, strict=True))
        copies = {f"master.{place}": master.detach().clone() for place, (master, own) in pairs if master is not own}
        kept = [optimizer_state(optimizer, name) for name, optimizer in self._named_optimizers()]
        return {name: tensor for part in (copies, *kept) for name, tensor in part.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
        """Restore the optimizer's state and the float32 copies."""
        from smf.files.resume import set_optimizer_state

        super().load_state_dict(state, delta)
        if not any(name.startswith("optimizer.") for name in state) and self.settings.optimizer != "sgd":
            return  # no step was taken
        self._prepare()
        for place, (master, own) in enumerate(zip(self._masters, self._trained, strict=True)):
            if master is not own:
                master.data.copy_(state[f"master.{place}"])
        for name, optimizer in self._named_optimizers():
            set_optimizer_state(optimizer, state, name)

    def _prepare(self) -> None:
        self._masters = [_master(parameter) for parameter in self._trained]
        self._optimizers = make_optimizers(self.model, self._trained, self._masters, self.settings)

    def _named_optimizers(self) -> list[tuple[str, torch.optim.Optimizer]]:
        """The optimizers, each with the first part of the names of its state."""
        return [(f"optimizer.{number}", optimizer) for number, optimizer in enumerate(self._optimizers)]

    def _update(self) -> None:
        import torch

        copies = [pair for pair in zip(self._masters, self._trained, strict=True) if pair[0] is not pair[1]]
        for master, parameter in copies:
            if parameter.grad is not None:
                master.grad, parameter.grad = parameter.grad.to(master.dtype), None
        self.add_penalty(self._masters)
        if self.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._masters, self.max_gradient_norm)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * self.rate_share
            optimizer.step()
            optimizer.zero_grad()
        for master, parameter in copies:
            parameter.data.copy_(master)


def add_batch_gradients(method: Method, batch: Batch) -> Tensor:
    """Add a batch's gradient, part by part, to that of the parameters that require one; returns the batch's loss."""
    losses = []
    for part in method.micro_batches(batch):
        loss = language_model_loss(method.model, part)
        if part is not batch:
            loss = loss * (part.num_labels / batch.num_labels)
        loss.backward()
        losses.append(loss.detach())
    return sum(losses[1:], losses[0])


def _master(parameter: nn.Parameter) -> Tensor:
    """The tensor that the optimizer steps: the parameter itself, or a float32 copy if its precision is lower."""
    import torch

    precise = torch.promote_types(parameter.dtype, torch.float32)
    if parameter.dtype == precise:
        return parameter
    return parameter.detach().to(precise).requires_grad_()
