"""Other fillers of the trunk's slot than attention: tokens (B, N, C) to tokens (B, N, C).

`multiply_adds` of each is the number of multiply-adds for tokens x, from its definition.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers import arguments
from vision_attn.layers.beginning import Beginning
from vision_attn.layers.inputs import numbers
from vision_attn.layers.positions import a_grid, on_grid


class DepthwiseConvolution(Beginning):
    """A k x k convolution of every channel by itself over the grid of tokens, zero-padded to the same size.

    N must be grid[0] * grid[1], in raster order. `kernel_size` must be odd. Without `branch_sd` the kernels start as in
    PyTorch. With it they are normal and the biases 0, so that tokens whose channels have mean square 1, as behind a
    LayerNorm, come out with that standard deviation, however they are correlated:

        Var(out) = Var(weight) x (mean number of kernel taps that lie inside of the grid)

    Raises `ValueError` where `kernel_size` or `branch_sd` does not fit.
    """

    def __init__(
        self, dim: int, *, grid: tuple[int, int], kernel_size: int = 7, branch_sd: float | None = None
    ) -> None:
        super().__init__()
        dim = arguments.whole("dim", "DepthwiseConvolution", dim)
        kernel_size = arguments.odd("kernel_size", "DepthwiseConvolution", kernel_size)
        if branch_sd is not None:
            arguments.above_0("branch_sd", "DepthwiseConvolution", branch_sd)
        self.grid, self.branch_sd = a_grid(grid, "DepthwiseConvolution"), branch_sd
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.begin()

    def begin(self) -> None:
        if self.branch_sd is not None:
            taps = math.prod(_mean_taps(side, self.conv.kernel_size[0]) for side in self.grid)
            nn.init.normal_(self.conv.weight, std=self.branch_sd * taps**-0.5)
            assert self.conv.bias is not None
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, *, grid: tuple[int, int] | None = None) -> Tensor:
        """`grid` is how the tokens of this call lie, if not as stated."""
        grid = grid or self.grid
        image = on_grid(x, grid, "DepthwiseConvolution").transpose(1, 2).unflatten(2, grid)
        return self.conv(image).flatten(2).transpose(1, 2)

    def multiply_adds(self, x: Tensor) -> int:
        """k^2 a number of the tokens."""
        return x.numel() * self.conv.kernel_size[0] ** 2


class RecurrentMixing(Beginning):
    """A long short-term memory over the sequence of tokens (Hochreiter and Schmidhuber 1997), one layer.

    It reads the grid row by row ("raster") or column by column ("columns"); N must be grid[0] * grid[1]. One way, it
    has `dim` units and a token sees those before it; with `bidirectional` it has dim / 2 units each way and a token
    sees all. Forget gates begin with bias 1 (Jozefowicz et al. 2015), the rest as in PyTorch. Raises `ValueError`
    where `dim` or `order` does not fit.
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
        ordered = arguments.is_among(order, ("raster", "columns"))
        arguments.require(ordered, "order", "RecurrentMixing", "'raster' or 'columns'", order)
        dim = arguments.whole("dim", "RecurrentMixing", dim)
        bidirectional = arguments.switch("bidirectional", "RecurrentMixing", bidirectional)
        if bidirectional and dim % 2:
            raise ValueError(f"dim of RecurrentMixing must be even with bidirectional = True. Got {dim!r} instead.")
        self.grid, self.order, units = a_grid(grid, "RecurrentMixing"), order, dim // 2 if bidirectional else dim
        self.lstm = nn.LSTM(dim, units, batch_first=True, bidirectional=bidirectional)
        self.begin()

    @torch.no_grad()
    def begin(self) -> None:
        units = self.lstm.hidden_size
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias"):
                parameter[units : 2 * units] = float(name.startswith("bias_ih"))

    def forward(self, x: Tensor, *, grid: tuple[int, int] | None = None) -> Tensor:
        """`grid` is how the tokens of this call lie, if not as stated."""
        grid = grid or self.grid
        x = on_grid(x, grid, "RecurrentMixing")
        if self.order == "raster":
            return self._read(x)
        return _transposed(self._read(_transposed(x, grid)), grid[::-1])

    def _read(self, x: Tensor) -> Tensor:
        if x.is_cuda and not self.training and torch.is_grad_enabled():
            # In eval mode cuDNN's kernel keeps nothing for the gradient.
            with torch.backends.cudnn.flags(enabled=False):
                return self.lstm(x)[0]
        if x.device.type == "cpu" and _is_low(x) and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            # Such a processor has no kernel for it: numbers are kept as they are and computed with in float32.
            weights = {name: weight.float() for name, weight in self.lstm.named_parameters()}
            low = _low(x)
            with torch.autocast("cpu", enabled=False):
                return torch.func.functional_call(self.lstm, weights, x.float())[0].to(low)
        return self.lstm(x)[0]

    def multiply_adds(self, x: Tensor) -> int:
        """Four gates a unit, each of them of all channels and all units of its direction, at every token."""
        units, ways = self.lstm.hidden_size, 2 if self.lstm.bidirectional else 1
        return x.shape[0] * x.shape[1] * ways * 4 * units * (x.shape[2] + units)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, order={self.order!r}"


