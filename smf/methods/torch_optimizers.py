"""The settings and the optimizer that the dense methods share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

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


def make_optimizer(parameters: Iterable[nn.Parameter], settings: Mapping) -> torch.optim.Optimizer:
    """The torch optimizer that the settings name."""
    import torch

    rates = {"lr": settings["learning_rate"], "weight_decay": settings["weight_decay"]}
    if settings["optimizer"] == "sgd":
        return torch.optim.SGD(parameters, momentum=settings["momentum"], **rates)
    return torch.optim.AdamW(parameters, **rates)
