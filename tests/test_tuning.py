"""The search for recipes: equal trials for every family, balanced, on validation images alone."""

import dataclasses
import functools
import itertools
import sys
from collections import Counter
from pathlib import Path

import pytest
from planned import cells

from vision_attn.experiment import load
from vision_attn.models import count_params

ROOT = Path(__file__).resolve().parents[1]
_, EXPERIMENT = load(ROOT / "experiments" / "tuning.py")
TUNING = sys.modules[EXPERIMENT.run.__module__]
TABLE = "train_size,model,trial,estimate,n,chosen\n"


def test_every_family_has_the_same_number_of_different_trials_at_every_size_and_seed():
    found = list(cells(EXPERIMENT))
    per_family = Counter((cell["model"], cell["train_size"], cell["seed"]) for cell, _ in found)
    assert set(per_family.values()) == {16}
    assert len({made for _, made in found}) == len(found)


def test_each_setting_of_the_first_round_is_met_equally_often_and_in_every_pair_of_settings():
    trials = list(TUNING.TRIALS.values())
    names = ("learning_rate", "weight_decay", "crop", "batch_size", "position", "large_branch")
    for name in names:
        assert len(set(Counter(getattr(trial, name) for trial in trials).values())) == 1
    for one, other in itertools.combinations(names, 2):
        met = Counter((getattr(trial, one), getattr(trial, other)) for trial in trials)
        assert len(set(met.values())) == 1, (one, other)


def test_what_is_searched_sees_validation_images_and_no_test_images():
    assert all(made.data.val_size == 2000 for _, made in cells(EXPERIMENT))
    assert [type(probe).__name__ for probe in EXPERIMENT.probes] == ["Size"]


def test_presets_whose_trials_follow_what_was_found_before_are_called_so():
    """Their trials have other names than those of the first round, which were all fixed before it."""
    follow = {name for name, levels in EXPERIMENT.presets.items() if "trial" in levels}
    (found,) = (figure.in_turn for figure in EXPERIMENT.figures if type(figure).__name__ == "ExpectedBest")
    assert set(found) == follow


def test_the_page_of_a_later_round_does_not_tell_of_the_first():
    """That of the longest, of three families, one size and two trials, told of four, two and sixteen."""
    assert set(EXPERIMENT.questions) == set(TUNING.IN_TURN)
    titles = {EXPERIMENT.preset(name).question.partition("?")[0] for name in TUNING.IN_TURN}
    assert len(titles - {EXPERIMENT.question.partition("?")[0]}) == len(TUNING.IN_TURN)
    for name in TUNING.IN_TURN:
        later = EXPERIMENT.preset(name)
        assert "Four families" not in later.question
        assert ("convolutional stem" in later.question) == ("ViT, convolutional stem" in later.factors["model"])


def test_every_run_of_a_round_sees_the_same_number_of_images():
    for preset, images_seen in ((None, 48_000), ("small", 4_800)):
        experiment = EXPERIMENT.preset(preset) if preset else EXPERIMENT
        assert {made.recipe.updates * made.recipe.batch_size for _, made in cells(experiment)} <= {
            images_seen,
            images_seen // 128 * 128 + 128 * (images_seen % 128 >= 64),
        }


@pytest.fixture
def after_a_first_round(tmp_path, monkeypatch):
    """Results of a first round in which the ViT with 1,000 images did best at the highest rate."""
    best = next(label for label, trial in TUNING.TRIALS.items() if trial.learning_rate == 1e-2)
    other = next(iter(TUNING.TRIALS))
    folder = tmp_path / "results" / "tuning" / "tables"
    folder.mkdir(parents=True)
    (folder / "Choice.csv").write_text(
        TABLE + f'1000,ViT,"{other}",0.4,2,False\n1000,ViT,"{best}",0.5,2,True\n1000,ViT,never,,0,False\n'
    )
    monkeypatch.setattr(TUNING, "__file__", str(tmp_path / "experiments" / "tuning.py"))
    TUNING._means.cache_clear()
    yield TUNING.TRIALS[best], TUNING.TRIALS[other]
    TUNING._means.cache_clear()


