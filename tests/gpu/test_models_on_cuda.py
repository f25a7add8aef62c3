"""Every kind of model on a GPU: an update as on the CPU in float32, and finite as it is trained by default."""

import dataclasses
import math

import pytest
import torch
from one_update import DATA, RECIPE, SMALL, trained

from vision_attn.models import Model, ResNet, Timm, ViT
from vision_attn.models.base import Mixer
from vision_attn.models.fitted import FittedModel
from vision_attn.spec import kinds
from vision_attn.training.evaluate import logits


def own(role):
    return {name: kind for name, kind in kinds(role).items() if kind.__module__.startswith("vision_attn.")}


GIVEN = {
    "ViT": {**SMALL, "depth": 2},
    "ResNet": {"width": 8, "blocks": 1},
    "Timm": {"name": "resnet10t"},
    "LogisticRegression": {"strengths": (1e-3,)},
    "KMeansFeatures": {"centroids": 8, "strengths": (1e-3,)},
}
MODELS: dict[str, Model] = {name: kind(**GIVEN.get(name, {})) for name, kind in own(Model).items()}
MODELS |= {f"ViT of {name}": ViT(mixer=kind(), **SMALL) for name, kind in own(Mixer).items()}
MODELS["timm's ViT"] = Timm(name="vit_tiny_patch16_224")
PLAIN = RECIPE.replace(crop_padding=0, flip=False)
"""Without augmentation, which draws other numbers on a GPU."""


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_on_a_gpu_what_it_does_on_the_cpu(name, device, noted):
    spec = MODELS[name]
    recipe = PLAIN.replace(updates=0) if isinstance(spec, FittedModel) else PLAIN
    expected, here = trained(spec, recipe, torch.device("cpu"))
    found, there = trained(spec, recipe, device)
    images, data = DATA.test.images.to(device), DATA.to(device)
    if expected is not None:
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
        with torch.no_grad():  # the same weights, so that only the arithmetic differs
            there.load_state_dict(here.state_dict())
    scores = logits(there, images, normalise=data.normalise).cpu()
    wanted = logits(here, DATA.test.images, normalise=DATA.normalise)
    apart = ((scores - wanted).norm() / wanted.norm()).item()
    noted("logits in float32: relative to the CPU", 0.0 if isinstance(spec, FittedModel) else apart)
    if isinstance(spec, FittedModel):
        assert (scores.argmax(1) == wanted.argmax(1)).double().mean() > 0.9
    else:
        assert apart < 1e-3


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if not isinstance(spec, FittedModel)])
def test_a_model_is_trained_with_everything_on(name, device):
    recipe = RECIPE.replace(updates=3, precision="auto", rand_augment=9, mixup=0.2, cutmix=1.0, label_smoothing=0.1)
    row, model = trained(MODELS[name], recipe, device)
    assert math.isfinite(row["train_loss"])
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nadamuon"])
@pytest.mark.parametrize("spec", [ViT(**SMALL), ResNet(width=8, blocks=1)], ids=["ViT", "ResNet"])
def test_the_same_seed_gives_the_same_bits(spec, optimizer, device):
    recipe = dataclasses.replace(RECIPE, updates=4, precision="auto", optimizer=optimizer)
    first, second = (trained(spec, recipe, device)[1].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
