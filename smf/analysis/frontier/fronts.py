"""The mathematics of a Pareto front: the most that a method's settings retain for what they forget.

A point is a setting with what it retained (a share, higher is better) and what it forgot (a share of the old score,
lower is better). Forgetting below 0, an improvement, counts as 0: it earns nothing. Doing nothing, which retains
nothing and forgets nothing, is always possible and therefore always a point.

All functions take arrays whose last axis runs over the settings; further axes, of seeds or of resamples, are kept.
"""

import math
from typing import NamedTuple

import numpy as np

from smf.errors import DataError
from smf.scores.table import DECIMALS


class _Front(NamedTuple):
    """Points sorted by ascending forgetting, ties by descending retention.

    Attributes:
        order: The original index of each point.
        forgetting: The forgetting of each point, clipped at 0.
        best: The most retained by each point and all points before it.
        before: The most retained by the points before each point; 0 (doing nothing) for the first.
    """

    order: np.ndarray
    forgetting: np.ndarray
    best: np.ndarray
    before: np.ndarray

    @property
    def members(self) -> np.ndarray:
        """Which points are not dominated; of coinciding points only the first."""
        return self.best > self.before


def on_front(retained: np.ndarray, forgetting: np.ndarray) -> np.ndarray:
    """Which points are not dominated: no other point, nor doing nothing, retains as much and forgets as little.

    Of coinciding points only the first is on the front.

    Args:
        retained: The retained share of each setting.
        forgetting: The forgetting of each setting, a share.

    Returns:
        True for each point on the front, in the order given.
    """
    front = _front(retained, forgetting)
    mask = np.zeros_like(front.members)
    np.put_along_axis(mask, front.order, front.members, axis=-1)
    return mask


def hypervolume(retained: np.ndarray, forgetting: np.ndarray, reference: float) -> np.ndarray:
    """The retained share, averaged over all budgets of forgetting from 0 to ``reference``.

    A budget of forgetting buys the best setting within it, never a mixture of two, so the area below the front is a
    staircase. It is divided by ``reference``: 0 means nothing retained, 1 everything retained and nothing forgotten.

    Args:
        retained: The retained share of each setting, in [0, 1].
        forgetting: The forgetting of each setting, a share.
        reference: The largest budget, a share above 0.

    Raises:
        DataError: The reference is not a finite number above 0.
    """
    check_reference(reference)
    front = _front(retained, forgetting)
    steps = np.minimum(front.forgetting, reference)
    end = np.full((*steps.shape[:-1], 1), reference)
    return (front.best * np.diff(steps, append=end, axis=-1)).sum(axis=-1) / reference


def forgetting_at(retained: np.ndarray, forgetting: np.ndarray, level: float) -> np.ndarray:
    """The least forgetting, a share, at which ``level`` is retained; infinite if the front does not reach it.

    The front is interpolated linearly between neighbours, the first of which is doing nothing. A setting on the front
    counts even where it lies off the line between its neighbours.

    Args:
        retained: The retained share of each setting.
        forgetting: The forgetting of each setting, a share.
        level: The share to retain.
    """
    front = _front(retained, forgetting)
    # forgetting ascends, so the largest so far is that of the last point on the front
    last = np.maximum.accumulate(np.where(front.members, front.forgetting, 0.0), axis=-1)
    previous = np.concatenate([np.zeros((*last.shape[:-1], 1)), last[..., :-1]], axis=-1)
    reached = front.best >= round(level, DECIMALS)
    first = reached.argmax(axis=-1)[..., None]
    low, high, before, best = (
        np.take_along_axis(values, first, axis=-1)[..., 0]
        for values in (previous, front.forgetting, front.before, front.best)
    )
    rise = np.where(best > before, best - before, 1.0)
    return np.where(reached.any(axis=-1), low + (level - before).clip(min=0.0) / rise * (high - low), math.inf)


def check_reference(reference: float) -> None:
    """Refuse a largest budget of forgetting that is not a finite number above 0.

    Raises:
        DataError: It is not a finite number above 0.
    """
    if not 0 < reference < math.inf:
        raise DataError(
            f"the reference forgetting is {reference}; give the largest budget of interest as a share above 0, "
            "such as 0.2 for 20 %"
        )


def _front(retained: np.ndarray, forgetting: np.ndarray) -> _Front:
    retained = np.round(np.asarray(retained, dtype=float), DECIMALS)
    forgetting = np.round(np.asarray(forgetting, dtype=float), DECIMALS).clip(min=0.0)
    order = np.lexsort((-retained, forgetting), axis=-1)
    best = np.maximum.accumulate(np.take_along_axis(retained, order, axis=-1), axis=-1).clip(min=0.0)
    before = np.concatenate([np.zeros((*best.shape[:-1], 1)), best[..., :-1]], axis=-1)
    return _Front(order, np.take_along_axis(forgetting, order, axis=-1), best, before)
