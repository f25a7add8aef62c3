"""Blocks of the trunk: a token mixer and a perceptron on each token, pre-norm."""

import functools
from collections.abc import Iterable

from torch import Tensor, nn

from vision_attn.models.drop_path import DropPath
from vision_attn.models.features import Step


class Mlp(nn.Module):
    """Two linear maps with a GELU between them, on each token by itself."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, *, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.mixer = nn.LayerNorm(dim, eps=1e-6), nn.Module()
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), Mlp(dim, hidden)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, *, grid: tuple[int, int] | None = None) -> Tensor:
        """`grid` is how the tokens of this call lie, if not as the mixer was built for."""
        stated = {} if grid is None or not hasattr(self.mixer, "grid") else {"grid": grid}
        x = x + self.drop_path(self.mixer(self.norm1(x), **stated))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def told(module: nn.Module, grid: tuple[int, int], own: tuple[int, int]) -> Step:
    """The module; told the grid of the tokens where it is not its own."""
    return module if grid == own else functools.partial(module, grid=grid)


def in_turn(first: Step, second: Step, x: Tensor) -> Tensor:
    return second(first(x))


def initialise(modules: Iterable[nn.Module]) -> None:
    """Linear maps: truncated normal of standard deviation 0.02 and biases 0, as in timm; the rest as in PyTorch."""
    for module in modules:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
