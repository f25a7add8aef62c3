"""Learning curves as formulas: error against the number of training images, fitted, compared, inverted.

e error in [0, 1], n training images.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq, least_squares

Curve = Callable[[np.ndarray, np.ndarray], np.ndarray]
Start = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _power(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.exp(p[0]) * n ** -p[1] + p[2]


def _exponential(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.exp(p[0] - np.exp(p[1]) * n) + p[2]


def _logarithm(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    return p[0] - p[1] * np.log(n)


def _power_start(n: np.ndarray, e: np.ndarray) -> np.ndarray:
    floor = 0.5 * e.min()
    slope, height = np.polyfit(np.log(n), np.log(np.maximum(e - floor, 1e-6)), 1)
    return np.array([height, np.clip(-slope, 0.05, 1.9), floor])


def _exponential_start(n: np.ndarray, e: np.ndarray) -> np.ndarray:
    return np.array([np.log(max(float(np.ptp(e)), 1e-3)), -np.log(np.median(n)), e.min()])


def _logarithm_start(n: np.ndarray, e: np.ndarray) -> np.ndarray:
    slope, height = np.polyfit(np.log(n), e, 1)
    return np.array([height, -slope])


CURVES: dict[str, tuple[Curve, Start, tuple[list[float], list[float]]]] = {
    "power": (_power, _power_start, ([-20, 0, 0], [20, 2, 1])),
    "exponential": (_exponential, _exponential_start, ([-20, -40, 0], [20, 5, 1])),
    "logarithm": (_logarithm, _logarithm_start, ([-10, -10], [10, 10])),
}
"""a n^-b + c, a exp(-b n) + c, a - b log n: the function of its parameters and n, where to start, their bounds."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted curve. `failed` says in words why there is none, else it is empty."""

    kind: str
    parameters: tuple[float, ...] = ()
    failed: str = ""

    def error(self, n: np.ndarray | float) -> np.ndarray:
        """The error at n images; missing where the fit failed."""
        sizes = np.asarray(n, float)
        if self.failed:
            return np.full(sizes.shape, np.nan)
        return CURVES[self.kind][0](np.array(self.parameters), sizes)

    def size(self, error: float, *, low: float, high: float) -> float:
        """The number of images between `low` and `high` at which the error is reached; missing if it is not."""
        if self.failed or not self.error(high) <= error <= self.error(low):
            return np.nan
        root = brentq(lambda x: float(self.error(np.exp(x)) - error), np.log(low), np.log(high), xtol=1e-10)
        return float(np.exp(root))


def fit(n: np.ndarray, error: np.ndarray, variance: np.ndarray, *, kind: str = "power") -> Fit:
    """The curve of that kind that is nearest to the mean errors at n, weighted by 1 / variance of the means.

    Least squares over sum (e(n) - error)^2 / variance. Variances of 0, as equal seeds give, count as the smallest
    other one. The fit fails, and says so, with no more sizes than parameters or where it does not converge.
    """
    function, start, bounds = CURVES[kind]
    sizes, errors = np.asarray(n, float), np.asarray(error, float)
    needed = len(bounds[0]) + 1
    if len(sizes) < needed:
        return Fit(kind, failed=f"{len(sizes)} sizes are too few for {len(bounds[0])} parameters")
    weights = np.asarray(variance, float)
    positive = weights[weights > 0]
    weights = np.sqrt(np.where(weights > 0, weights, positive.min() if len(positive) else 1.0))
    first = np.clip(start(sizes, errors), np.array(bounds[0]) + 1e-9, np.array(bounds[1]) - 1e-9)
    found = least_squares(
        lambda p: (function(p, sizes) - errors) / weights, first, bounds=bounds, x_scale="jac", max_nfev=2000
    )
    if not found.success or not np.isfinite(found.x).all():
        return Fit(kind, failed=f"the fit did not converge: {found.message}")
    return Fit(kind, tuple(map(float, found.x)))


def left_out_error(n: np.ndarray, error: np.ndarray, variance: np.ndarray, *, kind: str) -> float:
    """How far the curve fitted to all sizes but the largest misses the largest: |e(n) - error|; missing if it fails."""
    order = np.argsort(n)
    sizes, errors, weights = (np.asarray(a, float)[order] for a in (n, error, variance))
    found = fit(sizes[:-1], errors[:-1], weights[:-1], kind=kind)
    return float(abs(found.error(sizes[-1]) - errors[-1]))
