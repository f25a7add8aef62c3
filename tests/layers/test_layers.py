"""Mixers, patches and positions."""

import pytest
import torch
import torch.nn.functional as F

from vision_attn.layers import DepthwiseConvolution, PatchEmbed, ZeroMixing, sincos2d


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
    with pytest.raises(ValueError, match=r"^kernel_size of DepthwiseConvolution must be odd\. Got 4 instead\.$"):
        DepthwiseConvolution(4, grid=(2, 2), kernel_size=4)


def test_no_mixing_adds_nothing():
    assert not ZeroMixing()(torch.randn(2, 3, 4)).any()


def test_patches_come_in_raster_order_and_are_mapped_linearly():
    torch.manual_seed(0)
    layer, images = PatchEmbed(patch_size=2, in_chans=3, dim=5).double(), torch.randn(2, 3, 4, 6).double()
    patch = images[:, :, 2:4, 0:2].reshape(2, -1)
    expected = patch @ layer.proj.weight.reshape(5, -1).T + layer.proj.bias
    torch.testing.assert_close(layer(images)[:, 3], expected)


def test_the_sine_cosine_embedding_follows_its_formula():
    embedding = sincos2d((2, 3), 8)[0]
    assert embedding.shape == (6, 8)
    x, y = torch.tensor([2.0, 2.0 / 10000]), torch.tensor([1.0, 1.0 / 10000])
    torch.testing.assert_close(embedding[1 * 3 + 2], torch.cat([x.sin(), x.cos(), y.sin(), y.cos()]))


def test_a_dim_that_cannot_be_quartered_is_refused():
    with pytest.raises(ValueError, match="dim of sincos2d must be a multiple of 4"):
        sincos2d((2, 2), 10)
