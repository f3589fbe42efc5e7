"""Row-wise top-k with deterministic ties: of equal values the lower id comes first.

``torch.topk`` does not specify how it breaks ties, and differs between CPU and GPU. Here value and id are packed into
one integer, so no two entries are ever equal. On a CPU numpy then partitions and sorts them, several times faster than
``torch.topk``, which does not use the same vector instructions.

Shapes: ... any number of rows, X entry, K kept.
"""

import numpy as np
import torch
from torch import Tensor

from smf.memory.bags import sizes_are_free

_LOW = 0xFFFFFFFF


def best_by_value(values_X: Tensor, number: int, ids_X: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``number`` highest values of each row, highest first, and their ids.

    Args:
        values_X: Values, (..., X), without NaN; float32, or float64, which is slower.
        number: At least 1 and at most X.
        ids_X: Ids, (..., X) or (X), unique in each row, from 0 to 2**32 - 1; by default the positions in the row.

    Returns:
        Values and ids, both (..., number).
    """
    if ids_X is None:
        ids_X = torch.arange(values_X.shape[-1], device=values_X.device)
    if values_X.dtype == torch.float64:
        return _best_by_sorting(values_X, number, ids_X.expand_as(values_X))
    keys_K = _lowest(_falling(values_X).bitwise_left_shift_(32).bitwise_or_(ids_X), number)
    return _unpacked(keys_K >> 32), keys_K & _LOW


def _falling(values: Tensor) -> Tensor:
    """Integers in the reverse order of the float32 ``values``.

    The bits of a float, read as an integer, rise with it above zero and fall below. Adding 0.0 first turns -0.0 into
    0.0, since the two are equal.
    """
    bits = (values + 0.0).view(torch.int32)
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).bitwise_not_().long()


def _unpacked(falling: Tensor) -> Tensor:
    bits = falling.int().bitwise_not_()
    return (bits ^ (bits >> 31 & 0x7FFFFFFF)).view(torch.float32)


def _lowest(keys_X: Tensor, number: int) -> Tensor:
    """The ``number`` lowest entries of each row, ascending."""
    if torch.compiler.is_compiling() or not sizes_are_free(keys_X.device):  # a compiler cannot look into numpy
        return keys_X.topk(number, dim=-1, largest=False).values
    array = keys_X.numpy()
    array.partition(number - 1, axis=-1)
    return torch.from_numpy(np.sort(array[..., :number], axis=-1))


def _best_by_sorting(values_X: Tensor, number: int, ids_X: Tensor) -> tuple[Tensor, Tensor]:
    ids_X, by_id_X = ids_X.sort(dim=-1)
    values_X, by_value_X = values_X.gather(-1, by_id_X).sort(dim=-1, descending=True, stable=True)
    return values_X[..., :number], ids_X.gather(-1, by_value_X)[..., :number]
