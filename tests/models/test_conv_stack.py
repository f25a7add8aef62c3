"""The convolution stack: what it sees, what it costs, and that turning its dial changes nothing else."""

import pytest
import torch
import torch.nn.functional as F

from vision_attn.models import ConvStack, ResNet, ViT, count_flops, count_params, match, rf_dial
from vision_attn.spec import InputError

SHAPE = {"image_size": 36, "in_chans": 3, "num_classes": 5}
SIDE = 9
STACKS = {
    "3 3": (ConvStack(width=8, kernels=(3, 3), pool="none"), 2),
    "3 5 1": (ConvStack(width=8, kernels=(3, 5, 1), pool="none"), 3),
    "dilated": (ConvStack(width=8, kernels=(3, 3), dilations=(1, 2), pool="none"), 3),
    "depthwise 7": (ConvStack(width=8, kernels=(7,), depthwise=True, pool="none"), 3),
    "pointwise": (ConvStack(width=8, kernels=(1, 1, 1), pool="none"), 0),
}


def built(model, *, seed=0, **changes):
    torch.manual_seed(seed)
    return model.build(**{**SHAPE, **changes})


def images(number=2, size=36):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(1))


def cells_seen(model, row, column):
    """The patches whose pixels the logits at one position depend on."""
    module, x = built(model).double().eval(), images(1).double().requires_grad_()
    module(x)[0, :, row, column].square().sum().backward()
    by_cell = x.grad[0].abs().sum(0).unflatten(1, (SIDE, 4)).unflatten(0, (SIDE, 4)).sum((1, 3))
    return {(int(y), int(x)) for y, x in by_cell.nonzero()}


def around(row, column, radius):
    return {(y, x) for y in range(SIDE) for x in range(SIDE) if abs(y - row) <= radius and abs(x - column) <= radius}


@pytest.mark.parametrize(("row", "column"), [(4, 4), (0, 5), (8, 8)])
@pytest.mark.parametrize("name", ["3 3", "3 5 1", "depthwise 7", "pointwise"])
def test_a_position_sees_the_square_of_the_radius_around_it_and_nothing_else(name, row, column):
    model, radius = STACKS[name]
    assert model.radius == radius
    assert cells_seen(model, row, column) == around(row, column, radius)


def test_a_dilated_stack_sees_to_its_radius_too():
    model, radius = STACKS["dilated"]
    assert model.radius == radius
    assert cells_seen(model, 4, 4) == around(4, 4, 3)


def test_a_dilated_kernel_alone_sees_every_second_cell():
    model = ConvStack(width=8, kernels=(3,), dilations=(2,), pool="none")
    assert model.radius == 2
    assert cells_seen(model, 4, 4) == {(y, x) for y in (2, 4, 6) for x in (2, 4, 6)}


def test_in_training_mode_it_sees_no_further():
    model, radius = STACKS["3 3"]
    module, changed = built(model).train(), images(2)
    before = module(changed.clone())[0, :, 4, 4]
    outside = torch.ones(36, 36, dtype=torch.bool)
    outside[4 * (4 - radius) : 4 * (5 + radius), 4 * (4 - radius) : 4 * (5 + radius)] = False
    changed[0, :, outside] = changed[1] = 3.0
    assert torch.equal(module(changed)[0, :, 4, 4], before)


