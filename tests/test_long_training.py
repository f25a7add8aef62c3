"""Long training: each family has the recipe that is best after as much, and rules ask for cells that are planned."""

import sys
from pathlib import Path

import pytest
from planned import cells, seeds_asked_for

from vision_attn.experiment import load

EXPERIMENT = load(Path(__file__).resolve().parents[1] / "experiments" / "long_training.py")[1]
MODULE = sys.modules[EXPERIMENT.run.__module__]
TUNING = sys.modules[MODULE.chosen_at.__module__]


@pytest.mark.parametrize("place", [0, 1])
def test_a_family_has_the_recipe_that_is_best_after_as_much_training(monkeypatch, place):
    """The search is made up."""
    labels = tuple(TUNING.TRIALS)[:3]
    rounds = {
        "tuning": {("ViT", 4000): [(0.5, labels[2]), (0.4, labels[0])]},
        "tuning-crops": {("ViT", 4000): [(0.6, label) for label in labels[:2]]},
        "tuning-longest": {("ViT", 4000): [(0.9, TUNING.LONGEST[place]), (0.8, TUNING.LONGEST[1 - place])]},
    }
    monkeypatch.setattr(TUNING, "_means", lambda results: rounds.get(results, {}))
    for name in ("ViT", "ViT, zero mixer"):
        for images_seen, label in zip(MODULE.LADDER, (labels[2], labels[0], labels[place]), strict=True):
            for _, run in cells(EXPERIMENT, model=name, images_seen=images_seen):
                assert run.recipe == TUNING.recipe(TUNING.TRIALS[label], images_seen)


def test_the_first_rung_is_that_of_online():
    online = load(Path(__file__).resolve().parents[1] / "experiments" / "online.py")[1]
    shared = {run for _, run in cells(online, train_size=EXPERIMENT.factors["train_size"][0])}
    assert {run for _, run in cells(EXPERIMENT, images_seen=MODULE.LADDER[0])} == shared


def test_before_the_longest_round_it_is_the_best_after_a_quarter_of_it_and_before_that_the_choice_of_all(monkeypatch):
    labels, of = tuple(TUNING.TRIALS)[:2], TUNING._means
    crops = {("ViT", 4000): [(0.6, labels[1]), (0.5, labels[0])]}
    rounds = {"tuning-longest": {}, "tuning-crops": crops}
    monkeypatch.setattr(TUNING, "_means", lambda results: rounds[results] if results in rounds else of(results))
    for images_seen in (192_000, 768_000):
        assert TUNING.chosen_at("ViT", 4000, images_seen) == TUNING.TRIALS[labels[1]]
        assert TUNING.chosen_at("ResNet", 4000, images_seen) == TUNING.chosen("ResNet", 4000)


def test_rules_ask_for_cells_that_are_planned_with_five_seeds():
    parts, seeds = seeds_asked_for(EXPERIMENT)
    assert parts == 6
    assert seeds
    assert all(own == list(range(5)) for own in seeds)
