"""A model's module as it is built: whole, and without its numbers."""

import pytest
import torch
from torch import nn

from vision_attn.models import as_model, count_flops, count_params
from vision_attn.models.building import empty, made, tried
from vision_attn.models.size import count_bytes
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
