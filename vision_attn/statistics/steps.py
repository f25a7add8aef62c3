"""Where accuracy falls as a distance grows, and how long training takes to get to a level."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.special import betaincinv, expit, stdtrit

from vision_attn.spec import InputError
from vision_attn.statistics.intervals import check_level, mean_interval

SHARPEST = 0.1
"""The smallest scale of a fitted step, in units of the smallest spacing of the distances; a sharper one looks alike."""
SLOPE = (0.05, 0.95)
"""The part of the way from ceiling to chance on which a distance tells where the step is."""

Curve = dict[float, np.ndarray]


def step_position(
    frame: pd.DataFrame,
    *,
    by: Sequence[str],
    chance: float,
    ceiling: float = 1.0,
    x: str = "distance",
    value: str = "value",
    over: str = "seed",
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """The distance at which accuracy falls through the middle between ceiling and chance, in every group of `by`.

        accuracy(d) = chance + (ceiling - chance) / (1 + exp((d - m) / s)),  least squares over all values, s > 0
        interval: m ± t(n - 1, (1 + level) / 2) * sd(m*) * sqrt(n / (n - 1)),  m* refitted on resampled seeds

    The bootstrap draws whole seeds; its spread is too small by sqrt((n - 1) / n), and Student's t makes up for few
    seeds. Where no distance lies on the slope the step is known only to lie between two of them, and the interval is
    widened to them. `found` says what there is: "step", "between" (such a step), "beyond" (the mean stays above the
    middle at every distance: the step is censored), "before" (it is never above), "no step" (the fit fails, or
    accuracy does not fall), "not measured". `estimate` is missing but in the first two; `censored` is "> 7" or "< 1".
    One row a group: `by`, estimate, low, high, n (seeds), scale, rmse, found, censored.
    """
    check_level(level)
    if not chance < ceiling:
        raise InputError(f"chance of a step must be below its ceiling, {ceiling}. Got {chance!r} instead.")
    groups = frame.groupby(list(by), observed=True, dropna=False)
    rows = []
    for key, part in groups:
        curves = _curves(part, x=x, value=value, over=over)
        generator = np.random.default_rng(seed)
        found = _position(curves, (chance, ceiling), level=level, resamples=resamples, generator=generator)
        rows.append(dict(zip(by, key, strict=True)) | found)
    names = [*by, "estimate", "low", "high", "n", "scale", "rmse", "found", "censored"]
    return _like(pd.DataFrame(rows, columns=names), frame, by)


def steps_to(
    history: pd.DataFrame,
    *,
    by: Sequence[str],
    threshold: float = 0.95,
    value: str = "val_accuracy",
    update: str = "update",
    run: str = "run",
    level: float = 0.95,
) -> pd.DataFrame:
    """Updates until `value` is first at or above `threshold`, and the share of runs that get there, in groups of `by`.

    `estimate` is the geometric mean over the runs that get there, with the Student-t interval of the logarithms, n
    their number. `share` is out of `runs`, with the interval of Clopper and Pearson (1934), which covers at least as
    often as it says. One row a group: `by`, estimate, low, high, n, runs, share, share_low, share_high.
    """
    check_level(level)
    keys = [*by, run]
    seen = history.dropna(subset=[value]) if value in history else history.iloc[:0].assign(**{value: []})
    all_runs = seen[keys].drop_duplicates()
    there = seen[seen[value] >= threshold].groupby(keys, observed=True, dropna=False)[update].min()
    firsts = all_runs.merge(there.rename("first").reset_index(), on=keys, how="left")
    firsts["log"] = np.log(firsts["first"].astype(float))
    out = mean_interval(firsts, value="log", by=by, level=level)
    for name in ("estimate", "low", "high"):
        out[name] = np.exp(out[name])
    counts = firsts.groupby(list(by), observed=True, dropna=False)[run].size()
    out = out.merge(counts.rename("runs").reset_index(), on=list(by))
    out["share"] = out["n"] / out["runs"]
    bounds = [share_interval(int(n), int(runs), level=level) for n, runs in zip(out["n"], out["runs"], strict=True)]
    out["share_low"], out["share_high"] = [low for low, _ in bounds], [high for _, high in bounds]
    return out[[*by, "estimate", "low", "high", "n", "runs", "share", "share_low", "share_high"]]


def share_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a probability: what neither tail of the binomial rules out."""
    check_level(level)
    tail = (1 - level) / 2
    low = betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return float(low), float(high)