def test_tables_that_say_what_trials_set_are_read_as_those_that_do_not(after_a_first_round, tmp_path):
    _, other = after_a_first_round
    folder = tmp_path / "results" / "tuning-final" / "tables"
    folder.mkdir(parents=True)
    columns = "learning_rate,weight_decay,construction"
    text = (
        f'{TABLE.strip()},{columns}\n1000,ViT,best,0.6,2,False,0.01,0.2,\n1000,ViT,second,0.7,2,True,0.0003,,"a, b"\n'
    )
    (folder / "Choice.csv").write_text(text)
    TUNING._means.cache_clear()
    assert TUNING.chosen("ViT", 1000) == other


def test_the_second_round_brackets_the_best_rate_with_all_else_equal(after_a_first_round):
    best, _ = after_a_first_round
    refined = {trial: TUNING.settings("ViT", 1000, trial) for trial in TUNING.REFINED}
    rates = [found.learning_rate for label, found in refined.items() if label.startswith("rate")]
    assert rates == [1e-3, 3e-3, 3e-2, 1e-1]
    for found in refined.values():
        assert (found.weight_decay, found.crop, found.batch_size) == (best.weight_decay, best.crop, best.batch_size)
    assert sum(found.optimizer == "nadamuon" for found in refined.values()) == 5


def test_the_last_round_takes_the_best_of_both(after_a_first_round):
    best, other = after_a_first_round
    assert [TUNING.settings("ViT", 1000, place) for place in TUNING.FINALISTS] == [best, other, None]


def test_of_equal_trials_the_one_with_the_higher_rate_comes_first(after_a_first_round, tmp_path):
    """Once the last digit of a mean decided, and tables have fewer digits since: a finalist was another one then."""
    equal = [label for label, trial in TUNING.TRIALS.items() if trial.learning_rate in (3e-4, 1e-2)]
    folder = tmp_path / "results" / "tuning" / "tables"
    for labels in (equal, equal[::-1]):
        (folder / "Choice.csv").write_text(TABLE + "".join(f'1000,ViT,"{label}",0.5,2,False\n' for label in labels))
        TUNING._means.cache_clear()
        rates = [trial.learning_rate for trial in TUNING.ranked("ViT", 1000)]
        assert rates == sorted(rates, reverse=True)


def test_another_optimiser_is_tried_and_not_taken(after_a_first_round, tmp_path):
    best, other = after_a_first_round
    folder = tmp_path / "results" / "tuning-refine" / "tables"
    folder.mkdir(parents=True)
    (folder / "Choice.csv").write_text(TABLE + "1000,ViT,nadamuon 0.01,0.9,2,True\n1000,ViT,rate x0.3,0.45,2,False\n")
    TUNING._means.cache_clear()
    slower = dataclasses.replace(best, learning_rate=3e-3)
    assert [TUNING.settings("ViT", 1000, place) for place in TUNING.FINALISTS] == [best, slower, other]
    assert TUNING.chosen("ViT", 1000) == best


def test_the_second_round_goes_on_where_it_has_ended_at_a_rate_and_beside_the_second_of_the_first(
    after_a_first_round, tmp_path
):
    """What it finds is chosen at its own budget; the last round stays as it was."""
    best, other = after_a_first_round
    later = (*TUNING.FURTHER, *TUNING.SECOND)
    slower, faster = (dataclasses.replace(other, learning_rate=rate) for rate in (1e-4, 1e-3))
    assert [TUNING.settings("ViT", 1000, trial) for trial in later] == [None, None, slower, faster]
    folder = tmp_path / "results" / "tuning-refine" / "tables"
    folder.mkdir(parents=True)
    rows = {"rate x3": 0.6, "nadamuon 0.001": 0.5, "nadamuon 0.0003": 0.6}
    text = TABLE + "".join(f"1000,ViT,{label},{mean},2,False\n" for label, mean in rows.items())
    (folder / "Choice.csv").write_text(text)
    TUNING._means.cache_clear()
    beyond = dataclasses.replace(best, learning_rate=1e-1)
    muon = dataclasses.replace(best, optimizer="nadamuon", learning_rate=1e-4)
    assert [TUNING.settings("ViT", 1000, trial) for trial in later] == [beyond, muon, slower, faster]
    (folder / "Choice.csv").write_text(text + "1000,ViT,rate beyond,0.7,2,False\n")
    TUNING._means.cache_clear()
    assert TUNING.chosen_at("ViT", 1000, 48_000) == beyond
    for label, rate in (("second, rate x0.3", 3e-5), ("second, rate x3", 3e-3)):
        more = [f'1000,ViT,"{one}",{0.7 if one == label else 0.1},2,False\n' for one in later]
        for done, found in ((more[1:], None), (more, dataclasses.replace(other, learning_rate=rate))):
            (folder / "Choice.csv").write_text(text + "".join(done))
            TUNING._means.cache_clear()
            assert TUNING.settings("ViT", 1000, TUNING.LAST) == found
    (folder / "Choice.csv").write_text(text + "1000,ViT,rate beyond,0.7,2,False\n")
    TUNING._means.cache_clear()
    assert TUNING.ranked("ViT", 1000)[0] == dataclasses.replace(best, learning_rate=3e-2)


