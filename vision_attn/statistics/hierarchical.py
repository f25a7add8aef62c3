"""Values in two levels, subsets and seeds within them: the mean with an interval that knows of both."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from vision_attn.statistics.intervals import check_level


def hierarchical_interval(
    frame: pd.DataFrame,
    *,
    value: str = "value",
    by: Sequence[str],
    outer: str = "subset_seed",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean over `outer` units of the means within them, with an interval from the hierarchical bootstrap.

    A resample draws outer units with replacement, then as many of the values within each, with replacement (Davison
    and Hinkley 1997, section 3.8). With s the standard deviation of the resampled means and m outer units

        estimate ± t(m - 1, (1 + level) / 2) * s * sqrt(m / (m - 1))

    as percentiles of so few units would cover far less than they say. One row a group of `by`: estimate, low, high,
    n (values), units (outer units). Of one unit the spread is unknown: low and high are missing. The same frame and
    seed give the same bounds, whatever the order of the rows.
    """
    check_level(level)
    rows = []
    for key, part in frame.groupby(list(by), observed=True, dropna=False):
        known = part.dropna(subset=[value])
        units = [np.sort(group.to_numpy(float)) for _, group in known.groupby(outer, observed=True)[value]]
        rows.append({**dict(zip(by, key, strict=True)), **_interval(units, level, resamples, seed)})
    columns = [*by, "estimate", "low", "high", "n", "units"]
    return pd.DataFrame(rows, columns=columns).astype({"n": int, "units": int})


def _interval(units: list[np.ndarray], level: float, resamples: int, seed: int) -> dict[str, float]:
    number = len(units)
    estimate = float(np.mean([unit.mean() for unit in units])) if units else np.nan
    out = {"estimate": estimate, "low": np.nan, "high": np.nan, "n": sum(map(len, units)), "units": number}
    if number >= 2:
        generator = np.random.default_rng(seed)
        inner = np.stack(
            [unit[generator.integers(0, len(unit), (resamples, number, len(unit)))].mean(-1) for unit in units]
        )
        drawn = generator.integers(0, number, (resamples, number))
        means = inner[drawn, np.arange(resamples)[:, None], np.arange(number)].mean(axis=1)
        half = stdtrit(number - 1, (1 + level) / 2) * means.std() * np.sqrt(number / (number - 1))
        out |= {"low": estimate - half, "high": estimate + half}
    return out
