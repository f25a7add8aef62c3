"""Where accuracy falls through midway, how sure one is of it, and which curves have no such place."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

from vision_attn.spec import InputError
from vision_attn.statistics import psychometric_midpoint

CHANCE = 1 / 8


def curve(middle, scale, distances):
    return CHANCE + (1 - CHANCE) * expit((middle - np.asarray(distances, float)) / scale)


def frame(curves, distances=range(8), **columns):
    """A row a seed and distance; `curves` are the accuracies of each seed."""
    rows = [
        {"model": "a", "seed": seed, "distance": distance, "value": value, **columns}
        for seed, values in enumerate(curves)
        for distance, value in zip(distances, values, strict=True)
    ]
    return pd.DataFrame(rows)


def fitted(rows, **options):
    return psychometric_midpoint(rows, by=["model"], chance=CHANCE, **options).iloc[0]


@pytest.mark.parametrize(("middle", "scale"), [(3.3, 0.5), (1.7, 0.9), (5.25, 0.4)])
def test_a_logistic_step_is_found_where_it_is(middle, scale):
    row = fitted(frame([curve(middle, scale, range(8))] * 3))
    assert (row["found"], row["n"]) == ("step", 3)
    assert row["estimate"] == pytest.approx(middle, abs=1e-4)
    assert row["scale"] == pytest.approx(scale, abs=1e-3)
    assert row["rmse"] < 1e-5
    assert (row["low"], row["high"]) == pytest.approx((middle, middle), abs=1e-4)


def test_a_sharp_step_is_known_only_to_lie_between_two_distances():
    row = fitted(frame([[1, 1, 1, CHANCE, CHANCE, CHANCE, CHANCE, CHANCE]] * 3))
    assert row["found"] == "between"
    assert 2 < row["estimate"] < 3
    assert (row["low"], row["high"]) == (2, 3)


def test_accuracy_above_midway_everywhere_is_censored_beyond_the_last_distance():
    row = fitted(frame([[1.0] * 8, [0.98] * 8]))
    assert (row["found"], row["censored"], row["low"]) == ("beyond", "> 7", 7)
    assert pd.isna(row["estimate"])
    assert pd.isna(row["high"])


def test_a_fall_that_ends_just_above_midway_is_not_beyond_the_last_distance():
    """What a reader sees as a fall to chance in half of the places: 58 % at the end, by 5 seeds of 54 to 60 %."""
    falling = np.array([0.99, 0.96, 0.62, 0.6, 0.59, 0.585, 0.58, 0.58])
    row = fitted(frame([falling + shift for shift in (-0.03, -0.02, 0.0, 0.02, 0.03)]))
    assert row["found"] == "no step"
    assert fitted(frame([falling + 0.2 * (falling < 0.7)] * 5))["found"] == "beyond"


def test_accuracy_never_above_midway_is_censored_before_the_first_distance():
    row = fitted(frame([[0.2] * 7, [0.13] * 7], distances=range(1, 8)))
    assert (row["found"], row["censored"], row["high"]) == ("before", "< 1", 1)
    assert pd.isna(row["estimate"])


U_SHAPED = [
    [1.0, 1.0, 1.0, 0.12, 0.58, 0.93, 1.0, 1.0],
    [1.0, 1.0, 1.0, 0.54, 0.13, 1.0, 1.0, 1.0],
    [1.0, 1.0, 0.14, 0.12, 0.12, 1.0, 1.0, 1.0],
]
NO_STEPS = {
    "rises": ("not monotone", [0.13, 0.2, 0.5, 0.9, 1.0]),
    "hollow": ("not monotone", [1.0, 1.0, 0.3, 0.3, 0.4, 0.4, 0.6]),
    "peak": ("not monotone", [0.13, 0.13, 1.0, 1.0, 0.13, 0.13]),
    "plateau above chance": ("no step", [1.0, 0.8, 0.58, 0.58, 0.58, 0.58, 0.54]),
    "plateau that never reaches chance": ("no step", [1.0, 0.46, 0.35, 0.34, 0.34, 0.35, 0.34, 0.35]),
    "two steps": ("no step", [1.0, 1.0, 0.6, 0.6, 0.6, 0.13, 0.13, 0.13]),
}


@pytest.mark.parametrize(("found", "values"), NO_STEPS.values(), ids=NO_STEPS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_curve_that_seeds_agree_on_and_that_is_no_step_has_no_midpoint(found, values, seeds):
    noise = 0.005 * np.random.default_rng(0).normal(size=(seeds, len(values)))
    row = fitted(frame(values + noise, distances=range(len(values))))
    assert row["found"] == found
    assert row[["estimate", "low", "high", "scale"]].isna().all()


def test_a_u_shape_of_three_seeds_of_which_some_fail_to_learn_is_not_monotone():
    assert fitted(frame(U_SHAPED))["found"] == "not monotone"


def test_a_plateau_exactly_at_midway_is_not_monotone_or_no_step_whatever_the_rounding():
    middle = (1 + CHANCE) / 2
    for shift in (-1e-9, 1e-9):
        assert fitted(frame([[1.0, 1.0, *[middle + shift] * 5, CHANCE]] * 3))["found"] == "no step"


@pytest.mark.parametrize(("chance", "middle"), [(0.1, 0.55), (0.2, 0.6), (0.3, 0.65), (0.05, 0.525)])
def test_a_mean_at_midway_is_not_above_it_whatever_the_rounding(chance, middle):
    falling = frame([[1.0, 0.95, 0.9, middle]] * 3, distances=(1, 3, 5, 7))
    assert psychometric_midpoint(falling, by=["model"], chance=chance)["found"].item() == "step"
    flat = frame([[middle] * 4] * 3, distances=(1, 3, 5, 7))
    assert psychometric_midpoint(flat, by=["model"], chance=chance)["found"].item() == "before"


def refused(truth, *, n, sd, repeats, seed):
    """How often a curve with these true means and standard deviations of seeds is not taken for a step."""
    rng = np.random.default_rng(seed)
    taken = 0
    for _ in range(repeats):
        curves = np.clip(truth + sd * rng.normal(size=(n, len(truth))), 0, 1)
        row = fitted(frame(curves, distances=range(len(truth))), resamples=20)
        taken += row["found"] in ("step", "between", "beyond", "before")
    return 1 - taken / repeats


SD = {
    "even": np.full(8, 0.03),
    "wide": np.full(8, 0.15),
    "on the slope": 0.02 + 0.25 * expit((np.arange(8) - 2.5) / 0.3) * expit((4.5 - np.arange(8)) / 0.3),
    "at one distance": np.where(np.arange(8) == 3, 0.3, 0.005),
}


@pytest.mark.parametrize("sd", SD.values(), ids=SD)
@pytest.mark.parametrize("n", [3, 5])
def test_steps_are_refused_in_under_5_percent_of_cases(n, sd):
    repeats = 80
    often = refused(curve(3.4, 0.6, range(8)), n=n, sd=sd, repeats=repeats, seed=n)
    assert often <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / repeats)


@pytest.mark.parametrize("n", [3, 5])
def test_u_shapes_and_plateaus_are_refused_nearly_always_with_scattering_seeds(n):
    hollow = np.array([1.0, 1.0, 0.7, 0.3, 0.3, 0.9, 1.0, 1.0])
    plateau = np.array([1.0, 0.8, 0.58, 0.58, 0.58, 0.58, 0.58, 0.54])
    assert refused(hollow, n=n, sd=np.full(8, 0.15), repeats=40, seed=n) >= 0.95
    assert refused(plateau, n=n, sd=np.full(8, 0.03), repeats=40, seed=n) >= 0.95


def test_runs_that_learn_or_fail_by_chance_on_the_slope_leave_a_step():
    rng = np.random.default_rng(4)
    known = 0
    for _ in range(40):
        learned = rng.random((5, 8)) < expit((3.4 - np.arange(8)) / 0.6)
        known += fitted(frame(np.where(learned, 1.0, CHANCE)), resamples=20)["found"] in ("step", "between")
    assert known >= 38


def test_an_interval_never_leaves_the_distances_measured():
    rng = np.random.default_rng(1)
    for _ in range(10):
        row = fitted(frame(np.clip(curve(3.4, 2.0, range(8)) + 0.3 * rng.normal(size=(3, 8)), 0, 1)))
        assert row["found"] != "step" or 0 <= row["low"] <= row["estimate"] <= row["high"] <= 7


def test_one_seed_has_a_step_and_no_interval():
    row = fitted(frame([curve(3.3, 0.5, range(8))]))
    assert row["estimate"] == pytest.approx(3.3, abs=1e-4)
    assert pd.isna(row["low"])


def test_the_ceiling_moves_the_middle():
    rows = frame([[0.6, 0.6, 0.6, 0.2, 0.13, 0.13]] * 2, distances=range(6))
    assert fitted(rows, ceiling=0.6)["found"] != "before"
    assert fitted(rows.assign(value=rows["value"] * 0.9))["found"] == "before"


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    rng = np.random.default_rng(0)
    rows = frame([curve(3.3 + 0.3 * rng.normal(), 0.5, range(8)) for _ in range(4)])
    first, again, other = (fitted(rows, seed=seed)["low"] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_groups_keep_their_order_and_missing_values_are_not_seeds():
    models = pd.CategoricalDtype(["z", "b"], ordered=True)
    both = pd.concat([frame([curve(2, 0.5, range(8))] * 2, kind=1).assign(model=name) for name in ("b", "z")])
    both = both.astype({"model": models})
    both.loc[(both["model"] == "z") & (both["seed"] == 1), "value"] = np.nan
    out = psychometric_midpoint(both, by=["model"], chance=CHANCE)
    assert list(out["model"]) == ["z", "b"]
    assert list(out["n"]) == [1, 2]
    assert out["model"].dtype == models


def test_no_rows_give_no_rows_and_no_values_a_row_that_says_so():
    rows = frame([[1.0] * 8])
    assert psychometric_midpoint(rows.iloc[:0], by=["model"], chance=CHANCE).empty
    assert fitted(rows.assign(value=np.nan))["found"] == "not measured"


def test_chance_lies_below_the_ceiling():
    with pytest.raises(InputError, match=r"^chance of a step must be below its ceiling, 1\.0\. Got 1\.0 instead\.$"):
        psychometric_midpoint(frame([[1.0] * 8]), by=["model"], chance=1.0)


def test_a_distance_that_only_some_seeds_have_counts_with_those():
    curves = [curve(3.4 + shift, 0.6, range(8)) for shift in (-0.3, 0.0, 0.3)]
    rows = frame(curves)
    fewer = rows[(rows["seed"] > 0) | (rows["distance"] < 6)]
    row = fitted(fewer)
    assert (row["found"], row["n"]) == ("step", 3)
    assert row["low"] < 3.4 < row["high"]
    alone = fitted(rows[(rows["seed"] == 0) | (rows["distance"] < 6)])
    assert alone["found"] == "step"
    assert pd.isna(alone["low"])


def coverage(n, *, repeats, resamples):
    """How often the interval holds the true step, and how often one without Student's t would."""
    rng = np.random.default_rng(n)
    held = narrow = 0
    for _ in range(repeats):
        curves = [curve(3.4 + 0.3 * rng.normal(), 0.6, range(8)) + 0.01 * rng.normal(size=8) for _ in range(n)]
        row = fitted(frame(curves), resamples=resamples)
        held += row["low"] <= 3.4 <= row["high"]
        half = (row["high"] - row["low"]) / 2 * 1.96 / stats.t.ppf(0.975, n - 1)
        narrow += abs(row["estimate"] - 3.4) <= half
    return held / repeats, narrow / repeats


def test_the_interval_of_three_seeds_covers_the_step_about_as_often_as_it_says():
    held, narrow = coverage(3, repeats=150, resamples=100)
    assert held > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 150)
    assert narrow < 0.86, "the simulation could not tell a bootstrap without Student's t from one with it"


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_the_step_in_95_percent_of_cases(n):
    repeats = 600
    held, _ = coverage(n, repeats=repeats, resamples=100)
    print(f"\nn = {n}: {held:.3f}")
    assert abs(held - 0.95) < 0.015 + 3 * np.sqrt(0.95 * 0.05 / repeats)