def test_a_block_is_a_convolution_a_shortcut_and_a_norm_of_the_channels():
    model = ConvStack(width=6, kernels=(5,), dilations=(2,))
    block = built(model).double().blocks[0]
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    total = x + F.gelu(F.conv2d(x, block.conv.weight, block.conv.bias, padding=4, dilation=2))
    expected = (total - total.mean(1, keepdim=True)) / (total.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(block(x), expected)


def formula(width, kernels, *, depthwise, cells, patch=48, classes=5):
    """Parameters and operations, written down from the definition."""
    params, macs = patch * width + width, cells * patch * width
    for kernel in kernels:
        taps = kernel**2 * width * (1 if depthwise else width)
        point = width**2 if depthwise else 0
        params += taps + width + (point + width if depthwise else 0) + 2 * width
        macs += cells * (taps + point)
    return params + 2 * width + width * classes + classes, 2 * (macs + width * classes)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernels", [(3, 3, 3, 3), (3, 1, 7)])
def test_its_size_equals_the_closed_formula(kernels, depthwise):
    model = ConvStack(width=12, kernels=kernels, depthwise=depthwise)
    expected = formula(12, kernels, depthwise=depthwise, cells=81)
    assert (count_params(model, **SHAPE), count_flops(model, **SHAPE)) == expected


def test_dilation_costs_nothing():
    dilated = ConvStack(kernels=(3, 3), dilations=(2, 4))
    dense = ConvStack(kernels=(3, 3))
    assert dilated.radius == 6
    assert count_flops(dilated, **SHAPE) == count_flops(dense, **SHAPE)
    assert count_params(dilated, **SHAPE) == count_params(dense, **SHAPE)


@pytest.mark.parametrize("radius", [0, 1, 4])
def test_the_dial_turns_the_radius_at_constant_depth(radius):
    model = rf_dial(radius, depth=4, width=32)
    assert model.radius == radius
    assert len(model.kernels) == 4
    assert model.width == 32


def test_the_dial_does_not_turn_further_than_the_depth():
    with pytest.raises(InputError, match=r"^radius of rf_dial must be from 0 to depth = 4\. Got 5 instead\.$"):
        rf_dial(5, depth=4)


@pytest.mark.parametrize("radius", [1, 4])
@pytest.mark.parametrize("reference", [ViT(dim=48, depth=2), ResNet(width=8)], ids=["ViT", "ResNet"])
def test_its_parameters_can_be_matched(radius, reference):
    shape = {"image_size": 32, "in_chans": 3, "num_classes": 10}
    found = match(rf_dial(radius, depth=4), reference=reference, **shape)
    assert found.radius == radius
    assert count_params(found, **shape) == pytest.approx(count_params(reference, **shape), rel=0.02)


def test_without_pooling_the_head_reads_every_position_by_itself():
    pooled, dense = built(ConvStack(width=8)).eval(), built(ConvStack(width=8, pool="none")).eval()
    features = dense.forward_features(images())
    assert features.shape == (2, 8, 9, 9)
    logits = dense(images())
    assert logits.shape == (2, 5, 9, 9)
    torch.testing.assert_close(logits[:, :, 2, 7], dense.head(dense.fc_norm(features[:, :, 2, 7])))
    mean = features.mean(dim=(2, 3))
    torch.testing.assert_close(pooled(images()), pooled.head(pooled.fc_norm(mean)))
    assert dense.forward_head(features, pre_logits=True).shape == (2, 8, 9, 9)


def test_it_has_the_interface_of_timms_models():
    module = built(ConvStack(width=8, kernels=(3, 3)))
    assert module.get_classifier() is module.head
    assert module.num_features == 8
    assert module.grid == (9, 9)
    assert [info["num_chs"] for info in module.feature_info] == [8, 8]
    module.reset_classifier(0)
    assert module(images()).shape == (2, 8)


def test_images_of_another_size_are_taken():
    assert built(ConvStack(width=8, pool="none"))(torch.randn(1, 3, 40, 60)).shape == (1, 5, 10, 15)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kernels": (3, 4)}, "kernels of ConvStack must be one or more odd numbers, each at least 1. Got (3, 4)"),
        ({"kernels": ()}, "kernels of ConvStack must be one or more odd numbers, each at least 1. Got ()"),
        ({"dilations": (2,)}, "dilations of ConvStack must be () or 4 numbers, one a kernel, each at least 1."),
        ({"dilations": (1, 1, 0, 1)}, "dilations of ConvStack must be () or 4 numbers, one a kernel, each at least 1."),
        ({"width": 0}, "width of ConvStack must be at least 1. Got 0 instead."),
        ({"patch_size": 0}, "patch_size of ConvStack must be at least 1. Got 0 instead."),
        ({"patch_size": 5}, "patch_size of ConvStack must be a divisor of the image size 36. Got 5 instead."),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(fields, sentence):
    with pytest.raises(InputError) as error:
        built(ConvStack(**fields))
    assert str(error.value).startswith(sentence)