def test_the_rates_beside_the_second_repeat_no_run():
    """A ResNet has no positions, so trials that differ in them alone are one run for it."""
    for model, size in itertools.product(TUNING.MODELS, TUNING.SIZES):

        def made(labels, model=model, size=size):
            found = (EXPERIMENT.run("cifar10-jpeg", model, size, label, 48_000, 100) for label in labels)
            return {run for run in found if run is not None}

        assert not made(TUNING.SECOND) & made((*TUNING.TRIALS, *TUNING.REFINED))


def test_what_other_experiments_take_is_the_best_of_the_last_round(after_a_first_round, tmp_path):
    best, other = after_a_first_round
    assert TUNING.chosen("ViT", 300) == best
    assert TUNING.chosen("ViT", 300, accepts=lambda trial: trial != best) == other
    folder = tmp_path / "results" / "tuning-final" / "tables"
    folder.mkdir(parents=True)
    (folder / "Choice.csv").write_text(TABLE + "1000,ViT,best,0.6,2,False\n1000,ViT,second,0.7,2,True\n")
    TUNING._means.cache_clear()
    assert TUNING.chosen("ViT", 300) == other


def test_the_rates_beside_the_choice_are_tried_at_its_budget_but_for_those_of_the_last_round(
    after_a_first_round, tmp_path
):
    best, other = after_a_first_round
    folder = tmp_path / "results" / "tuning-final" / "tables"
    folder.mkdir(parents=True)
    for place, chosen in (("best", best), ("second", other)):
        accuracies = {"best": 0.6, "second": 0.6} | {place: 0.7}
        rows = (f"1000,ViT,{name},{accuracy},2,False\n" for name, accuracy in accuracies.items())
        (folder / "Choice.csv").write_text(TABLE + "".join(rows))
        TUNING._means.cache_clear()
        found = [TUNING.settings("ViT", 1000, trial) for trial in TUNING.BESIDE]
        rates = {best: (3e-3, 3e-2), other: (1e-4, 1e-3)}[chosen]
        assert found == [dataclasses.replace(chosen, learning_rate=rate) for rate in rates]
    slower = dataclasses.replace(best, learning_rate=3e-3)
    refined = tmp_path / "results" / "tuning-refine" / "tables"
    refined.mkdir(parents=True)
    (refined / "Choice.csv").write_text(TABLE + "1000,ViT,rate x0.3,0.45,2,False\n")  # the second of the last round
    TUNING._means.cache_clear()
    assert TUNING.chosen("ViT", 1000) == slower
    faster = dataclasses.replace(best, learning_rate=1e-3)
    assert [TUNING.settings("ViT", 1000, trial) for trial in TUNING.BESIDE] == [faster, None]


def last_round(tmp_path, name, **means):
    """Results of a round of the ViT with 1,000 images."""
    folder = tmp_path / "results" / f"tuning-{name}" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    rows = (f'1000,ViT,"{trial}",{mean},2,False\n' for trial, mean in means.items())
    (folder / "Choice.csv").write_text(TABLE + "".join(rows))
    TUNING._means.cache_clear()


