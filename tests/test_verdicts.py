"""Verdicts: every branch of every rule, on made-up numbers."""

import dataclasses

import numpy as np
import pytest
from frames import make_records
from scipy import stats

from vision_attn.spec import InputError, from_json, to_json
from vision_attn.verdicts import (
    AllOf,
    BoundVerdict,
    DifferenceVerdict,
    EquivalenceVerdict,
    Verdict,
    cell,
    findings,
    table,
)

NOISE = (-0.01, 0.0, 0.01)
ACCURACY = {
    ("attention", 1): 0.99,
    ("attention", 7): 0.97,
    ("convolution", 1): 0.98,
    ("convolution", 7): 0.13,
    ("LSTM", 1): 0.96,
    ("LSTM", 7): 0.55,
}
FACTORS = {"model": ["attention", "convolution", "LSTM"], "distance": [1, 7], "seed": [0, 1, 2]}
SAID = {"claim": "C1", "statement": "Attention reaches farther."}


def rows(one):
    value = ACCURACY[one["model"], one["distance"]] + NOISE[one["seed"]] * (2 if one["model"] == "LSTM" else 1)
    yield {"metric": "accuracy", "split": "test", "value": value}
    yield {"metric": "accuracy", "split": "train", "value": 1.0}
    for head in range(3):
        at = {"layer": 1, "head": head, "images": "true"}
        yield {"metric": "attention_distance", **at, "value": 5.0 + 3 * head + one["seed"]}


@pytest.fixture(scope="module")
def records():
    return make_records(FACTORS, rows)


def far(model, **others):
    return cell(model=model, distance=7, split="test", **others)


def near(model):
    return cell(model=model, distance=1, split="test")


def difference(at, reference, **options):
    return DifferenceVerdict(**{**SAID, "at": at, "reference": reference, **options})


def test_a_paired_difference_by_hand(records):
    found = difference(far("attention"), far("LSTM")).decide(records)
    own, other = (
        np.array([ACCURACY[name, 7] + scale * noise for noise in NOISE])
        for name, scale in (("attention", 1), ("LSTM", 2))
    )
    oracle = stats.ttest_rel(own, other).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert found.estimate == pytest.approx(0.42)
    assert found.n == 3
    assert found.verdict == "supports"
    assert found.baseline == "accuracy of LSTM at distance 7, test images: 55.0 %"


@pytest.mark.parametrize(
    ("bound", "side", "verdict"),
    [
        (0.3, "above", "supports"),
        (0.42, "above", "inconclusive"),
        (0.5, "above", "contradicts"),
        (0.3, "below", "contradicts"),
        (0.42, "below", "inconclusive"),
        (0.5, "below", "supports"),
    ],
)
def test_a_difference_is_on_one_side_of_the_bound_on_the_other_or_on_neither(records, bound, side, verdict):
    assert difference(far("attention"), far("LSTM"), bound=bound, side=side).decide(records).verdict == verdict


@pytest.mark.parametrize(
    ("model", "margin", "verdict"),
    [
        ("attention", 0.03, "supports"),
        ("attention", 0.01, "contradicts"),
        ("convolution", 0.05, "contradicts"),
    ],
)
def test_flat_means_that_the_whole_interval_lies_within_the_margin(records, model, margin, verdict):
    rule = EquivalenceVerdict(**SAID, at=far(model), reference=near(model), margin=margin)
    assert rule.decide(records).verdict == verdict


def test_an_interval_across_the_margin_is_inconclusive(records):
    rule = EquivalenceVerdict(**SAID, at=far("attention"), reference=far("LSTM"), margin=0.42)
    assert rule.decide(records).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("model", "side", "verdict"),
    [
        ("attention", "above", "supports"),
        ("convolution", "above", "inconclusive"),
        ("attention", "below", "contradicts"),
    ],
)
def test_a_mean_against_chance(records, model, side, verdict):
    found = BoundVerdict(**SAID, at=far(model), bound=1 / 8, side=side, bound_name="chance").decide(records)
    assert found.verdict == verdict
    assert found.baseline == "chance 12.5 %"
    assert found.estimate == pytest.approx(ACCURACY[model, 7])


def test_several_values_of_a_seed_need_to_be_reduced(records):
    at, options = cell(model="attention", distance=1, layer=1, images="true"), {"metric": "attention_distance"}
    with pytest.raises(InputError) as error:
        BoundVerdict(**SAID, **options, at=at, along=("head",), bound=9.0).decide(records)
    assert str(error.value) == (
        "cells of BoundVerdict must name one value a seed, or reduce must not be 'one'. "
        "Got several of attention distance of attention at distance 1, layer 1, images true instead."
    )
    for reduce, expected in (("min", 6.0), ("mean", 9.0), ("max", 12.0)):
        rule = BoundVerdict(**SAID, **options, at=at, along=("head",), reduce=reduce, bound=0.0)
        assert rule.decide(records).estimate == pytest.approx(expected)
    exact = BoundVerdict(**SAID, **options, at=(*at, ("head", 1)), bound=0.0)
    assert exact.decide(records).estimate == pytest.approx(9.0)


