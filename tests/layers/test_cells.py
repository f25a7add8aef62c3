"""The convolution of cells is that of PyTorch on a grid filled with zeros, in every way in which it is computed."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vision_attn.layers import Attention, SpatialReduction
from vision_attn.layers.cells import CellConv

GRIDS = [(6, 6), (7, 8), (3, 10), (2, 2), (4, 3)]


def both(grid, batch, dtype=torch.float64, size=3):
    """A convolution of cells and PyTorch's with the same weights, an image, and it with zeros below and right."""
    torch.manual_seed(0)
    ours, theirs = (kind(6, 4, size, stride=size).to(dtype) for kind in (CellConv, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(batch, 6, *grid, dtype=dtype, requires_grad=True)
    below, right = (-side % size for side in grid)
    return ours, theirs, x, F.pad(x, (0, right, 0, below))


@pytest.mark.parametrize("batch", [1, 40])  # few tokens are put in the order of the weights, of many it is the weights
@pytest.mark.parametrize("grid", GRIDS)
def test_it_is_a_convolution_with_gradients(grid, batch):
    ours, theirs, x, filled = both(grid, batch)
    found, expected = ours(x), theirs(filled)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    pairs = ((found, ours), (expected, theirs))
    grads = [torch.autograd.grad(out.square().sum(), [x, *layer.parameters()]) for out, layer in pairs]
    torch.testing.assert_close(*grads, rtol=0, atol=1e-10)


@pytest.mark.parametrize("grid", GRIDS[:2])
def test_it_has_second_derivatives_and_those_of_forward_mode(grid):
    ours, _, x, _ = both(grid, 1)
    assert torch.autograd.gradgradcheck(ours, x)
    tangent = torch.randn_like(x)
    _, found = torch.func.jvp(ours, (x.detach(),), (tangent,))
    torch.testing.assert_close(found, ours(tangent) - ours(torch.zeros_like(tangent)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_it_is_the_same_in_other_types(grid, cast, dtype):
    ours, theirs, x, filled = both(grid, 40, dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        found, expected = ours(x), theirs(filled)
    assert found.dtype == expected.dtype
    low = torch.bfloat16 in (found.dtype, dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03 if low else 1e-5)


def test_where_kernel_and_stride_differ_it_is_pytorchs():
    torch.manual_seed(0)
    ours, theirs = (kind(6, 4, 3, stride=2, padding=1) for kind in (CellConv, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 7, 7)
    assert torch.equal(ours(x), theirs(x))


class Adapted(nn.Module):
    """A convolution beside another of the same kernel, as adapters of low rank have it."""

    def __init__(self, base):
        super().__init__()
        self.base, self.beside = base, nn.Conv2d(16, 16, base.kernel_size, stride=base.stride)

    def forward(self, x):
        return self.base(x) + self.beside(x)


@pytest.mark.parametrize("grid", [(6, 6), (7, 8)])
def test_what_takes_the_place_of_the_convolution_gets_whole_cells(grid):
    layer = Attention(16, 2, pattern=SpatialReduction(16, 3), grid=grid).double()
    x = torch.randn(2, grid[0] * grid[1], 16, dtype=torch.float64)
    plainly = layer(x)
    layer.pattern.sr = Adapted(layer.pattern.sr).double()
    assert not torch.equal(layer(x), plainly)
    nn.init.zeros_(layer.pattern.sr.beside.weight)
    nn.init.zeros_(layer.pattern.sr.beside.bias)
    torch.testing.assert_close(layer(x), plainly, rtol=0, atol=1e-12)
