"""Optimizers that step selected rows of one value table and keep state only for rows that were ever selected.

They follow torch.optim's SGD and AdamW on each selected row, with a step counter per row; a row that is not selected is
not touched at all, whatever its momentum or the weight decay.

Shapes: R selected row, V value_dim, S slot, E row of state.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

OptimizerName = Literal["sgd", "adamw"]


class RowOptimizer(ABC):
    """Steps rows of ``values_SV`` in place.

    Args:
        values_SV: The value table.
        learning_rate: Step size.
        weight_decay: As in the torch optimizer of the same name; acts on selected rows only.
    """

    def __init__(self, values_SV: Tensor, *, learning_rate: float, weight_decay: float):
        self.values_SV = values_SV
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    @abstractmethod
    def step(self, slots_R: Tensor, gradient_RV: Tensor) -> None:
        """Step the rows ``slots_R`` (unique) along ``gradient_RV``."""


class RowSGD(RowOptimizer):
    """SGD, with momentum if it is not zero; weight decay is added to the gradient."""

    def __init__(self, values_SV: Tensor, *, learning_rate: float, weight_decay: float = 0.0, momentum: float = 0.0):
        super().__init__(values_SV, learning_rate=learning_rate, weight_decay=weight_decay)
        self.momentum = momentum
        self._state = _RowState(values_SV, num_moments=1) if momentum else None

    @torch.no_grad()
    def step(self, slots_R: Tensor, gradient_RV: Tensor) -> None:
        """Step the selected rows."""
        if self.weight_decay:
            gradient_RV = gradient_RV + self.weight_decay * self.values_SV[slots_R]
        if self._state is not None:
            rows = self._state.rows(slots_R)
            gradient_RV = self.momentum * self._state.moments_MEV[0, rows] + gradient_RV
            self._state.moments_MEV[0, rows] = gradient_RV
        self.values_SV.index_add_(0, slots_R, gradient_RV.to(self.values_SV.dtype), alpha=-self.learning_rate)


class RowAdamW(RowOptimizer):
    """AdamW (Loshchilov and Hutter, 2019) with the bias correction of each row's own number of steps."""

    def __init__(
        self,
        values_SV: Tensor,
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ):
        super().__init__(values_SV, learning_rate=learning_rate, weight_decay=weight_decay)
        self.betas, self.epsilon = betas, epsilon
        self._state = _RowState(values_SV, num_moments=2)

    @torch.no_grad()
    def step(self, slots_R: Tensor, gradient_RV: Tensor) -> None:
        """Step the selected rows."""
        beta1, beta2 = self.betas
        rows = self._state.rows(slots_R)
        self._state.steps_E[rows] += 1
        steps_R1 = self._state.steps_E[rows].unsqueeze(1).double()
        gradient_RV = gradient_RV.float()
        first_RV = beta1 * self._state.moments_MEV[0, rows] + (1 - beta1) * gradient_RV
        second_RV = beta2 * self._state.moments_MEV[1, rows] + (1 - beta2) * gradient_RV.square()
        self._state.moments_MEV[0, rows], self._state.moments_MEV[1, rows] = first_RV, second_RV
        scale_R1 = (self.learning_rate / (1 - beta1**steps_R1)).float()
        denominator_RV = second_RV.sqrt() / (1 - beta2**steps_R1).sqrt().float() + self.epsilon
        decayed_RV = self.values_SV[slots_R].float() * (1 - self.learning_rate * self.weight_decay)
        self.values_SV[slots_R] = (decayed_RV - scale_R1 * first_RV / denominator_RV).to(self.values_SV.dtype)


class _RowState:
    """Moments of the rows that were ever selected. Grows by doubling; a new row starts at zero."""

    def __init__(self, values_SV: Tensor, num_moments: int):
        num_slots, value_dim = values_SV.shape
        self._row_of_slot_S = torch.full((num_slots,), -1, dtype=torch.int32, device=values_SV.device)
        self._used = 0
        self.moments_MEV = torch.zeros(num_moments, 0, value_dim, device=values_SV.device)
        self.steps_E = torch.zeros(0, dtype=torch.long, device=values_SV.device)

    def rows(self, slots_R: Tensor) -> Tensor:
        """The state rows of these slots; makes those that do not exist yet."""
        rows_R = self._row_of_slot_S[slots_R].long()
        new = rows_R < 0
        num_new = int(new.sum())
        if num_new:
            self._grow(self._used + num_new)
            rows_R[new] = torch.arange(self._used, self._used + num_new, device=rows_R.device)
            self._row_of_slot_S[slots_R] = rows_R.int()
            self._used += num_new
        return rows_R

    def _grow(self, needed: int) -> None:
        capacity = self.moments_MEV.shape[1]
        if needed > capacity:
            extra = max(needed, 2 * capacity) - capacity
            num_moments, _, value_dim = self.moments_MEV.shape
            self.moments_MEV = torch.cat(
                [self.moments_MEV, self.moments_MEV.new_zeros(num_moments, extra, value_dim)], 1
            )
            self.steps_E = torch.cat([self.steps_E, self.steps_E.new_zeros(extra)])
