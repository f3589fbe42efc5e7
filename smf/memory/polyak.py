"""Polyak's step size for gradients of selected rows: the step that would take the loss to zero if it were linear.

Shapes: R selected row, V value_dim.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from smf.memory.row_sparse import RowGradient

LONGEST = 4.0
"""Longest allowed step, in full Polyak steps."""


@torch.no_grad()
def polyak_rate(loss: Tensor, gradients: Sequence[RowGradient], steps: Sequence[Tensor]) -> Tensor:
    """The learning rate of Polyak's step (Polyak, 1969; Loizou et al., 2021), without a hyperparameter.

    A step of rate η lowers the loss by η Σ ⟨g, d⟩ to first order, g being the gradient and d the direction. A loss
    cannot fall below zero, and on a single fact it can come close: η = loss / Σ ⟨g, d⟩ aims for zero.

    Args:
        loss: The batch's loss before the step, a scalar.
        gradients: Gradients of all layers' selected rows. A repeated row counts once.
        steps: For each gradient, the step direction of its rows, (R, V).

    Returns:
        A finite scalar, at least 0, in float32 or wider on the loss's device; the host does not wait for it. 0 if there
        is no gradient, or one so small that the rate would overflow float32: that is rounding error, not a direction.
    """
    rate = loss.double() / _first_order_gain(gradients, steps)
    most = torch.finfo(torch.float32).max
    return torch.where((rate >= 0) & (rate <= most), rate, 0.0).to(torch.promote_types(loss.dtype, torch.float32))


class StepShares:
    """Scale-free step lengths on one batch, in full Polyak steps, adapted to how its loss changes.

    A full step should bring the loss to zero. Two things can go wrong. First, if a normalization layer follows, the
    gradient shrinks as the values grow while the loss hardly changes: Polyak's steps then grow with the values, without
    bound. So a step is half as long after the loss rose, and a fifth longer, up to a full step, after it fell. Second,
    where the loss is concave along the step, as it is while the answer is still unlikely, even full steps leave most of
    the loss: then steps keep growing by a fifth, up to :data:`LONGEST` full steps.
    """

    def __init__(self) -> None:
        self._last: Tensor | None = None
        self._share: Tensor | None = None

    @torch.no_grad()
    def share(self, loss: Tensor) -> Tensor:
        """The next step's length, a scalar in (0, LONGEST]; the host does not wait for it.

        Args:
            loss: The batch's loss before that step.
        """
        if self._last is None or self._share is None:
            self._share = torch.ones_like(loss)
        else:
            longer: Tensor = 1.2 * self._share
            # Grow past a full step only if the last step left more than half of the loss.
            most = torch.where(loss > 0.5 * self._last, LONGEST, self._share.clamp(min=1.0))
            self._share = torch.where(loss > self._last, 0.5 * self._share, longer.minimum(most))
        self._last = loss
        return self._share


@torch.no_grad()
def polyak_share(loss: Tensor, gradients: Sequence[RowGradient], steps: Sequence[Tensor], max_rate: float) -> Tensor:
    """Polyak's step with a capped rate (SPS_max): :func:`polyak_rate` as a share of ``max_rate``, at most 1.

    Args:
        loss: As for :func:`polyak_rate`.
        gradients: As for :func:`polyak_rate`.
        steps: As for :func:`polyak_rate`.
        max_rate: The largest learning rate.

    Returns:
        A scalar in [0, 1] on the loss's device; the host does not wait for it.
    """
    gain = _first_order_gain(gradients, steps)
    smallest = torch.finfo(gain.dtype).tiny
    return (loss.to(gain.dtype) / (max_rate * gain).clamp(min=smallest)).clamp(max=1.0)


def _first_order_gain(gradients: Sequence[RowGradient], steps: Sequence[Tensor]) -> Tensor:
    first, *others = (_gain(gradient, step_RV) for gradient, step_RV in zip(gradients, steps, strict=True))
    return sum(others, first)


def _gain(gradient: RowGradient, step_RV: Tensor) -> Tensor:
    products_R = (gradient.collected_RV.double() * step_RV.double()).sum(dim=1)
    return (products_R * gradient.is_first_R).sum()
