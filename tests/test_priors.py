"""The experiments on priors, scatter and cheaper forms: runs shared with the headline, all models alike but for one."""

import itertools
import sys
from pathlib import Path

import planned
import pytest

from vision_attn.experiment import load
from vision_attn.models import count_params
from vision_attn.probes.zoom import side_at
from vision_attn.verdicts.rates import leaves

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("data_size", "priors", "variation", "cheaper_forms")
EXPERIMENTS = {name: load(ROOT / "experiments" / f"{name}.py")[1] for name in NAMES}
PRIORS = sys.modules[EXPERIMENTS["priors"].run.__module__]


def cells(name, **fixed):
    return planned.cells(EXPERIMENTS[name], **fixed)


@pytest.fixture(scope="module")
def headline():
    """The runs of the learning curves that the other two may share."""
    return {
        run
        for model in PRIORS.MODELS
        if model != PRIORS.NEAR
        for size in PRIORS.SIZES
        for _, run in cells("data_size", model=model, train_size=size)
    }


def test_intact_images_of_the_priors_are_runs_of_the_learning_curves(headline):
    """But for attention to near patches, and for what the model behind a stem has here alone at the upper budgets."""
    for levels, run in cells("priors", arrangement="intact"):
        is_more = levels["model"] == PRIORS.STEM and (levels["images_seen"] == PRIORS.LADDER[-1] or levels["seed"] > 2)
        assert (run in headline) == (levels["model"] != PRIORS.NEAR and not is_more)


def test_attention_to_near_patches_is_the_vit_but_for_the_pattern():
    shape = {"image_size": 32, "in_chans": 3, "num_classes": 10}
    at = {"arrangement": "intact", "train_size": 250, "images_seen": PRIORS.LADDER[-1], "seed": 0}
    ((_, near),), ((_, whole),) = (cells("priors", model=model, **at) for model in (PRIORS.NEAR, "ViT"))
    assert near.model.replace(mixer=whole.model.mixer) == whole.model
    assert (near.recipe, near.data) == (whole.recipe, whole.data)
    assert count_params(near.model, **shape) == count_params(whole.model, **shape)


def test_what_a_verdict_of_the_priors_rests_on_is_asked_of_two_thousand_images_off_the_grid():
    probes = {type(probe).__name__: probe for probe in EXPERIMENTS["priors"].probes}
    assert probes["ShiftConsistency"].random_images == probes["Zoom"].images == 2000
    assert probes["ShiftConsistency"].off_grid == 4
    for arrangement in ("in one quadrant", "in four quadrants"):
        insets = {run.data.inset for _, run in cells("priors", arrangement=arrangement)}
        assert {(16 - 2 * inset) % 4 for inset in insets} == {2}


def test_priors_are_made_false_for_all_models_alike():
    for arrangement, patch_size in (("patches permuted", 4), ("pixels permuted", 1)):
        found = list(cells("priors", arrangement=arrangement))
        assert {(type(run.data).__name__, run.data.patch_size) for _, run in found} == {("Permuted", patch_size)}
        assert {levels["model"] for levels, _ in found} == {"ResNet", "ViT", PRIORS.WIDER}


def test_rules_of_the_priors_ask_for_cells_that_are_planned_with_five_seeds():
    """At the largest budget where they name none; the smallest is that of a preset."""
    experiment = EXPERIMENTS["priors"]
    parts = [part for rule in experiment.verdicts for part in leaves(rule)]
    for at in {at for part in parts for _, at in part.cells}:
        fixed = {"images_seen": PRIORS.LADDER[-1]} | {name: at for name, at in at if name in experiment.factors}
        if fixed["images_seen"] == PRIORS.LADDER[0]:
            preset = experiment.presets["quadrants"]
            assert all(level in preset[name] for name, level in fixed.items())
            made = [experiment.run(data="cifar10-jpeg", seed=seed, **fixed) for seed in experiment.factors["seed"]]
            assert [run.seed for run in made] == list(range(5))
        else:
            assert [levels["seed"] for levels, _ in cells("priors", **fixed)] == list(range(5))


