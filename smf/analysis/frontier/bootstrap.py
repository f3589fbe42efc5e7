"""Bootstrap intervals for numbers that are not plain means over seeds: seeds are resampled with replacement."""

import math

import numpy as np

RESAMPLES = 10_000
_SEED = 0
"""Seeds all resampling, so that tables are reproducible."""


def resampled_seeds(num_seeds: int, num_resamples: int = RESAMPLES) -> np.ndarray:
    """Draw the seeds of each resample, as indices: ``num_resamples`` × ``num_seeds``, the same at every call.

    Methods that were taught the same streams share their resamples, so that a stream's effect on all of them cancels
    in their differences.
    """
    generator = np.random.default_rng(_SEED)
    return generator.integers(0, num_seeds, (num_resamples, num_seeds))


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of a number, from its value in each resample.

    The ends are values of resamples, the outer one if the percentile lies between two, so that infinite values are
    never averaged. An undefined value (NaN) may be anything: it counts as minus infinity for the lower end and as plus
    infinity for the upper one.

    Returns:
        The ends; NaN for an end that is infinite.
    """
    values = np.asarray(resampled, dtype=float)
    undefined = np.isnan(values)
    last = len(values) - 1
    low = np.sort(np.where(undefined, -math.inf, values))[math.floor(0.025 * last)]
    high = np.sort(np.where(undefined, math.inf, values))[math.ceil(0.975 * last)]
    return _finite(low), _finite(high)


def _finite(end: float) -> float:
    return float(end) if math.isfinite(end) else math.nan
