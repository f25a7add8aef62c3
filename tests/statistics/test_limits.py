"""Limits: what a cell of a learning curve is short of, on accuracies written down by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vision_attn.spec import InputError
from vision_attn.statistics import limits

NOISE = np.array([-0.004, 0.001, 0.0, 0.002, 0.001])
LADDER = (48_000, 192_000, 768_000)


def frame(accuracies, *, seeds=5):
    """One row a model, budget and seed; `accuracies` by model, one a budget of the ladder."""
    return pd.DataFrame(
        [
            {"model": model, "images_seen": seen, "seed": seed, "value": value + NOISE[seed] * (1 + rung)}
            for model, values in accuracies.items()
            for rung, (seen, value) in enumerate(zip(LADDER, values, strict=False))
            for seed in range(seeds)
        ]
    )


def limit(train, test, **options):
    return limits(frame({"ViT": train}), frame({"ViT": test}), by=["model"], **options).iloc[0]


@pytest.mark.parametrize(
    ("train", "test", "answer", "why"),
    [
        ((0.7, 0.9, 0.99), (0.4, 0.5, 0.6), "data", ("fits",)),
        ((0.4, 0.5, 0.52), (0.4, 0.5, 0.501), "data", ("flat",)),
        ((0.7, 0.9, 0.99), (0.4, 0.5, 0.501), "data", ("fits", "flat")),
        ((0.4, 0.5, 0.7), (0.4, 0.5, 0.6), "budget", ()),
        ((0.99, 0.99, 0.7), (0.4, 0.4, 0.6), "budget", ()),
    ],
)
def test_a_cell_is_short_of_data_where_it_fits_them_or_gains_nothing(train, test, answer, why):
    """Only the largest budget counts: a cell that fitted at a smaller one and no longer does is short of budget."""
    found = limit(train, test)
    assert found["limited_by"] == answer
    assert tuple(name for name in ("fits", "flat") if found[name]) == why
    assert found["budget"] == LADDER[-1]


def test_the_gain_is_that_of_the_last_step_seed_by_seed():
    found = limit((0.4, 0.5, 0.6), (0.4, 0.5, 0.51))
    gains = 0.51 + 3 * NOISE - (0.5 + 2 * NOISE)
    oracle = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert found["gain"] == pytest.approx(gains.mean())
    assert (found["gain_low"], found["gain_high"]) == pytest.approx((oracle.low, oracle.high))
    assert found["n"] == 5


def test_what_counts_is_the_upper_bound_of_the_gain_not_the_gain():
    spread = frame({"ViT": (0.4, 0.5, 0.505)})
    spread.loc[spread["images_seen"] == LADDER[-1], "value"] += 10 * NOISE
    found = limits(frame({"ViT": (0.4, 0.5, 0.6)}), spread, by=["model"]).iloc[0]
    assert found["gain"] < 0.015 < found["gain_high"]
    assert found["limited_by"] == "budget"


@pytest.mark.parametrize(("keep", "budget"), [((48_000, 96_000, 192_000), 192_000), ((48_000, 96_000), 96_000)])
def test_a_step_smaller_than_four_is_no_step(keep, budget):
    """Between 96,000 and 192,000 images lies a factor of two: the gain is counted from 48,000, or not at all."""
    flat = pd.concat([frame({"ViT": (0.5,)}).assign(images_seen=seen) for seen in keep])
    found = limits(flat, flat, by=["model"]).iloc[0]
    assert found["budget"] == budget
    assert found["n"] == (5 if budget == 4 * keep[0] else 0)
    assert found["limited_by"] == ("data" if budget == 4 * keep[0] else "budget")


def test_every_cell_stands_at_its_own_largest_budget():
    shorter = {"ResNet": (0.4, 0.41), "ViT": (0.4, 0.5, 0.6)}
    found = limits(frame(shorter), frame({"ResNet": (0.5, 0.5), "ViT": (0.4, 0.5, 0.5)}), by=["model"])
    assert dict(zip(found["model"], found["budget"], strict=True)) == {"ResNet": 192_000, "ViT": 768_000}


def test_without_a_ladder_only_fitting_counts():
    flat = frame({"ViT": (0.5,), "ResNet": (0.99,)})
    for options in ({"budget": None}, {}):
        found = limits(flat, flat, by=["model"], **options).set_index("model")
        assert found["limited_by"].to_dict() == {"ViT": "budget", "ResNet": "data"}
        assert found["gain"].isna().all()


def test_one_seed_has_no_bound_and_nothing_measured_is_said():
    one = frame({"ViT": (0.4, 0.5, 0.5)}, seeds=1)
    assert limits(one, one, by=["model"])["limited_by"].item() == "budget"
    assert limits(one.iloc[:0], one, by=["model"])["limited_by"].item() == "not measured"
    assert limits(one.iloc[:0], one.iloc[:0], by=["model"]).empty


def test_several_values_of_a_cell_are_refused():
    twice = pd.concat([frame({"ViT": (0.5,)})] * 2)
    with pytest.raises(InputError, match=r"^by of limits must leave one value a cell, budget and seed\."):
        limits(twice, twice, by=["model"])
    with pytest.raises(InputError, match=r"^level of an interval must be between 0 and 1"):
        limit((0.4,), (0.4,), level=95)


def test_a_mean_that_only_rounding_keeps_from_95_percent_fits():
    train = frame({"ViT": (0.95, 0.95, 0.95)}, seeds=3).assign(value=0.95)
    assert train["value"].iloc[:3].mean() < 0.95
    assert limits(train, frame({"ViT": (0.4, 0.5, 0.6)}, seeds=3), by=["model"]).iloc[0]["limited_by"] == "data"
