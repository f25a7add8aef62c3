"""Error rates and power of rules: nominal where they must be, and the same on records as on samples."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from frames import make_records
from scipy import stats

from vision_attn import models
from vision_attn.experiment import load
from vision_attn.spec import InputError
from vision_attn.verdicts import AllOf, Quantity, answers, claim, findings, rates, rates_text
from vision_attn.verdicts.rates import leaves

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "experiments").glob("*.py"))
CHANCE = 3.3 * np.sqrt(0.025 * 0.975 / 20_000)
"""How far a rate of 2.5 % strays in 20,000 samples, but once in a thousand times."""
accuracy = Quantity("accuracy", min_seeds=2)


def bounds(number, quantity=accuracy):
    """A claim of so many parts, each of a model of its own."""
    return claim("C1", "So.", *(quantity(model=f"model {i}").above(0.5, "So." * (number > 1)) for i in range(number)))


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_a_difference_errs_in_five_percent_two_sided(n):
    """Half of it on either side: where the truth is the bound, 2.5 % support and 2.5 % contradict."""
    found = answers(claim("C1", "So.", (accuracy(model="a") - accuracy(model="b")).above(0.1)), n=n)
    assert found.supports == pytest.approx(0.025, abs=CHANCE)
    assert found.contradicts == pytest.approx(0.025, abs=CHANCE)
    assert found.inconclusive == pytest.approx(1 - found.supports - found.contradicts)


@pytest.mark.parametrize("parts", [2, 4, 9, 11])
def test_a_true_claim_of_many_parts_is_contradicted_no_more_often_than_one_of_one(parts):
    """Without a correction any of nine independent parts would do it in 20 % of cases."""
    rule = bounds(parts)
    assert answers(rule).contradicts <= 0.025 + CHANCE
    alone = np.stack(
        [part.test(np.random.default_rng(i).normal(0.5, 1, (20_000, 5)))[1] for i, part in enumerate(rule.parts)]
    )
    uncorrected = float((alone < 0.05).any(axis=0).mean())
    assert uncorrected == pytest.approx(1 - 0.975**parts, abs=0.012)


def test_a_claim_is_supported_by_mistake_no_more_often_than_its_weakest_part():
    """One part is just false, the others are true by far: only that one can stop it."""
    beyond = [0.0, *[10.0] * 8]
    assert answers(bounds(9), beyond=beyond).supports == pytest.approx(0.025, abs=CHANCE)
    assert rates(bounds(9)).false_supports == pytest.approx(0.025, abs=CHANCE)


@pytest.mark.parametrize(("n", "strength"), [(3, 3.3), (5, 1.7), (10, 1.0)])
def test_the_strength_seen_in_four_of_five_cases_is_that_of_the_noncentral_t(n, strength):
    found = rates(bounds(1), n=n, sd=0.02)
    assert found.detectable == pytest.approx(strength, abs=0.08)
    exact = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, found.detectable * np.sqrt(n))
    assert exact == pytest.approx(0.8, abs=0.025)


def test_numbers_may_be_those_of_numpy():
    wanted = rates(bounds(2), n=5, sd=0.5)
    for n, sd in ((np.int64(5), np.float32(0.5)), ([5, 5], np.array([0.5, 0.5]))):
        assert rates(bounds(2), n=n, sd=sd) == wanted


@pytest.mark.parametrize(("n", "power"), [(3, 0.64), (5, 0.996)])
def test_equivalence_within_three_standard_deviations(n, power):
    """Its margin, not the truth, is what limits it: with three seeds it is shown in two of three cases at best."""
    rule = claim("C1", "So.", (accuracy(model="a") - accuracy(model="b")).within(0.03))
    found = rates(rule, n=n, sd=0.01)
    assert found.power == pytest.approx(power, abs=0.025)
    assert np.isnan(found.detectable) == (n == 3)
    assert found.false_supports <= 0.025 + CHANCE
    assert found.false_contradicts <= 0.025 + CHANCE


@pytest.mark.parametrize(("bound", "side"), [(0.4, "above"), (0.5, "below"), (0.7, "above")])
def test_a_share_errs_as_often_as_the_binomial_distribution_says(bound, side):
    rule = claim("C1", "So.", getattr(accuracy(model="a").share(0.9), side)(bound))
    wins = np.arange(9)
    weight = stats.binom.pmf(wins, 8, bound)
    low, high = stats.beta.ppf(0.025, wins, 9 - wins), stats.beta.ppf(0.975, wins + 1, 8 - wins)
    above, below = np.nan_to_num(low) > bound, np.where(wins == 8, 1.0, high) < bound
    supports, contradicts = (above, below) if side == "above" else (below, above)
    found = answers(rule, n=8)
    assert found.supports == pytest.approx(weight[supports].sum(), abs=CHANCE)
    assert found.contradicts == pytest.approx(weight[contradicts].sum(), abs=CHANCE)


@pytest.mark.parametrize(("bound", "refutes"), [(0.4, 0), (0.6, 1)])
def test_a_share_that_five_seeds_cannot_refute_is_told_from_one_that_they_can(bound, refutes):
    """None of five seeds is a share below 52 %: compatible with 40 %, not with 60 %."""
    rule = claim("C1", "So.", accuracy(model="a").share(0.9).above(bound))
    found = rates(rule, n=5)
    assert found.refutes == refutes
    learned = make_records({"model": ["a"], "seed": list(range(5))}, lambda one: [{"metric": "accuracy", "value": 1.0}])
    said = "So few seeds cannot contradict it, however false it is."
    assert rates_text(found, rule.decide(learned)).endswith(said) == (not refutes)


@pytest.mark.parametrize("n", [3, 5])
def test_what_is_symmetric_errs_as_often_on_both_sides(n):
    found = rates(claim("C1", "So.", accuracy(model="a").above(0.5)), n=n)
    assert found.false_supports == found.false_contradicts
    assert found.false_supports == pytest.approx(0.025, abs=0.004)


def test_more_than_half_of_a_lead_is_seen_where_less_than_a_point_of_it_was_not():
    """A lead of 10 points that goes altogether, known to a point: three seeds see that more than half of it goes."""
    before, after = (accuracy(model="a", data=data) - accuracy(model="b", data=data) for data in ("intact", "permuted"))
    half = claim("C4", "So.", (before / 2 - after).above(0))
    assert answers(half, n=3, sd=0.0115, beyond=0.05).supports > 0.9
    point = claim("C4", "So.", after.below(0.01))
    assert answers(point, n=3, sd=0.014, beyond=0.01).supports < 0.15


def test_parts_of_the_same_cells_err_together():
    """Nine times the same part is one part: what convinces it once has convinced it nine times."""
    same = AllOf(claim="C1", statement="So.", parts=bounds(9).parts[:1] * 9)
    apart = answers(bounds(9), beyond=0.015).supports
    assert answers(same, beyond=0.015).supports > 0.7 > 2 * apart


def test_a_rule_with_fewer_seeds_than_it_asks_for_never_answers():
    found = rates(bounds(1, Quantity("accuracy", min_seeds=6)), n=5)
    assert (found.false_supports, found.false_contradicts, found.power, found.refutes) == (0, 0, 0, 0)
    assert np.isnan(found.detectable)


def made_up(rule, *, sample, beyond):
    """Records of a plan in which truth lies `beyond` the bound of every part, with a noise of 0.02 between seeds."""
    generator = np.random.default_rng(sample)

    def rows(one):
        noise = 0.02 / np.sqrt(2) if one["model"].startswith("pair") else 0.02
        shift = 0 if one["model"] == "pair b" else beyond
        yield {"metric": "accuracy", "value": 0.5 + shift + noise * generator.normal()}

    models = sorted({level for part in leaves(rule) for _, at in part.cells for name, level in at if name == "model"})
    return make_records({"model": models, "seed": list(range(5))}, rows)


@pytest.mark.parametrize(
    "rule",
    [bounds(2), claim("C1", "So.", (accuracy(model="pair a") - accuracy(model="pair b")).above(0))],
    ids=["two bounds", "difference"],
)
def test_what_is_simulated_is_what_happens_to_records(rule):
    """A hundred sweeps made up and decided like any other: as many of them are supported as of the samples."""
    supported = np.mean([rule.decide(made_up(rule, sample=i, beyond=0.03)).verdict == "supports" for i in range(100)])
    expected = answers(rule, n=5, sd=0.02, beyond=0.03).supports
    assert 0.3 < expected < 0.9
    assert supported == pytest.approx(expected, abs=3.3 * np.sqrt(expected * (1 - expected) / 100))


def rules(path):
    """Every rule of an experiment with its rates, with as many seeds as it or one of its presets plans at most."""
    known = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "match", lambda family, **sizes: family)  # rules do not depend on it, and it takes long
        _, experiment = load(path)
    for name in {other.stem for other in FILES} & set(sys.modules) - known:
        del sys.modules[name]  # an experiment beside it, whose models are not matched
    seeds = max(len(set(levels.get("seed", ()))) for levels in (experiment.factors, *experiment.presets.values()))
    return [(rule, rates(rule, n=seeds, sd=0.001)) for rule in experiment.verdicts if leaves(rule)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rules_of_an_experiment_err_in_one_of_forty_cases_at_most_and_can_be_convinced(path):
    """Wrong where a claim is just true or just false, by itself; supported where the truth is clear.

    With the seeds that are planned, which scatter by a tenth of a point.
    """
    for rule, one in rules(path):
        assert one.false_supports <= 0.025 + CHANCE, rule.claim
        assert one.false_contradicts <= 0.025 + CHANCE, rule.claim
        assert one.power > 0.95, rule.claim


def test_the_page_says_what_was_simulated():
    rule = bounds(1)
    planned = dataclasses.replace(records := made_up(rule, sample=0, beyond=0.03), plan=records.plan)
    (found,) = [dataclasses.replace(rule.decide(planned), rates=rates(rule, sd=0.02))]
    assert rates_text(found.rates, found) == (
        "Simulated with 5 seeds and the scatter found: contradicted in 2.4 % of cases where it is just true, supported "
        "in 2.4 % at most where it is just false, supported in 80 % where it is true by 1.7 standard deviations "
        f"({100 * found.rates.detectable * found.sd:.1f} percentage points)."
    )
    assert findings(planned) == []


def test_a_rule_of_which_all_parts_hold_by_construction_has_no_rates():
    exact = Quantity("accuracy", exact=True)
    with pytest.raises(
        InputError, match=r"^verdict of rates must have a part that is measured\. Got C1, which has none"
    ):
        rates(claim("C1", "So.", exact(model="a").above(0), exact(model="b").above(0)))


def test_parts_that_are_left_out_cost_no_power_but_count_in_the_correction():
    rule, of_three = bounds(3), {"n": 5, "sd": 0.01}
    every, one = rates(rule, **of_three), rates(rule, left_out=(False, True, True), **of_three)
    alone = rates(bounds(1), **of_three)
    assert one.detectable == pytest.approx(alone.detectable, abs=0.1)
    assert one.detectable < every.detectable - 0.2
    assert one.false_contradicts == pytest.approx(alone.false_contradicts / 3, abs=0.003)
    with pytest.raises(InputError, match="must have a part that is measured"):
        rates(rule, left_out=True, **of_three)
