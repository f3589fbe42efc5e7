"""Does one method differ from another on the same seeds? Tests, effect size, and correction for several comparisons."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from smf.scores.table import DECIMALS

_SEED = 0
"""Seeds the permutations, which are drawn at random if there are too many to enumerate."""


def p_values(differences: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The p values of Student's paired t test and of the two-sided sign-flip test.

    The sign-flip test assumes no distribution. With n seeds it cannot fall below 2 / 2ⁿ: with five seeds not below
    0.0625. Up to 13 seeds it is exact.

    Args:
        differences: One method's value less the other's, one per seed.

    Returns:
        Both are NaN for fewer than two seeds or an undefined difference, and both are 1 if all differences are 0. The t
        test's is NaN if all are the same but not 0: without spread there is no such test.
    """
    differences = np.round(differences, DECIMALS)
    if len(differences) < 2 or np.isnan(differences).any():
        return math.nan, math.nan
    by_t = math.nan if differences.any() else 1.0
    if np.ptp(differences) > 0:
        by_t = float(stats.ttest_rel(differences, np.zeros_like(differences)).pvalue)
    # paired with zeros, the differences permute by flipping their signs
    flipped = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda one, other, axis: (one - other).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=_SEED,
    )
    return by_t, float(flipped.pvalue)


def effect_size(differences: Sequence[float] | np.ndarray) -> float:
    """Cohen's d of paired values: the mean difference in standard deviations of the differences.

    NaN for fewer than two seeds, or if all differences are the same.
    """
    differences = np.round(differences, DECIMALS)
    if len(differences) < 2 or not np.ptp(differences) > 0:
        return math.nan
    return float(differences.mean() / differences.std(ddof=1))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Correct p values of several comparisons by Holm's step-down method (Holm, 1979).

    The i-th smallest of m p values becomes the largest of (m - j + 1) · p_j over j ≤ i, at most 1. Rejecting where the
    result is at most α keeps the probability of any false rejection at α or below, whatever the dependence.

    Args:
        p_values: One per comparison. NaN (no test was possible) stays NaN, but counts in m as if it were the largest:
            how far the others are corrected must not depend on how the seeds came out.
    """
    given = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    corrected = np.full_like(given, math.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * (len(given) - np.arange(len(order)))), 1.0)
    return corrected
