"""Mistakes in common, of models whose mistakes are known."""

import numpy as np
import pytest
from frames import make_records

from vision_attn.figures import ErrorConsistency
from vision_attn.statistics import error_consistency

MODELS = ("one", "same", "other")


def rows(cell):
    """The first two models miss the images below 25, the third those from 75 on; seeds differ in one image."""
    for image in range(100):
        missed = image >= 75 + cell["seed"] if cell["model"] == "other" else image < 25 - cell["seed"]
        yield {"metric": "correct", "image": image, "value": float(not missed)}


def records(**options):
    return make_records({"model": list(MODELS), "seed": [0, 1, 2]}, rows, **options)


def test_kappa_is_that_of_the_textbook_and_of_chance_0():
    one, other = np.repeat([1, 1, 0, 0], [20, 5, 10, 15]), np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert error_consistency(one, other) == pytest.approx(0.4)  # Cohen's own example of 50 cases
    assert error_consistency(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])) == 0
    assert np.isnan(error_consistency(np.ones(4), np.ones(4)))


def test_pairs_of_models_share_their_mistakes_or_not_and_seeds_of_one_nearly_all():
    figure, own = ErrorConsistency(), records()
    table = figure.table(own)
    kappa = table.set_index(["first", "second"])["estimate"]
    assert kappa["one", "same"] == pytest.approx(1)
    assert kappa["one", "other"] < -0.2
    assert 0.9 < kappa["one", "one"] < 1
    assert set(table["n"]) == {3}
    assert figure.printed(table, own)["pair"].tolist()[:2] == ["one, another seed", "one and same"]
    figure.draw(table, own).draw_without_rendering()


def test_seeds_that_are_missing_are_named():
    late = records(state=lambda cell: "failed" if (cell["model"], cell["seed"]) == ("other", 2) else "done")
    table = ErrorConsistency().table(late).set_index(["first", "second"])
    assert table.loc[("one", "other"), "n"] == 2
    assert table.loc[("one", "same"), "n"] == 3
    assert "(2 of 3)" in ErrorConsistency().caption(table.reset_index(), late)


def test_the_caption_says_that_pairs_of_seeds_of_one_model_overlap():
    overlap = "Of one with itself every seed is in two pairs"
    for seeds, is_told in (([0, 1, 2], True), ([0, 1], False)):
        own = make_records({"model": list(MODELS), "seed": seeds}, rows)
        assert (overlap in ErrorConsistency().plot(own).caption) == is_told
