"""Fits: a group's learning curve by every kind of formula, with intervals over seeds and the kind that predicts best.

e error in [0, 1], n training images, N the largest size measured.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vision_attn.statistics.curves import CURVES, FALLING, Fit, fit, fitted_parameters, left_out_error, rates
from vision_attn.statistics.intervals import check_level, resampled_means
from vision_attn.statistics.tails import ROUNDING

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
    `estimate` is the fitted error at N and `data_reliance` the error increase with a quarter of the data (Hoiem et
    al. 2021, arXiv:2010.09029): e_N = e(N), beta_N = -2 N e'(N). `left_out_error` is how far the curve through all
    sizes but N misses N; the kind that misses least is `chosen`. Intervals are percentiles of refits on
    `resampled_means`, every size with all seeds that it has. `failed` says in words what there is not. One row a
    group and kind: `by`, kind, `x` (N), estimate, a, b, c, data_reliance, each with its _low and _high (`low` and
    `high` of the estimate), n (seeds), sizes, left_out_error, chosen, failed.
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
    return Fit(kind, (a, b) if kind == "logarithm" else (a, b, c)).error(n)


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
        if kind in FALLING and not found.failed:
            row["failed"] = _at_bound(row["b"], *rates(kind, sizes))
        if not found.failed and np.isnan(row["left_out_error"]):
            row["failed"] = f"{len(sizes)} sizes are too few to leave out the largest"
        if not found.failed and len(errors) > 1:
            row |= _intervals(kind, sizes, errors, variances, level=level, resamples=resamples, seed=seed)
        rows.append(row)
    missed = [row["left_out_error"] for row in rows]
    best = int(np.nanargmin(missed)) if not np.isnan(missed).all() else None
    return [row | {"chosen": i == best} for i, row in enumerate(rows)]


def _variances(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The variance of the mean at every size, smoothed: exp of a line in log n, equal ones where nothing varies.

    Sizes at which all seeds are alike have no part in the line, also where rounding leaves them a variance.
    """
    count = (~np.isnan(errors)).sum(axis=0)
    known = count > 1
    own = np.full(len(sizes), np.nan)
    own[known] = np.nanvar(errors[:, known], axis=0, ddof=1)
    known = own > (ROUNDING * np.nanmean(errors, axis=0)) ** 2
    if known.sum() < 3:
        return (own[known].mean() if known.any() else 1.0) / count
    line = np.polyfit(np.log(sizes[known]), np.log(own[known]), 1, w=np.sqrt(count[known] - 1))
    return np.exp(np.polyval(line, np.log(sizes))) / count


def _quantities(found: Fit, largest: float) -> list[float]:
    """The fitted error at the largest size, a, b, c, and the reliance on data there."""
    if found.failed:
        return [np.nan] * len(QUANTITIES)
    a, b, c = (*found.parameters, np.nan)[:3]
    match found.kind:
        case "power":
            reliance = 2 * a * b * largest**-b
        case "exponential":
            reliance = 2 * a * b * largest * np.exp(-b * largest)
        case _:
            reliance = 2 * b
    return [float(each) for each in (found.error(largest), a, b, c, reliance)]


def _at_bound(b: float, low: float, high: float) -> str:
    """Words where the best b is the least or the largest one allowed."""
    for bound, is_there in ((low, b <= low + 1e-3 * abs(low) + 1e-9), (high, b >= 0.999 * high)):
        if is_there:
            return f"b is not known: it lies at the bound, {bound:.3g}"
    return ""


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
    """The bounds of every quantity.

    A size of one seed has no scatter of its own; the line of variances gives it one.
    """
    means = resampled_means(errors, level=level, resamples=resamples, seed=seed)
    single = (~np.isnan(errors)).sum(axis=0) == 1
    normal = np.random.default_rng([seed, 1]).standard_normal((resamples, len(sizes)))
    means[:, single] = (np.nanmean(errors, axis=0) + normal * np.sqrt(variances))[:, single]
    refits = fitted_parameters(sizes, means, variances, kind=kind)
    values = np.array([_quantities(Fit(kind, tuple(row)), sizes[-1]) for row in refits])
    tail = (1 - level) / 2
    bounds = np.quantile(values, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return {
        _bound(name, end): bounds[side, i]
        for i, name in enumerate(QUANTITIES)
        for side, end in enumerate(("low", "high"))
    }


def _bound(name: str, end: str) -> str:
    return end if name == "estimate" else f"{name}_{end}"
