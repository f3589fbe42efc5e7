"""The steps of selected rows: those of sparse memory finetuning, and of sparse finetuning of the base model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from smf.memory import RowGradient
    from smf.memory.polyak import StepShares
    from smf.selection.step_options import RowStepSettings


def row_rate(settings: RowStepSettings, rate_share: float) -> float:
    """The rate of an optimizer's next step; a step without a ``learning_rate`` already has its length."""
    bound = settings.learning_rate
    return rate_share * (1.0 if bound is None else bound)


def row_steps(
    settings: RowStepSettings,
    gradients: Mapping[int, RowGradient],
    loss: Tensor,
    rate: float,
    shares: StepShares,
    *,
    max_norm: float | None,
    shortened: Callable[[int, Tensor], Tensor] = lambda block, step_RV: step_RV,
) -> dict[int, Tensor]:
    """The input to the optimizer for each block's selected rows: the gradient, scaled as the settings say.

    Args:
        settings: The settings of the steps.
        gradients: The gradients of the selected rows, by block; clipped in place.
        loss: The batch's loss before the step.
        rate: What :func:`row_rate` gives.
        shares: The lengths of the steps on this batch so far.
        max_norm: The common norm that gradients are clipped to; None for no clipping.
        shortened: Shortens a block's rows, given its gradient (R, V): a trust region.
    """
    from smf.memory.clipping import clip_row_gradients
    from smf.memory.polyak import polyak_rate, polyak_share

    polyak, every = settings.polyak, list(gradients.values())
    if max_norm is not None and polyak is None:
        clip_row_gradients(every, max_norm)
    steps = {block: shortened(block, gradient.collected_RV) for block, gradient in gradients.items()}
    if polyak is None:
        return steps
    parts = polyak * loss, every, list(steps.values())
    length = polyak_rate(*parts) * shares.share(loss) if settings.learning_rate is None else polyak_share(*parts, rate)
    return {block: step_RV * length.to(step_RV.dtype) for block, step_RV in steps.items()}