def test_what_all_cells_share_may_be_given_once(records):
    given = difference(cell(model="attention"), cell(model="LSTM"), given=cell(distance=7, split="test"))
    assert given.decide(records).estimate == difference(far("attention"), far("LSTM")).decide(records).estimate


@pytest.mark.parametrize("victim", ["attention", "LSTM"])
def test_a_missing_run_leaves_the_claim_unmeasured(victim):
    def state(one):
        return "failed" if (one["model"], one["seed"]) == (victim, 2) else "done"

    found = difference(far("attention"), far("LSTM")).decide(make_records(FACTORS, rows, state=state))
    assert (found.verdict, found.n) == ("not measured", 2)
    assert found.words == "2 of 3 planned seeds are in."
    assert found.estimate == pytest.approx(0.42 + 0.005)


def test_a_seed_that_lacks_one_of_several_runs_is_not_averaged_over_the_others():
    def state(one):
        return "pending" if (one["model"], one["distance"], one["seed"]) == ("attention", 7, 1) else "done"

    at = cell(model="attention", split="test")
    found = BoundVerdict(**SAID, at=at, bound=0.5, reduce="mean").decide(make_records(FACTORS, rows, state=state))
    assert (found.verdict, found.n) == ("not measured", 2)


def test_one_seed_no_seed_and_no_such_cell_are_not_measured():
    one = make_records({**FACTORS, "seed": [0]}, rows)
    assert difference(far("attention"), far("LSTM")).decide(one).words == "One seed has no interval."
    none = make_records(FACTORS, rows, state=lambda one: "pending")
    found = difference(far("attention"), far("LSTM")).decide(none)
    assert (found.verdict, found.n, found.words) == ("not measured", 0, "0 of 3 planned seeds are in.")
    unnamed = BoundVerdict(**SAID, at=cell(model="attention", distance=7), bound=0.5).decide(
        make_records(FACTORS, rows)
    )
    hint = "accuracy is measured by split: name it, given=cell(split=...)."
    assert unnamed.words == f"0 of 3 planned seeds are in. {hint}"
    absent = BoundVerdict(**SAID, at=cell(model="attention", distance=6, split="test"), bound=0.5).decide(one)
    has = "There is no distance 6 among 1 and 7."
    assert (absent.verdict, absent.words) == ("not measured", f"The plan has no such cell. {has}")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"at": cell(model="ViT", distance=7)}, "There is no model 'ViT' among 'attention', 'convolution' and 'LSTM'."),
        ({"at": cell(model="LSTM", distance="7")}, "There is no distance '7' among 1 and 7."),
        ({"at": cell(model="LSTM", range=7)}, "There is no factor 'range' among model, distance and seed."),
        ({"metric": "acc"}, "There is no metric 'acc' among accuracy and attention_distance."),
        ({"given": cell(split="val")}, "There is no split 'val' among 'test' and 'train' of accuracy."),
    ],
)
def test_a_name_that_there_is_not_is_told_with_those_that_there_are(changed, told, records):
    fields = {"at": cell(model="LSTM", distance=7), "given": cell(split="test"), "bound": 0.5}
    found = BoundVerdict(**SAID, **(fields | changed)).decide(records)
    assert found.verdict == "not measured"
    assert found.words.endswith(told)


def test_a_claim_for_which_the_plan_lacks_a_cell_is_left_out(records):
    here = difference(far("attention"), far("LSTM"))
    elsewhere = difference(far("attention"), cell(model="LSTM", distance=3, split="test"))
    whole = AllOf(**SAID, parts=(here, elsewhere))
    plan = records.plan.replace(verdicts=tuple(to_json(one) for one in (here, elsewhere, whole)))
    found = findings(dataclasses.replace(records, plan=plan))
    assert [one.rule for one in found] == [here.rule]


SUPPORTS = {"at": far("attention"), "reference": far("LSTM")}
CONTRADICTS = {"at": far("LSTM"), "reference": far("attention")}
INCONCLUSIVE = {"at": far("attention"), "reference": far("LSTM"), "bound": 0.42}
UNMEASURED = {"at": cell(model="attention", distance=3, split="test"), "reference": far("LSTM")}


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ((SUPPORTS, SUPPORTS), "supports"),
        ((SUPPORTS, CONTRADICTS), "contradicts"),
        ((INCONCLUSIVE, CONTRADICTS), "contradicts"),
        ((UNMEASURED, CONTRADICTS), "contradicts"),
        ((SUPPORTS, INCONCLUSIVE), "inconclusive"),
        ((SUPPORTS, UNMEASURED), "inconclusive"),
        ((UNMEASURED, UNMEASURED), "not measured"),
    ],
)
def test_a_claim_of_parts_holds_where_all_of_them_do(records, parts, verdict):
    rule = AllOf(**SAID, parts=tuple(DifferenceVerdict(**SAID, **part) for part in parts))
    found = rule.decide(records)
    assert found.verdict == verdict
    assert len(found.parts) == 2


