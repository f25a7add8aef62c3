"""Stochastic depth."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch (B, ...) for whole samples (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep).div_(keep)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """The rate of each of `depth` blocks: rising in equal steps from 0 to `last`."""
    return [last * index / max(1, depth - 1) for index in range(depth)]
