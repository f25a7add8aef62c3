"""Numbers of seeds: too few decide nothing, unpaired ones are left out and named, shares and contrasts by hand."""

import dataclasses

import numpy as np
import pytest
from frames import make_records
from scipy import stats

from vision_attn.statistics import share_interval
from vision_attn.verdicts import Quantity, claim

FACTORS = {"model": ["ViT", "ResNet"], "data": ["intact", "permuted"], "seed": list(range(6))}
MEANS = {("ViT", "intact"): 0.5, ("ResNet", "intact"): 0.6, ("ViT", "permuted"): 0.5, ("ResNet", "permuted"): 0.52}
accuracy = Quantity("accuracy")


def values(model, data):
    noise = np.random.default_rng(len(model) * len(data)).normal(0, 0.005, 6)
    return MEANS[model, data] + noise


def rows(one):
    yield {"metric": "accuracy", "value": float(values(one["model"], one["data"])[one["seed"]])}


@pytest.fixture(scope="module")
def records():
    return make_records(FACTORS, rows)


def lead(data):
    return accuracy(model="ResNet", data=data) - accuracy(model="ViT", data=data)


def test_more_than_half_of_a_lead_goes_is_a_contrast_of_four_cells(records):
    gone = lead("intact") / 2 - lead("permuted")
    found = claim("C4", "More than half of the lead goes.", gone.above(0)).decide(records)
    by_hand = (values("ResNet", "intact") - values("ViT", "intact")) / 2
    by_hand = by_hand - (values("ResNet", "permuted") - values("ViT", "permuted"))
    oracle = stats.ttest_1samp(by_hand, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert (found.estimate, found.n, found.verdict) == (pytest.approx(by_hand.mean()), 6, "supports")
    assert claim("C4", "So.", gone.below(0)).decide(records).verdict == "contradicts"


def test_a_contrast_is_held_against_its_bound(records):
    total = accuracy(model="ViT", data="intact") + accuracy(model="ResNet", data="intact")
    assert claim("C4", "So.", total.above(1.05)).decide(records).verdict == "supports"
    assert claim("C4", "So.", total.above(1.15)).decide(records).verdict == "contradicts"


@pytest.mark.parametrize("side", ["above", "below"])
def test_rounding_of_a_sum_decides_nothing(side):
    """Seeds that all reach the same accuracy: of three thirds 7e-17 is left, and 0.95 - 0.9 is 0.04999999999999993."""
    flat = make_records(FACTORS, lambda one: [{"metric": "accuracy", "value": 0.95 if one["model"] == "ViT" else 0.9}])
    vit, resnet = (accuracy(model=model, data="intact") for model in FACTORS["model"])
    for contrast, bound in (((vit + vit + vit) / 3 - vit, 0.0), (vit - resnet, 0.05), (vit, 0.95)):
        assert claim("C4", "So.", getattr(contrast, side)(bound)).decide(flat).verdict == "inconclusive"
    assert claim("C4", "So.", (vit - resnet).within(0.05)).decide(flat).verdict == "inconclusive"
    assert claim("C4", "So.", (vit - resnet).above(0.049)).decide(flat).verdict == "supports"


@pytest.mark.parametrize(("needed", "verdict"), [(6, "supports"), (7, "inconclusive")])
def test_fewer_seeds_than_a_rule_asks_for_decide_nothing(records, needed, verdict):
    rule = claim("C4", "So.", Quantity("accuracy", min_seeds=needed)(model="ViT", data="intact").above(0.4))
    found = rule.decide(records)
    assert (found.verdict, found.n, found.estimate) == (verdict, 6, pytest.approx(values("ViT", "intact").mean()))
    assert found.words == ("" if verdict == "supports" else "6 seeds are too few: the rule asks for 7.")
    assert rule.rule.endswith(f"Inconclusive with fewer than {needed} seeds.")


def test_seeds_that_one_cell_alone_has_in_the_plan_are_left_out_and_named(records):
    """Not a missing run: the plan itself has fewer seeds for one of the cells."""

    def planned(frame):
        return frame[(frame["model"] != "ViT") | (frame["seed"] < 4)]

    fewer = dataclasses.replace(records, runs=planned(records.runs), values=planned(records.values))
    found = claim(
        "C4",
        "So.",
        lead("intact").above(0),
    ).decide(fewer)
    assert found.verdict == "inconclusive"
    assert found.words == (
        "4 seeds are too few: the rule asks for 5. Left out, as not planned in every cell: seed 4 and 5."
    )
    by_hand = (values("ResNet", "intact") - values("ViT", "intact"))[:4]
    assert (found.n, found.estimate) == (4, pytest.approx(by_hand.mean()))


@pytest.mark.parametrize(
    ("learned", "bound", "side", "verdict"),
    [
        (6, 0.5, "above", "supports"),
        (5, 0.5, "above", "inconclusive"),
        (0, 0.5, "above", "contradicts"),
        (0, 0.5, "below", "supports"),
        (6, 0.5, "below", "contradicts"),
        (6, 0.6, "above", "inconclusive"),
    ],
)
def test_the_share_of_seeds_that_learned(learned, bound, side, verdict):
    """Six of six are a share of 54 % or more, by Clopper and Pearson; the mean of such runs says nothing of it."""
    both = make_records(
        {"model": ["LSTM"], "seed": list(range(6))},
        lambda one: [{"metric": "accuracy", "value": 0.95 if one["seed"] < learned else 0.125}],
    )
    share = accuracy(model="LSTM").share(0.9)
    found = claim("C10", "So.", getattr(share, side)(bound)).decide(both)
    assert found.verdict == verdict
    assert (found.estimate, found.metric) == (learned / 6, "share")
    assert (found.low, found.high) == pytest.approx(share_interval(learned, 6))


def test_a_value_at_the_threshold_has_reached_it():
    same = make_records({"model": ["LSTM"], "seed": [0, 1]}, lambda one: [{"metric": "accuracy", "value": 0.9}])
    rule = claim("C10", "So.", Quantity("accuracy", min_seeds=2)(model="LSTM").share(0.9).above(0.5))
    assert rule.decide(same).estimate == 1
    assert rule.rule == (
        "Share of seeds with accuracy of LSTM of 90.0 % or more, with 95 % Clopper-Pearson interval. Supports where "
        "the interval is entirely above 50.0 %, contradicts where it is entirely below, else inconclusive."
    )
