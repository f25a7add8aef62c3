"""Where accuracy falls through midway as a distance grows: the midpoint of a psychometric function, where one fits."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy
from scipy.special import expit

from vision_attn.spec import InputError
from vision_attn.statistics.intervals import check_level, half_width, resampled_means
from vision_attn.statistics.tails import ROUNDING

SHARPEST = 0.1
"""The smallest scale of a fitted step, in units of the smallest spacing of the distances; a sharper one looks alike."""
SLOPE = (0.05, 0.95)
"""The part of the way from ceiling to chance on which a distance tells where the step is."""
MISFIT = 0.05
"""How far, root mean square and in units of the way from chance to ceiling, true means may lie off what is fitted."""
REFUSED = 0.05
"""How often, at most, a curve as far off as that is refused."""
CERTAIN = 1e4
"""The non-centrality from which the seeds scatter too little to matter."""
MIDDLES, SCALES = 401, 20
"""Values of the midpoint and the scale that are tried."""


def psychometric_midpoint(
    frame: pd.DataFrame,
    *,
    by: Sequence[str],
    chance: float,
    ceiling: float = 1.0,
    x: str = "distance",
    value: str = "value",
    over: str = "seed",
    level: float = 0.95,
    resamples: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """The distance at which accuracy falls through the middle between ceiling and chance, in every group of `by`.

        accuracy(d) = chance + (ceiling - chance) / (1 + exp((d - m) / s)),  least squares over the means, s > 0

    The interval holds the percentiles of m refitted to `intervals.resampled_means`. Where no distance lies on the
    slope the step is known only to lie between two of them, and the interval is widened to them.

    Nothing is reported of a curve that is no such step. With MS the mean square of the means around what is fitted and
    s^2 the variance of seeds at a distance, pooled, MS / s^2 is compared with the 95 % quantile of the non-central F
    distribution of a curve that lies 0.05 of the way off (root mean square): against the nearest curve that nowhere
    rises, and against the fitted step. So a curve that is a step is refused in under 5 % of cases, and one that
    seeds agree on is refused from 0.05 on (lack-of-fit test; of Wichmann and Hill 2001 with the scatter of seeds in
    place of the binomial one).

    `found` says what there is: "step", "between" (such a step), "beyond" (the mean is above the middle at every
    distance measured, and at the farthest so is its Student-t interval, where there are several seeds), "before" (it is
    nowhere), "not monotone" (it rises somewhere), "no step" (it falls otherwise than the step, or not at all), "not
    measured". `estimate` is missing but in the first two; `censored` is "> 7" or "< 1". One row a group: `by`,
    estimate, low, high, n (seeds), scale, rmse, found, censored.
    """
    check_level(level)
    if not chance < ceiling:
        raise InputError(f"chance of a step must be below its ceiling, {ceiling}. Got {chance!r} instead.")
    rows = []
    for key, part in frame.groupby(list(by), observed=True, dropna=False):
        places, heights = _heights(part, x=x, value=value, over=over, limits=(chance, ceiling))
        found = _midpoint(places, heights, level=level, resamples=resamples, seed=seed)
        found["rmse"] *= ceiling - chance
        rows.append(dict(zip(by, key, strict=True)) | found)
    names = [*by, "estimate", "low", "high", "n", "scale", "rmse", "found", "censored"]
    return _like(pd.DataFrame(rows, columns=names), frame, by)


def _heights(
    part: pd.DataFrame, *, x: str, value: str, over: str, limits: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The distances, ascending, and the accuracy of every seed there as a part of the way from chance to ceiling."""
    known = part.dropna(subset=[x, value])
    known = known[[isinstance(place, int | float) for place in known[x]]]
    if not len(known):
        return np.zeros(0), np.zeros((0, 0))
    table = known.assign(**{x: known[x].astype(float)}).pivot_table(index=over, columns=x, values=value, observed=True)
    return np.asarray(table.columns, float), (table.to_numpy(float) - limits[0]) / (limits[1] - limits[0])


