"""Learning curves as formulas: error against the number of training images, fitted, compared, inverted.

e error in [0, 1], n training images. A curve falls in one shape, n^-b or exp(-b n), of height a above its floor c.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy

Falling = Callable[[np.ndarray, np.ndarray], np.ndarray]

STRAIGHT, FLAT = 1e-3, 20.0
"""Of an exponential, b n at the largest size and at the smallest, beyond which it looks like a line or a constant."""
FINE = 400
"""Values of b that are tried, evenly spaced (of an exponential in its logarithm), before the best is refined."""
REFINED, ROUNDS = 13, 12
"""Values tried around the best in every further round."""


def _power(b: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.asarray(n**-b)


def _exponential(b: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-b * n))


FALLING: dict[str, Falling] = {"power": _power, "exponential": _exponential}
CURVES = (*FALLING, "logarithm")
"""a n^-b + c, a exp(-b n) + c, a - b log n."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted curve, its parameters a, b and c (but for a logarithm). `failed` says why there is none, else empty."""

    kind: str
    parameters: tuple[float, ...] = ()
    failed: str = ""

    def error(self, n: np.ndarray | float) -> np.ndarray:
        """The error at n images; missing where the fit failed."""
        sizes = np.asarray(n, float)
        if self.failed:
            return np.full(sizes.shape, np.nan)
        if self.kind == "logarithm":
            a, b = self.parameters
            return a - b * np.log(sizes)
        a, b, c = self.parameters
        return a * FALLING[self.kind](np.array(b), sizes) + c

    def size(self, error: float, *, low: float, high: float) -> float:
        """The number of images between `low` and `high` at which the error is reached; missing if it is not."""
        if self.failed or not self.error(high) <= error <= self.error(low):
            return np.nan
        root = scipy.optimize.brentq(
            lambda x: float(self.error(np.exp(x)) - error), np.log(low), np.log(high), xtol=1e-10
        )
        return float(np.exp(root))


def rates(kind: str, n: np.ndarray) -> tuple[float, float]:
    """The least and the largest b that a curve through these sizes may have."""
    return (0.0, 2.0) if kind == "power" else (STRAIGHT / float(np.max(n)), FLAT / float(np.min(n)))


def fit(n: np.ndarray, error: np.ndarray, variance: np.ndarray, *, kind: str = "power") -> Fit:
    """The curve of that kind that is nearest to the mean errors at n, weighted by 1 / variance of the means.

    Least squares over sum (e(n) - error)^2 / variance, with a >= 0, 0 <= c <= 1 and b within `rates`. At a given b the
    best a and c are known, so the sum is a function of b alone, and all of its range is searched: no start, and no
    other minimum to end in. Variances of 0, as equal seeds give, count as the smallest other one. The fit fails, and
    says so, with no more sizes than parameters.
    """
    parameters = 2 if kind == "logarithm" else 3
    if len(n) <= parameters:
        return Fit(kind, failed=f"{len(n)} sizes are too few for {parameters} parameters")
    return Fit(kind, tuple(map(float, fitted_parameters(n, np.asarray(error, float)[None], variance, kind=kind)[0])))


def fitted_parameters(n: np.ndarray, errors: np.ndarray, variance: np.ndarray, *, kind: str) -> np.ndarray:
    """The parameters of `fit` for many curves over the same sizes: errors (R, sizes) to (R, 3), or 2 of a logarithm."""
    sizes, weights = np.asarray(n, float), np.asarray(variance, float)
    positive = weights[weights > 0]
    weights = 1 / np.where(weights > 0, weights, positive.min() if len(positive) else 1.0)
    if kind == "logarithm":
        slopes, heights = np.polyfit(np.log(sizes), np.asarray(errors, float).T, 1, w=np.sqrt(weights))
        return np.stack([heights, -slopes], axis=1)
    low, high = rates(kind, sizes)
    tried = (np.linspace if kind == "power" else np.geomspace)(low, high, FINE)[None]
    for _ in range(ROUNDS):
        first = FALLING[kind](tried[..., None], sizes.min())
        shapes = FALLING[kind](tried[..., None], sizes) / first
        sums, scaled, floors = _nearest(shapes, np.asarray(errors, float), weights)
        best = np.argmin(sums, axis=1)
        rows, of = np.arange(len(best)), np.arange(len(best)) if len(tried) > 1 else np.zeros(len(best), int)
        found = np.stack([scaled[rows, best] / first[of, best, 0], tried[of, best], floors[rows, best]], axis=1)
        ends = tried[of, np.maximum(best - 1, 0)], tried[of, np.minimum(best + 1, tried.shape[1] - 1)]
        tried = np.linspace(*ends, REFINED, axis=1)
    return found


def _nearest(shapes: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """The least weighted sums of squares of a shape + c - errors over a >= 0 and 0 <= c <= 1, and their a and c.

    Shapes (R or 1, B, sizes) and errors (R, sizes) give three arrays (R, B). The sum is convex in (a, c): its minimum
    is the free one if that is allowed, else it lies on an edge.
    """
    total, first, second = weights.sum(), shapes @ weights, shapes**2 @ weights
    mean = (errors @ weights / total)[:, None]
    cross = np.einsum("rbn,rn->rb", np.broadcast_to(shapes, (len(errors), *shapes.shape[1:])), errors * weights)
    spread = second - first**2 / total
    is_curve = spread > 1e-12 * second
    free = np.where(is_curve, (cross - first * mean) / np.where(is_curve, spread, 1.0), 0.0)
    none = np.zeros_like(free)
    edges = [(free, mean - free * first / total), (none, none + np.clip(mean, 0, 1))]
    edges += [(np.maximum((cross - c * first) / second, 0), none + c) for c in (0.0, 1.0)]
    a, c = (np.array(part) for part in zip(*edges, strict=True))
    squares = (errors**2 @ weights)[:, None]
    sums = a**2 * second + c**2 * total + squares + 2 * (a * c * first - a * cross - c * mean * total)
    sums[(a < 0) | (c < 0) | (c > 1)] = np.inf
    best = np.argmin(sums, axis=0)[None]
    return tuple(np.take_along_axis(part, best, axis=0)[0] for part in (sums, a, c))


def left_out_error(n: np.ndarray, error: np.ndarray, variance: np.ndarray, *, kind: str) -> float:
    """How far the curve fitted to all sizes but the largest misses the largest: |e(n) - error|; missing if it fails."""
    order = np.argsort(n)
    sizes, errors, weights = (np.asarray(a, float)[order] for a in (n, error, variance))
    found = fit(sizes[:-1], errors[:-1], weights[:-1], kind=kind)
    return float(abs(found.error(sizes[-1]) - errors[-1]))
