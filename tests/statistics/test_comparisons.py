"""Holm's correction, paired tests, probability of outperformance."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from vision_attn.statistics import holm, outperformance, paired_p, pairs


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p):
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_missing_p_values_do_not_count():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])


def test_holm_keeps_the_family_wise_error():
    p = np.random.default_rng(0).uniform(size=(4000, 8))
    assert np.mean([(holm(row) < 0.05).any() for row in p]) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4000)
    assert np.mean((p < 0.05).any(axis=1)) > 0.3


def test_the_p_value_is_that_of_the_paired_t_test():
    a, b = np.array([0.9, 0.92, 0.95, 0.91]), np.array([0.88, 0.93, 0.90, 0.85])
    frame = pd.DataFrame({"size": 1, "difference": a - b})
    row = paired_p(pd.concat([frame, frame.assign(size=2)]), by=["size"]).iloc[0]
    assert row["p"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert row["p_holm"] == pytest.approx(min(1, 2 * row["p"]))


def test_no_spread_and_no_pairs():
    frame = pd.DataFrame({"size": [1, 1, 2, 2, 3], "difference": [0.0, 0.0, 0.1, 0.1, 0.5]})
    assert paired_p(frame, by=["size"])["p"].fillna(-1).tolist() == [1.0, 0.0, -1.0]


def test_outperformance_counts_wins_and_has_the_exact_interval():
    frame = pd.DataFrame({"size": 1, "difference": [0.1, 0.2, -0.1, 0.3, 0.1]})
    row = outperformance(frame, by=["size"]).iloc[0]
    assert (row["estimate"], row["n"]) == (0.8, 5)
    assert (row["low"], row["high"]) == pytest.approx(proportion_confint(4, 5, method="beta"))


def test_ties_count_half_and_widen():
    row = outperformance(pd.DataFrame({"g": 0, "difference": [0.0, 1.0, -1.0]}), by=["g"]).iloc[0]
    assert row["estimate"] == 0.5
    assert row["low"] == pytest.approx(proportion_confint(1, 3, method="beta")[0])
    assert row["high"] == pytest.approx(proportion_confint(2, 3, method="beta")[1])


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.5, 0.75])
def test_its_interval_covers(truth):
    wins = np.random.default_rng(1).uniform(size=(2000, 10)) < truth
    frame = pd.DataFrame({"g": np.repeat(np.arange(2000), 10), "difference": np.where(wins, 1.0, -1.0).ravel()})
    out = outperformance(frame, by=["g"])
    assert ((out["low"] <= truth) & (out["high"] >= truth)).mean() >= 0.95


@pytest.mark.parametrize("seeds", [1, 4])
def test_what_only_rounding_makes_is_no_difference(seeds):
    """1 - 0.7 is not 0.3, and 0.1 + 0.2 is more: signs of both kinds are ties."""
    own, others = ([1 - 0.7, 0.1 + 0.2] * seeds), [0.3] * 2 * seeds
    frame = pd.DataFrame({"model": ["a", "b"] * 2 * seeds, "size": 1}).assign(seed=np.arange(4 * seeds) // 2)
    frame["value"] = np.stack([own, others], axis=1).ravel()
    both = pairs(frame, by=["size"], pair_on=["seed"], reference="b")
    assert both["difference"].tolist() == [0.0] * 2 * seeds
    assert paired_p(both, by=["size"])["p"].tolist() == [1.0]
    assert outperformance(both, by=["size"])["estimate"].tolist() == [0.5]
    apart = both.assign(difference=[0.4 - 0.3, 0.1] * seeds)
    assert paired_p(apart, by=["size"])["p"].tolist() == [0.0]
