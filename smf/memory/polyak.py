"""Polyak's step size for gradients of selected rows: as far as the loss, were it linear, takes to reach zero.

Shapes: R selected row, V value_dim.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from smf.memory.row_sparse import RowGradient

LONGEST = 4.0
"""How many of Polyak's whole steps one step may be long."""


@torch.no_grad()
def polyak_rate(loss: Tensor, gradients: Sequence[RowGradient], steps: Sequence[Tensor]) -> Tensor:
    """The learning rate of Polyak's step (Polyak, 1969; Loizou et al., 2021), with no number to set.

    A step of rate η lowers the loss by η Σ ⟨g, d⟩ to first order, g being the gradient and d the direction. A loss
    cannot fall below zero, and of one fact it can come close: η = loss / Σ ⟨g, d⟩ aims there.

    Args:
        loss: The batch's loss before the step, a scalar.
        gradients: Those of all layers' selected rows. A row that stands there repeatedly counts once.
        steps: For each of them the direction of its rows, (R, V).

    Returns:
        A finite scalar, at least 0, in float32 or wider on the loss's device; the host waits for nothing. 0 where
        there is no gradient, or one so small that the rate would be beyond float32: that is rounding, not a direction.
    """
    rate = loss.double() / _first_order_gain(gradients, steps)
    most = torch.finfo(torch.float32).max
    return torch.where((rate >= 0) & (rate <= most), rate, 0.0).to(torch.promote_types(loss.dtype, torch.float32))


class StepShares:
    """How long the steps on one batch are, in Polyak's whole steps, as its loss tells, in the unit of no model.

    A whole step should bring the loss to zero. Two things go wrong. Behind a normalisation the gradient shrinks as the
    values grow and the loss hardly changes: Polyak's steps then grow with the values, without end. So a step is half as
    long when the loss rose, and recovers by a fifth, up to a whole one, when it fell. And where the loss is concave
    along the step, as that of an answer which is still far from likely, even whole steps leave most of it: then steps
    go on growing by a fifth, up to :data:`LONGEST` whole ones.
    """

    def __init__(self) -> None:
        self._last: Tensor | None = None
        self._share: Tensor | None = None

    @torch.no_grad()
    def share(self, loss: Tensor) -> Tensor:
        """The next step's length, a scalar in (0, LONGEST]; the host waits for nothing.

        Args:
            loss: Before that step.
        """
        if self._last is None or self._share is None:
            self._share = torch.ones_like(loss)
        else:
            longer: Tensor = 1.2 * self._share
            # Beyond whole steps only where the last one left more than half of the loss; otherwise as long as it was.
            most = torch.where(loss > 0.5 * self._last, LONGEST, self._share.clamp(min=1.0))
            self._share = torch.where(loss > self._last, 0.5 * self._share, longer.minimum(most))
        self._last = loss
        return self._share


@torch.no_grad()
def polyak_share(loss: Tensor, gradients: Sequence[RowGradient], steps: Sequence[Tensor], max_rate: float) -> Tensor:
    """Polyak's step under a cap (SPS_max): the share of ``max_rate`` at which a step is as long as :func:`polyak_rate`.

    Args:
        loss: As above.
        gradients: As above.
        steps: As above.
        max_rate: The largest learning rate.

    Returns:
        A scalar in [0, 1] on the loss's device; the host waits for nothing.
    """
    gain = _first_order_gain(gradients, steps)
    smallest = torch.finfo(gain.dtype).tiny
    return (loss.to(gain.dtype) / (max_rate * gain).clamp(min=smallest)).clamp(max=1.0)


def _first_order_gain(gradients: Sequence[RowGradient], steps: Sequence[Tensor]) -> Tensor:
    return cast("Tensor", sum(_gain(gradient, step_RV) for gradient, step_RV in zip(gradients, steps, strict=True)))


def _gain(gradient: RowGradient, step_RV: Tensor) -> Tensor:
    products_R = (gradient.collected_RV.double() * step_RV.double()).sum(dim=1)
    return (products_R * gradient.is_first_R).sum()
