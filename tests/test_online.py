"""Online learning: recipes that are best at this budget, and rules about cells that are planned."""

import sys
from pathlib import Path

from planned import cells, seeds_asked_for

from vision_attn.experiment import load

EXPERIMENT = load(Path(__file__).resolve().parents[1] / "experiments" / "online.py")[1]
MODULE = sys.modules[EXPERIMENT.run.__module__]
TUNING = sys.modules[MODULE.chosen_at.__module__]


def test_sizes_of_a_family_differ_in_the_subset_and_from_4000_images_on_in_nothing_else():
    for model in MODULE.MODELS:
        found = {levels["train_size"]: run for levels, run in cells(EXPERIMENT, model=model, seed=3)}
        assert [run.data.train_size for run in found.values()] == list(found) == [1000, 4000, 50_000]
        assert found[4000].replace(data=found[50_000].data) == found[50_000]
        assert found[1000].data.replace(train_size=4000) == found[4000].data


def test_the_recipe_is_the_best_of_those_that_the_search_has_found_at_this_budget(monkeypatch):
    """The search is made up; what its last round says, after four times as much training, does not count."""
    labels = list(TUNING.TRIALS)
    first = {("ViT", 4000): [(0.5, labels[7]), (0.4, labels[2])], ("ViT", 1000): [(0.9, labels[2])]}
    last = {key: [(0.9, "second")] for key in first}
    monkeypatch.setattr(TUNING, "_means", lambda results: {"tuning": first, "tuning-final": last}.get(results, {}))
    for name in ("ViT", "ViT, zero mixer"):
        for levels, run in cells(EXPERIMENT, model=name):
            best = TUNING.TRIALS[labels[2 if levels["train_size"] == 1000 else 7]]
            assert run.recipe == TUNING.recipe(best, MODULE.LADDER[0])


def test_rules_ask_for_cells_that_are_planned_with_five_seeds():
    parts, seeds = seeds_asked_for(EXPERIMENT)
    assert parts == 4
    assert seeds
    assert all(own == list(range(5)) for own in seeds)
