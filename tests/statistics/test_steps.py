"""Where a step lies, how sure one is of it, and how long training takes to a level."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

from vision_attn.spec import InputError
from vision_attn.statistics import share_interval, step_position, steps_to

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
    return step_position(rows, by=["model"], chance=CHANCE, **options).iloc[0]


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


def test_accuracy_never_above_midway_is_censored_before_the_first_distance():
    row = fitted(frame([[0.2] * 7, [0.13] * 7], distances=range(1, 8)))
    assert (row["found"], row["censored"], row["high"]) == ("before", "< 1", 1)
    assert pd.isna(row["estimate"])


def test_accuracy_that_rises_with_distance_has_no_step():
    row = fitted(frame([[0.13, 0.2, 0.5, 0.9, 1.0]], distances=range(5)))
    assert row["found"] == "no step"
    assert row[["estimate", "low", "high"]].isna().all()


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
    out = step_position(both, by=["model"], chance=CHANCE)
    assert list(out["model"]) == ["z", "b"]
    assert list(out["n"]) == [1, 2]
    assert out["model"].dtype == models


def test_no_rows_give_no_rows_and_no_values_a_row_that_says_so():
    rows = frame([[1.0] * 8])
    assert step_position(rows.iloc[:0], by=["model"], chance=CHANCE).empty
    assert fitted(rows.assign(value=np.nan))["found"] == "not measured"


def test_chance_lies_below_the_ceiling():
    with pytest.raises(InputError, match=r"^chance of a step must be below its ceiling, 1\.0\. Got 1\.0 instead\.$"):
        step_position(frame([[1.0] * 8]), by=["model"], chance=1.0)


def coverage(n, *, repeats, resamples):
    """How often the interval holds the true step, and how often plain percentiles of normal theory would."""
    rng = np.random.default_rng(n)
    held = narrow = 0
    for _ in range(repeats):
        curves = [curve(3.4 + 0.3 * rng.normal(), 0.6, range(8)) + 0.01 * rng.normal(size=8) for _ in range(n)]
        row = fitted(frame(curves), resamples=resamples)
        held += row["low"] <= 3.4 <= row["high"]
        half = (row["high"] - row["low"]) / 2 * 1.96 / stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n)
        narrow += abs(row["estimate"] - 3.4) <= half
    return held / repeats, narrow / repeats


def test_the_interval_of_three_seeds_covers_the_step_about_as_often_as_it_says():
    held, narrow = coverage(3, repeats=150, resamples=40)
    assert held > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 150)
    assert narrow < 0.86, "the simulation could not tell a bootstrap without Student's t from one with it"


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_the_step_in_95_percent_of_cases(n):
    repeats = 600
    held, _ = coverage(n, repeats=repeats, resamples=100)
    print(f"\nn = {n}: {held:.3f}")
    assert abs(held - 0.95) < 0.015 + 3 * np.sqrt(0.95 * 0.05 / repeats)


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
    row = steps_to(history([100, 200, 400, None]), by=["model"]).iloc[0]
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
    assert steps_to(rows, by=["model"]).iloc[0]["estimate"] == pytest.approx(100)


def test_no_run_there_has_a_share_of_zero_and_no_time():
    row = steps_to(history([None, None]), by=["model"]).iloc[0]
    assert (row["n"], row["share"], row["share_low"]) == (0, 0, 0)
    assert pd.isna(row["estimate"])


def test_updates_without_validation_are_not_looked_at():
    rows = history([100, 200])
    assert steps_to(rows.drop(columns="val_accuracy"), by=["model"]).empty
    rows.loc[rows["run"] == "r0", "val_accuracy"] = np.nan
    assert steps_to(rows, by=["model"]).iloc[0]["runs"] == 1


@pytest.mark.parametrize(("k", "n"), [(0, 3), (1, 3), (3, 3), (7, 20)])
def test_the_interval_of_a_share_is_that_of_scipy(k, n):
    oracle = stats.binomtest(k, n).proportion_ci(0.9, method="exact")
    assert share_interval(k, n, level=0.9) == pytest.approx((oracle.low, oracle.high))
