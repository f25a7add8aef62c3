"""The iso-FLOP profiles: as much arithmetic at every width, with the recipe that is best at the budget."""

import itertools
import sys
from pathlib import Path

import pytest

from vision_attn.experiment import load
from vision_attn.models import count_flops

ROOT = Path(__file__).resolve().parents[1]
SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
_, EXPERIMENT = load(ROOT / "experiments" / "iso_flops.py")
MODULE = sys.modules[EXPERIMENT.run.__module__]


def runs():
    for levels in itertools.product(*EXPERIMENT.factors.values()):
        cell = dict(zip(EXPERIMENT.factors, levels, strict=True))
        yield cell, EXPERIMENT.run(**cell)


def test_every_run_costs_what_its_budget_says():
    for cell, run in runs():
        spent = 3 * count_flops(run.model, **SHAPE) * run.recipe.updates * run.recipe.batch_size
        assert spent / 1e12 == pytest.approx(float(cell["compute"].removesuffix(" TFLOPs")), rel=0.01)
        assert run.model.dim == cell["dim"]


def test_the_middle_width_of_the_vit_sees_as_many_images_as_the_ladder_says_with_the_recipe_for_them():
    tuning = sys.modules[MODULE.chosen_at.__module__]
    for cell, run in runs():
        if (cell["model"], cell["dim"]) == ("ViT", MODULE.WIDTH):
            seen = MODULE.BUDGETS[cell["compute"]]
            assert run.recipe == tuning.recipe(tuning.chosen_at("ViT", MODULE.MOST, seen), seen)
