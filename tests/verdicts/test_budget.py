"""Rules about data decide only where data is what limits a cell."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from frames import make_records
from scipy import stats

from vision_attn.records import Records
from vision_attn.spec import InputError, spec
from vision_attn.verdicts import AllOf, Quantity, Verdict, claim
from vision_attn.verdicts.rates import found_rates

LADDER = [48_000, 192_000, 768_000]
FACTORS = {"model": ["ViT", "CNN"], "train_size": [250, 4000], "images_seen": LADDER, "seed": list(range(5))}
NOISE = (-0.002, -0.001, 0.0, 0.001, 0.002)
TEST = {
    ("ViT", 250): (0.30, 0.32, 0.33),
    ("CNN", 250): (0.35, 0.39, 0.40),
    ("ViT", 4000): (0.40, 0.48, 0.56),
    ("CNN", 4000): (0.45, 0.60, 0.605),
}
TRAIN = {("ViT", 250): 0.99, ("CNN", 250): 0.99, ("ViT", 4000): 0.70, ("CNN", 4000): 0.80}


def rows(one):
    key, rung = (one["model"], one["train_size"]), LADDER.index(one["images_seen"])
    noise = NOISE[one["seed"]] * (-1) ** rung * (2 if one["model"] == "ViT" else 1)
    yield {"metric": "accuracy", "split": "test", "value": TEST[key][rung] + noise}
    yield {"metric": "accuracy", "split": "train", "value": TRAIN[key] if rung == 2 else 0.5}


@pytest.fixture(scope="module")
def records():
    return make_records(FACTORS, rows)


accuracy = Quantity("accuracy", given=(("split", "test"),), needs_data_limited="images_seen")


def worse(size, **levels):
    return accuracy(model="ViT", train_size=size, **levels) - accuracy(model="CNN", train_size=size, **levels)


def test_a_rule_decides_where_both_cells_fit_their_training_images(records):
    found = claim("C2", "So.", worse(250).below(0)).decide(records)
    assert (found.verdict, found.words) == ("supports", "")
    assert found.estimate == pytest.approx(-0.07)


def test_its_cells_are_taken_at_the_largest_budget_unless_they_name_one(records):
    found = claim("C2", "So.", worse(250, images_seen=192_000).below(0)).decide(records)
    assert found.estimate == pytest.approx(-0.07 + 0.0)
    assert found.verdict == "budget-limited"
    half = stats.t.ppf(0.975, 4) * 4 * np.std(NOISE, ddof=1) / np.sqrt(5)
    gain = f"+2.0 [+{2 - 100 * half:.1f}, +{2 + 100 * half:.1f}]"
    said = "50.0 % on its training images, {} points from the last ×4 of images seen"
    assert found.words == (
        f"Limited by budget rather than data: ViT, 250 images ({said.format(gain)}) and CNN, 250 images "
        f"({said.format('+4.0 [+3.6, +4.4]')})."
    )


@spec
class Unknowing(Verdict):
    """A rule of one's own that says nothing of its runs."""

    rule = "So it is."
    decide = None


def looked_at(rule, records):
    """The models, sizes and budgets of the runs that a rule looks at."""
    runs = records.runs[records.runs["run"].isin(rule.looks_at(records))]
    return {tuple(row) for row in runs[["model", "train_size", "images_seen"]].itertuples(index=False)}


def test_a_rule_knows_the_runs_of_its_cells_at_the_budget_it_takes_them_at(records):
    models = FACTORS["model"]
    largest, named = worse(250), worse(4000, images_seen=48_000)
    assert looked_at(claim("C2", "So.", largest.below(0)), records) == {(model, 250, 768_000) for model in models}
    assert looked_at(claim("C2", "So.", named.below(0)), records) == {(model, 4000, 48_000) for model in models}
    both = claim("C2", "So.", largest.below(0), named.below(0))
    assert looked_at(both, records) == {(model, *one) for model in models for one in ((250, 768_000), (4000, 48_000))}
    nested = AllOf(claim="C2", statement="So.", parts=(both, claim("C2", "So.", worse(4000).below(0))))
    assert looked_at(nested, records) == looked_at(both, records) | {(model, 4000, 768_000) for model in models}


