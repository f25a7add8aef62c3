"""The rule on correlations, against scipy's, on made-up ranks."""

import numpy as np
import pytest
from frames import make_records
from scipy.stats import spearmanr

from vision_attn.spec import InputError
from vision_attn.verdicts import CorrelationVerdict, Quantity, cell, claim
from vision_attn.verdicts.base import judged

FACTORS = {"labels": ["true", "permuted"], "seed": [0, 1, 2, 3, 4]}
rank = Quantity("map_rank", along=("image", "patch"))
RULE = claim("C11", "They differ.", rank(labels="permuted").correlation(rank(labels="true")).below(0.5))


def ranks(levels):
    """Two images of nine patches; the second is the same everywhere in one of the runs."""
    generator = np.random.default_rng([levels["seed"], levels["labels"] == "true"])
    maps = generator.permutation(9), generator.permutation(9)
    return np.stack([maps[0], np.zeros(9) if levels == {"labels": "true", "seed": 2} else maps[1]])


def records(found=ranks, order=1):
    def rows(levels):
        maps = found(levels)
        own = [
            {"metric": "map_rank", "value": float(maps[image, patch]), "image": image, "patch": patch}
            for image in range(2)
            for patch in range(9)
        ]
        return own[:: order if levels["labels"] == "true" else 1]

    return make_records(FACTORS, rows)


@pytest.mark.parametrize("order", [1, -1])
def test_a_seed_has_the_mean_correlation_of_its_maps_whatever_the_order_of_the_records(order):
    def correlation(seed, image):
        maps = [ranks({"labels": labels, "seed": seed})[image] for labels in FACTORS["labels"]]
        return 0.0 if (seed, image) == (2, 1) else spearmanr(*maps).statistic

    expected = [np.mean([correlation(seed, image) for image in range(2)]) for seed in FACTORS["seed"]]
    found = RULE.decide(records(order=order))
    assert found.estimate == pytest.approx(np.mean(expected))
    assert found.sd == pytest.approx(np.std(expected, ddof=1))
    assert (found.verdict, found.n, found.metric) == ("supports", 5, "correlation")


def test_maps_that_stay_the_same_contradict_it():
    found = RULE.decide(records(lambda levels: ranks({"labels": "permuted", "seed": levels["seed"]})))
    assert (found.verdict, found.estimate) == ("contradicts", pytest.approx(1))


def test_it_says_what_is_compared():
    expected = CorrelationVerdict(
        claim="C11",
        statement="They differ.",
        metric="map_rank",
        at=cell(labels="permuted"),
        reference=cell(labels="true"),
        bound=0.5,
        side="below",
        min_seeds=5,
    )
    assert expected == RULE
    what = "Correlation by patch (mean over images) of map rank at labels permuted with map rank at labels true"
    assert RULE.rule.startswith(f"{what}: mean over seeds")


def test_what_cannot_be_correlated_is_refused():
    with pytest.raises(InputError, match=r"asked of two cells\. Got 3 terms instead"):
        rank(labels="permuted").correlation(rank(labels="true") - rank(labels="permuted"))
    with pytest.raises(InputError, match=r"reduce of CorrelationVerdict must be 'one'\. Got 'mean' instead"):
        RULE.replace(reduce="mean")


def test_items_that_one_of_the_cells_lacks_are_refused_not_left_out():
    def half(levels):
        return [
            {"metric": "map_rank", "value": float(patch), "image": 3 * (levels["labels"] == "true"), "patch": patch}
            for patch in range(9)
        ]

    found = judged(RULE, make_records(FACTORS, half))
    assert (found.verdict, found.n) == ("not measured", 0)
    assert found.words == (
        "cells of CorrelationVerdict must both be measured at every image and patch. Got 18 of 18 in one of them only "
        "instead."
    )
