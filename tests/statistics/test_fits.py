"""Fits with intervals over seeds: exact curves, the kind that predicts, coverage, and honest failures."""

import numpy as np
import pandas as pd
import pytest

from vision_attn.statistics import fitted_curves, fitted_error

SIZES = np.array([250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 50000])
SD = np.linspace(0.018, 0.0036, 9)


def power(n):
    return 3 * n**-0.4 + 0.03


def frame(curve=power, *, seeds=3, noise=0.0, start=0, sizes=SIZES, model="CNN"):
    generator = np.random.default_rng(start)
    rows = [
        (model, seed, int(n), curve(float(n)) + noise * generator.normal(0, sd))
        for seed in range(seeds)
        for n, sd in zip(sizes, SD, strict=False)
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "train_size", "value"])


def one(data, kind, **options):
    table = fitted_curves(data, by=["model"], **options)
    return table[table["kind"] == kind].iloc[0]


def test_an_exact_power_law_is_found_and_chosen():
    row = one(frame(), "power", resamples=20)
    assert [row[name] for name in ("a", "b", "c")] == pytest.approx([3, 0.4, 0.03], abs=1e-3)
    assert (row["low"], row["estimate"], row["high"]) == pytest.approx([power(50000)] * 3, abs=1e-5)
    assert row["chosen"]
    assert row["failed"] == ""
    assert row["left_out_error"] < 1e-4
    assert (row["n"], row["sizes"], row["train_size"]) == (3, 9, 50000)


def test_one_kind_is_chosen_for_every_group_and_it_may_differ():
    logarithm = frame(lambda n: 0.9 - 0.07 * np.log(n), model="ViT")
    table = fitted_curves(pd.concat([frame(), logarithm]), by=["model"], resamples=20)
    assert dict(zip(table[table["chosen"]]["model"], table[table["chosen"]]["kind"], strict=True)) == {
        "CNN": "power",
        "ViT": "logarithm",
    }


CURVES = {
    "power": power,
    "exponential": lambda n: 0.5 * np.exp(-n / 20000) + 0.1,
    "logarithm": lambda n: 0.9 - 0.07 * np.log(n),
}


@pytest.mark.parametrize(("kind", "curve"), CURVES.items())
def test_reliance_on_data_is_minus_twice_the_slope_over_log_n(kind, curve):
    row = one(frame(curve), kind, resamples=20)
    step = 1e-4
    slope = (curve(50000 * np.exp(step)) - curve(50000 * np.exp(-step))) / (2 * step)
    assert row["data_reliance"] == pytest.approx(-2 * slope, rel=2e-3)


@pytest.mark.parametrize(("kind", "curve"), CURVES.items())
def test_the_parameters_draw_the_curve(kind, curve):
    row = one(frame(curve), kind, resamples=20)
    drawn = fitted_error(kind, SIZES.astype(float), a=row["a"], b=row["b"], c=row["c"])
    np.testing.assert_allclose(drawn, curve(SIZES.astype(float)), atol=1e-4)


def test_intervals_of_three_seeds_cover_the_exponent_and_the_error():
    found = [one(frame(noise=1, start=i), "power", resamples=60) for i in range(25)]
    assert sum(row["b_low"] <= 0.4 <= row["b_high"] for row in found) >= 20
    assert sum(row["low"] <= power(50000) <= row["high"] for row in found) >= 20


def test_the_seed_of_the_bootstrap_and_the_order_of_rows():
    data = frame(noise=1, seeds=5)
    same = fitted_curves(data.sample(frac=1, random_state=0), by=["model"], resamples=40)
    pd.testing.assert_frame_equal(fitted_curves(data, by=["model"], resamples=40), same)
    other = fitted_curves(data, by=["model"], resamples=40, seed=1)
    assert (other["b_low"] != same["b_low"]).any()


def test_too_few_sizes_are_said_in_words():
    two = fitted_curves(frame(sizes=SIZES[:2]), by=["model"], resamples=20).set_index("kind")
    assert two.loc["power", "failed"] == "2 sizes are too few for 3 parameters"
    assert not two["chosen"].any()
    assert two[["estimate", "a", "data_reliance"]].isna().all(axis=None)
    four = fitted_curves(frame(sizes=SIZES[:4]), by=["model"], resamples=20).set_index("kind")
    assert four.loc["power", "failed"] == "4 sizes are too few to leave out the largest"
    assert list(four[four["chosen"]].index) == ["logarithm"]
    one_size = fitted_curves(frame(sizes=SIZES[:1]), by=["model"], resamples=20)
    assert not one_size["chosen"].any()
    assert one_size["failed"].str.contains("too few").all()


def test_an_exponent_at_its_bound_is_said_in_words():
    row = one(frame(lambda n: 0.26 + 0.2 * np.exp(-n / 50)), "power", resamples=20)
    assert row["b"] == pytest.approx(2, abs=1e-2)
    assert row["failed"] == "b is not known: it lies at the bound, 2"


def test_one_seed_has_curves_without_intervals():
    table = fitted_curves(frame(seeds=1), by=["model"])
    assert table["estimate"].notna().all()
    assert table[["low", "high", "b_low", "c_high", "data_reliance_low"]].isna().all(axis=None)


def test_seeds_that_are_alike_at_a_size_leave_the_weights_to_the_others():
    """Of three errors of 0.95 rounding leaves a variance of 1e-32, which is no scatter."""
    data = frame(lambda n: 0.95 if n < 300 else power(n), noise=1)
    data.loc[data["train_size"] < 300, "value"] = 0.95
    rows = [one(data.assign(value=data["value"] + shift), "power", resamples=20) for shift in (0.0, 1e-8 / 3)]
    for name in ("estimate", "a", "b", "low", "high", "left_out_error"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-3)
    assert rows[0]["estimate"] == pytest.approx(power(50000), abs=0.02)


def test_a_size_that_only_some_seeds_have_still_counts():
    data = frame(noise=1)
    row = one(data[~((data["seed"] > 0) & (data["train_size"] == 50000))], "power", resamples=40)
    assert (row["n"], row["sizes"], row["train_size"]) == (3, 9, 50000)
    assert row["low"] < row["estimate"] < row["high"]


def test_the_largest_size_of_few_seeds_is_as_unsure_as_those_few():
    spread = []
    for start in range(30):
        data = frame(noise=1, start=start, seeds=6)
        fewer = data[(data["seed"] < 2) | (data["train_size"] < 16000)]
        rows = [one(part, "power", resamples=100) for part in (data, fewer)]
        spread.append([row["high"] - row["low"] for row in rows])
    all_six, only_two = np.median(spread, axis=0)
    assert only_two > 1.5 * all_six


@pytest.mark.parametrize("kind", ["power", "exponential"])
def test_a_curve_that_does_not_fall_has_no_rate(kind):
    row = one(frame(lambda n: 0.4 + 1e-6 * n), kind, resamples=20)
    assert row["estimate"] == pytest.approx(0.4, abs=0.03)
    assert row["failed"].startswith("b is not known: it lies at the bound, ")


def test_a_group_without_values_is_not_measured():
    table = fitted_curves(frame().assign(value=np.nan), by=["model"])
    assert list(table["failed"]) == ["not measured yet"] * 3
