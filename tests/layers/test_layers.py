"""Mixers, patches and positions."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from vision_attn.layers import DepthwiseConvolution, LocalEmbed, PatchEmbed, ZeroMixing, sincos2d


def test_a_depthwise_convolution_mixes_each_channel_by_itself_over_the_grid():
    torch.manual_seed(0)
    layer, x = DepthwiseConvolution(5, grid=(3, 4), kernel_size=3).double(), torch.randn(2, 12, 5).double()
    for channel in range(5):
        image = x[:, :, channel].reshape(2, 1, 3, 4)
        expected = F.conv2d(
            image, layer.conv.weight[channel : channel + 1], layer.conv.bias[channel : channel + 1], padding=1
        )
        torch.testing.assert_close(layer(x)[:, :, channel], expected.reshape(2, 12))


def test_an_even_kernel_is_refused():
    with pytest.raises(
        ValueError, match=r"^kernel_size of DepthwiseConvolution must be an odd integer, .* Got 4 instead\.$"
    ):
        DepthwiseConvolution(4, grid=(2, 2), kernel_size=4)


def test_no_mixing_adds_nothing():
    assert not ZeroMixing()(torch.randn(2, 3, 4)).any()


def test_patches_come_in_raster_order_and_are_mapped_linearly():
    torch.manual_seed(0)
    layer, images = PatchEmbed(patch_size=2, in_chans=3, dim=5).double(), torch.randn(2, 3, 4, 6).double()
    patch = images[:, :, 2:4, 0:2].reshape(2, -1)
    expected = patch @ layer.proj.weight.reshape(5, -1).T + layer.proj.bias
    torch.testing.assert_close(layer(images)[:, 3], expected)


def test_a_locally_connected_layer_maps_each_patch_by_the_weights_of_its_place():
    torch.manual_seed(0)
    layer, images = LocalEmbed(patch_size=2, in_chans=3, dim=5, grid=(2, 3)).double(), torch.randn(2, 3, 4, 6).double()
    tokens = layer(images)
    for row, column in itertools.product(range(2), range(3)):
        patch = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(2, -1)
        expected = patch @ layer.weight[row, column] + layer.bias[row, column]
        torch.testing.assert_close(tokens[:, 3 * row + column], expected)


def test_with_the_same_weights_at_every_place_it_is_a_patch_embedding():
    shared, images = PatchEmbed(patch_size=2, in_chans=3, dim=5).double(), torch.randn(2, 3, 4, 6).double()
    layer = LocalEmbed(patch_size=2, in_chans=3, dim=5, grid=(2, 3)).double()
    with torch.no_grad():
        layer.weight.copy_(shared.proj.weight.flatten(1).T)
        layer.bias.copy_(shared.proj.bias)
    torch.testing.assert_close(layer(images), shared(images))


def test_images_with_other_places_have_no_weights():
    layer = LocalEmbed(patch_size=2, in_chans=3, dim=5, grid=(2, 3))
    with pytest.raises(ValueError, match=r"^x of LocalEmbed must be \(B, 3, 4, 6\), as .* Got \(1, 3, 6, 4\) instead"):
        layer(torch.randn(1, 3, 6, 4))
    with pytest.raises(ValueError, match=r"^grid of LocalEmbed must be two numbers"):
        LocalEmbed(patch_size=2, in_chans=3, dim=5, grid=(2, 0))


def test_the_sine_cosine_embedding_follows_its_formula():
    embedding = sincos2d((2, 3), 8)[0]
    assert embedding.shape == (6, 8)
    x, y = torch.tensor([2.0, 2.0 / 10000]), torch.tensor([1.0, 1.0 / 10000])
    torch.testing.assert_close(embedding[1 * 3 + 2], torch.cat([x.sin(), x.cos(), y.sin(), y.cos()]))


def test_a_dim_that_cannot_be_quartered_is_refused():
    with pytest.raises(ValueError, match="dim of sincos2d must be a multiple of 4"):
        sincos2d((2, 2), 10)
