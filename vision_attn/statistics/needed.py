"""How many images reach a value, along another factor, and how that grows: the exponent, a slope in logarithms.

Read off the measured means as in `crossover`: between two sizes curves are straight lines over log n, made monotone
first, and what lies outside the sizes is censored.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.statistics.crossover import reached
from vision_attn.statistics.intervals import check_level, resampled_means
from vision_attn.statistics.monotone import rising

NO_WEIGHT = 1e-12


def sizes_needed(
    frame: pd.DataFrame,
    *,
    by: Sequence[str],
    x: str,
    threshold: float,
    value: str = "value",
    size: str = "train_size",
    over: str = "seed",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The size at which the mean of `value` reaches the threshold, in every group of `by` at every level of `x`.

    0 stands for "below the smallest size", infinity for "above the largest". `exponent` is the slope of log size
    against log x by least squares over the levels of x at which the size is known, `levels` many of `of_levels`; with
    fewer than two there is none. Intervals are percentiles over `resampled_means`, a seed with one weight for all
    sizes and levels; a bound of the exponent is infinite where such means leave the sizes measured. A level at which
    a size has one seed gets no interval. One row a group and level: `by`, x, estimate, low, high, n (seeds at the size
    that has fewest), smallest, largest, exponent, exponent_low, exponent_high, levels, of_levels.
    """
    check_level(level)
    rows: list[dict[Any, Any]] = []
    for key, part in frame.dropna(subset=[value]).groupby(list(by), observed=True, dropna=False):
        cells = part.pivot_table(index=over, columns=[x, size], values=value, observed=True)
        means = np.nanmean(cells.to_numpy(float), axis=0)
        drawn = resampled_means(cells.to_numpy(float), level=level, resamples=resamples, seed=seed)
        own = _of_levels(cells, np.vstack([means, drawn]), x=x, threshold=threshold, level=level)
        rows += [dict(zip(by, key, strict=True)) | row for row in own]
    exponents = ["exponent", "exponent_low", "exponent_high", "levels", "of_levels"]
    return pd.DataFrame(rows, columns=[*by, x, "estimate", "low", "high", "n", "smallest", "largest", *exponents])


def _of_levels(
    cells: pd.DataFrame, means: np.ndarray, *, x: str, threshold: float, level: float
) -> list[dict[Any, Any]]:
    """One row a level, of means (1 + resamples, cells), those measured first."""
    at, sizes = (np.asarray(cells.columns.get_level_values(i), float) for i in (0, 1))
    levels, counts = np.unique(at), cells.notna().sum().to_numpy()
    found = np.stack([_reached(sizes[at == one], means[:, at == one], threshold) for one in levels], axis=1)
    known = np.isfinite(found[0]) & (found[0] > 0)
    slopes = _slopes(np.log(levels[known]), found[:, known])
    names = ("exponent", "exponent_low", "exponent_high")
    shared = dict(zip(names, _interval(slopes, level), strict=True)) | {"levels": known.sum(), "of_levels": len(levels)}
    rows = []
    for i, one in enumerate(levels):
        row = dict(zip(("estimate", "low", "high"), _interval(found[:, i], level), strict=True))
        own = at == one
        rows.append(
            {x: one, **row, "n": counts[own].min(), "smallest": sizes[own][0], "largest": sizes[own][-1], **shared}
        )
    return rows


def _reached(sizes: np.ndarray, means: np.ndarray, threshold: float) -> np.ndarray:
    """The size of each row of means; missing where one of them is."""
    return np.array(
        [np.nan if np.isnan(curve).any() else reached(sizes, rising(curve), threshold) for curve in means], float
    )


def _slopes(logs: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The slope of log found (R, levels) against logs (levels,); a level in the middle may have no weight."""
    if len(logs) < 2:
        return np.full(len(found), np.nan)
    weights = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    has = np.abs(weights) > NO_WEIGHT
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = (np.log(found[:, has]) * weights[has]).sum(axis=1)
    is_open = np.isnan(slopes) & ~np.isnan(found).any(axis=1)  # infinity minus infinity: any slope, so half to each end
    return np.where(is_open, np.inf * (-1.0) ** np.arange(len(slopes)), slopes)


def _interval(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """The first of the values, with percentiles of the others; none where any of them is missing."""
    rest = values[1:]
    if np.isnan(rest).any():
        return float(values[0]), np.nan, np.nan
    low, high = np.quantile(rest, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(values[0]), float(low), float(high)
