"""A claim of many parts: contradictions are corrected for their number, what is exact is a condition."""

import pytest
from frames import make_records

from vision_attn.spec import InputError, to_json
from vision_attn.statistics import holm
from vision_attn.verdicts import Quantity, claim

SEEDS = range(5)
NOISE = (-0.012, -0.002, 0.0, 0.003, 0.011)
"""Of standard deviation 0.0083: a mean of five is known to within 0.0103."""
MEANS = {"far": 0.5, "near": 0.51, "just below": 0.489, "well below": 0.45}
quantity = Quantity("accuracy")
split = {"split": "test"}


def rows(one):
    yield {"metric": "accuracy", "split": "test", "value": MEANS[one["model"]] + NOISE[one["seed"]]}
    yield {"metric": "reach", "value": 4.0}


@pytest.fixture(scope="module")
def records():
    return make_records({"model": list(MEANS), "seed": list(SEEDS)}, rows)


def parts(*models, bound=0.5):
    return [quantity(model=model, **split).above(bound) for model in models]


def test_a_part_that_contradicts_by_itself_may_not_be_enough_among_many(records):
    """Its p-value is 0.04: under 0.05 alone, over it for two parts and more."""
    (alone,) = (claim("C1", "So.", *parts("just below")).decide(records),)
    assert alone.verdict == "contradicts"
    assert 0.025 < alone.p < 0.05
    found = claim("C1", "So.", *parts("just below", "near")).decide(records)
    assert found.verdict == "inconclusive"
    assert [part.verdict for part in found.parts] == ["contradicts", "inconclusive"]
    assert found.parts[0].p_holm == pytest.approx(2 * alone.p)
    assert (found.parts[0].low, found.parts[0].high) == (alone.low, alone.high)
    assert found.words == (
        "1 of 2 parts contradicts it only uncorrected and 1 is inconclusive. "
        f"Smallest p-value after Holm's correction: {2 * alone.p:.2g}."
    )


def test_a_part_that_is_clearly_false_contradicts_among_many(records):
    found = claim("C1", "So.", *parts("well below", "near", "far", "far", "far")).decide(records)
    assert found.verdict == "contradicts"
    assert found.p == found.parts[0].p_holm < 0.05


def test_the_correction_is_holms_over_the_parts(records):
    found = claim("C1", "So.", *parts("well below", "just below", "far", "far")).decide(records)
    assert found.words.startswith(
        "1 of 4 parts contradicts it, 1 contradicts it only uncorrected and 2 are inconclusive. "
    )
    assert [part.p_holm for part in found.parts] == pytest.approx(holm([part.p for part in found.parts]))


def test_parts_that_cannot_be_decided_yet_count_as_well(records):
    """Otherwise a claim could be contradicted while it is half measured, and no longer when it is whole."""
    few = Quantity("accuracy", min_seeds=6)(model="near", **split).above(0)
    absent = quantity(model="elsewhere", **split).above(0)
    for other in (few, absent):
        found = claim("C1", "So.", *parts("just below"), other).decide(records)
        assert found.parts[0].p_holm == pytest.approx(2 * found.parts[0].p)
        assert found.verdict == "inconclusive"


def test_no_correction_is_needed_to_be_supported(records):
    assert claim("C1", "So.", *parts(*MEANS, bound=0.43)).decide(records).verdict == "supports"


def reach(bound, **options):
    return Quantity("reach", exact=True, **options)(model="far").below(bound)


def test_what_holds_by_construction_is_a_condition_and_no_part(records):
    found = claim("C1", "So.", *parts("just below"), reach(4.5)).decide(records)
    assert [part.verdict for part in found.parts] == ["contradicts", "supports"]
    assert found.parts[0].p_holm == found.parts[0].p
    assert found.verdict == "contradicts"
    assert found.words.startswith("1 of 1 measured part contradicts it.")


def test_where_what_holds_by_construction_does_not_nothing_is_decided(records):
    found = claim("C1", "So.", *parts("near"), reach(3.5)).decide(records)
    assert found.verdict == "not measured"
    assert found.words == "A fault of the suite: what holds by construction does not. Reach of far is below 3.5."


def test_what_holds_by_construction_is_asked_of_every_run_and_has_no_interval():
    leaky = make_records(
        {"model": ["far"], "seed": list(SEEDS)}, lambda one: [{"metric": "reach", "value": 4.0 + (one["seed"] == 3)}]
    )
    found = claim("C1", "So.", reach(4.5)).decide(leaky)
    assert (found.verdict, found.is_exact, found.n) == ("contradicts", True, 5)
    assert found.low != found.low
    one = make_records({"model": ["far"], "seed": [0]}, lambda one: [{"metric": "reach", "value": 4.0}])
    assert claim("C1", "So.", reach(4.5)).decide(one).verdict == "supports"


def test_a_share_is_never_exact():
    with pytest.raises(InputError, match=r"^exact of ShareVerdict must be False: a share is estimated\."):
        claim("C1", "So.", Quantity("accuracy", exact=True)(model="far").share(0.5).above(0.5))


def test_the_rule_says_how_it_is_corrected_and_keeps_its_json(records):
    made = claim("C1", "So.", *parts("far", "near"))
    assert made.rule == (
        "Supports where every part does, contradicts where any part does after Holm's correction for the number of "
        "parts, else inconclusive."
    )
    assert set(to_json(made)) == {"kind", "claim", "statement", "parts"}