@pytest.mark.usefixtures("after_a_first_round")
def test_the_rates_around_the_choice_go_on_until_the_best_lies_between_two_and_are_chosen_for_its_budget(tmp_path):
    last_round(tmp_path, "final", best=0.7, second=0.6)
    assert [TUNING.settings("ViT", 1000, trial) for trial in TUNING.OUTSIDE] == [None, None]
    means = {"best": 0.7, "second": 0.6, "lower rate": 0.6, "higher rate": 0.8}
    for name, found in (("rate outside", 0.9), ("rate outside that", 0.85)):
        last_round(tmp_path, "bracket", **means)
        rates = [one and one.learning_rate for one in (TUNING.settings("ViT", 1000, trial) for trial in TUNING.OUTSIDE)]
        assert rates == ([0.1, None] if name == "rate outside" else [0.1, 0.3])
        means[name] = found
    last_round(tmp_path, "bracket", **means)
    assert TUNING.chosen_at("ViT", 1000, 192_000).learning_rate == 0.1
    assert TUNING.chosen("ViT", 1000).learning_rate == 0.01
    last_round(tmp_path, "bracket", **{"best": 0.7, "second": 0.6, "lower rate": 0.65, "higher rate": 0.6})
    assert [TUNING.settings("ViT", 1000, trial) for trial in TUNING.OUTSIDE] == [None, None]


def test_crops_are_added_to_the_choice_where_no_round_has_tried_them(after_a_first_round, tmp_path):
    best, _ = after_a_first_round
    assert not best.crop
    last_round(tmp_path, "final", best=0.7, second=0.6)
    found = [TUNING.settings("ViT", 1000, trial) for trial in TUNING.CROPPED]
    assert found == [dataclasses.replace(best, crop=True, learning_rate=rate) for rate in (3e-3, 1e-2, 3e-2)]


@pytest.mark.usefixtures("after_a_first_round")
def test_crops_are_not_tried_again(tmp_path, monkeypatch):
    labels = {label: dataclasses.replace(trial, crop=True) for label, trial in TUNING.TRIALS.items()}
    monkeypatch.setattr(TUNING, "TRIALS", labels)
    last_round(tmp_path, "final", best=0.7, second=0.6)
    assert TUNING.chosen("ViT", 1000).crop
    assert [TUNING.settings("ViT", 1000, trial) for trial in TUNING.CROPPED] == [None, None, None]


@pytest.mark.parametrize(
    ("means", "beyond"),
    [
        ((0.7, 0.6, 0.5), (1e-3, None)),
        ((0.5, 0.6, 0.7), (1e-1, None)),
        ((0.5, 0.7, 0.6), (None, None)),
        ((0.7, 0.6, 0.5, 0.8), (1e-3, 3e-4)),
    ],
)
def test_rates_with_crops_go_on_until_the_best_lies_between_two(after_a_first_round, tmp_path, means, beyond):
    best, _ = after_a_first_round
    last_round(tmp_path, "final", best=0.7, second=0.6)
    assert [TUNING.settings("ViT", 1000, trial) for trial in TUNING.BEYOND] == [None, None]
    names = ("crops, lower rate", "crops", "crops, higher rate", "crops, beyond")
    last_round(tmp_path, "crops", **dict(zip(names, means, strict=False)))
    found = [TUNING.settings("ViT", 1000, trial) for trial in TUNING.BEYOND]
    cropped = dataclasses.replace(best, crop=True)
    assert found == [rate and dataclasses.replace(cropped, learning_rate=rate) for rate in beyond]


@pytest.mark.parametrize(
    ("means", "beyond"),
    [((), None), ((0.5, 0.4), None), ((0.8, 0.75), -1), ((0.75, 0.8), 2), ((0.75, 0.8, 0.9), 2)],
)
def test_the_other_batch_size_is_tried_with_the_best_with_crops(after_a_first_round, tmp_path, means, beyond):
    """At its rate, at the next in the direction of the batch, and beyond where that did best of all."""
    best, _ = after_a_first_round
    last_round(tmp_path, "final", best=0.7, second=0.6)
    names = (*TUNING.OTHER_BATCH, TUNING.OTHER_BEYOND)
    assert [TUNING.settings("ViT", 1000, trial) for trial in names] == [None, None, None]
    (crops,) = (trial for trial, steps in TUNING.CROPPED.items() if steps == 0)
    last_round(tmp_path, "crops", best=0.5, **{crops: 0.7}, **dict(zip(names, means, strict=False)))
    up = 1 if best.batch_size == 32 else -1
    other = dataclasses.replace(best, crop=True, batch_size=160 - best.batch_size)
    expected = [other, TUNING._at_rate(other, up), beyond and TUNING._at_rate(other, up * beyond)]
    assert [TUNING.settings("ViT", 1000, trial) for trial in names] == expected


