"""The headline experiment: recipes as searched, models of one size, equal budgets, seeds enough for its rules."""

import itertools
import sys
from collections import defaultdict
from pathlib import Path

import pandas as pd
import planned
import pytest

from vision_attn.experiment import load
from vision_attn.models import count_flops, count_params
from vision_attn.verdicts.rates import leaves

ROOT = Path(__file__).resolve().parents[1]
SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
_, EXPERIMENT = load(ROOT / "experiments" / "data_size.py")
MODULE = sys.modules[EXPERIMENT.run.__module__]
TUNING = sys.modules[MODULE.chosen.__module__]
TRAINED = [model for model in EXPERIMENT.factors["model"] if model not in MODULE.BASELINES]


def cells(preset="", **fixed):
    return planned.cells(EXPERIMENT.preset(preset) if preset else EXPERIMENT, **fixed)


@pytest.mark.parametrize("preset", ["", *EXPERIMENT.presets])
def test_every_network_sees_as_many_images_as_the_budget_says_whatever_its_batch(preset):
    for levels, run in cells(preset):
        if levels["model"] not in MODULE.BASELINES:
            assert run.recipe.updates * run.recipe.batch_size == levels["images_seen"]


def test_a_baseline_has_one_run_a_size_and_seed_that_stands_at_every_budget():
    for model in MODULE.BASELINES:
        found = [run for _, run in cells(model=model)]
        assert (len(found), len(set(found))) == (3 * 4 * 5, 4 * 5)
        assert {run.recipe.updates for run in found} == {0}


def test_models_of_one_seed_share_subset_and_data_order():
    for levels, run in cells(images_seen=48_000):
        assert (run.data.subset_seed, run.seed) == (levels["seed"], levels["seed"])


def test_committed_twins_started_as_loud_as_attention_in_every_layer():
    records = pd.read_csv(ROOT / "results" / "data_size" / "records.csv.xz")
    scales = records[records["metric"] == "branch_sd"].groupby(["model", "layer"])["value"].mean()
    for twin in (MODULE.TWIN, MODULE.WIDER):
        assert list(scales[twin] / scales["ViT"]) == pytest.approx([1] * 4, rel=0.2)


@pytest.mark.parametrize("scale", ["small", "large"])
def test_sizes_are_as_the_names_say(scale):
    """Of a scale all hold the ViT's parameters, but for the narrower twin, the controls and the ResNet of its FLOPs."""
    named = [model for model in TRAINED if scale == "small" or model != "ResNet, equal FLOPs"]
    made = {model: MODULE.made(model, MODULE.trial_of(model, MODULE.MOST), scale) for model in named}
    params = {model: count_params(network, **SHAPE) for model, network in made.items()}
    for model in (MODULE.WIDER, MODULE.STEM, "ViT, plain", "ResNet"):
        assert params[model] == pytest.approx(params["ViT"], rel=0.06)
    for model in (MODULE.TWIN, *MODULE.CONTROLS):
        assert (made[model].dim, made[model].depth) == (made["ViT"].dim, made["ViT"].depth)
        assert params[model] < 0.8 * params["ViT"]
    assert made[MODULE.TWIN].replace(dim=made[MODULE.WIDER].dim) == made[MODULE.WIDER]
    if scale == "small":
        flops = {model: count_flops(made[model], **SHAPE) for model in ("ViT", "ResNet, equal FLOPs")}
        assert flops["ResNet, equal FLOPs"] == pytest.approx(flops["ViT"], rel=0.02)


def test_the_plain_vit_has_learned_positions_and_the_default_start():
    assert {run.model for _, run in cells(model="ViT, plain")} == {MODULE.SCALES["small"]}
    assert (MODULE.SCALES["small"].position, MODULE.SCALES["small"].init) == ("learned", "default")


