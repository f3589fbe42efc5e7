"""Optimizers that step selected rows of one value table and keep state only for rows that were ever selected.

They follow torch.optim on each selected row, with a step counter per row. Weight decay is decoupled (Loshchilov and
Hutter, 2019) in all of them: it shrinks the row, but does not enter the gradient or the moments. A row that is not
selected does not change at all, whatever its momentum or the decay.

Shapes: R selected row, V value_dim, S slot, E row of state, M moment.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from smf.errors import CheckpointError
from smf.memory.row_state import RowState


class RowOptimizer(ABC):
    """Steps rows of ``values_SV`` in place.

    Args:
        values_SV: The value table.
        learning_rate: Step size.
        weight_decay: In each step a selected row first shrinks by the fraction ``learning_rate * weight_decay``.
    """

    num_moments: int

    def __init__(self, values_SV: Tensor, *, learning_rate: float, weight_decay: float = 0.0):
        self.values_SV = values_SV
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self._dtype = torch.promote_types(values_SV.dtype, torch.float32)
        self._state = (
            RowState(self.num_moments, values_SV.new_empty(0, values_SV.shape[1], dtype=self._dtype), len(values_SV))
            if self.num_moments
            else None
        )

    @torch.no_grad()
    def step(self, slots_R: Tensor, gradient_RV: Tensor) -> None:
        """Step the rows ``slots_R`` along ``gradient_RV``.

        Args:
            slots_R: Ascending. A slot may be repeated if its gradient is too; it still takes one step.
            gradient_RV: Cast to float32, or to float64 if the table has that dtype.
        """
        values_RV = self.values_SV[slots_R].to(self._dtype)
        if self.weight_decay:
            values_RV = values_RV * (1 - self.learning_rate * self.weight_decay)
        gradient_RV = gradient_RV.to(self._dtype)
        if self._state is None:
            update_RV = gradient_RV
        else:
            rows_R = self._state.rows(slots_R)
            steps_R1 = self._state.steps_E[rows_R].unsqueeze(1) + 1
            moments_MRV = self._state.moments_MEV[:, rows_R]
            moments_MRV, update_RV = self._update(gradient_RV, moments_MRV, steps_R1)
            # Repetitions of a slot all write the same bits.
            self._state.steps_E[rows_R] = steps_R1.squeeze(1)
            self._state.moments_MEV[:, rows_R] = moments_MRV
        new_RV = values_RV.sub_(update_RV, alpha=self.learning_rate)
        self.values_SV[slots_R] = new_RV.to(self.values_SV.dtype)

    @abstractmethod
    def _update(self, gradient_RV: Tensor, moments_MRV: Tensor, steps_R1: Tensor) -> tuple[Tensor, Tensor]:
        """The new moments, and the direction to multiply by ``learning_rate``.

        Args:
            gradient_RV: Gradient.
            moments_MRV: Moments before the step, zero for rows that were never selected.
            steps_R1: Each row's own step count, this step included.
        """

    @property
    def state_bytes(self) -> int:
        """Size of the state in bytes, free rows included."""
        return 0 if self._state is None else self._state.nbytes

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the state that a later process needs to continue bit for bit: slots, their steps and moments."""
        return {} if self._state is None else self._state.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a :meth:`state_dict`.

        Raises:
            CheckpointError: The state is from another kind of optimizer or table.
        """
        if self._state is not None:
            self._state.load_state_dict(state)
        elif state:
            raise CheckpointError(
                f"this optimizer keeps no state, but was given {sorted(state)}; learn the stream again"
            )


class RowSGD(RowOptimizer):
    """SGD without momentum: no state."""

    num_moments = 0

    def _update(self, gradient_RV: Tensor, moments_MRV: Tensor, steps_R1: Tensor) -> tuple[Tensor, Tensor]:
        return moments_MRV, gradient_RV


class RowMomentum(RowOptimizer):
    """SGD with momentum, as torch.optim.SGD: each row's buffer decays when the row is selected, not with time."""

    num_moments = 1

    def __init__(self, values_SV: Tensor, *, momentum: float, **rates: float):
        super().__init__(values_SV, **rates)
        self.momentum = momentum

    def _update(self, gradient_RV: Tensor, moments_MRV: Tensor, steps_R1: Tensor) -> tuple[Tensor, Tensor]:
        buffer_RV = self.momentum * moments_MRV[0] + gradient_RV
        return buffer_RV.unsqueeze(0), buffer_RV


class RowAdamW(RowOptimizer):
    """AdamW (Loshchilov and Hutter, 2019) with bias correction by each row's own step count."""

    num_moments = 2

    def __init__(
        self, values_SV: Tensor, *, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8, **rates: float
    ):
        super().__init__(values_SV, **rates)
        self.betas, self.epsilon = betas, epsilon

    def _update(self, gradient_RV: Tensor, moments_MRV: Tensor, steps_R1: Tensor) -> tuple[Tensor, Tensor]:
        beta1, beta2 = self.betas
        steps_R1 = steps_R1.double()
        first_RV = beta1 * moments_MRV[0] + (1 - beta1) * gradient_RV
        second_RV = beta2 * moments_MRV[1] + (1 - beta2) * gradient_RV.square()
        scale_R1 = (1 / (1 - beta1**steps_R1)).to(self._dtype)
        denominator_RV = second_RV.sqrt() / (1 - beta2**steps_R1).sqrt().to(self._dtype) + self.epsilon
        return torch.stack([first_RV, second_RV]), scale_R1 * first_RV / denominator_RV


class RowAdagrad(RowOptimizer):
    """Adagrad (Duchi et al., 2011), as torch.optim.Adagrad: the sum of squared gradients of each entry."""

    num_moments = 1

    def __init__(self, values_SV: Tensor, *, epsilon: float = 1e-10, **rates: float):
        super().__init__(values_SV, **rates)
        self.epsilon = epsilon

    def _update(self, gradient_RV: Tensor, moments_MRV: Tensor, steps_R1: Tensor) -> tuple[Tensor, Tensor]:
        sum_RV = moments_MRV[0] + gradient_RV.square()
        return sum_RV.unsqueeze(0), gradient_RV / (sum_RV.sqrt() + self.epsilon)


def row_optimizer(values_SV: Tensor, settings: Mapping) -> RowOptimizer:
    """The optimizer that a method's settings name."""
    rates = {"learning_rate": settings["learning_rate"], "weight_decay": settings["weight_decay"]}
    if settings["optimizer"] == "adamw":
        return RowAdamW(values_SV, **rates)
    if settings["optimizer"] == "adagrad":
        return RowAdagrad(values_SV, **rates)
    if settings["momentum"]:
        return RowMomentum(values_SV, momentum=settings["momentum"], **rates)
    return RowSGD(values_SV, **rates)
