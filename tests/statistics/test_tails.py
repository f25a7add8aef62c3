"""One-sided p-values: against scipy's tests, and in agreement with the intervals."""

import numpy as np
import pytest
from scipy import stats

from vision_attn.statistics import share_interval, share_tails, t_tails

VALUES = np.random.default_rng(0).normal(0.3, 1, size=(4, 3, 5))


@pytest.mark.parametrize("bound", [-0.5, 0.0, 0.7])
def test_the_tails_of_a_mean_are_those_of_the_one_sided_t_tests(bound):
    above, below = t_tails(VALUES, bound)
    assert above.shape == below.shape == (4, 3)
    for where in np.ndindex(4, 3):
        for tail, side in ((above, "greater"), (below, "less")):
            assert tail[where] == pytest.approx(stats.ttest_1samp(VALUES[where], bound, alternative=side).pvalue)


def test_values_without_spread_leave_no_doubt():
    same = np.full(3, 0.5)
    assert [float(tail) for tail in t_tails(same, 0.4)] == [0, 1]
    assert [float(tail) for tail in t_tails(same, 0.6)] == [1, 0]
    assert [float(tail) for tail in t_tails(same, 0.5)] == [1, 1]


def test_rounding_is_neither_a_spread_nor_a_side_of_the_bound():
    for values, bound in (
        (np.full(5, 0.95 - 0.9), 0.05),
        (np.full(5, 0.51 - 0.5), 0.01),
        (np.full(3, 1e9 / 3), 1e9 / 3),
    ):
        near = values + np.array([0, 1e-16, *np.zeros(len(values) - 2)]) * bound
        assert [float(tail) for tail in t_tails(near, bound)] == [1, 1]
        assert [float(tail) for tail in t_tails(near, 0.9 * bound)] == [0, 1]


def test_a_missing_value_is_no_evidence():
    assert np.isnan(t_tails(np.array([np.nan, 1.0, 1.0]), 0.0)).all()


@pytest.mark.parametrize("bound", [0.1, 0.5, 0.9])
def test_the_tails_of_a_share_are_those_of_the_binomial_tests(bound):
    many, few = share_tails(np.arange(7), 6, bound)
    for wins in range(7):
        for tail, side in ((many, "greater"), (few, "less")):
            assert tail[wins] == pytest.approx(stats.binomtest(wins, 6, bound, alternative=side).pvalue)


@pytest.mark.parametrize("wins", range(6))
def test_a_tail_is_small_where_the_interval_excludes_the_bound(wins):
    low, high = share_interval(wins, 5)
    for bound in np.linspace(0.02, 0.98, 25):
        many, few = share_tails(np.array(wins), 5, bound)
        assert (many < 0.025) == (low > bound)
        assert (few < 0.025) == (high < bound)