def test_to_keep_more_than_half_of_what_one_is_ahead_of_chance_is_what_the_rule_of_quadrants_asks():
    (rule,) = (one for one in EXPERIMENTS["priors"].verdicts if "one quadrant" in str(one) and "48,000" in str(one))
    own, *rivals = leaves(rule)
    for seen, unseen in itertools.product((0.2, 0.5, 0.9), (0.1, 0.16, 0.29, 0.31, 0.49, 0.51)):
        keeps_more, value = (unseen - 0.1) / (seen - 0.1) > 0.5, unseen - seen / 2
        assert (value < own.bound, *(value > rival.bound for rival in rivals)) == (
            not keeps_more,
            keeps_more,
            keeps_more,
        )


def test_what_shifts_and_scales_do_is_asked_on_seeds_that_no_other_run_has_and_without_crops():
    preset = EXPERIMENTS["priors"].preset("altered")
    found = [run for _, run in planned.cells(preset)]
    assert not {run.seed for run in found} & {run.seed for _, run in cells("priors")}
    assert {run.recipe.crop_padding for run in found} == {0}
    (scales,) = (probe.scales for probe in preset.probes if type(probe).__name__ == "Zoom")
    wholes = (dict(at) for rule in preset.verdicts for part in leaves(rule) for _, at in part.cells)
    asked = [at for at in wholes if at.get("images_seen") == 192_000 and at["arrangement"] == "intact"]
    assert len(asked) == 2 * (2 + 4)
    for at in asked:
        assert all(at[name] in own for name, own in preset.factors.items() if name in at)
        assert "scale" not in at or any(at["scale"] == side_at(one, 32) / 32 for one in scales)


def test_scatter_is_taken_apart_around_runs_of_the_learning_curves(headline):
    """The first seed of every subset is a run of data_size; the others differ from it in the seed alone."""
    found = list(cells("variation"))
    assert len({run for _, run in found}) == 3 * 6 * 3
    for levels, run in found:
        first = run.replace(seed=levels["subset"])
        assert run.data.subset_seed == levels["subset"]
        assert (first in headline) == (levels["subset"] < 5)
        assert (run == first) == (levels["seed"] == 0)


def test_cheaper_forms_have_the_recipe_and_the_size_of_full_attention_whose_runs_are_those_of_the_learning_curves():
    of_model = {}
    for levels, run in cells("cheaper_forms"):
        of_model.setdefault(levels["model"], []).append(run)
    for own, name in (("full attention", "ViT"), ("no mixer", "ViT, zero mixer")):
        assert set(of_model[own]) <= {run for _, run in cells("data_size", model=name, train_size=4000)}
    whole, shape = of_model["full attention"], {"image_size": 32, "in_chans": 3, "num_classes": 10}
    size = count_params(whole[0].model, **shape)
    assert len({runs[0].model for runs in of_model.values()}) == 8
    for model, runs in of_model.items():
        assert [(run.data, run.recipe, run.seed) for run in runs] == [(run.data, run.recipe, run.seed) for run in whole]
        if model != "no mixer":
            assert abs(count_params(runs[0].model, **shape) / size - 1) < 0.06
            assert runs[0].model.replace(dim=64, mixer=whole[0].model.mixer, merge_after=()) == whole[0].model


def test_the_rule_about_cheaper_forms_asks_for_planned_cells():
    experiment = EXPERIMENTS["cheaper_forms"]
    (rule,) = experiment.verdicts
    parts = leaves(rule)
    assert len(parts) == 1 + 6
    for at in {at for part in parts for _, at in part.cells}:
        fixed = {name: level for name, level in at if name in experiment.factors}
        found = cells("cheaper_forms", images_seen=PRIORS.LADDER[1], **fixed)
        assert [levels["seed"] for levels, _ in found] == list(range(5))
