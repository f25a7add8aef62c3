"""Other fillers of the trunk's slot than attention: tokens (B, N, C) to tokens (B, N, C)."""

from torch import Tensor, nn


class DepthwiseConvolution(nn.Module):
    """A k x k convolution of every channel by itself over the grid of tokens, zero-padded to the same size.

    N must be grid[0] * grid[1], in raster order. `kernel_size` must be odd.
    """

    def __init__(self, dim: int, *, grid: tuple[int, int], kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size of DepthwiseConvolution must be odd. Got {kernel_size!r} instead.")
        self.grid = grid
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        image = x.transpose(1, 2).unflatten(2, self.grid)
        return self.conv(image).flatten(2).transpose(1, 2)


class NoMixing(nn.Module):
    """The zero function: with the block's residual connection every token stays as it was."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0