def test_a_rule_that_chooses_a_learning_rate_looks_at_the_one_it_chooses():
    factors = FACTORS | {"learning_rate": [0.001, 0.01]}

    def history(one):
        yield {"update": 1, "val_accuracy": 0.9 if (one["model"] == "ViT") == (one["learning_rate"] == 0.01) else 0.1}

    records = make_records(factors, rows, history=history)
    runs = records.runs[records.runs["run"].isin(claim("C2", "So.", worse(250).below(0)).looks_at(records))]
    assert set(zip(runs["model"], runs["learning_rate"], strict=True)) == {("ViT", 0.01), ("CNN", 0.001)}


def test_where_a_part_cannot_tell_its_runs_the_claim_cannot(records):
    own = Unknowing(claim="C2", statement="So.")
    both = AllOf(claim="C2", statement="So.", parts=(claim("C2", "So.", worse(250).below(0)), own))
    assert (own.looks_at(records), both.looks_at(records)) == (None, None)


def test_a_cell_that_still_gains_from_budget_leaves_the_rule_undecided(records):
    """The CNN gains half a point from the last step: it is not the one that is limited by the budget."""
    found = claim("C3", "So.", worse(4000).above(0)).decide(records)
    assert found.verdict == "budget-limited"
    assert found.words.startswith("Limited by budget rather than data: ViT, 4k images (70.0 % on its training images")
    assert "CNN" not in found.words
    assert (found.estimate, found.n) == (pytest.approx(-0.045), 5)
    assert found.low < found.estimate < found.high
    assert found.p != found.p


def test_two_sizes_share_the_largest_budget_that_both_are_planned_at(records):
    def planned(frame):
        return frame[(frame["model"] != "CNN") | (frame["images_seen"] < LADDER[-1])]

    fewer = dataclasses.replace(records, runs=planned(records.runs), values=planned(records.values))
    assert claim("C2", "So.", worse(250).below(0)).decide(fewer).estimate == pytest.approx(0.32 - 0.39)


def test_a_cell_that_names_its_budget_leaves_the_others_at_the_largest_that_they_share(records):
    vit, cnn = accuracy(model="ViT", train_size=250), accuracy(model="CNN", train_size=250, images_seen=192_000)
    for contrast, estimate in ((vit - cnn, 0.33 - 0.39), (cnn - vit, 0.39 - 0.33)):
        assert claim("C2", "So.", contrast.above(0)).decide(records).estimate == pytest.approx(estimate)
    alone = records.runs[(records.runs["model"] == "CNN") | (records.runs["images_seen"] == LADDER[-1])]
    values = records.values[records.values["run"].isin(alone["run"])]
    found = claim("C2", "So.", (vit - cnn).below(0)).decide(dataclasses.replace(records, runs=alone, values=values))
    assert (found.verdict, found.estimate) == ("budget-limited", pytest.approx(0.33 - 0.39))


@pytest.mark.parametrize(("size", "verdict"), [(250, "supports"), (4000, "budget-limited")])
def test_where_seeds_have_several_runs_their_means_tell_what_limits_a_cell(size, verdict):
    def of_subset(one):
        return [row | {"value": row["value"] + 0.001 * one["subset"]} for row in rows(one)]

    several = make_records({**FACTORS, "subset": [-1, 1]}, of_subset)
    mean = dataclasses.replace(accuracy, reduce="mean")
    gap = mean(model="ViT", train_size=size) - mean(model="CNN", train_size=size)
    found = claim("C2", "So.", gap.below(0)).decide(several)
    assert (found.verdict, found.n) == (verdict, 5)


def test_seeds_that_are_left_out_are_named_also_where_budget_limits_a_cell(records):
    runs = records.runs[(records.runs["model"] != "CNN") | (records.runs["seed"] != 4)]
    values = records.values[records.values["run"].isin(runs["run"])]
    rule = claim("C3", "So.", worse(4000).below(0))
    found = rule.replace(min_seeds=4).decide(dataclasses.replace(records, runs=runs, values=values))
    assert (found.verdict, found.n) == ("budget-limited", 4)
    assert found.words.endswith(" Left out, as not planned in every cell: seed 4.")


