"""Where two learning curves cross, and how many images the one needs to be as good as the other.

Both are read off the measured means, never extrapolated: between two sizes curves are straight lines over log n, made
monotone first where a size is to be read off one (isotonic regression). What lies outside the sizes is censored.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from vision_attn.statistics.intervals import check_level, stretch

Crossing = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A size with its interval over resamples of the seeds, and in words what was found at which sizes.

    0 stands for "below the smallest size", infinity for "above the largest"; either bound may be censored so.
    """

    estimate: float
    low: float
    high: float
    n: int
    said: str
    sizes: tuple[float, ...] = ()


def crossover(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    x: str = "train_size",
    compare: str = "model",
    pair_on: Sequence[str] = ("seed",),
    reference: Any,
    other: Any,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The size from which on `other` is at least as good as `reference` at every larger size (higher is better).

    The last change of sign of the mean difference, over the sizes that both have at some seed. Seeds that have them
    all are resampled whole, for all sizes and both models at once, so that pairs stay pairs.
    """
    return _resampled(frame, value, x, compare, pair_on, reference, other, level, resamples, seed, _last_crossing)


def equivalent_size(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    x: str = "train_size",
    compare: str = "model",
    pair_on: Sequence[str] = ("seed",),
    reference: Any,
    other: Any,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """How many images `reference` needs to be as good as `other` with the most: the value of data, in images."""
    return _resampled(frame, value, x, compare, pair_on, reference, other, level, resamples, seed, _same_value)


def _last_crossing(sizes: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Where ours - theirs last turns from negative to at least 0; 0 if it always is, infinity if it never is."""
    difference = ours - theirs
    negative = np.flatnonzero(difference < 0)
    if len(negative) == 0:
        return 0.0
    last = int(negative[-1])
    if last == len(sizes) - 1:
        return np.inf
    share = -difference[last] / (difference[last + 1] - difference[last])
    return float(np.exp(np.log(sizes[last]) + share * np.log(sizes[last + 1] / sizes[last])))


def _same_value(sizes: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Where theirs, made monotone, has the value that ours has at the largest size."""
    curve, wanted = isotonic_regression(theirs).x, ours[-1]
    if wanted < curve[0]:
        return 0.0
    if wanted > curve[-1]:
        return np.inf
    after = int(np.argmax(curve >= wanted))
    if after == 0:
        return float(sizes[0])
    share = (wanted - curve[after - 1]) / (curve[after] - curve[after - 1])
    return float(np.exp(np.log(sizes[after - 1]) + share * np.log(sizes[after] / sizes[after - 1])))


def _resampled(
    frame: pd.DataFrame,
    value: str,
    x: str,
    compare: str,
    pair_on: Sequence[str],
    reference: Any,
    other: Any,
    level: float,
    resamples: int,
    seed: int,
    crossing: Crossing,
) -> Estimate:
    check_level(level)
    cells = frame[frame[compare].isin([reference, other])].dropna(subset=[value])
    table = cells.pivot_table(index=list(pair_on), columns=[compare, x], values=value, observed=True)
    sizes = sorted(cells[x].unique())
    table = table.reindex(columns=pd.MultiIndex.from_product([(other, reference), sizes]))
    sizes = [size for size in sizes if table[[(other, size), (reference, size)]].notna().all(axis=1).any()]
    table = table.reindex(columns=pd.MultiIndex.from_product([(other, reference), sizes])).dropna()
    number = len(table) if sizes else 0
    if number == 0 or len(sizes) < 2:
        return Estimate(np.nan, np.nan, np.nan, number, "not measured: no seed has both models at two sizes or more")
    values = table.to_numpy(float).reshape(number, 2, len(sizes))
    places, at = np.asarray(sizes, float), tuple(map(float, sizes))
    estimate = crossing(places, *values.mean(axis=0))
    if number < 2:
        return Estimate(estimate, np.nan, np.nan, number, f"{_size(estimate, sizes)}; one seed, no interval", at)
    drawn = np.random.default_rng(seed).integers(0, number, (resamples, number))
    centre, wide = values.mean(axis=0), stretch(number, level)
    found = [crossing(places, *(centre + wide * (mean - centre))) for mean in values[drawn].mean(axis=1)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Estimate(estimate, float(low), float(high), number, _size(estimate, sizes), at)


def _size(size: float, sizes: Sequence[Any]) -> str:
    """A size in words, censored where it lies outside."""
    if np.isinf(size):
        return f"none up to {sizes[-1]:,.0f}"
    return f"below {sizes[0]:,.0f}" if size == 0 else f"{size:,.0f}"
