"""Many comparisons at once, and how often one wins."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy

from vision_attn.statistics.intervals import check_level
from vision_attn.statistics.tails import ROUNDING


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values adjusted for the number of comparisons (Holm 1979); missing ones stay missing and do not count.

    The k-th smallest of m is multiplied by m - k + 1; none is smaller than the one before it, none exceeds 1.
    """
    values = np.asarray(p, float)
    out = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return out


def paired_p(frame: pd.DataFrame, *, difference: str = "difference", by: Sequence[str]) -> pd.DataFrame:
    """The two-sided p-value of Student's paired t-test in every group of `by`, and over all of them Holm's.

    One row a group: `by`, p, p_holm. p is missing for fewer than two differences; where all are equal it is 1 for
    differences of 0 and 0 for others.
    """
    rows = []
    for key, part in frame.groupby(list(by), observed=True, dropna=False)[difference]:
        values = part.dropna().to_numpy(float)
        if len(values) < 2:
            p = np.nan
        elif np.ptp(values) <= ROUNDING * np.abs(values).max():
            p = float(values[0] == 0)
        else:
            p = float(scipy.stats.ttest_1samp(values, 0.0).pvalue)
        rows.append({**dict(zip(by, key, strict=True)), "p": p})
    out = pd.DataFrame(rows, columns=[*by, "p"])
    return out.assign(p_holm=holm(out["p"].to_numpy(float)))


def outperformance(
    frame: pd.DataFrame, *, difference: str = "difference", by: Sequence[str], level: float = 0.95
) -> pd.DataFrame:
    """The probability that the one is better than the other in a pair (Bouthillier et al. 2021, arXiv:2103.03098).

    The share of positive differences, ties counting half, with the exact interval of a binomial share (Clopper and
    Pearson 1934), wins rounded to the side that widens it. One row a group: `by`, estimate, low, high, n.
    """
    check_level(level)
    rows = []
    for key, part in frame.groupby(list(by), observed=True, dropna=False)[difference]:
        values = part.dropna().to_numpy(float)
        wins, n = (values > 0).sum() + (values == 0).sum() / 2, len(values)
        row = {"estimate": wins / n if n else np.nan, "low": np.nan, "high": np.nan, "n": n}
        if n:
            row["low"] = scipy.stats.binomtest(int(np.floor(wins)), n).proportion_ci(level).low
            row["high"] = scipy.stats.binomtest(int(np.ceil(wins)), n).proportion_ci(level).high
        rows.append({**dict(zip(by, key, strict=True)), **row})
    return pd.DataFrame(rows, columns=[*by, "estimate", "low", "high", "n"])
