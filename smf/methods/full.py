"""Full finetuning: every weight of the base model trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smf.errors import CheckpointError
from smf.methods.method import Method, StepReport, language_model_loss, shapes
from smf.methods.torch_optimizers import OPTIMIZER_SCHEMA, make_optimizer

if TYPE_CHECKING:
    from torch import Tensor

    from smf.streams.corpus import Batch


class FullFinetuning(Method):
    """Trains all weights of the model without memory."""

    schema = OPTIMIZER_SCHEMA
    starts_from = "base"

    def __init__(self, model, settings, background, seed):
        super().__init__(model, settings, background, seed)
        self._optimizer = make_optimizer(model.parameters(), settings)

    def step(self, batch: Batch) -> StepReport:
        """One step on all weights."""
        loss = language_model_loss(self.model, batch)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return StepReport(loss.detach(), {})

    def delta(self) -> dict[str, Tensor]:
        """All weights; a tied weight once."""
        return {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Overwrite all weights."""
        parameters = dict(self.model.named_parameters())
        if shapes(delta) != shapes(parameters):
            raise CheckpointError("the delta holds other weights than the model; it was made from another base")
        for name, parameter in parameters.items():
            parameter.data.copy_(delta[name])