def _curves(part: pd.DataFrame, *, x: str, value: str, over: str) -> list[Curve]:
    """The values of every seed by distance, those that are there."""
    known = part.dropna(subset=[x, value])
    out = []
    for _, own in known.groupby(over, observed=True, dropna=False):
        curve = own.groupby(x)[value].apply(lambda cells: cells.to_numpy(float))
        out.append({float(place): cells for place, cells in curve.items() if isinstance(place, int | float)})
    return out


def _position(
    curves: list[Curve], limits: tuple[float, float], *, level: float, resamples: int, generator: np.random.Generator
) -> dict[str, Any]:
    """The row of one group."""
    row: dict[str, Any] = dict.fromkeys(("estimate", "low", "high", "scale", "rmse"), np.nan)
    row |= {"n": len(curves), "found": "not measured", "censored": ""}
    if not curves:
        return row
    places, means = _means(curves)
    heights = (means - limits[0]) / (limits[1] - limits[0])
    if (heights > 0.5).all():
        return row | {"found": "beyond", "censored": f"> {places[-1]:g}", "low": places[-1]}
    if (heights <= 0.5).all():
        return row | {"found": "before", "censored": f"< {places[0]:g}", "high": places[0]}
    fit = _fit(curves, limits)
    if fit is None or heights[0] <= heights[-1]:
        return row | {"found": "no step"}
    middle, scale, rmse = fit
    row |= {"estimate": middle, "scale": scale, "rmse": rmse, "found": "step"}
    n = len(curves)
    if n >= 2:
        draws = [tuple(sorted(draw)) for draw in generator.integers(n, size=(resamples, n)).tolist()]
        fits = {draw: _fit([curves[i] for i in draw], limits) for draw in set(draws)}
        again = [one[0] for one in map(fits.__getitem__, draws) if one is not None]
        spread = np.std(again, ddof=1) * np.sqrt(n / (n - 1))
        half = float(stdtrit(n - 1, (1 + level) / 2) * spread)
        row |= {"low": middle - half, "high": middle + half}
    if not ((heights > SLOPE[0]) & (heights < SLOPE[1])).any():
        below, above = places[places <= middle].max(), places[places >= middle].min()
        row |= {"found": "between", "low": np.fmin(row["low"], below), "high": np.fmax(row["high"], above)}
    return row


def _means(curves: list[Curve]) -> tuple[np.ndarray, np.ndarray]:
    places = sorted({place for curve in curves for place in curve})
    return np.array(places), np.array([np.concatenate([c[p] for c in curves if p in c]).mean() for p in places])


def _fit(curves: list[Curve], limits: tuple[float, float]) -> tuple[float, float, float] | None:
    """Middle, scale and root mean squared residual of the logistic step; None where there is nothing to fit."""
    places, means = _means(curves)
    if len(places) < 2:
        return None
    chance, ceiling = limits
    weights = np.sqrt([sum(len(curve[place]) for curve in curves if place in curve) for place in places])
    spacing = float(np.diff(places).min())

    def residuals(free: np.ndarray) -> np.ndarray:
        return weights * (chance + (ceiling - chance) * expit((free[0] - places) / free[1]) - means)

    bounds = ([places[0], SHARPEST * spacing], [places[-1], float(np.ptp(places))])
    start = np.clip(_crossing(places, means, (chance + ceiling) / 2), places[0], places[-1])
    found = least_squares(residuals, (start, 0.3 * spacing), bounds=bounds)
    if not found.success:
        return None
    curve = chance + (ceiling - chance) * expit((found.x[0] - places) / found.x[1])
    return float(found.x[0]), float(found.x[1]), float(np.sqrt(np.mean((curve - means) ** 2)))


def _crossing(places: np.ndarray, means: np.ndarray, middle: float) -> float:
    """Where the means first fall through the middle, on straight lines between them; an end where they never do."""
    falls = np.flatnonzero((means[:-1] > middle) & (means[1:] <= middle))
    if not falls.size:
        return float(places[-1] if means[0] > middle else places[0])
    i = falls[0]
    return float(places[i] + (places[i + 1] - places[i]) * (means[i] - middle) / (means[i] - means[i + 1]))


def _like(out: pd.DataFrame, frame: pd.DataFrame, by: Sequence[Hashable]) -> pd.DataFrame:
    """The key columns in the types of the frame they came from."""
    return out.astype({name: frame[name].dtype for name in by})