def test_a_cell_that_the_plan_lacks_is_no_cell_at_any_budget(records):
    found = claim("C2", "So.", (accuracy(model="ViT", train_size=250) - accuracy(model="CNN", train_size=500)).below(0))
    assert not found.decide(records).is_planned


@pytest.mark.parametrize(
    ("leave_out", "parts", "answer"),
    [
        ("nothing", (250, 4000), "budget-limited"),
        ("budget-limited", (250, 4000), "supports"),
        ("budget-limited", (4000, 4000), "budget-limited"),
        ("nothing", (4000, 4000), "budget-limited"),
        ("nothing", (250, 250), "supports"),
    ],
)
def test_a_claim_over_several_sizes_may_speak_for_those_that_data_limits(records, leave_out, parts, answer):
    made = claim("C2", "All.", *(worse(size).below(0, f"With {size}.") for size in parts), leave_out=leave_out)
    assert made.decide(records).verdict == answer
    assert made.rule.endswith("left out.") == (leave_out == "budget-limited")


def test_a_claim_that_speaks_for_some_sizes_is_as_hard_to_convince_as_these_make_it(records):
    parts = [worse(size).below(0, f"With {size}.") for size in (250, 4000)]
    partly, wholly = (claim("C2", "All.", *parts, leave_out=how) for how in ("budget-limited", "nothing"))
    easier, harder = (found_rates(rule, rule.decide(records)) for rule in (partly, wholly))
    assert easier.detectable < harder.detectable
    none = claim("C2", "All.", parts[1], parts[1], leave_out="budget-limited")
    assert found_rates(none, none.decide(records)).power > 0.95


def test_a_part_that_is_limited_by_its_budget_contradicts_nothing(records):
    made = claim("C3", "All.", worse(4000).above(0, "Better."), worse(250).below(0, "Worse."))
    found = made.decide(records)
    assert found.verdict == "budget-limited"
    assert found.words == "1 of 2 parts supports it and 1 is budget-limited."
    beside = claim("C3", "All.", worse(4000).above(0, "Better."), worse(250).above(0, "Better."))
    assert beside.decide(records).verdict == "contradicts"


def test_without_accuracy_on_training_images_nothing_is_known(records):
    untold = make_records(FACTORS, lambda one: list(rows(one))[:1])
    flat = claim("C2", "So.", worse(4000).below(0)).decide(untold)
    assert flat.verdict == "budget-limited"
    none = make_records({**FACTORS, "images_seen": LADDER[-1:]}, lambda one: list(rows(one))[:1])
    found = claim("C2", "So.", worse(4000).below(0)).decide(none)
    assert found.verdict == "not measured"
    assert found.words == ("Accuracy on training images is not measured: ViT, 4k images and CNN, 4k images.")


def test_the_rule_says_when_it_is_decided():
    assert claim("C2", "So.", worse(250).below(0)).rule.endswith(
        "Decided only where every cell is limited by its data: at least 95 % accuracy on its training images, or a "
        "gain from the last ×4 of images seen whose interval is entirely below 1.5 points; else budget-limited."
    )


def test_a_budget_that_is_no_factor_is_refused_with_a_sentence(records):
    wrong = Quantity("accuracy", given=(("split", "test"),), needs_data_limited="epochs")
    with pytest.raises(InputError, match=r"^needs_data_limited of BoundVerdict must be a factor of the experiment"):
        claim("C2", "So.", wrong(model="ViT", train_size=250, images_seen=LADDER[0]).above(0)).decide(records)


def test_a_budget_of_texts_is_refused_with_a_sentence():
    cells = [(seed, seen, split) for seed in range(3) for seen in ("few", "many") for split in ("train", "test")]
    frame = pd.DataFrame(cells, columns=["seed", "images_seen", "split"]).assign(model="ViT", accuracy=0.5)
    with pytest.raises(InputError, match=r"must be a factor whose levels are numbers, .* images_seen has 'few'\.$"):
        claim("C2", "So.", accuracy(model="ViT").above(0)).decide(Records.from_frame(frame))
