"""Matching models in size."""

import pytest
import torch
from torch import nn

from vision_attn.models import (
    LSTM,
    DepthwiseConv,
    ResNet,
    SelfAttention,
    Timm,
    ViT,
    ZeroMixer,
    count_flops,
    count_params,
    match,
)
from vision_attn.models.size import flops, flops_of, params_of
from vision_attn.spec import InputError

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}
REFERENCE = ViT(dim=96, depth=6)


@pytest.mark.parametrize("family", [ViT(dim=8, depth=6, mixer=DepthwiseConv()), ResNet()], ids=["twin", "ResNet"])
@pytest.mark.parametrize(("on", "count"), [("params", count_params), ("flops", count_flops)])
def test_the_match_is_within_tolerance_on_what_was_asked(family, on, count):
    found = match(family, reference=REFERENCE, on=on, **SHAPE)
    assert count(found, **SHAPE) == pytest.approx(count(REFERENCE, **SHAPE), rel=0.02)


def test_no_other_width_is_nearer():
    family = ViT(dim=8, depth=6, mixer=DepthwiseConv())
    found = match(family, reference=REFERENCE, **SHAPE)
    wanted = count_params(REFERENCE, **SHAPE)
    errors = {dim: abs(count_params(family.replace(dim=dim), **SHAPE) - wanted) for dim in range(60, 160)}
    assert found == family.replace(dim=min(errors, key=errors.__getitem__))


def test_both_are_matched_where_a_width_and_depth_do_it():
    found = match(ViT(dim=8, depth=6), reference=REFERENCE, on="both", **SHAPE)
    assert found == REFERENCE


def test_stages_of_unequal_depth_are_turned_together():
    reference = ResNet(width=8, blocks=(2, 4, 3))
    found = match(ResNet(width=3, blocks=(1, 3, 2)), reference=reference, on="both", tolerance=0.001, **SHAPE)
    assert found == reference


def test_a_twin_may_be_held_to_the_depth_of_its_reference():
    reference = ViT(dim=64, depth=4, position="sincos2d")
    family = reference.replace(mixer=DepthwiseConv(kernel_size=3))
    assert match(family, reference=reference, **SHAPE).depth != 4
    found = match(family, reference=reference, turn="width", tolerance=0.05, **SHAPE)
    assert (found.depth, found.dim) == (4, 76)
    with pytest.raises(
        InputError, match=r"within 2\.0% of the reference's .* FLOPs, which no width reaches\. The near"
    ):
        match(family, reference=reference, turn="width", **SHAPE)


def test_the_heads_divide_the_width():
    found = match(ViT(depth=6, mixer=SelfAttention(num_heads=3)), reference=ViT(dim=100, depth=6), **SHAPE)
    assert found.dim % 3 == 0


def test_the_two_ways_of_a_recurrence_share_the_width():
    found = match(ViT(depth=2, mixer=LSTM()), reference=ViT(dim=95, depth=2, mixer=DepthwiseConv()), **SHAPE)
    assert found.dim % 2 == 0


