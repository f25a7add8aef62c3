"""Convolutional stems and nets, and stochastic depth, against what their papers say."""

import pytest
import torch
import torch.nn.functional as F

from vision_attn.layers import ConvEmbed
from vision_attn.models import ConvNeXt, DepthwiseConv, ResNet, ViT, count_flops, count_params, match
from vision_attn.models.drop_path import DropPath, drop_path_rates
from vision_attn.probes.reach import reach
from vision_attn.spec import InputError

SHAPE = {"image_size": 32, "in_chans": 3, "num_classes": 10}


def images(number=2, size=32):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_a_convolutional_stem_gives_the_grid_of_its_patch_size():
    torch.manual_seed(0)
    stem = ConvEmbed(patch_size=8, in_chans=3, dim=20)
    assert [tuple(conv.weight.shape) for conv in stem.convs] == [(5, 3, 3, 3), (10, 5, 3, 3), (20, 10, 3, 3)]
    x = images()
    for conv in stem.convs:
        x = F.max_pool2d(F.conv2d(x, conv.weight, padding=1).clamp(min=0), 3, 2, 1)
    torch.testing.assert_close(stem(images()), x.reshape(2, 20, 16).transpose(1, 2))


@pytest.mark.parametrize("patch_size", [1, 3, 6])
def test_a_stem_halves_so_its_patch_size_is_a_power_of_two(patch_size):
    with pytest.raises(ValueError, match="power of two"):
        ConvEmbed(patch_size=patch_size, in_chans=3, dim=8)
    with pytest.raises(InputError, match=f"power of two, at least 2, with the stem 'convolution'. Got {patch_size}"):
        ViT(patch_size=patch_size, stem="convolution")


def test_a_stem_overlaps_and_a_patch_embedding_does_not():
    """Of the tokens of a 32 x 32 image a pixel reaches one through patches, its neighbours too through the stem."""
    for stem, reached in (("patch", 1), ("convolution", 4)):
        torch.manual_seed(0)
        embed = ViT(dim=16, stem=stem).build(**SHAPE).patch_embed.double()
        x = torch.rand(1, 3, 32, 32, dtype=torch.float64) + 0.1
        moved = x.clone()
        moved[:, :, 15, 15] += 5
        changed = (embed(x) - embed(moved)).abs().sum(-1)[0] > 0
        assert changed.sum() >= reached
        assert (changed.sum() == 1) == (stem == "patch")


def test_a_twin_with_a_stem_is_matched_in_size():
    reference = ViT(dim=64, depth=4)
    found = match(ViT(dim=64, depth=4, stem="convolution", mixer=DepthwiseConv()), reference=reference, **SHAPE)
    assert count_params(found, **SHAPE) == pytest.approx(count_params(reference, **SHAPE), rel=0.02)


def convnext_params(width, blocks, patch, kernel, classes):
    """Weights and biases, written down from the paper's figure 4: depthwise, norm, 1x1 to 4 d, 1x1 back."""
    total = 3 * patch**2 * width + width + 2 * width
    for stage in range(3):
        d = width * 2**stage
        total += blocks * (kernel**2 * d + d + 2 * d + d * 4 * d + 4 * d + 4 * d * d + d)
        if stage:
            total += 2 * (d // 2) + 4 * (d // 2) * d + d
    return total + 2 * 4 * width + 4 * width * classes + classes


@pytest.mark.parametrize("fields", [(24, 2, 2, 7), (6, 1, 4, 3)])
def test_size_of_the_convnext_equals_the_closed_formula(fields):
    model = ConvNeXt(**dict(zip(("width", "blocks", "patch_size", "kernel_size"), fields, strict=True)))
    assert count_params(model, **SHAPE) == convnext_params(*fields, 10)


def test_a_convnext_sees_by_its_kernels_alone():
    """Norms are over channels: with one block a stage of 3x3 kernels nothing is seen from the far side of the image."""
    torch.manual_seed(0)
    module = ConvNeXt(width=6, blocks=1, kernel_size=3).build(**SHAPE).eval()
    found = reach(module, image_size=32, patch_size=2, layers=["stages.0"], mode="dependency")["stages.0"]
    assert found.distance == 1
    assert module.forward_features(images()).shape == (2, 24, 4, 4)


def test_a_convnext_needs_sides_that_can_be_halved():
    with pytest.raises(InputError, match="patch_size of ConvNeXt must be such that 4 times it divides"):
        ConvNeXt(patch_size=2).build(**{**SHAPE, "image_size": 28 + 2})
    with pytest.raises(InputError, match=r"kernel_size of ConvNeXt must be odd\. Got 4 instead\."):
        ConvNeXt(kernel_size=4)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    for shape in ((4000, 3), (4000, 2, 2, 2)):
        out = layer(torch.ones(shape)).flatten(1)
        assert torch.equal(out, out[:, :1].expand_as(out))
        assert set(out.unique().tolist()) <= {0.0, torch.tensor(1 / 0.75).item()}
        assert out.mean().item() == pytest.approx(1, abs=0.04)
    assert layer.eval()(torch.ones(2)).tolist() == [1, 1]
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_resnet_drops_branches_in_training_only_and_costs_the_same():
    plain, dropped = ResNet(width=4, blocks=2), ResNet(width=4, blocks=2, drop_path=0.9)
    assert count_params(plain, **SHAPE) == count_params(dropped, **SHAPE)
    assert count_flops(plain, **SHAPE) == count_flops(dropped, **SHAPE)
    modules = []
    for model in (plain, dropped):
        torch.manual_seed(0)
        modules.append(model.build(**SHAPE))
    x = images(8)
    torch.testing.assert_close(modules[0].eval()(x), modules[1].eval()(x), rtol=0, atol=0)
    assert not torch.equal(modules[1].train()(x), modules[0].train()(x))


def test_stages_of_a_resnet_may_differ_in_depth():
    built = ResNet(width=4, blocks=(2, 3, 1)).build(image_size=16, in_chans=3, num_classes=10)
    assert [len(stage) for stage in built.stages] == [2, 3, 1]
    same = (ResNet(width=4, blocks=blocks) for blocks in (2, (2, 2, 2)))
    assert len({count_params(model, image_size=16, in_chans=3, num_classes=10) for model in same}) == 1
    with pytest.raises(InputError, match=r"blocks of ResNet must be at least 1\. Got \(2, 0, 1\) instead"):
        ResNet(blocks=(2, 0, 1))
