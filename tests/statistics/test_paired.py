"""Differences seed by seed."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vision_attn.spec import InputError
from vision_attn.statistics import mean_interval, paired_difference, pairs


def frame(rows):
    table = pd.DataFrame(rows, columns=["model", "size", "seed", "value"])
    table["model"] = pd.Categorical(table["model"], categories=["ViT", "Twin", "ResNet"], ordered=True)
    return table


ROWS = [
    *[("ResNet", 50, seed, value) for seed, value in enumerate([0.50, 0.60, 0.70])],
    *[("ViT", 50, seed, value) for seed, value in enumerate([0.41, 0.50, 0.62])],
    *[("Twin", 50, seed, value) for seed, value in enumerate([0.50, 0.61, 0.72])],
]
PAIRED = {"by": ["size"], "pair_on": ["seed"], "compare": "model", "reference": "ResNet"}


def test_differences_by_hand():
    out = paired_difference(frame(ROWS), **PAIRED)
    assert list(out["model"]) == ["ViT", "Twin"]
    assert list(out["estimate"]) == pytest.approx([-0.09, 0.01])
    assert list(out["n"]) == [3, 3]
    assert list(out["dropped"]) == [0, 0]


def test_columns_may_have_any_name_where_those_of_the_pairs_have_others():
    plain, names = pairs(frame(ROWS), **PAIRED), ("a", "b", "c")
    other = frame(ROWS).rename(columns={"seed": "difference", "size": "reference"})
    given = {**PAIRED, "by": ["reference"], "pair_on": ["difference"]}
    found = pairs(other, **given, names=names)
    assert list(found.columns) == ["reference", "model", "difference", *names]
    assert np.array_equal(found[list(names)], plain[["value", "reference", "difference"]])
    told = paired_difference(other, **given).rename(columns={"reference": "size"})
    pd.testing.assert_frame_equal(told, paired_difference(frame(ROWS), **PAIRED))
    with pytest.raises(InputError, match=r"must be columns other than value, reference, difference.* Got 'reference'"):
        pairs(other, **given)


def test_the_interval_is_that_of_the_paired_t_test():
    row = paired_difference(frame(ROWS), **PAIRED).iloc[0]
    oracle = stats.ttest_rel([0.41, 0.50, 0.62], [0.50, 0.60, 0.70]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((oracle.low, oracle.high))


def test_pairing_takes_out_what_the_seeds_share():
    generator = np.random.default_rng(0)
    shared = generator.normal(0, 0.1, size=8)
    rows = [("ResNet", 50, i, 0.7 + s) for i, s in enumerate(shared)]
    rows += [("ViT", 50, i, 0.6 + s + generator.normal(0, 0.001)) for i, s in enumerate(shared)]
    paired = paired_difference(frame(rows), **PAIRED).iloc[0]
    alone = mean_interval(frame(rows), by=["model"]).iloc[0]
    assert paired["high"] - paired["low"] < 0.05 * (alone["high"] - alone["low"])


def test_a_value_without_a_partner_is_dropped_counted_and_named():
    rows = [row for row in ROWS if row[:3] not in (("ViT", 50, 1), ("ResNet", 50, 2))]
    out = paired_difference(frame(rows), **PAIRED).set_index("model")
    assert dict(out["n"]) == {"ViT": 1, "Twin": 2}
    assert out.loc["ViT", "dropped_pairs"] == "seed=1 (without ViT); seed=2 (without ResNet)"
    assert out.loc["Twin", "dropped_pairs"] == "seed=2 (without ResNet)"
    assert out.loc["ViT", ["low", "high"]].isna().all()


def test_every_value_is_either_in_a_pair_or_dropped():
    rows = [row for row in ROWS if row[:3] not in (("ViT", 50, 1), ("ResNet", 50, 2))]
    out = paired_difference(frame(rows), **PAIRED)
    both = pairs(frame(rows), **PAIRED)
    assert out["n"].sum() + out["dropped"].sum() == len(both)


def test_a_cell_without_any_pair_is_a_row_that_says_so():
    rows = [*ROWS, ("ViT", 100, 0, 0.5)]
    row = paired_difference(frame(rows), **PAIRED).set_index(["size", "model"]).loc[(100, "ViT")]
    assert row["n"] == 0
    assert row["dropped"] == 1
    assert np.isnan(row["estimate"])


def test_an_unknown_reference_is_refused_with_the_levels_that_are_there():
    with pytest.raises(InputError) as error:
        pairs(frame(ROWS), **{**PAIRED, "reference": "VGG"})
    allowed = "'ViT', 'Twin', 'ResNet'"
    assert str(error.value) == f"reference of a paired difference must be one of {allowed}. Got 'VGG' instead."


def test_several_values_a_cell_cannot_be_paired():
    with pytest.raises(
        InputError, match=r"^pair_on must leave one value a cell\. Got several for size=50, seed=0, model"
    ):
        pairs(frame([*ROWS, ROWS[0]]), **PAIRED)


def test_the_reference_alone_gives_an_empty_table():
    out = paired_difference(frame(ROWS[:3]), **PAIRED)
    assert len(out) == 0
    assert "dropped_pairs" in out
