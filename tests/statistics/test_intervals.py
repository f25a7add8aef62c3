"""Means of a few seeds and their intervals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from vision_attn.spec import InputError
from vision_attn.statistics import mean_interval


def test_three_seeds_by_hand():
    frame = pd.DataFrame({"model": "ViT", "value": [0.90, 0.92, 0.94]})
    row = mean_interval(frame, by=["model"]).iloc[0]
    half = 4.302652729911275 * 0.02 / np.sqrt(3)
    assert (row["estimate"], row["n"]) == (pytest.approx(0.92), 3)
    assert row["sd"] == pytest.approx(0.02)
    assert (row["low"], row["high"]) == (pytest.approx(0.92 - half), pytest.approx(0.92 + half))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(0.5, 0.99))
def test_the_interval_is_that_of_statsmodels_and_scipy(values, level):
    row = mean_interval(pd.DataFrame({"g": 1, "value": values}), by=["g"], level=level).iloc[0]
    oracle = DescrStatsW(np.array(values)).tconfint_mean(alpha=1 - level)
    assert (row["low"], row["high"]) == pytest.approx(oracle, abs=1e-9)
    sem = stats.sem(values)
    if sem > 0:
        assert (row["low"], row["high"]) == pytest.approx(
            stats.t.interval(level, len(values) - 1, np.mean(values), sem), abs=1e-9
        )


@pytest.mark.parametrize("n", [3, 5, 10])
def test_95_percent_intervals_cover_the_truth_in_95_percent_of_cases(n):
    repeats = 20_000
    draws = np.random.default_rng(n).normal(0.7, 0.03, size=(repeats, n))
    frame = pd.DataFrame({"repeat": np.repeat(np.arange(repeats), n), "value": draws.ravel()})
    out = mean_interval(frame, by=["repeat"])
    covered = ((out["low"] <= 0.7) & (out["high"] >= 0.7)).mean()
    error = np.sqrt(0.95 * 0.05 / repeats)
    assert abs(covered - 0.95) < 4 * error
    normal = 1.96 * out["sd"] / np.sqrt(n)
    assert ((out["estimate"] - 0.7).abs() <= normal).mean() < 0.95 - 4 * error, (
        "the simulation could not tell them apart"
    )


def test_one_seed_has_a_mean_and_no_interval():
    row = mean_interval(pd.DataFrame({"g": ["a"], "value": [0.5]}), by=["g"]).iloc[0]
    assert row["estimate"] == 0.5
    assert row["n"] == 1
    assert row[["low", "high", "sd"]].isna().all()


def test_a_missing_key_is_a_group_and_no_row_is_lost():
    frame = pd.DataFrame({"layer": [1, None, None, 2], "value": [1.0, 2.0, 4.0, 8.0]})
    out = mean_interval(frame, by=["layer"])
    assert out["n"].sum() == len(frame)
    assert out.loc[out["layer"].isna(), "estimate"].item() == 3.0


def test_levels_come_in_the_order_of_the_plan_and_unused_ones_are_left_out():
    model = pd.Categorical(["b", "a", "b"], categories=["b", "never", "a"], ordered=True)
    out = mean_interval(pd.DataFrame({"model": model, "value": [1.0, 2.0, 3.0]}), by=["model"])
    assert list(out["model"]) == ["b", "a"]
    assert list(out["n"]) == [2, 1]


def test_values_that_are_missing_are_not_counted():
    out = mean_interval(pd.DataFrame({"g": 1, "value": [1.0, np.nan, 3.0]}), by=["g"])
    assert out["n"].item() == 2
    assert out["estimate"].item() == 2.0


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_probability(level):
    with pytest.raises(InputError, match=r"^level of an interval must be between 0 and 1, such as 0\.95\. Got"):
        mean_interval(pd.DataFrame({"g": [1], "value": [1.0]}), by=["g"], level=level)
