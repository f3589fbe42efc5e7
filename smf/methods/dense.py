"""What methods share that train ordinary parameters with a torch optimizer: settings, optimizer, step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from smf.methods.method import Method, StepReport, language_model_loss

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from smf.selection.background import BackgroundCounts
    from smf.streams.batches import Batch

OPTIMIZER_SCHEMA = {
    "optimizer": {
        "enum": ["adamw", "sgd"],
        "default": "adamw",
        "description": "AdamW (betas 0.9 and 0.999) or SGD.",
    },
    "learning_rate": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Step size, constant over the stream; chosen by the sweep in results/tables/tuning.csv.",
    },
    "momentum": {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.0, "description": "For SGD."},
    "weight_decay": {"type": "number", "minimum": 0, "default": 0.0, "description": "As in torch.optim."},
}


class DenseMethod(Method):
    """Steps all parameters of the model that require gradient."""

    schema = OPTIMIZER_SCHEMA
    starts_from = "base"

    def __init__(self, model: PreTrainedModel, settings: Mapping, background: BackgroundCounts | None, seed: int):
        super().__init__(model, settings, background, seed)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimizer = make_optimizer(trained, settings)

    def step(self, batch: Batch) -> StepReport:
        """One step on all trained parameters."""
        losses = []
        for part in self.micro_batches(batch):
            loss = language_model_loss(self.model, part)
            if part is not batch:
                loss = loss * (part.num_labels / batch.num_labels)
            loss.backward()
            losses.append(loss.detach())
        self._optimizer.step()
        self._optimizer.zero_grad()
        return StepReport(sum(losses), {})


def make_optimizer(parameters: Iterable[nn.Parameter], settings: Mapping) -> torch.optim.Optimizer:
    """The torch optimizer that the settings name."""
    import torch

    rates = {"lr": settings["learning_rate"], "weight_decay": settings["weight_decay"]}
    if settings["optimizer"] == "sgd":
        return torch.optim.SGD(parameters, momentum=settings["momentum"], **rates)
    return torch.optim.AdamW(parameters, fused=True, **rates)