def test_the_words_count_the_parts(records):
    rule = AllOf(**SAID, parts=tuple(DifferenceVerdict(**SAID, **part) for part in (SUPPORTS, UNMEASURED, SUPPORTS)))
    assert rule.decide(records).words == "2 of 3 parts support it and 1 is not measured."


def test_of_parts_that_hold_by_construction_none_is_counted(records):
    exact = BoundVerdict(
        **SAID, metric="accuracy", at=cell(split="test", model="ViT"), bound=1, side="below", exact=True
    )
    rule = AllOf(**SAID, parts=(exact, DifferenceVerdict(**SAID, **SUPPORTS)))
    assert rule.decide(records).words == "1 of 1 measured part supports it."


def test_parts_are_numbered_and_rules_of_one_claim_are_lettered(records):
    part = difference(far("attention"), far("convolution"))
    whole = AllOf(claim="C4", statement="All.", parts=(part, part))
    found = [rule.decide(records) for rule in (part.replace(claim="C1"), whole, whole)]
    assert list(table(found)["claim"]) == ["C1", "C4a", "C4a.1", "C4a.2", "C4b", "C4b.1", "C4b.2"]
    long = AllOf(claim="C4", statement="All.", parts=(part,) * 30)
    assert list(table([long.decide(records)])["claim"])[-1] == "C4.30"


def test_the_learning_rate_is_settled_before_anything_is_decided():
    factors = {"model": ["attention", "LSTM"], "learning_rate": [0.001, 0.01], "distance": [7], "seed": [0, 1, 2]}

    def history(one):
        return [{"update": 1, "val_accuracy": 0.9 if one["learning_rate"] == 0.01 else 0.5}]

    def own(one):
        spoilt = 0 if one["learning_rate"] == 0.01 else 0.3
        return [{**row, "value": row["value"] - spoilt} for row in rows(one)]

    made = make_records(factors, own, history=history)
    assert difference(far("attention"), far("LSTM")).decide(made).estimate == pytest.approx(0.42)
    slow = difference(far("attention", learning_rate=0.001), far("LSTM", learning_rate=0.01)).decide(made)
    assert slow.estimate == pytest.approx(0.12)


def test_rules_are_kept_in_the_plan_and_read_back(records):
    rules = (
        difference(far("attention"), far("LSTM"), bound=0.1),
        AllOf(
            claim="C7",
            statement="Both.",
            parts=(difference(near("LSTM"), far("LSTM")), BoundVerdict(**SAID, at=far("LSTM"), bound=0.1)),
        ),
    )
    for rule in rules:
        assert from_json(to_json(rule), Verdict) == rule
    planned = make_records(FACTORS, rows, verdicts=[to_json(rule) for rule in rules])
    assert [found.verdict for found in findings(planned)] == [rule.decide(records).verdict for rule in rules]
    out = table(findings(planned))
    assert list(out["claim"]) == ["C1", "C7", "C7.1", "C7.2"]
    assert list(out["n"]) == [3, 3, 3, 3]
    assert out.loc[0, "estimate"] == pytest.approx(0.42)


def test_older_plans_have_no_verdicts_and_a_rule_that_cannot_be_read_is_named(records):
    assert findings(records) == []
    assert table([]).empty
    broken = make_records(FACTORS, rows, verdicts=[{"kind": "OracleVerdict", "claim": "C1", "statement": "So."}])
    (found,) = findings(broken)
    assert (found.claim, found.verdict) == ("C1", "not measured")
    assert found.words.startswith("kind of Verdict must be one of ")


def test_a_rule_that_asks_for_what_is_not_there_says_so_and_spares_the_others(records):
    wrong = difference(cell(model="attention", split="test"), far("LSTM"))
    right = difference(far("attention"), far("LSTM"))
    both = make_records(FACTORS, rows, verdicts=[to_json(wrong), to_json(right)])
    first, second = findings(both)
    assert first.verdict == "not measured"
    assert first.words.startswith("cells of DifferenceVerdict must name one value a seed")
    assert second.verdict == "supports"


def test_the_rule_in_words():
    rule = difference(cell(model="attention"), cell(model="LSTM"), bound=0.1, given=cell(distance=7, split="test"))
    assert rule.rule == (
        "Accuracy of attention minus accuracy of LSTM (distance 7, test images): mean over seeds with 95 % Student-t "
        "interval, paired by seed. Supports where the interval is entirely above +10.0 percentage points, contradicts "
        "where it is entirely below, else inconclusive."
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: AllOf(**SAID, parts=()), "parts of AllOf must be two verdicts or more."),
        (lambda: difference(far("a"), far("b"), level=95.0), "level of DifferenceVerdict must be between 0 and 1"),
        (
            lambda: difference(far("a"), far("b"), side="over"),
            "side of DifferenceVerdict must be one of 'above', 'below'.",
        ),
        (
            lambda: EquivalenceVerdict(**SAID, at=far("a"), reference=far("b"), margin=0.0),
            "margin of EquivalenceVerdict must",
        ),
    ],
)
def test_wrong_rules_are_refused_with_a_sentence(make, sentence):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(sentence)
