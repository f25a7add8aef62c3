"""Models and recipes that do not fit the data are refused before any worker starts."""

import pytest
from made_up import make_plan
from torch import nn

from vision_attn import Mnist5k, Recipe, Run, ViT, trial
from vision_attn.data import CuedRecall
from vision_attn.models import ResNet, Timm, as_model, building
from vision_attn.plan import Cell, PlannedRun
from vision_attn.spec import InputError, digest, to_json

PLAIN = Recipe(updates=2, batch_size=8)
DIGITS = Mnist5k(train_size=50)
RECALL = CuedRecall(distance=2)


def planned(*runs):
    entries = {digest(run): PlannedRun(hint=run.hint, run=to_json(run)) for run in runs}
    cells = tuple(
        Cell(factors={"model": "a", "train_size": 1, "seed": seed}, run=key) for seed, key in enumerate(entries)
    )
    whole = make_plan(models=("a",), sizes=(1,), seeds=(0,))
    return whole.replace(
        factors={**whole.factors, "seed": tuple(range(len(cells)))}, cells=cells, runs=entries, probes=()
    )


def check(*runs):
    plan = planned(*runs)
    return trial.check(plan, list(plan.runs))


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Timm(name="inception_v3"), "'inception_v3' instead: RuntimeError: Calculated padded input size"),
        (Timm(name="levit_128s"), "'levit_128s' instead: RuntimeError: "),
        (
            Timm(name="resnet10t", options=(("global_pool", ""),)),
            "'resnet10t' with {'global_pool': ''} instead: Runtime",
        ),
        (
            Timm(name="vit_tiny_patch16_224", options=(("patch_size", 7), ("depth", 1), ("global_pool", ""))),
            "'vit_tiny_patch16_224' with {'patch_size': 7, 'depth': 1, 'global_pool': ''} instead: (2, 17, 10).",
        ),
        (Timm(name="resnet18", options=(("features_only", True),)), "{'features_only': True} instead: list."),
    ],
    ids=lambda value: value.name if isinstance(value, Timm) else "",
)
def test_a_model_of_timm_that_gives_no_logits_of_these_images_is_refused(model, given):
    with pytest.raises(InputError) as error:
        check(Run(model=model, data=DIGITS, recipe=PLAIN, seed=0))
    allowed = "those of a model that gives logits of the shape (2, 10) for two 1 x 28 x 28 images"
    assert str(error.value).startswith(f"name and options of Timm must be {allowed}. Got ")
    assert given in str(error.value)


def test_models_of_timm_that_fit_are_built_once_for_all_their_runs(monkeypatch):
    built = []

    def counting(model, **shape):
        built.append(model)
        return building.tried(model, **shape)

    monkeypatch.setattr(trial, "tried", counting)
    fitting = Timm(name="test_resnet")
    rates = [PLAIN.replace(learning_rate=rate) for rate in (0.1, 0.2)]
    assert (
        check(*(Run(model=fitting, data=DIGITS, recipe=recipe, seed=seed) for recipe in rates for seed in (0, 1))) == []
    )
    assert built == [fitting]


@pytest.mark.parametrize(
    ("model", "data", "recipe", "sentence"),
    [
        (ViT(dim=16, depth=1), RECALL.replace(pooled=True), PLAIN, "crop_padding of Recipe must be 0 on cued-recall"),
        (
            ViT(dim=16, depth=1, patch_size=7),
            DIGITS,
            PLAIN.replace(patch_drop=0.5, patch_drop_size=5),
            "patch_drop_size of Recipe must be a divisor of the image size 28",
        ),
        (
            ViT(dim=16, depth=1),
            RECALL,
            PLAIN.replace(crop_padding=0),
            "predictions of the model must be one a cell of a grid of 8 x 8 on cued-recall",
        ),
        (
            Timm(name="test_resnet"),
            RECALL,
            PLAIN.replace(crop_padding=0),
            "name and options of Timm must be those of a model that gives logits of the shape (2, 8, 8, 8) for ",
        ),
    ],
    ids=["crop", "patches", "places", "timm"],
)
def test_what_a_worker_would_refuse_is_refused_before(model, data, recipe, sentence):
    with pytest.raises(InputError) as error:
        check(Run(model=model, data=data, recipe=recipe, seed=0))
    assert str(error.value).startswith(sentence)


@as_model
def NormalisedAtLast(in_chans, image_size, num_classes):
    width = in_chans * image_size**2
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))


@pytest.mark.parametrize("model", [NormalisedAtLast(), Timm(name="resnet10t")], ids=["own", "timm"])
def test_a_model_is_tried_on_one_image_where_an_update_sees_one(model):
    runs = [Run(model=model, data=DIGITS, recipe=PLAIN.replace(batch_size=size), seed=0) for size in (1, 2)]
    with pytest.raises(
        InputError,
        match=r"^training of \w+ with batch_size = 1 fails: ValueError: Expected more than 1 value per channel",
    ):
        check(runs[0])
    assert check(runs[1]) == []
    untrained = runs[0].replace(recipe=PLAIN.replace(batch_size=1, updates=0))
    assert check(untrained) == []


def test_models_that_learn_from_one_image_pass_with_updates_of_one():
    for model in (ViT(dim=16, depth=1, patch_size=7), ResNet(width=2, blocks=1)):
        assert check(Run(model=model, data=DIGITS, recipe=PLAIN.replace(batch_size=1), seed=0)) == []
