"""Global-norm clipping for gradients of selected rows; ``torch.nn.utils.clip_grad_norm_`` is for dense ones.

Shapes: R selected row, V value_dim.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from smf.memory.row_sparse import RowGradient

_EPSILON = 1e-6  # torch's own


@torch.no_grad()
def clip_row_gradients(gradients: Sequence[RowGradient], max_norm: float) -> None:
    """Scale the gradients of all layers' selected rows down so that their common norm is at most ``max_norm``.

    Does not make the host wait. A repeated row (see :meth:`RowGradient.select`) counts once.
    """
    first, *others = map(_squared_norm, gradients)
    total = sum(others, first)
    scale = (max_norm / (total.sqrt() + _EPSILON)).clamp(max=1.0)
    for gradient in gradients:
        gradient_RV = gradient.collected_RV
        gradient.gradient_RV = gradient_RV * scale.to(gradient_RV.dtype)


def _squared_norm(gradient: RowGradient) -> Tensor:
    gradient_RV = gradient.collected_RV
    squares_R = gradient_RV.to(torch.promote_types(gradient_RV.dtype, torch.float32)).square().sum(dim=1)
    return (squares_R * gradient.is_first_R).sum()
