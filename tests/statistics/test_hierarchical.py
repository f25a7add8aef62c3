"""Values in two levels and the coverage of their interval."""

import numpy as np
import pandas as pd
import pytest

from vision_attn.statistics import hierarchical_interval, mean_interval, variance_components


def draws(units, inner, *, between, within, repeats, seed):
    """Values 0.7 + unit effect + seed effect in many repeats of one experiment."""
    generator = np.random.default_rng(seed)
    values = (
        0.7 + generator.normal(0, between, (repeats, units, 1)) + generator.normal(0, within, (repeats, units, inner))
    )
    index = pd.MultiIndex.from_product([range(repeats), range(units), range(inner)], names=["g", "subset_seed", "seed"])
    return pd.DataFrame({"value": values.ravel()}, index=index).reset_index()


@pytest.mark.parametrize(
    ("units", "inner", "between", "within"),
    [(3, 3, 0.02, 0.01), (5, 2, 0.0, 0.02), (3, 1, 0.02, 0.01), (10, 3, 0.02, 0.02)],
)
def test_95_percent_intervals_cover_at_least_that_often(units, inner, between, within):
    repeats = 600
    frame = draws(units, inner, between=between, within=within, repeats=repeats, seed=units * inner)
    out = hierarchical_interval(frame, by=["g"])
    covered = ((out["low"] <= 0.7) & (out["high"] >= 0.7)).mean()
    assert covered > 0.95 - 4 * np.sqrt(0.95 * 0.05 / repeats)


def test_forgetting_the_subsets_would_cover_too_little():
    frame = draws(3, 3, between=0.03, within=0.005, repeats=600, seed=1)
    flat = mean_interval(frame, by=["g"])
    assert ((flat["low"] <= 0.7) & (flat["high"] >= 0.7)).mean() < 0.85


def test_it_is_students_interval_of_the_means_of_subsets():
    """Means 1, 2 and 6, so 3 ± 4.303 * 2.646 / sqrt(3)."""
    frame = pd.DataFrame({"g": 0, "subset_seed": [0, 0, 1, 1, 2, 2], "value": [0.0, 2.0, 1.5, 2.5, 6.0, 6.0]})
    row = hierarchical_interval(frame, by=["g"]).iloc[0]
    np.testing.assert_allclose(row[["estimate", "low", "high"]].astype(float), [3, -3.572, 9.572], atol=1e-3)


def test_95_percent_intervals_are_no_wider_than_they_must_be():
    frame = draws(6, 3, between=0.01, within=0.02, repeats=2000, seed=7)
    out = hierarchical_interval(frame, by=["g"])
    assert 0.93 < ((out["low"] <= 0.7) & (out["high"] >= 0.7)).mean() < 0.97


def test_subsets_count_equally_however_many_seeds_they_have():
    frame = pd.DataFrame({"g": 0, "subset_seed": [0, 0, 0, 1], "value": [1.0, 1.0, 1.0, 2.0]})
    row = hierarchical_interval(frame, by=["g"]).iloc[0]
    assert (row["estimate"], row["n"], row["units"]) == (1.5, 4, 2)


def test_the_order_of_rows_does_not_matter():
    frame = draws(3, 3, between=0.02, within=0.01, repeats=1, seed=5)
    first = hierarchical_interval(frame, by=["g"])
    pd.testing.assert_frame_equal(first, hierarchical_interval(frame.sample(frac=1, random_state=0), by=["g"]))


def test_one_subset_and_none_have_no_interval():
    frame = pd.DataFrame({"g": [0, 0, 1], "subset_seed": [0, 0, 0], "value": [1.0, 2.0, np.nan]})
    out = hierarchical_interval(frame, by=["g"])
    assert out["n"].tolist() == [2, 0]
    assert out["estimate"][0] == 1.5
    assert out[["low", "high"]].isna().all().all()


def test_scatter_between_and_within_subsets_by_hand():
    """Two subsets of two: means 1 and 3, within 0.5 and 1.5 around them; MSA = 4, MSE = 2.5 by hand."""
    values = [0.5, 1.5, 1.5, 4.5]
    frame = pd.DataFrame({"g": 0, "subset_seed": [0, 0, 1, 1], "value": values})
    row = variance_components(frame, by=["g"]).iloc[0]
    assert (row["n"], row["units"]) == (4, 2)
    assert row["sd_inner"] == pytest.approx(np.sqrt(2.5))
    assert row["sd_outer"] == pytest.approx(np.sqrt((4 - 2.5) / 2))


@pytest.mark.parametrize(
    ("units", "inner", "between", "within"), [(6, 3, 0.02, 0.01), (4, 4, 0.005, 0.02), (6, 3, 0.0, 0.01)]
)
def test_intervals_of_the_scatter_cover_what_they_say(units, inner, between, within):
    repeats = 1000
    frame = draws(units, inner, between=between, within=within, repeats=repeats, seed=7)
    out = variance_components(frame, by=["g"])
    for name, truth in (("outer", between), ("inner", within)):
        covered = ((out[f"sd_{name}_low"] <= truth) & (out[f"sd_{name}_high"] >= truth)).mean()
        assert covered == pytest.approx(0.95, abs=0.03)


@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")
def test_the_scatter_agrees_with_another_implementation():
    """The estimates of restricted maximum likelihood, which are those of the mean squares in a balanced design."""
    formula = pytest.importorskip("statsmodels.formula.api")
    frame = draws(8, 3, between=0.03, within=0.01, repeats=1, seed=2)
    fit = formula.mixedlm("value ~ 1", frame, groups=frame["subset_seed"]).fit(reml=True)
    row = variance_components(frame, by=["g"]).iloc[0]
    assert row["sd_inner"] == pytest.approx(np.sqrt(fit.scale), rel=1e-3)
    assert row["sd_outer"] == pytest.approx(np.sqrt(fit.cov_re.iloc[0, 0]), rel=1e-2)


def test_equal_values_have_no_scatter_and_single_seeds_none_that_is_known():
    frame = pd.DataFrame({"g": [0] * 4 + [1] * 2, "subset_seed": [0, 0, 1, 1, 0, 1], "value": [1.0] * 4 + [1.0, 2.0]})
    out = variance_components(frame, by=["g"])
    assert (out.loc[0, ["sd_outer", "sd_inner", "sd_outer_high"]] == 0).all()
    assert out.loc[1, ["sd_outer", "sd_inner", "sd_outer_low", "sd_inner_high"]].isna().all()
