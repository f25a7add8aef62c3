"""Online learning: one recipe a family whatever the size, and rules about cells that are planned."""

import itertools
import sys
from pathlib import Path

from vision_attn.experiment import load
from vision_attn.verdicts.rates import leaves

EXPERIMENT = load(Path(__file__).resolve().parents[1] / "experiments" / "online.py")[1]
MODULE = sys.modules[EXPERIMENT.run.__module__]
TUNING = sys.modules[MODULE.ranked.__module__]


def cells(**fixed):
    factors = {name: (fixed[name],) if name in fixed else own for name, own in EXPERIMENT.factors.items()}
    for levels in itertools.product(*factors.values()):
        cell = dict(zip(factors, levels, strict=True))
        yield cell, EXPERIMENT.run(**cell)


def test_sizes_of_a_family_differ_in_the_subset_alone():
    for model in MODULE.MODELS:
        found = [(levels["train_size"], run) for levels, run in cells(model=model, seed=3)]
        assert len({run.replace(data=run.data.replace(train_size=1000)) for _, run in found}) == 1
        assert [run.data.train_size for _, run in found] == [size for size, _ in found] == [1000, 4000, 50_000]


def test_the_recipe_is_the_best_of_those_that_the_search_has_found_at_this_budget(monkeypatch):
    """The search is made up; what its last round says, after four times as much training, does not count."""
    labels = list(TUNING.TRIALS)
    first = {("ViT", 4000): [(0.5, labels[7]), (0.4, labels[2])], ("ViT", 1000): [(0.9, labels[2])]}
    last = {("ViT", 4000): [(0.9, "second")]}
    monkeypatch.setattr(TUNING, "_means", lambda results: {"tuning": first, "tuning-final": last}.get(results, {}))
    best = TUNING.TRIALS[labels[7]]
    for name in ("ViT", "ViT, zero mixer"):
        for _, run in cells(model=name):
            assert (run.recipe.learning_rate, run.recipe.weight_decay) == (best.learning_rate, best.weight_decay)
            assert run.recipe.updates * run.recipe.batch_size == MODULE.LADDER[0]


def test_rules_ask_for_cells_that_are_planned_with_five_seeds():
    parts = [part for rule in EXPERIMENT.verdicts for part in leaves(rule)]
    assert len(parts) == 4
    for at in {at for part in parts for _, at in part.cells}:
        fixed = {name: level for name, level in at if name in EXPERIMENT.factors}
        assert all(level in EXPERIMENT.factors[name] for name, level in fixed.items())
        assert [levels["seed"] for levels, _ in cells(**fixed)] == list(range(5))