class AveragePooling(nn.Module):
    """The mean of a token and its neighbours, less the token, as in PoolFormer (Yu et al. 2022, arXiv:2111.11418).

    The mean is over those tokens of a `kernel_size` x `kernel_size` square that lie inside of the grid; it has no
    weights. N must be grid[0] * grid[1], in raster order. Raises `ValueError` where `kernel_size` is not odd.
    """

    def __init__(self, *, grid: tuple[int, int], kernel_size: int = 3) -> None:
        super().__init__()
        self.kernel_size = arguments.odd("kernel_size", "AveragePooling", kernel_size)
        self.grid = a_grid(grid, "AveragePooling")

    def forward(self, x: Tensor, *, grid: tuple[int, int] | None = None) -> Tensor:
        """`grid` is how the tokens of this call lie, if not as stated."""
        grid = grid or self.grid
        image = on_grid(x, grid, "AveragePooling").transpose(1, 2).unflatten(2, grid)
        size = self.kernel_size
        pooled = F.avg_pool2d(image, size, stride=1, padding=size // 2, count_include_pad=False)
        return (pooled - image).flatten(2).transpose(1, 2)

    def multiply_adds(self, x: Tensor) -> int:
        """None: sums and one division."""
        return 0

    def extra_repr(self) -> str:
        return f"grid={self.grid}, kernel_size={self.kernel_size}"


class RandomMixing(Beginning):
    """A fixed random mean over all tokens, the same for every image and channel (Yu et al. 2024, arXiv:2210.13452).

    out = softmax(R) x with R (N, N) uniform in [0, 1), drawn once, in the state but never trained; N = `num_tokens`.
    Raises `ValueError` for another number of tokens.
    """

    weights: Tensor

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        num_tokens = arguments.whole("num_tokens", "RandomMixing", num_tokens)
        self.register_buffer("weights", torch.empty(num_tokens, num_tokens))
        self.begin()

    def begin(self) -> None:
        self.weights.copy_(torch.rand(self.weights.shape, device=self.weights.device).softmax(dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        if numbers(x, "RandomMixing").ndim != 3 or x.shape[1] != len(self.weights):
            allowed = f"(B, {len(self.weights)}, C), as num_tokens says"
            raise ValueError(f"x of RandomMixing must be {allowed}. Got {tuple(x.shape)} instead.")
        return self.weights.to(x.dtype) @ x

    def multiply_adds(self, x: Tensor) -> int:
        """Every token from every token, channel by channel."""
        return x.shape[1] * x.numel()


class IdentityMixing(nn.Identity):
    """The identity: every token gets itself."""

    def multiply_adds(self, x: Tensor) -> int:
        return 0


class ZeroMixing(nn.Module):
    """The zero function: with the block's residual connection every token stays as it was."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0

    def multiply_adds(self, x: Tensor) -> int:
        return 0


def _mean_taps(side: int, kernel_size: int) -> float:
    """How many of a kernel's places along one side lie inside of the grid, on average over the side."""
    reach = kernel_size // 2
    return sum(min(side, place + reach + 1) - max(0, place - reach) for place in range(side)) / side


def _transposed(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens of a grid, row by row, as those of the transposed grid."""
    return x.unflatten(1, grid).transpose(1, 2).flatten(1, 2)


def _low(x: Tensor) -> torch.dtype:
    """The type that a product of x is computed in: that of autocast where it is on, else its own."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def _is_low(x: Tensor) -> bool:
    return _low(x) in (torch.bfloat16, torch.float16)
