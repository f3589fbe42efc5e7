"""Full finetuning: every weight of the base model trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smf.methods.deltas import Load, overwrite
from smf.methods.dense import DenseMethod

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class FullFinetuning(DenseMethod):
    """Trains all weights of the model without memory."""

    def delta(self) -> dict[str, Tensor]:
        """All weights; a tied weight once."""
        return {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}

    @classmethod
    def loader(cls, model: PreTrainedModel) -> Load:
        """Overwrites all weights."""
        parameters = dict(model.named_parameters())
        return lambda delta: overwrite(parameters, delta, "other weights than the model; it was made from another base")
