"""The experiments on priors and scatter: recipes as searched, priors made false for all models alike."""

from collections import Counter
from pathlib import Path

from vision_attn.experiment import load, plan

ROOT = Path(__file__).resolve().parents[1]
PLANS = {}
for name in ("recipe_search", "priors", "variation"):
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
    assert not searched & {run["seed"] for name in ("priors", "variation") for _, run in cells(name)}
    assert all(run["data"]["val_size"] == 2000 for _, run in cells("recipe_search"))
    assert [probe["kind"] for probe in PLANS["recipe_search"].probes] == ["Size"]


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


def test_scatter_is_taken_apart_by_subset_and_seed():
    for subset in range(6):
        runs = [run for _, run in cells("variation", model="ViT", subset=subset)]
        assert len({run["seed"] for run in runs}) == 3
        assert {run["data"].get("subset_seed", 0) for run in runs} == {subset}
    models = {name: {run["seed"] for _, run in cells("variation", model=name)} for name in ("ResNet", "ViT")}
    assert models["ResNet"] == models["ViT"]
    assert len(models["ViT"]) == 18
