"""Fits: a group's learning curve by every kind of formula, with intervals over seeds and the kind that predicts best.

e error in [0, 1], n training images, N the largest size measured.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.statistics.curves import CURVES, Fit, fit, left_out_error
from vision_attn.statistics.intervals import check_level, stretch

PARAMETERS = ("a", "b", "c")
QUANTITIES = ("estimate", *PARAMETERS, "data_reliance")


def fitted_curves(
    frame: pd.DataFrame,
    *,
    by: Sequence[str],
    value: str = "value",
    x: str = "train_size",
    over: str = "seed",
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """The curve of every kind through the mean errors of every group of `by`, weighted by 1 / variance of the means.

    The variances are those of a line, log variance against log n: single ones, of a few seeds, are mostly noise.
    `estimate` is the fitted error at N and `data_reliance` what quarter the data would add to it (Hoiem et al. 2021,
    arXiv:2010.09029): e_N = e(N), beta_N = -2 N e'(N). `left_out_error` is how far the curve through all sizes but N
    misses N; the kind that misses least is `chosen`. Intervals are percentiles of refits on resampled seeds, drawn
    whole for all sizes. `failed` says in words what there is not. One row a group and kind: `by`, kind, `x` (N),
    estimate, a, b, c, data_reliance, each with its _low and _high (`low` and `high` of the estimate), n (seeds),
    sizes, left_out_error, chosen, failed.
    """
    check_level(level)
    rows = []
    for key, part in frame.groupby(list(by), observed=True, dropna=False):
        head = dict(zip(by, key, strict=True))
        cells = part.dropna(subset=[value]).pivot_table(index=over, columns=x, values=value, observed=True)
        rows += [head | {x: max(cells.columns, default=np.nan)} | row for row in _rows(cells, level, resamples, seed)]
    bounds = [_bound(name, end) for name in QUANTITIES for end in ("low", "high")]
    pairs = [column for i, name in enumerate(QUANTITIES) for column in (name, *bounds[2 * i : 2 * i + 2])]
    return pd.DataFrame(
        rows, columns=[*by, "kind", x, *pairs, "n", "sizes", "left_out_error", "chosen", "failed"]
    ).astype({"chosen": bool})


def fitted_error(kind: str, n: np.ndarray, *, a: float, b: float, c: float) -> np.ndarray:
    """a n^-b + c, a exp(-b n) + c or a - b log n, of a kind and parameters that `fitted_curves` found."""
    inner = {"power": (np.log(a), b, c), "exponential": (np.log(a), np.log(b), c), "logarithm": (a, b)}
    return Fit(kind, inner[kind]).error(n)


def _rows(cells: pd.DataFrame, level: float, resamples: int, seed: int) -> list[dict[str, Any]]:
    """One row a kind, of the table of errors seeds x sizes."""
    sizes, errors = np.asarray(cells.columns, float), cells.to_numpy(float)
    if not len(sizes):
        return [{"kind": kind, "n": 0, "sizes": 0, "chosen": False, "failed": "not measured yet"} for kind in CURVES]
    means, variances = np.nanmean(errors, axis=0), _variances(sizes, errors)
    rows = []
    for kind in CURVES:
        found = fit(sizes, means, variances, kind=kind)
        row: dict[str, Any] = {"kind": kind, "n": len(errors), "sizes": len(sizes), "failed": found.failed}
        row["left_out_error"] = left_out_error(sizes, means, variances, kind=kind) if len(sizes) > 1 else np.nan
        row |= dict(zip(QUANTITIES, _quantities(found, sizes[-1]), strict=True))
        if kind == "power" and row["b"] > 0.999 * CURVES[kind][2][1][1]:
            row["failed"] = f"b is not known: it lies at the bound, {CURVES[kind][2][1][1]}"
        if not found.failed and np.isnan(row["left_out_error"]):
            row["failed"] = f"{len(sizes)} sizes are too few to leave out the largest"
        if not found.failed and len(errors) > 1:
            row |= _intervals(kind, sizes, errors, variances, level=level, resamples=resamples, seed=seed)
        rows.append(row)
    missed = [row["left_out_error"] for row in rows]
    best = int(np.nanargmin(missed)) if not np.isnan(missed).all() else None
    return [row | {"chosen": i == best} for i, row in enumerate(rows)]


def _variances(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The variance of the mean at every size, smoothed: exp of a line in log n, equal ones where nothing varies."""
    count = (~np.isnan(errors)).sum(axis=0)
    known = count > 1
    own = np.full(len(sizes), np.nan)
    own[known] = np.nanvar(errors[:, known], axis=0, ddof=1)
    known = own > 0
    if known.sum() < 3:
        return (own[known].mean() if known.any() else 1.0) / count
    line = np.polyfit(np.log(sizes[known]), np.log(own[known]), 1, w=np.sqrt(count[known] - 1))
    return np.exp(np.polyval(line, np.log(sizes))) / count


def _quantities(found: Fit, largest: float) -> list[float]:
    """The fitted error at the largest size, a, b, c, and the reliance on data there."""
    if found.failed:
        return [np.nan] * len(QUANTITIES)
    p = found.parameters
    match found.kind:
        case "power":
            a, b, c = np.exp(p[0]), p[1], p[2]
            reliance = 2 * a * b * largest**-b
        case "exponential":
            a, b, c = np.exp(p[0]), np.exp(p[1]), p[2]
            reliance = 2 * a * b * largest * np.exp(-b * largest)
        case _:
            a, b, c = p[0], p[1], np.nan
            reliance = 2 * b
    return [float(each) for each in (found.error(largest), a, b, c, reliance)]


def _intervals(
    kind: str,
    sizes: np.ndarray,
    errors: np.ndarray,
    variances: np.ndarray,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The bounds of every quantity; none, and words, where more refits fail than the interval may leave out."""
    number = len(errors)
    draws = np.sort(np.random.default_rng(seed).integers(0, number, (resamples, number)), axis=1)
    unique, times = np.unique(draws, axis=0, return_counts=True)
    centre, wide = np.nanmean(errors, axis=0), stretch(number, level)
    found = []
    for draw in unique:
        there = ~np.isnan(errors[draw]).all(axis=0)
        moved = centre[there] + wide * (np.nanmean(errors[draw][:, there], axis=0) - centre[there])
        found.append(_quantities(fit(sizes[there], moved, variances[there], kind=kind), sizes[-1]))
    values = np.repeat(np.array(found), times, axis=0)
    kept = values[~np.isnan(values[:, 0])]
    lost = len(values) - len(kept)
    if lost > (1 - level) * len(values):
        return {"failed": f"no interval: {lost} of {len(values)} refits failed"}
    tail = (1 - level) / 2
    bounds = np.quantile(kept, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return {
        _bound(name, end): bounds[side, i]
        for i, name in enumerate(QUANTITIES)
        for side, end in enumerate(("low", "high"))
    }


def _bound(name: str, end: str) -> str:
    return end if name == "estimate" else f"{name}_{end}"
