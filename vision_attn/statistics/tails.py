"""One-sided p-values of a mean and of a share against a bound; the last axis runs over the values of one sample."""

import numpy as np
from scipy.special import betainc, stdtr

ROUNDING = 1e-12
"""The part of a number by which sums of others may miss it: 0.95 - 0.9 is not 0.05."""


def t_tails(values: np.ndarray, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """How surprising the mean is if the truth is at most `bound`, and if it is at least `bound` (Student 1908).

    p-values of shape (...) of the one-sided t-tests for values of shape (..., n), n >= 2; NaN where a value is. Values
    without any spread leave no doubt on which side of the bound they are: 0 and 1, or 1 and 1 where they are the bound
    itself. What only rounding makes of a number is neither a spread nor a side.
    """
    n = values.shape[-1]
    rounding = ROUNDING * np.maximum(np.abs(values).max(-1), abs(bound))
    distance = values.mean(-1) - bound
    is_constant = np.ptp(values, axis=-1) <= rounding
    is_bound = is_constant & (np.abs(distance) <= rounding)
    error = values.std(-1, ddof=1) / np.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(is_constant, np.copysign(np.inf, distance), distance / error)
    at_least, at_most = stdtr(n - 1, -t), stdtr(n - 1, t)
    return np.where(is_bound, 1.0, at_least), np.where(is_bound, 1.0, at_most)


def share_tails(successes: np.ndarray, trials: int, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """How surprising so many successes are if their probability is at most `bound`, and so few if it is at least.

    The tails of the binomial distribution, of the shape of `successes`: Clopper and Pearson's interval excludes the
    bound where one of them is below half of one minus its level.
    """
    wins = np.asarray(successes, float)
    with np.errstate(invalid="ignore"):
        many = np.where(wins > 0, betainc(np.maximum(wins, 1), trials - wins + 1, bound), 1.0)
        few = np.where(wins < trials, 1 - betainc(wins + 1, np.maximum(trials - wins, 1), bound), 1.0)
    return many, few
