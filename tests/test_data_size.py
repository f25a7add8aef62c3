"""The experiments on small data: recipes as searched, models of one size, runs that are shared."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from vision_attn.experiment import load, plan
from vision_attn.models import Model, count_flops, count_params
from vision_attn.spec import from_json

ROOT = Path(__file__).resolve().parents[1]
SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
COUNTS = (count_params, count_flops)
PLANS = {}
for name in ("recipe_search", "data_size", "priors", "variation"):
    _, experiment = load(ROOT / "experiments" / f"{name}.py")
    PLANS[name] = plan(experiment, name=name)


def cells(name, **levels):
    """The cells of a plan at some levels, each with its run."""
    for cell in PLANS[name].cells:
        if levels.items() <= cell.factors.items():
            yield cell.factors, PLANS[name].runs[cell.run].run


def test_every_family_has_the_same_trials_at_the_same_sizes():
    for augmentation in ("weak", "strong"):
        tried = Counter(levels["model"] for levels, _ in cells("recipe_search", augmentation=augmentation))
        assert len(set(tried.values())) == 1
        assert {"ResNet", "ViT", "ViT, 3x3 convolution"} <= set(tried)


def test_the_search_sees_neither_test_images_nor_the_seeds_of_the_other_experiments():
    searched = {run["seed"] for _, run in cells("recipe_search")}
    assert not searched & {run["seed"] for name in ("data_size", "priors", "variation") for _, run in cells(name)}
    assert all(run["data"]["val_size"] == 2000 for _, run in cells("recipe_search"))
    assert [probe["kind"] for probe in PLANS["recipe_search"].probes] == ["Size"]


def test_recipes_are_those_that_the_committed_search_chose():
    """Rate and weight decay of every run are those of the chosen trial of its family at the nearer size searched."""
    with (ROOT / "results" / "recipe_search" / "tables" / "Choice.csv").open() as lines:
        best = {
            (row["augmentation"], row["model"], int(row["train_size"])): row["trial"]
            for row in csv.DictReader(lines)
            if row["chosen"] == "True"
        }
    for levels, run in cells("data_size"):
        family = levels["model"].removesuffix(", equal FLOPs")
        nearest = 500 if levels["train_size"] <= 1000 else 4000
        rate, strength = best[levels["augmentation"], family, nearest].split(", ")
        assert run["recipe"].get("learning_rate", 1e-3) == float(rate)
        assert run["recipe"].get("weight_decay", 0.05) == {"light": 0.05, "heavy": 0.2}[strength]
        assert run["model"].get("drop_path", 0) == {"light": 0, "heavy": 0.1}[strength]


def test_recipes_of_the_arms_differ_in_augmentation():
    for levels, run in cells("data_size"):
        strong = levels["augmentation"] == "strong"
        assert ("rand_augment" in run["recipe"], run["recipe"].get("mixup", 0) > 0) == (strong, strong)


def test_models_have_the_vits_parameters_and_one_resnet_its_flops():
    models = {levels["model"]: from_json(run["model"], Model) for levels, run in cells("data_size")}
    params, flops = ({name: count(model, **SHAPE) for name, model in models.items()} for count in COUNTS)
    for name in models:
        if name == "ResNet, equal FLOPs":
            assert flops[name] == pytest.approx(flops["ViT"], rel=0.02)
        else:
            assert params[name] == pytest.approx(params["ViT"], rel=0.02)


def test_models_of_one_seed_share_subset_and_data_order():
    for levels, run in cells("data_size"):
        assert (run["data"].get("subset_seed", 0), run["seed"]) == (levels["seed"], levels["seed"])


def test_intact_images_of_the_priors_are_runs_of_the_learning_curves():
    """Those of the seeds that both have at a size: rules need five, the learning curves have three at most sizes."""
    seeds = {(cell.factors["train_size"], cell.factors["seed"]) for cell in PLANS["data_size"].cells}
    intact = [cell for cell in PLANS["priors"].cells if cell.factors["arrangement"] == "intact"]
    shared = {cell.run for cell in intact if (cell.factors["train_size"], cell.factors["seed"]) in seeds}
    assert shared <= set(PLANS["data_size"].runs)
    assert len(shared) == 6 * (5 + 3 + 3)


def test_what_a_verdict_of_the_priors_rests_on_is_asked_of_two_thousand_images_off_the_grid():
    probes = {probe["kind"]: probe for probe in PLANS["priors"].probes}
    assert probes["ShiftConsistency"]["random_images"] == probes["Zoom"]["images"] == 2000
    assert probes["ShiftConsistency"]["off_grid"] == 4
    quadrants = [run.run["data"] for run in PLANS["priors"].runs.values() if run.run["data"]["kind"] == "Quadrants"]
    assert {(16 - 2 * data["inset"]) % 4 for data in quadrants} == {2}


def test_priors_are_made_false_for_all_models_alike():
    for arrangement, patch_size in (("patches permuted", 4), ("pixels permuted", 1)):
        found = {
            (run["data"]["kind"], run["data"].get("patch_size", 1))
            for _, run in cells("priors", arrangement=arrangement)
        }
        assert found == {("Permuted", patch_size)}
        models = {levels["model"] for levels, _ in cells("priors", arrangement=arrangement)}
        assert models == {"ResNet", "ViT", "ViT, 3x3 convolution"}


def test_small_subsets_have_twice_the_seeds_where_augmentation_is_weak():
    for augmentation, few in (("weak", 6), ("strong", 3)):
        seeds = Counter(
            levels["train_size"] for levels, _ in cells("data_size", model="ViT", augmentation=augmentation)
        )
        assert seeds == {250: few, 500: few, 1000: 3, 2000: 3, 4000: 3, 8000: 3}


def test_scatter_is_taken_apart_around_runs_of_the_learning_curves():
    """The first seed of every subset is a run of data_size; the others differ from it in the seed alone."""
    known = {cell.run for cell in PLANS["data_size"].cells}
    first = [cell for cell in PLANS["variation"].cells if cell.factors["seed"] == 0]
    assert {cell.run for cell in first} <= known
    for subset in range(6):
        runs = [run for _, run in cells("variation", model="ViT", subset=subset)]
        assert len({run["seed"] for run in runs}) == 3
        assert {run["data"].get("subset_seed", 0) for run in runs} == {subset}
    models = {name: {run["seed"] for _, run in cells("variation", model=name)} for name in ("ResNet", "ViT")}
    assert models["ResNet"] == models["ViT"]
    assert len(models["ViT"]) == 18
