"""The mixers that stand beside attention as controls, and the scale that a convolution starts with."""

import pytest
import torch

from vision_attn.layers import AveragePooling, DepthwiseConvolution, RandomMixing


def test_average_pooling_is_the_mean_of_the_neighbours_in_the_grid_less_the_token():
    x = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0)).double()
    image = x.view(2, 3, 4, 3)
    out = AveragePooling(grid=(3, 4))(x).view(2, 3, 4, 3)
    for row in range(3):
        for column in range(4):
            near = image[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            torch.testing.assert_close(out[:, row, column], near.mean((1, 2)) - image[:, row, column])


def test_average_pooling_of_equal_tokens_adds_nothing():
    torch.testing.assert_close(AveragePooling(grid=(4, 4), kernel_size=5)(torch.ones(1, 16, 2)), torch.zeros(1, 16, 2))


def test_an_even_square_is_refused():
    with pytest.raises(
        ValueError, match=r"^kernel_size of AveragePooling must be an odd integer, at least 1\. Got 2 instead\.$"
    ):
        AveragePooling(grid=(4, 4), kernel_size=2)


def test_random_mixing_takes_a_fixed_mean_over_tokens():
    torch.manual_seed(0)
    layer, x = RandomMixing(6), torch.randn(2, 6, 3)
    weights = layer(torch.eye(6)[None])[0]
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    assert weights.min() > 0
    assert weights.max() / weights.min() < torch.e**2
    torch.testing.assert_close(layer(x), torch.einsum("nm,bmc->bnc", weights, x))


def test_random_mixing_is_drawn_from_the_seed_kept_in_the_state_and_not_trained():
    def drawn(seed):
        torch.manual_seed(seed)
        return RandomMixing(6)

    assert torch.equal(drawn(1).weights, drawn(1).weights)
    assert not torch.equal(drawn(1).weights, drawn(2).weights)
    assert list(drawn(1).state_dict()) == ["weights"]
    assert list(drawn(1).parameters()) == []


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("alike", [False, True], ids=["independent tokens", "equal tokens"])
def test_a_convolution_starts_with_the_scale_that_is_asked_for(kernel_size, alike):
    torch.manual_seed(0)
    dim = 4096
    layer = DepthwiseConvolution(dim, grid=(5, 4), kernel_size=kernel_size, branch_sd=0.03)
    x = torch.randn(2, 1 if alike else 20, dim).expand(2, 20, dim)
    assert layer(torch.nn.functional.layer_norm(x, (dim,))).std().item() == pytest.approx(0.03, rel=0.05)
    assert not layer.conv.bias.any()


def test_a_scale_of_zero_is_refused():
    with pytest.raises(
        ValueError, match=r"^branch_sd of DepthwiseConvolution must be a finite number more than 0\. Got 0"
    ):
        DepthwiseConvolution(4, grid=(2, 2), branch_sd=0)
