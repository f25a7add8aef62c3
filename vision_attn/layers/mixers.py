"""Other fillers of the trunk's slot than attention: tokens (B, N, C) to tokens (B, N, C)."""

from typing import Literal

import torch
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


class RecurrentMixing(nn.Module):
    """A long short-term memory over the sequence of tokens (Hochreiter and Schmidhuber 1997), one layer.

    It reads the grid row by row ("raster") or column by column ("columns"); N must be grid[0] * grid[1]. One way, it
    has `dim` units and a token sees those before it; with `bidirectional` it has dim / 2 units each way and a token
    sees all. Forget gates begin with bias 1 (Jozefowicz et al. 2015), the rest as in PyTorch. Raises `ValueError`
    where `dim` does not fit.
    """

    def __init__(
        self,
        dim: int,
        *,
        grid: tuple[int, int],
        bidirectional: bool = True,
        order: Literal["raster", "columns"] = "raster",
    ) -> None:
        super().__init__()
        if bidirectional and dim % 2:
            raise ValueError(f"dim of RecurrentMixing must be even with bidirectional = True. Got {dim!r} instead.")
        self.grid, self.order, units = grid, order, dim // 2 if bidirectional else dim
        self.lstm = nn.LSTM(dim, units, batch_first=True, bidirectional=bidirectional)
        with torch.no_grad():
            for name, parameter in self.lstm.named_parameters():
                if name.startswith("bias"):
                    parameter[units : 2 * units] = float(name.startswith("bias_ih"))

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "raster":
            return self._read(x)
        return _transposed(self._read(_transposed(x, self.grid)), self.grid[::-1])

    def _read(self, x: Tensor) -> Tensor:
        if x.is_cuda and not self.training and torch.is_grad_enabled():
            # In eval mode cuDNN's kernel keeps nothing for the gradient.
            with torch.backends.cudnn.flags(enabled=False):
                return self.lstm(x)[0]
        return self.lstm(x)[0]

    def extra_repr(self) -> str:
        return f"grid={self.grid}, order={self.order!r}"


class NoMixing(nn.Module):
    """The zero function: with the block's residual connection every token stays as it was."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def _transposed(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens of a grid, row by row, as those of the transposed grid."""
    return x.unflatten(1, grid).transpose(1, 2).flatten(1, 2)
