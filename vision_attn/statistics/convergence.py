"""How many updates training takes to reach a threshold, and how many runs do."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vision_attn.statistics.intervals import check_level, mean_interval, share_interval

FIRST, LOGARITHM = "first update at the threshold", "logarithm of it"


def updates_to_threshold(
    history: pd.DataFrame,
    *,
    by: Sequence[str],
    threshold: float = 0.95,
    value: str = "val_accuracy",
    update: str = "update",
    run: str = "run",
    level: float = 0.95,
) -> pd.DataFrame:
    """Updates until `value` is first at or above `threshold`, and the share of runs that reach it, in groups of `by`.

    `estimate` is the geometric mean over the runs that reach it, with the Student-t interval of the logarithms, n
    their number. `share` is out of `runs`, with the interval of Clopper and Pearson (1934), which covers at least as
    often as it says. One row a group: `by`, estimate, low, high, n, runs, share, share_low, share_high.
    """
    check_level(level)
    keys = [*by, run]
    seen = history.dropna(subset=[value]) if value in history else history.iloc[:0].assign(**{value: []})
    all_runs = seen[keys].drop_duplicates()
    there = seen[seen[value] >= threshold].groupby(keys, observed=True, dropna=False)[update].min()
    firsts = all_runs.merge(there.rename(FIRST).reset_index(), on=keys, how="left")
    firsts[LOGARITHM] = np.log(firsts[FIRST].astype(float))
    out = mean_interval(firsts, value=LOGARITHM, by=by, level=level)
    for name in ("estimate", "low", "high"):
        out[name] = np.exp(out[name])
    counts = firsts.groupby(list(by), observed=True, dropna=False)[run].size()
    out = out.merge(counts.rename("runs").reset_index(), on=list(by))
    out["share"] = out["n"] / out["runs"]
    bounds = [share_interval(int(n), int(runs), level=level) for n, runs in zip(out["n"], out["runs"], strict=True)]
    out["share_low"], out["share_high"] = [low for low, _ in bounds], [high for _, high in bounds]
    return out[[*by, "estimate", "low", "high", "n", "runs", "share", "share_low", "share_high"]]