@pytest.mark.slow
def test_out_of_reach_names_the_nearest():
    with pytest.raises(InputError) as error:
        match(ResNet(), reference=REFERENCE, on="both", tolerance=0.001, **SHAPE)
    sentence = str(error.value)
    assert "must come within 0.1% of the reference's 683,050 parameters and 94,963,584 FLOPs" in sentence
    assert sentence.count("ResNet(") == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"family": Timm(name="resnet18")}, "family of match must have a width to turn. Timm has none."),
        ({"on": "depth"}, "on of match must be one of 'params', 'flops', 'both'. Got 'depth' instead."),
        ({"turn": "depth"}, "turn of match must be one of 'width', 'both'. Got 'depth' instead."),
        ({"tolerance": 2}, "tolerance of match must be between 0 and 1. Got 2 instead."),
        ({"tolerance": "2%"}, "tolerance of match must be between 0 and 1. Got '2%' instead."),
        ({"step": 0}, "step of match must be a whole number, at least 1. Got 0 instead."),
        ({"step": 1.5}, "step of match must be a whole number, at least 1. Got 1.5 instead."),
        ({"reference": 10000}, "reference of match must be a model or a module. Got 10000 instead."),
        ({"reference": "resnet18"}, "reference of match must be a model or a module. Got 'resnet18' instead."),
        (
            {"reference": ResNet},
            "reference of match must be a model or a module. "
            "Got <class 'vision_attn.models.convnets.ResNet'> instead. Write ResNet().",
        ),
        (
            {"family": nn.ReLU()},
            "family of match must be a model or a function from a width to a module. Got the module ReLU instead.",
        ),
        (
            {"family": ResNet},
            "family of match must be a model or a function from a width to a module. "
            "Got <class 'vision_attn.models.convnets.ResNet'> instead. Write ResNet().",
        ),
        ({"family": 8}, "family of match must be a model or a function from a width to a module. Got 8 instead."),
        (
            {"family": lambda width: None},
            "family of match must be a function that returns a module for every width. Got None for width 1 instead.",
        ),
    ],
)
def test_wrong_arguments_are_refused(changes, sentence):
    arguments = {"family": ResNet(), "reference": REFERENCE, "on": "params", "tolerance": 0.02, **changes}
    with pytest.raises(InputError) as error:
        match(arguments.pop("family"), **arguments, **SHAPE)
    assert str(error.value) == sentence


class Narrow(nn.Module):
    """A module of one's own whose parameters are 3 w + 10 w + 10."""

    def __init__(self, width):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, width, 1, bias=False), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.stem(x).mean((2, 3)))


def test_the_width_of_a_factory_is_turned_against_any_module():
    assert match(Narrow, reference=Narrow(37), **SHAPE) == 37
    assert match(Narrow, reference=Narrow(40), step=8, on="both", **SHAPE) == 40


def test_a_spec_is_matched_to_a_module_as_to_its_own_spec():
    module = REFERENCE.build(**SHAPE)
    assert match(ResNet(width=8), reference=module, **SHAPE) == match(ResNet(width=8), reference=REFERENCE, **SHAPE)


def test_a_factory_that_cannot_reach_the_reference_names_its_nearest_widths():
    with pytest.raises(InputError) as error:
        match(Narrow, reference=Narrow(37), step=100, **SHAPE)
    assert "params of the factory's modules must come within 2.0%" in str(error.value)
    assert "width 100 with 1,310 parameters" in str(error.value)


def test_flops_of_a_module_are_counted_where_it_lies_and_leave_it_as_it_was():
    module = Narrow(5).train()
    assert flops(module, image_size=32, in_chans=3) == 2 * (3 * 5 * 32 * 32 + 5 * 10)
    assert next(module.parameters()).device.type == "cpu"
    assert module.training


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (
            lambda: flops(nn.Linear, image_size=8, in_chans=3),
            "module of flops must be a module that is built. Got <class 'torch.nn.modules.linear.Linear'> instead.",
        ),
        (
            lambda: flops_of(None, (3, 8, 8)),
            "module of flops_of must be a module that is built. Got None instead.",
        ),
        (
            lambda: params_of(ZeroMixer()),
            "module of params_of must be a module that is built. Got ZeroMixer() instead. "
            "count_params counts those of what it builds.",
        ),
    ],
)
def test_what_is_no_module_is_not_counted(count, sentence):
    with pytest.raises(InputError) as error:
        count()
    assert str(error.value) == sentence


def test_operations_without_a_formula_are_named_rather_than_counted_as_none():
    class Fourier(Narrow):
        def forward(self, x):
            return super().forward(torch.fft.fft2(x).real)

    with pytest.raises(InputError, match=r"FLOPs are known, or stated .*\. Got aten::_fft"):
        flops(Fourier(5), image_size=32, in_chans=3)


def test_a_reference_without_the_size_that_is_to_agree_is_refused():
    frozen = nn.Conv2d(3, 8, 3).requires_grad_(False)
    with pytest.raises(InputError, match=r"reference of match must have parameters that are trained, where params are"):
        match(ResNet(), reference=frozen, **SHAPE)
    with pytest.raises(InputError, match=r"reference of match must have FLOPs, where both are to agree\. It has none"):
        match(ResNet(), reference=nn.PReLU(), on="both", **SHAPE)
