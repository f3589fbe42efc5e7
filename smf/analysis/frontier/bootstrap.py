"""How sure a number is that is no plain mean over seeds: seeds are drawn again, with replacement."""

import math

import numpy as np

RESAMPLES = 10_000
_SEED = 0
"""Of all resampling, so that a table comes out the same again."""


def resampled_seeds(num_seeds: int, num_resamples: int = RESAMPLES) -> np.ndarray:
    """The seeds of each resample, by their place: ``num_resamples`` × ``num_seeds``, the same at every call.

    Methods that were taught the same streams are resampled together, by the same rows of it: what a stream has in
    common for all of them then drops out of their differences.
    """
    generator = np.random.default_rng(_SEED)
    return generator.integers(0, num_seeds, (num_resamples, num_seeds))


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of a number, from its value in each resample.

    The ends are values of resamples, the farther one where the percentile lies between two, so that infinite values are
    never averaged. A value that a resample leaves undefined (NaN) may be anything: it counts as infinitely low for the
    lower end and as infinitely high for the upper one.

    Returns:
        The ends; NaN for an end that is infinite.
    """
    values = np.asarray(resampled, dtype=float)
    undefined = np.isnan(values)
    last = len(values) - 1
    low = np.sort(np.where(undefined, -math.inf, values))[math.floor(0.025 * last)]
    high = np.sort(np.where(undefined, math.inf, values))[math.ceil(0.975 * last)]
    return tuple(float(end) if math.isfinite(end) else math.nan for end in (low, high))
