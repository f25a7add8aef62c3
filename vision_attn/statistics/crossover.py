"""Where two learning curves cross, and how many images the one needs to be as good as the other.

Both are read off the measured means, never extrapolated: between two sizes curves are straight lines over log n, made
monotone first where a size is to be read off one (isotonic regression). What lies outside the sizes is censored.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.statistics.intervals import check_level, resampled_means
from vision_attn.statistics.monotone import rising
from vision_attn.statistics.paired import PAIRED, pairs
from vision_attn.statistics.tails import ROUNDING

Crossing = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A size with its interval over resampled seeds, and in words what was found at which sizes.

    0 stands for "below the smallest size", infinity for "above the largest"; either bound may be censored so. `n` is
    the number of pairs at the size that has fewest, `n_most` at the one that has most. `dropped` values have no
    partner and are left out; `dropped_pairs` names them.
    """

    estimate: float
    low: float
    high: float
    n: int
    said: str
    sizes: tuple[float, ...] = ()
    n_most: int = 0
    dropped: int = 0
    dropped_pairs: str = ""


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

    The last change of sign of the mean difference, over the sizes that both have at some seed. The interval holds the
    percentiles over `intervals.resampled_means`: a seed has one weight for all sizes and both models, and every size
    uses all seeds that have both models there, also where others have fewer. Without `n` >= 2 there is none.
    Raises `InputError` where a cell has several values.
    """
    check_level(level)
    models = {"compare": compare, "reference": reference, "other": other}
    curves = _paired_curves(frame, value=value, x=x, pair_on=pair_on, **models)
    return _read_off(curves, _last_crossing, level=level, resamples=resamples, seed=seed)


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
    check_level(level)
    models = {"compare": compare, "reference": reference, "other": other}
    curves = _paired_curves(frame, value=value, x=x, pair_on=pair_on, **models)
    return _read_off(curves, _same_value, level=level, resamples=resamples, seed=seed)


def _last_crossing(sizes: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Where ours - theirs last turns from negative to at least 0; 0 if it always is, infinity if it never is.

    What only rounding tells apart is equal: the mean of 0.7, 0.8 and 0.9 is not 0.8.
    """
    difference = ours - theirs
    difference[np.abs(difference) <= ROUNDING * np.maximum(np.abs(ours), np.abs(theirs))] = 0.0
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
    return reached(sizes, rising(theirs), ours[-1])


def reached(sizes: np.ndarray, curve: np.ndarray, wanted: float) -> float:
    """Where a curve that nowhere falls first has the value; 0 if below the smallest size, infinity if it never has."""
    curve = np.where(np.abs(curve - wanted) <= ROUNDING * abs(wanted), wanted, curve)
    if wanted < curve[0]:
        return 0.0
    if wanted > curve[-1]:
        return np.inf
    after = int(np.argmax(curve >= wanted))
    if after == 0:
        return float(sizes[0])
    share = (wanted - curve[after - 1]) / (curve[after] - curve[after - 1])
    return float(np.exp(np.log(sizes[after - 1]) + share * np.log(sizes[after] / sizes[after - 1])))


@dataclasses.dataclass(frozen=True)
class _PairedCurves:
    """The curves of two models over S sizes that both have: `values` (seeds, 2 S), the other's, then the reference's.

    `counts` (S,) are the pairs at each size; `alone` names values without a partner; `lacking`: why there is no curve.
    """

    alone: Sequence[str] = ()
    lacking: str = ""
    sizes: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    values: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))


def _paired_curves(
    frame: pd.DataFrame, *, value: str, x: str, compare: str, pair_on: Sequence[str], reference: Any, other: Any
) -> _PairedCurves:
    cells = frame[frame[compare].isin([reference, other])].dropna(subset=[value])
    if set(cells[compare]) != {reference, other}:
        return _PairedCurves(lacking="one of the two models has no values")
    first, second, third = PAIRED
    options = {"compare": compare, "reference": reference, "names": PAIRED}
    both = pairs(cells, value=value, by=[x], pair_on=pair_on, **options)
    lone = both[both[third].isna()].to_dict("records")
    alone = [_alone(row, x=x, pair_on=pair_on, names=(other, reference)) for row in lone]
    counts = {size: int(count) for size, count in both.groupby(x)[third].count().items() if count}
    if len(counts) < 2:
        return _PairedCurves(alone, lacking="no seed has both models at two sizes or more")
    table = both.dropna(subset=[third]).pivot(index=list(pair_on), columns=x, values=[first, second])
    return _PairedCurves(alone, "", tuple(map(float, counts)), tuple(counts.values()), table.to_numpy(float))


def _read_off(curves: _PairedCurves, crossing: Crossing, *, level: float, resamples: int, seed: int) -> Estimate:
    """Where the curves cross, with the percentiles over resampled means."""
    dropped = {"dropped": len(curves.alone), "dropped_pairs": "; ".join(curves.alone)}
    if curves.lacking:
        return Estimate(np.nan, np.nan, np.nan, 0, f"not measured: {curves.lacking}", **dropped)  # type: ignore[arg-type]
    sizes, shape = np.asarray(curves.sizes), (-1, 2, len(curves.sizes))
    estimate = crossing(sizes, *np.nanmean(curves.values, axis=0).reshape(shape)[0])
    least, most = min(curves.counts), max(curves.counts)
    low, high, said = np.nan, np.nan, _size(estimate, curves.sizes)
    if least >= 2:
        means = resampled_means(curves.values, level=level, resamples=resamples, seed=seed).reshape(shape)
        found = [crossing(sizes, *mean) for mean in means]
        tails = [(1 - level) / 2, (1 + level) / 2]
        low, high = map(float, np.quantile(found, tails, method="inverted_cdf"))
    else:
        single = [f"{size:,.0f}" for size, count in zip(curves.sizes, curves.counts, strict=True) if count == 1]
        said += f"; one seed at {', '.join(single)}, no interval" if most > 1 else "; one seed, no interval"
    return Estimate(estimate, low, high, least, said, curves.sizes, most, **dropped)  # type: ignore[arg-type]


def _alone(row: dict[Any, Any], *, x: str, pair_on: Sequence[str], names: tuple[Any, Any]) -> str:
    """A value without a partner: seed=3 at 8,000 (without ViT)."""
    lacks = names[0] if pd.isna(row[PAIRED[0]]) else names[1]
    return f"{', '.join(f'{name}={row[name]}' for name in pair_on)} at {row[x]:,.0f} (without {lacks})"


def _size(size: float, sizes: Sequence[Any]) -> str:
    """A size in words, censored where it lies outside."""
    if np.isinf(size):
        return f"none up to {sizes[-1]:,.0f}"
    return f"below {sizes[0]:,.0f}" if size == 0 else f"{size:,.0f}"
