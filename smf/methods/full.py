"""Full finetuning: every weight of the base model trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from smf.methods.dense import DenseMethod
from smf.methods.method import overwrite

if TYPE_CHECKING:
    from torch import Tensor


class FullFinetuning(DenseMethod):
    """Trains all weights of the model without memory."""

    def delta(self) -> dict[str, Tensor]:
        """All weights; a tied weight once."""
        return {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}

    def load_delta(self, delta: Mapping[str, Tensor]) -> None:
        """Overwrite all weights."""
        parameters = dict(self.model.named_parameters())
        overwrite(parameters, delta, "other weights than the model; it was made from another base")
