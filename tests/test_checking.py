"""check_model tells what training and measuring expect of a model."""

import pytest
import torch
from torch import nn

from vision_attn import spec as specs
from vision_attn.checking import check_model
from vision_attn.models import DepthwiseConv, Model, ResNet, Timm, ViT
from vision_attn.spec import InputError, spec

SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 4}


class Leaky(nn.Module):
    """Its logits depend on what else is in the batch."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        x = x.mean((2, 3))
        return self.head(x - x.mean(0) if len(x) > 1 else x)


class Idle(nn.Module):
    """One of its parameters has no part in the logits."""

    def __init__(self):
        super().__init__()
        self.head, self.idle = nn.Linear(3, 4), nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.head(x.mean((2, 3)))


class Fourier(nn.Module):
    """It multiplies where the counter does not see it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(torch.fft.fft2(x).abs().mean((2, 3)))


MODULES = {
    "leaky": Leaky,
    "idle": Idle,
    "fourier": Fourier,
    "wide": lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 3)),
}


@pytest.fixture(scope="module")
def own():
    """A spec that builds one of the modules above, forgotten afterwards."""

    @spec
    class OwnForChecks(Model):
        what: str

        def build(self, *, image_size, in_chans, num_classes):
            return MODULES[self.what]()

    yield OwnForChecks
    specs._KINDS.pop("OwnForChecks")


@pytest.mark.parametrize(
    "model",
    [ViT(dim=16, depth=1), ViT(dim=16, depth=1, mixer=DepthwiseConv(kernel_size=3)), ResNet(width=4, blocks=1)],
    ids=lambda model: type(model).__name__,
)
def test_models_of_the_suite_hold_to_everything(model):
    found = check_model(model, **SHAPE)
    assert all(one.holds for one in found)
    assert len(found) == 10


def test_a_model_of_timm_holds_to_everything():
    assert all(one.holds for one in check_model(Timm(name="resnet10t"), image_size=32, in_chans=3, num_classes=4))


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("leaky", "in eval mode an image's logits depend on that image alone. Found: logits that differ by"),
        ("idle", "every parameter that is trained gets a gradient. Found: no gradient of idle"),
        (
            "fourier",
            "its FLOPs can be counted. Found: operations of Fourier must be ones whose FLOPs are known, or stated",
        ),
        ("wide", "images give finite logits, one a class. Found: (4, 3) instead of (4, 4)"),
    ],
)
def test_the_first_expectation_that_does_not_hold_is_named(own, what, sentence):
    with pytest.raises(InputError) as error:
        check_model(own(what=what), **SHAPE)
    assert str(error.value).startswith("OwnForChecks: ")
    assert sentence in str(error.value)


def test_layers_that_are_not_found_are_said_and_no_error(own):
    told = check_model(own(what="idle"), **SHAPE, verbose=True)
    layers = told[-1]
    assert not layers.holds
    assert layers.is_optional


def test_only_models_are_checked():
    with pytest.raises(InputError, match=r"spec of check_model must be a Model\. Got a Leaky instead\."):
        check_model(Leaky())