def test_rules_ask_for_cells_that_are_planned_with_five_seeds_at_the_largest_budget():
    parts = [part for rule in EXPERIMENT.verdicts for part in leaves(rule)]
    for at in {at for part in parts for _, at in part.cells}:
        preset, largest = ("full", MODULE.LONGEST) if dict(at)["train_size"] == MODULE.ALL else ("", MODULE.LADDER[-1])
        own = {"images_seen": largest, **dict(at)}
        assert [levels["seed"] for levels, _ in cells(preset, **own)] == list(range(5))


def test_up_to_8000_images_only_the_vit_on_most_of_them_is_trained_four_times_longer():
    most = {MODULE.MOST: {"ViT"}}
    for preset, expected in (("", most), ("full", most | {MODULE.ALL: {*EXPERIMENT.factors["model"]}})):
        found = defaultdict(set)
        for levels, _ in cells(preset, images_seen=MODULE.LONGEST):
            found[levels["train_size"]].add(levels["model"])
        assert found == expected


def test_models_that_no_rule_asks_for_end_at_the_second_budget_with_three_seeds():
    for model in set(EXPERIMENT.factors["model"]) - set(MODULE.JUDGED):
        seeds = [{levels["seed"] for levels, _ in cells(model=model, images_seen=seen)} for seen in MODULE.LADDER]
        assert seeds == [set(range(5)), set(range(3)), set()]


@pytest.mark.parametrize("preset", ["gpu", "gpu-all"])
def test_runs_of_one_model_differ_in_the_seed_alone_and_so_train_in_one_stack(preset):
    alike = defaultdict(set)
    for levels, run in cells(preset):
        alike[levels["model"]].add((run.model, run.recipe, run.data.replace(subset_seed=0)))
    assert {len(found) for found in alike.values()} == {1}


def test_presets_of_a_gpu_are_as_large_as_they_say():
    """Four models x four seeds x 3.2 million images on 8,000, then two x two x 10 million; attention and twin first."""
    first, rest = ([levels for levels, _ in cells(preset)] for preset in ("gpu", "gpu-all"))
    assert [(one["train_size"], one["images_seen"]) for one in first] == [(8000, 3_200_000)] * 16
    assert [(one["train_size"], one["images_seen"]) for one in rest] == [(50_000, 10_000_000)] * 4
    for found in (first, rest):
        assert list(dict.fromkeys(one["model"] for one in found))[:2] == ["ViT", MODULE.WIDER]


def test_presets_of_a_gpu_have_the_recipes_that_are_best_after_the_longest_training(monkeypatch):
    """The search is made up."""
    first, last = list(TUNING.TRIALS)[:2]
    ranks = {(model, 4000): [(0.6, last), (0.5, first)] for model in TUNING.MODELS}
    monkeypatch.setattr(TUNING, "_means", lambda results: ranks if results == "tuning-crops" else {})
    for preset in ("gpu", "gpu-all"):
        for levels, run in cells(preset):
            assert run.recipe == TUNING.recipe(TUNING.TRIALS[last], levels["images_seen"])


def test_recipes_of_a_family_are_those_of_its_best_trial_at_the_nearer_size(monkeypatch):
    """The search is made up: every family has another order of trials at either size."""
    trials = list(TUNING.TRIALS)
    ranks = {
        of: [(1 - place / 100, trials[(place + 5 * i) % len(trials)]) for place in range(len(trials))]
        for i, of in enumerate(itertools.product(TUNING.MODELS, TUNING.SIZES))
    }
    monkeypatch.setattr(TUNING, "_means", lambda results: ranks if results == "tuning" else {})
    for model in (model for model in TRAINED if model != "ViT, plain"):
        for size, searched in ((250, 1000), (1000, 1000), (4000, 4000), (8000, 4000), (50_000, 4000)):
            _, best = ranks[MODULE.FAMILY.get(model, model), searched][0]
            assert MODULE.trial_of(model, size) == TUNING.TRIALS[best]
    plain = [trial for _, trial in ranks["ViT", 1000] if "learned, small branch" in trial]
    assert MODULE.trial_of("ViT, plain", 250) == TUNING.TRIALS[plain[0]]
