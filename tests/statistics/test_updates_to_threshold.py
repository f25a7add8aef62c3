"""How many updates training takes to a threshold, and the interval of the share of runs that reach it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vision_attn.statistics import share_interval, updates_to_threshold


def history(firsts, *, last=500):
    """Runs that first reach 0.97 at the given update (None: never), logged every 50 updates."""
    rows = [
        {
            "model": "a",
            "run": f"r{i}",
            "update": update,
            "val_accuracy": 0.97 if first is not None and update >= first else 0.3,
        }
        for i, first in enumerate(firsts)
        for update in range(50, last + 1, 50)
    ]
    return pd.DataFrame(rows)


def test_updates_to_a_level_by_hand():
    row = updates_to_threshold(history([100, 200, 400, None]), by=["model"]).iloc[0]
    assert (row["n"], row["runs"], row["share"]) == (3, 4, 0.75)
    logs = np.log([100, 200, 400])
    assert row["estimate"] == pytest.approx(200)
    low, high = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert (row["low"], row["high"]) == pytest.approx((np.exp(low), np.exp(high)))
    oracle = stats.binomtest(3, 4).proportion_ci(0.95, method="exact")
    assert (row["share_low"], row["share_high"]) == pytest.approx((oracle.low, oracle.high))


def test_accuracy_that_falls_back_still_got_there_at_its_first_time():
    rows = history([100])
    rows.loc[rows["update"] > 300, "val_accuracy"] = 0.1
    assert updates_to_threshold(rows, by=["model"]).iloc[0]["estimate"] == pytest.approx(100)


def test_no_run_there_has_a_share_of_zero_and_no_time():
    row = updates_to_threshold(history([None, None]), by=["model"]).iloc[0]
    assert (row["n"], row["share"], row["share_low"]) == (0, 0, 0)
    assert pd.isna(row["estimate"])


def test_updates_without_validation_are_not_looked_at():
    rows = history([100, 200])
    assert updates_to_threshold(rows.drop(columns="val_accuracy"), by=["model"]).empty
    rows.loc[rows["run"] == "r0", "val_accuracy"] = np.nan
    assert updates_to_threshold(rows, by=["model"]).iloc[0]["runs"] == 1


@pytest.mark.parametrize(("k", "n"), [(0, 3), (1, 3), (3, 3), (7, 20)])
def test_the_interval_of_a_share_is_that_of_scipy(k, n):
    oracle = stats.binomtest(k, n).proportion_ci(0.9, method="exact")
    assert share_interval(k, n, level=0.9) == pytest.approx((oracle.low, oracle.high))
