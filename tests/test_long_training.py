"""Long training: each family has the recipe that is best after it, and the rules ask for cells that are planned."""

import itertools
import sys
from pathlib import Path

import pytest

from vision_attn.experiment import load
from vision_attn.verdicts.rates import leaves

EXPERIMENT = load(Path(__file__).resolve().parents[1] / "experiments" / "long_training.py")[1]
MODULE = sys.modules[EXPERIMENT.run.__module__]
TUNING = sys.modules[MODULE.chosen_at.__module__]


def cells(**fixed):
    factors = {name: (fixed[name],) if name in fixed else own for name, own in EXPERIMENT.factors.items()}
    for levels in itertools.product(*factors.values()):
        cell = dict(zip(factors, levels, strict=True))
        yield cell, EXPERIMENT.run(**cell)


@pytest.mark.parametrize("place", [0, 1])
def test_a_family_has_the_recipe_that_is_best_after_the_longest_training(monkeypatch, place):
    """The search is made up."""
    labels = tuple(TUNING.TRIALS)[:2]
    rounds = {
        "tuning": {("ViT", 4000): [(0.5, label) for label in labels]},
        "tuning-crops": {("ViT", 4000): [(0.6, label) for label in labels]},
        "tuning-longest": {("ViT", 4000): [(0.9, TUNING.LONGEST[place]), (0.8, TUNING.LONGEST[1 - place])]},
    }
    monkeypatch.setattr(TUNING, "_means", lambda results: rounds.get(results, {}))
    for name in ("ViT", "ViT, zero mixer"):
        for _, run in cells(model=name):
            assert run.recipe == TUNING.recipe(TUNING.TRIALS[labels[place]], MODULE.LADDER[-1])


def test_before_the_longest_round_it_is_the_choice_that_other_experiments_take(monkeypatch):
    before = {"tuning-longest": {}}
    of = TUNING._means
    monkeypatch.setattr(TUNING, "_means", lambda results: before.get(results, of(results)))
    for family in TUNING.MODELS:
        assert TUNING.chosen_at(family, 4000, 768_000) == TUNING.chosen(family, 4000)


def test_rules_ask_for_cells_that_are_planned_with_five_seeds():
    parts = [part for rule in EXPERIMENT.verdicts for part in leaves(rule)]
    assert len(parts) == 3
    for at in {at for part in parts for _, at in part.cells}:
        fixed = {name: level for name, level in at if name in EXPERIMENT.factors}
        assert all(level in EXPERIMENT.factors[name] for name, level in fixed.items())
        assert [levels["seed"] for levels, _ in cells(**fixed)] == list(range(5))
