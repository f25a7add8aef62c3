"""A model's module as it is built: whole, and without its numbers."""

import pytest
import torch
from torch import nn

from vision_attn.models import Model, ResNet, ViT, as_mixer, as_model, count_flops, count_params
from vision_attn.models.building import empty, made, tried
from vision_attn.models.size import count_bytes
from vision_attn.spec import InputError, spec
from vision_attn.training.seeding import seeded

SHAPE = {"image_size": 8, "in_chans": 3, "num_classes": 4}


@as_model
def Unshaped(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.Linear(5, num_classes).eval())


@as_model
def OfRates(num_classes):
    """As many models have it, a rate is read from a tensor."""
    rate = torch.linspace(0, 0.1, 3)[-1].item()
    return nn.Sequential(nn.Flatten(), nn.Dropout(rate), nn.Linear(192, num_classes))


def test_parameters_without_a_shape_get_it_when_the_module_is_built():
    module = made(Unshaped(), **SHAPE)
    assert module[1].weight.shape == (5, 192)
    assert [part.training for part in module] == [True, True, True, False]
    assert module[2].num_batches_tracked == 0


def test_parameters_without_a_shape_begin_as_the_seed_says():
    found = []
    for _ in range(2):
        with seeded(3):
            found.append(made(Unshaped(), **SHAPE)[1].weight)
        torch.rand(1)
    assert torch.equal(*found)


@pytest.mark.parametrize(("model", "params"), [(Unshaped(), 965 + 10 + 24), (OfRates(), 772)], ids=["lazy", "read"])
def test_the_size_of_any_model_is_counted(model, params):
    before = torch.get_rng_state()
    assert count_params(model, **SHAPE) == params
    assert count_flops(model, **SHAPE) == 2 * (192 * 5 + 5 * 4 if model == Unshaped() else 192 * 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_bytes_are_those_of_all_that_is_stored():
    @as_model
    def Stored(num_classes):
        module = nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))
        module.register_buffer("mask", torch.zeros(7, dtype=torch.bool))
        module.frozen = nn.Parameter(torch.zeros(2, dtype=torch.float64), requires_grad=False)
        module.tied = module[1]
        return module

    assert count_bytes(Stored(), **SHAPE) == 2 * 4 * 772 + 7 + 2 * 8


def test_a_module_has_no_numbers_where_it_can_be_without():
    assert empty(Unshaped(), **SHAPE)[1].weight.is_meta
    module, found = tried(Unshaped(), **SHAPE)
    assert module[1].weight.is_meta
    assert (found.shape, found.is_meta) == ((2, 4), True)
    assert not empty(OfRates(), **SHAPE)[2].weight.is_meta


def test_what_fails_anywhere_is_told_as_without_the_device_meta():
    @as_model
    def Unbuilt(num_classes):
        return torch.ones(3).item()

    with pytest.raises(RuntimeError, match="a Tensor with 3 elements cannot be converted to Scalar"):
        empty(Unbuilt(), **SHAPE)


@spec
class OfNothing(Model):
    def build(self, *, image_size, in_chans, num_classes):
        return None


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Linear(2, 2), "model must be one that builds a module, such as ViT(). Got the module Linear instead."),
        (
            ResNet,
            "model must be one that builds a module, such as ViT(). "
            "Got <class 'vision_attn.models.convnets.ResNet'> instead.",
        ),
        ("resnet18", "model must be one that builds a module, such as ViT(). Got 'resnet18' instead."),
        (OfNothing(), "build of OfNothing must return a module. Got None instead."),
    ],
)
def test_what_builds_no_module_is_refused(model, sentence):
    for count in (count_params, count_bytes, count_flops):
        with pytest.raises(InputError) as error:
            count(model, **SHAPE)
        assert str(error.value) == sentence


def test_a_build_that_lacks_a_number_names_it():
    given = {"num_classes": 4}
    assert Unshaped().build(**given)[3].out_features == 4

    @as_model
    def Demanding(image_size, in_chans, num_classes, width: int = 3):
        return nn.Linear(in_chans * image_size**2, num_classes)

    @as_model
    def OfDefaults(num_classes, in_chans=3):
        return nn.Linear(in_chans, num_classes)

    assert OfDefaults().build(**given).in_features == 3
    for shape, sentence in [
        (given, "build of Demanding must be given image_size and in_chans by name. Got num_classes instead."),
        ({}, "build of Demanding must be given image_size and in_chans and num_classes by name. Got none instead."),
    ]:
        with pytest.raises(InputError) as error:
            Demanding().build(**shape)
        assert str(error.value) == sentence


def test_a_function_that_returns_no_module_is_named():
    @as_model
    def Forgotten(num_classes):
        nn.Linear(192, num_classes)

    @as_mixer
    def ForgottenToo(dim):
        nn.Linear(dim, dim)

    for build, words in [
        (lambda: Forgotten().build(**SHAPE), "build of Forgotten must return a module with parameters to be trained ("),
        (lambda: ViT(dim=16, mixer=ForgottenToo()).build(**SHAPE), "build of ForgottenToo must return a module ("),
    ]:
        with pytest.raises(InputError) as error:
            build()
        assert str(error.value).startswith(words)
        assert str(error.value).endswith("). Got None instead.")
