"""What a search of fewer trials gives, against all searches that could be, one by one."""

import itertools

import numpy as np
import pandas as pd
import pytest

from vision_attn.spec import InputError
from vision_attn.statistics import expected_best, search_leads

VALUES = (0.61, 0.40, 0.73, 0.73, 0.55)


def frame_of(values=VALUES, **columns):
    return pd.DataFrame({"trial": [f"t{i}" for i in range(len(values))], "value": values, **columns})


def curve(frame, **options):
    return expected_best(frame.assign(all=0), by=["all"], **options).set_index("trials")


@pytest.mark.parametrize("k", range(1, len(VALUES) + 1))
def test_the_expected_best_is_the_mean_over_all_searches_of_so_many_draws(k):
    searches = [max(draws) for draws in itertools.product(VALUES, repeat=k)]
    assert curve(frame_of()).loc[k, "estimate"] == pytest.approx(np.mean(searches))


def test_of_evenly_spaced_values_it_is_the_closed_form():
    number, k = 40, 3
    values = np.arange(1, number + 1) / number  # E[max of k] = 1 - sum over i < N of (i / N)^k, each step being 1 / N
    expected = 1 - sum((i / number) ** k for i in range(number)) / number
    assert curve(frame_of(values)).loc[k, "estimate"] == pytest.approx(expected)


def test_a_trial_is_the_mean_of_its_seeds_and_missing_values_do_not_count():
    both = pd.concat([frame_of([v - 0.1 for v in VALUES]), frame_of([v + 0.1 for v in VALUES])])
    lacking = pd.concat([both, pd.DataFrame({"trial": ["t9"], "value": [np.nan]})])
    expected = curve(frame_of())
    for frame in (both, lacking):
        found = curve(frame)
        np.testing.assert_allclose(found["estimate"], expected["estimate"])
        assert set(found["n"]) == {len(VALUES)}


def test_the_interval_is_that_of_searches_over_resampled_trials():
    found = curve(frame_of(), resamples=4000)
    generator = np.random.default_rng(7)
    best = [np.mean([max(generator.choice(drawn, 2)) for _ in range(200)]) for drawn in
            (generator.choice(VALUES, len(VALUES)) for _ in range(1500))]  # fmt: skip
    assert found.loc[2, ["low", "high"]].tolist() == pytest.approx(list(np.quantile(best, [0.025, 0.975])), abs=0.02)
    assert (found["low"] <= found["estimate"]).all()
    assert (found["high"] <= max(VALUES) + 1e-12).all()
    other = curve(frame_of(), resamples=4000, seed=1)
    assert not np.allclose(found["low"], other["low"], atol=1e-6)
    pd.testing.assert_frame_equal(found, curve(frame_of(), resamples=4000))


def test_one_trial_has_no_interval():
    found = curve(frame_of(VALUES[:1]))
    assert found["estimate"].tolist() == [VALUES[0]]
    assert found[["low", "high"]].isna().all(axis=None)


def test_a_lead_is_a_tie_where_it_reaches_zero_and_says_where_the_other_is_ahead():
    steady, wild = (0.60, 0.60, 0.61, 0.61), (0.1, 0.2, 0.62, 0.3)
    far = (0.2, 0.21, 0.19, 0.2)
    frame = pd.concat([frame_of(values, model=name) for name, values in
                       (("steady", steady), ("wild", wild), ("far", far))])  # fmt: skip
    pairs = search_leads(frame)
    assert pairs[["leader", "model"]].to_numpy().tolist() == [["steady", "wild"], ["steady", "far"], ["wild", "far"]]
    assert pairs.loc[2, "tie"], "one of four wild trials is good: a search may miss it"
    found = pairs[pairs["leader"] == "steady"].set_index("model")
    assert found.loc["far", "estimate"] == pytest.approx(
        curve(frame_of(steady)).loc[4, "estimate"] - curve(frame_of(far)).loc[4, "estimate"]
    )
    assert found["tie"].to_dict() == {"wild": True, "far": False}
    assert found.loc["far", "ahead_at"] == ()
    better = pd.concat([frame_of((0.60, 0.60, 0.60, 0.60), model="a"), frame_of((0.1, 0.9, 0.9, 0.9), model="b")])
    assert search_leads(better).loc[0, ["leader", "model", "ahead_at"]].tolist() == ["b", "a", ()]
    late = pd.concat([frame_of((0.5, 0.5, 0.5, 0.5), model="a"), frame_of((0.0, 0.0, 0.9, 0.8), model="b")])
    assert search_leads(late).loc[0, ["leader", "model", "ahead_at"]].tolist() == ["b", "a", (1,)]


def test_how_sure_a_lead_over_one_trial_is_is_not_known():
    frame = pd.concat([frame_of(model="a"), frame_of((0.2,), model="b")])
    assert search_leads(frame)[["low", "high", "tie"]].isna().to_numpy().tolist() == [[True, True, False]]
    assert not search_leads(frame).loc[0, "tie"]


def test_groups_are_kept_apart():
    frame = pd.concat([frame_of(train_size=500, model="a"), frame_of(VALUES[:3], train_size=4000, model="a")])
    found = expected_best(frame, by=["train_size", "model"])
    assert found.groupby("train_size")["n"].first().to_dict() == {500: 5, 4000: 3}
    assert search_leads(frame, by=["train_size"]).empty


def test_an_impossible_level_is_refused():
    with pytest.raises(InputError, match="level of an interval must be between 0 and 1"):
        expected_best(frame_of(), by=["trial"], level=95)
