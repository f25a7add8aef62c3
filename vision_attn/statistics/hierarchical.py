"""Values in two levels, subsets and seeds within them: the mean, its interval that knows of both, and the scatter."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy

from vision_attn.statistics.intervals import check_level, mean_interval


def hierarchical_interval(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    by: Sequence[str],
    outer: str = "subset_seed",
    level: float = 0.95,
) -> pd.DataFrame:
    """The mean over `outer` units of the means within them, with Student's t interval of those means.

    They scatter by what differs between units and by what differs within them, as the mean over new units would. One
    row a group of `by`: estimate, low, high, n (values), units (outer units). Of one unit the spread is unknown: low
    and high are missing.
    """
    groups = frame.groupby([*by, outer], observed=True, dropna=False)[value]
    units = groups.agg(value="mean", n="count").reset_index()
    out = mean_interval(units, by=by, level=level).rename(columns={"n": "units"})
    out["n"] = units.groupby(list(by), observed=True, dropna=False)["n"].sum().to_numpy()
    return out[[*by, "estimate", "low", "high", "n", "units"]]


def variance_components(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    by: Sequence[str],
    outer: str = "subset_seed",
    level: float = 0.95,
) -> pd.DataFrame:
    """How far values scatter between `outer` units and within them: standard deviations of both, with intervals.

    One-way random effects (Searle, Casella and McCulloch 1992, chapter 3). With MSA and MSE the mean squares between
    and within m units of n values, by number N in all, and n0 = (N - sum n^2 / N) / (m - 1)

        sd_inner = sqrt(MSE)                      interval: chi-square
        sd_outer = sqrt(max(0, (MSA - MSE) / n0)) interval: Williams (1962), exact enough where n is the same

    One row a group of `by`: sd_outer, sd_inner, each with its _low and _high, n (values), units. Missing where there
    are fewer than two units, or no unit of two values.
    """
    check_level(level)
    rows = []
    for key, part in frame.groupby(list(by), observed=True, dropna=False):
        known = part.dropna(subset=[value])
        units = [group.to_numpy(float) for _, group in known.groupby(outer, observed=True)[value]]
        rows.append({**dict(zip(by, key, strict=True)), **_components(units, level)})
    bounds = [f"{name}{end}" for name in ("sd_outer", "sd_inner") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*by, *bounds, "n", "units"]).astype({"n": int, "units": int})


def _components(units: list[np.ndarray], level: float) -> dict[str, float]:
    counts = np.array([len(unit) for unit in units])
    total, number = int(counts.sum()), len(units)
    out: dict[str, float] = {"n": total, "units": number}
    if number < 2 or total == number:
        return out
    degrees = (number - 1, total - number)
    mean = np.concatenate(units).mean()
    between = float(sum(len(unit) * (unit.mean() - mean) ** 2 for unit in units))
    within = float(sum(((unit - unit.mean()) ** 2).sum() for unit in units))
    each = (total - (counts**2).sum() / total) / (number - 1)
    ratio = (between / degrees[0]) / (within / degrees[1]) if within > 0 else np.inf
    out["sd_outer"] = max(0.0, between / degrees[0] - within / degrees[1]) / each
    out["sd_inner"] = within / degrees[1]
    for end, tail in (("low", (1 + level) / 2), ("high", (1 - level) / 2)):
        share = 1 - scipy.stats.f.ppf(tail, *degrees) / ratio if ratio > 0 else 0.0
        out[f"sd_outer_{end}"] = max(0.0, between * share) / (each * scipy.stats.chi2.ppf(tail, degrees[0]))
        out[f"sd_inner_{end}"] = within / scipy.stats.chi2.ppf(tail, degrees[1])
    return {name: float(np.sqrt(size)) if name.startswith("sd_") else size for name, size in out.items()}