def _midpoint(places: np.ndarray, heights: np.ndarray, *, level: float, resamples: int, seed: int) -> dict[str, Any]:
    """The row of one group."""
    row: dict[str, Any] = dict.fromkeys(("estimate", "low", "high", "scale", "rmse"), np.nan)
    row |= {"n": len(heights), "found": "not measured", "censored": ""}
    if not len(places):
        return row
    means, counts = np.nanmean(heights, axis=0), (~np.isnan(heights)).sum(axis=0)
    is_above = means > 0.5 + ROUNDING
    if is_above.all() and _lower(heights[:, -1], level) > 0.5:
        return row | {"found": "beyond", "censored": f"> {places[-1]:g}", "low": places[-1]}
    if not is_above.any():
        return row | {"found": "before", "censored": f"< {places[0]:g}", "high": places[0]}
    falling = scipy.optimize.isotonic_regression(means, weights=counts.astype(float), increasing=False).x
    if _is_misfit(heights, falling, parameters=1):
        return row | {"found": "not monotone"}
    middle, scale = _fit(places, means, counts)
    fitted = expit((middle - places) / scale)
    row["rmse"] = float(np.sqrt(np.mean((fitted - means) ** 2)))
    if means[0] <= means[-1] or _is_misfit(heights, fitted, parameters=2):
        return row | {"found": "no step"}
    row |= {"estimate": middle, "scale": scale, "found": "step"}
    if (counts >= 2).all():
        again = resampled_means(heights, level=level, resamples=resamples, seed=seed)
        middles = _nearest(places, np.vstack([means, again]), counts)[0]
        bounds = np.quantile(middles[1:], [(1 - level) / 2, (1 + level) / 2])
        row["low"], row["high"] = np.clip(middle + bounds - middles[0], places[0], places[-1])
    if not ((means > SLOPE[0]) & (means < SLOPE[1])).any():
        below, above = places[places <= middle].max(), places[places >= middle].min()
        row |= {"found": "between", "low": np.fmin(row["low"], below), "high": np.fmax(row["high"], above)}
    return row


def _lower(values: np.ndarray, level: float) -> float:
    """The lower bound of the mean of several seeds; one seed's own value."""
    known = values[~np.isnan(values)]
    sd = known.std(ddof=1) if len(known) > 1 else 0.0
    half = half_width(np.array([sd]), np.array([max(2, len(known))]), level=level)
    return float(known.mean() - half[0])


def _is_misfit(heights: np.ndarray, fitted: np.ndarray, *, parameters: int) -> bool:
    """Whether the means lie farther than `MISFIT` from what was fitted, as far as the scatter of the seeds tells."""
    counts, means = (~np.isnan(heights)).sum(axis=0), np.nanmean(heights, axis=0)
    free, degrees = len(means) - parameters, int((counts - 1).sum())
    if free < 1:
        return False
    total = float((counts * (means - fitted) ** 2).sum())
    allowed = counts.sum() * MISFIT**2
    variance = float(np.nansum((heights - means) ** 2)) / degrees if degrees else 0.0
    if variance * CERTAIN <= allowed:
        return bool(total > allowed)
    return bool(total / free / variance > scipy.stats.ncf.ppf(1 - REFUSED, free, degrees, allowed / variance))


def _fit(places: np.ndarray, means: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Midpoint and scale of the nearest step: the nearest on a grid, refined."""
    (middle, *_), (scale, *_) = _nearest(places, means[None], counts)
    low, high = _ranges(places)
    weights = np.sqrt(counts)

    def residuals(free: np.ndarray) -> np.ndarray:
        return np.asarray(weights * (expit((free[0] - places) / free[1]) - means))

    start = np.clip((middle, scale), np.array(low) + 1e-9, np.array(high) - 1e-9)
    found = scipy.optimize.least_squares(residuals, start, bounds=(low, high), xtol=1e-12, ftol=1e-12).x
    return float(found[0]), float(found[1])


def _nearest(places: np.ndarray, means: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Midpoint and scale, of a grid over all that are allowed, of the step nearest to each row of means."""
    low, high = _ranges(places)
    middles, scales = np.linspace(low[0], high[0], MIDDLES), np.geomspace(low[1], high[1], SCALES)
    grid = np.stack(np.meshgrid(middles, scales, indexing="ij"), axis=-1).reshape(-1, 2)
    steps = expit((grid[:, :1] - places) / grid[:, 1:])
    best = np.argmin(steps**2 @ counts - 2 * (means * counts) @ steps.T, axis=1)
    return grid[best, 0], grid[best, 1]


def _ranges(places: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """The least and the largest midpoint and scale."""
    return (places[0], SHARPEST * float(np.diff(places).min())), (places[-1], float(np.ptp(places)))


def _like(out: pd.DataFrame, frame: pd.DataFrame, by: Sequence[Hashable]) -> pd.DataFrame:
    """The key columns in the types of the frame they came from."""
    return out.astype({name: frame[name].dtype for name in by})