def test_the_longest_round_has_the_best_two_of_the_second_budget(after_a_first_round, tmp_path):
    best, other = after_a_first_round
    assert [TUNING.settings("ViT", 1000, trial) for trial in TUNING.LONGEST] == [best, other]
    last_round(tmp_path, "crops", best=0.5, second=0.4, **{"crops": 0.6, "crops, lower rate": 0.7})
    cropped = [dataclasses.replace(best, crop=True, learning_rate=rate) for rate in (3e-3, 1e-2)]
    assert [TUNING.settings("ViT", 1000, trial) for trial in TUNING.LONGEST] == cropped


@pytest.mark.parametrize(
    ("means", "outside"),
    [
        ((0.6, 0.5), (None, None)),
        ((0.6, 0.8), (2, None)),
        ((0.6, 0.8, 0.7), (2, None)),
        ((0.6, 0.8, 0.9), (2, 3)),
        ((0.8, 0.75), (-2, None)),
        ((0.6,), (None, None)),
    ],
)
def test_rates_beside_the_better_of_the_longest_round_are_tried_until_it_lies_between_two(
    after_a_first_round, tmp_path, means, outside
):
    best, _ = after_a_first_round
    last_round(tmp_path, "final", best=0.7, second=0.6)
    names = (*TUNING.BESIDE_LONGEST, *TUNING.OUTSIDE_LONGEST)
    assert [TUNING.settings("ViT", 1000, trial) for trial in names] == [None] * 4
    last_round(tmp_path, "crops", best=0.7, second=0.5)
    last_round(tmp_path, "longest", **dict(zip(TUNING.LONGEST, (0.7, 0.4), strict=True)))
    at = functools.partial(TUNING._at_rate, best)
    assert [TUNING.settings("ViT", 1000, trial) for trial in names] == [at(-1), at(1), None, None]
    last_round(tmp_path, "longest", **dict(zip((*TUNING.LONGEST, *names), (0.7, 0.4, *means), strict=False)))
    found = [TUNING.settings("ViT", 1000, trial) for trial in names[2:]]
    assert found == [steps and at(steps) for steps in outside]


def test_before_the_first_round_the_first_trials_stand_in(monkeypatch, tmp_path):
    monkeypatch.setattr(TUNING, "__file__", str(tmp_path / "experiments" / "tuning.py"))
    TUNING._means.cache_clear()
    first = list(TUNING.TRIALS.values())[:3]
    assert [TUNING.settings("ViT", 1000, place) for place in TUNING.FINALISTS] == first
    assert TUNING.settings("ViT", 1000, "nadamuon 0.01").crop == first[0].crop
    TUNING._means.cache_clear()


def test_trunks_differ_from_the_vit_in_width_alone_and_hold_its_parameters():
    for position in ("learned", "sincos2d"):
        vit = TUNING.network("ViT", position)
        for model in ("ViT, 3x3 convolution", "ViT, convolutional stem"):
            found = TUNING.network(model, position)
            assert (found.depth, found.position) == (vit.depth, position)
            shape = TUNING.SHAPE
            assert count_params(found, **shape) == pytest.approx(count_params(vit, **shape), rel=0.06)


def test_the_construction_that_the_receptive_field_is_asked_of_is_the_one_that_was_found():
    _, looking = load(ROOT / "experiments" / "receptive_field.py")
    levels = {name: own[0] for name, own in looking.factors.items()} | {"weights": "trained"}
    made = looking.run(**levels | {"model": "ViT, sincos2d, mimetic"}).model
    for size, images_seen in itertools.product(TUNING.SIZES, TUNING.BUDGETS):
        found = TUNING.chosen_at("ViT", size, images_seen)
        assert (made.position, made.init == "mimetic") == (found.position, found.large_branch)


def test_the_convolutional_twins_of_the_receptive_field_have_the_positions_and_the_loudness_of_attention():
    """As `BRANCH_SD` has it, whose numbers are measured in the tests of data_size.py."""
    _, looking = load(ROOT / "experiments" / "receptive_field.py")
    models = sys.modules[looking.run.__module__].MODELS
    for vit, twin in (("ViT", "ViT, 3x3 convolution"), ("ViT, sincos2d, mimetic", "ViT, sincos2d, 3x3 convolution")):
        assert models[vit].position == models[twin].position
        is_large = models[vit].init == "mimetic"
        assert models[twin].mixer.branch_sd == TUNING.BRANCH_SD["small", models[vit].position][is_large]
