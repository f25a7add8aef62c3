"""Patterns: which token may see which. Prefix tokens (CLS, registers) see and are seen by all.

B batch, H heads, N tokens in raster order, C channels, G groups, n tokens a group; a grid is (rows, columns).
A pattern says which parts of the queries and keys meet; parts of one list are normalised together, by one softmax.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from vision_attn.layers.arguments import whole
from vision_attn.layers.cells import CellConv, filled
from vision_attn.layers.inputs import numbers
from vision_attn.layers.parts import Part, Rows, Surroundings, Tiles
from vision_attn.layers.positions import as_image, coordinates
from vision_attn.layers.shapes import Bool, Float
from vision_attn.layers.symbolic import covering, is_integer, least, surely, traced
from vision_attn.layers.tiling import Tiling


class Pattern(nn.Module):
    """Every token sees every token: N^2 scores."""

    on_grid: ClassVar[bool] = False
    """Whether it must be known how the tokens lie."""

    def tiling(self, grid: tuple[int, int]) -> Tiling | None:
        """The groups of tokens that see only themselves; None: there are none."""
        return None

    def cut(self, grid: tuple[int, int], *, prefix: int) -> list[list[Part]] | None:
        """The parts of the queries, in order, each a list of the sets of keys that they meet; None: all meet all."""
        tiling = self.tiling(grid)
        return None if tiling is None else _behind(prefix, [Tiles(tiling, prefix)])

    def seen(self, grid: tuple[int, int], device: torch.device) -> Bool[Tensor, "N N"] | None:
        """Which token of the grid sees which, the same as `cut` says; None: every token every token."""
        tiling = self.tiling(grid)
        return None if tiling is None else tiling.seen(device)

    def key_places(self, grid: tuple[int, int], *, device: torch.device) -> Float[Tensor, "M 2"]:
        """Where the keys lie: (row, column)."""
        return coordinates(grid, device=device)

    def extent(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The part of the grid over which two tokens that see each other can lie."""
        return grid

    def select(self, scores: Tensor) -> Tensor:
        """The scores with those masked that the pattern drops by their size."""
        return scores


class Window(Pattern):
    """Tokens see those of their own window of size x size: N size^2 scores (Liu et al. 2021, arXiv:2103.14030).

    With `shift` the windows begin that many tokens lower and further right; at the border they are cut. A grid that
    the window does not divide is padded, unseen. A window at least as large as the grid is the grid.
    """

    on_grid = True

    def __init__(self, size: int | tuple[int, int], *, shift: int | tuple[int, int] = 0) -> None:
        super().__init__()
        self.size = _pair("size", "Window", size, least=1)
        self.shift = _pair("shift", "Window", shift, least=0)
        if any(s >= w for s, w in zip(self.shift, self.size, strict=True)):
            raise ValueError(f"shift of Window must be less than size = {self.size}. Got {shift!r} instead.")

    def tiling(self, grid: tuple[int, int]) -> Tiling:
        rows, columns = (_shifted(s, size, side) for s, size, side in zip(self.shift, self.size, grid, strict=True))
        tile = (least(self.size[0], grid[0]), least(self.size[1], grid[1]))
        return Tiling(grid, tile, shift=(rows, columns))

    def extent(self, grid: tuple[int, int]) -> tuple[int, int]:
        return min(self.size[0], grid[0]), min(self.size[1], grid[1])

    def extra_repr(self) -> str:
        return f"size={self.size}, shift={self.shift}"


class Neighbourhood(Pattern):
    """Tokens see those at most `radius` rows and columns away; at the border they see fewer.

    Stand-alone self-attention (Ramachandran et al. 2019, arXiv:1906.05909), here without tokens beyond the border.
    A radius that reaches across the grid is full attention. In large grids it is computed in blocks with a halo
    (Vaswani et al. 2021, arXiv:2103.12731): about 2 radius x 2 radius queries share the 4 radius x 4 radius keys
    around them, 16 N radius^2 scores; where that is not less work and memory, all N^2 scores are formed and the
    distant ones masked.
    """

    on_grid = True

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = whole("radius", "Neighbourhood", radius)

    def cut(self, grid: tuple[int, int], *, prefix: int) -> list[list[Part]] | None:
        (rows, above), (columns, left) = (self._axis(side) for side in grid)
        if surely(above == 0) and surely(left == 0):
            return None
        own = Surroundings(Tiling(grid, (rows, columns)), prefix, radius=self.radius, halo=(above, left))
        return _behind(prefix, [own])

    def seen(self, grid: tuple[int, int], device: torch.device) -> Bool[Tensor, "N N"] | None:
        if all(surely(self.radius >= side - 1) for side in grid):
            return None
        near = [_near(torch.arange(side, device=device), self.radius) for side in grid]
        return (near[0][:, None, :, None] & near[1][None, :, None, :]).flatten(2, 3).flatten(0, 1)

    def extent(self, grid: tuple[int, int]) -> tuple[int, int]:
        return min(self.radius + 1, grid[0]), min(self.radius + 1, grid[1])

    def extra_repr(self) -> str:
        return f"radius={self.radius}"

    def _axis(self, side: int) -> tuple[int, int]:
        """The side of a block, about twice the radius so that blocks divide the grid evenly, and its halo."""
        count = -(-side // (2 * self.radius))
        return (side, 0) if surely(count == 1) else (-(-side // count), self.radius)


class Dilated(Pattern):
    """Tokens see every stride-th token of every stride-th row, their own among them: N^2 / stride^2 scores.

    Strided (sparse) attention (Child et al. 2019, arXiv:1904.10509), on the grid as in Tu et al. 2022,
    arXiv:2204.01697.
    """

    on_grid = True

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = whole("stride", "Dilated", stride)

    def tiling(self, grid: tuple[int, int]) -> Tiling:
        rows, columns = least(self.stride, grid[0]), least(self.stride, grid[1])
        return Tiling(grid, (covering(grid[0], rows), covering(grid[1], columns)), stride=(rows, columns))

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class Segmented(Pattern):
    """The raster of tokens is cut into chunks of `length`; tokens see their own chunk: N length scores.

    Blockwise attention (Qiu et al. 2020, arXiv:1911.02972). How the raster lies is of no matter.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = whole("length", "Segmented", length)

    def tiling(self, grid: tuple[int, int]) -> Tiling:
        tokens = grid[0] * grid[1]
        return Tiling((1, tokens), (1, least(self.length, tokens)), congruent=False)

    def extra_repr(self) -> str:
        return f"length={self.length}"


class Axial(Pattern):
    """Tokens see their own row and their own column, in one softmax: N (rows + columns) scores.

    Criss-cross attention (Huang et al. 2019, arXiv:1811.11721); row after row, column after column it is
    Ho et al. 2019, arXiv:1912.12180.
    """

    on_grid = True

    def cut(self, grid: tuple[int, int], *, prefix: int) -> list[list[Part]]:
        row, column = Tiling(grid, (1, grid[1])), Tiling(grid, (grid[0], 1))
        return _behind(prefix, [Tiles(row, prefix), Tiles(column, prefix, others_only=True)])

    def seen(self, grid: tuple[int, int], device: torch.device) -> Bool[Tensor, "N N"]:
        same = [torch.eye(side, dtype=torch.bool, device=device) for side in grid]
        return (same[0][:, None, :, None] | same[1][None, :, None, :]).flatten(2, 3).flatten(0, 1)


class SpatialReduction(Pattern):
    """Keys and values come from the grid reduced ratio x ratio by a strided convolution: N^2 / ratio^2 scores.

    Pyramid vision transformer (Wang et al. 2021, arXiv:2102.12122). A grid that the ratio does not divide is padded
    with zeros; prefix tokens are not reduced. With ratio = 1 nothing is reduced.
    """

    on_grid = True

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.dim = whole("dim", "SpatialReduction", dim)
        self.ratio = whole("ratio", "SpatialReduction", ratio)
        self.sr = CellConv(dim, dim, ratio, stride=ratio) if ratio > 1 else nn.Identity()
        self.norm = nn.LayerNorm(dim) if ratio > 1 else nn.Identity()

    def key_places(self, grid: tuple[int, int], *, device: torch.device) -> Float[Tensor, "M 2"]:
        """The middles of the reduced cells, with their padding: where the weights of the convolution have theirs."""
        cells = (covering(grid[0], self.ratio), covering(grid[1], self.ratio))
        return coordinates(cells, device=device, step=(self.ratio, self.ratio))

    def forward(self, x: Float[Tensor, "B N C"], grid: tuple[int, int], *, prefix: int) -> Float[Tensor, "B M C"]:
        """The tokens that keys and values are computed from."""
        if self.ratio == 1:
            return x
        image = as_image(numbers(x, "SpatialReduction")[:, prefix:], grid)
        if traced(x) or not isinstance(self.sr, CellConv):
            image = filled(image, (self.ratio, self.ratio), grid)
        small = self.norm(self.sr(image).flatten(2).transpose(1, 2))
        return torch.cat([x[:, :prefix], small.to(x.dtype)], dim=1) if prefix else small

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}"


class TopK(Pattern):
    """Tokens see, head by head, the k tokens of the highest score (Zhao et al. 2019, arXiv:1912.11637).

    All N^2 scores are computed and sorted out, so it is slower than full attention; the softmax and its gradient see
    k of them a row. With k >= N it is full attention.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = whole("k", "TopK", k)

    def select(self, scores: Tensor) -> Tensor:
        if self.k >= scores.shape[-1]:
            return scores
        best, places = scores.topk(self.k, dim=-1)
        return torch.full_like(scores, -torch.inf).scatter(-1, places, best)

    def extra_repr(self) -> str:
        return f"k={self.k}"


def _behind(prefix: int, own: list[Part]) -> list[list[Part]]:
    """The parts of the grid's queries behind that of the prefix, if there is one."""
    return [[Rows(prefix, prefix)], own] if prefix else [own]


def _shifted(shift: int, size: int, side: int) -> int:
    """The shift of windows along a side of the grid; 0 where one window covers it."""
    if shift == 0 or surely(side > size):
        return shift
    return 0 if surely(side <= size) else shift * torch.sym_min(1, torch.sym_max(0, side - size))


def _near(axis: Tensor, radius: int) -> Tensor:
    return (axis[:, None] - axis[None, :]).abs() <= radius


def _pair(field: str, what: str, value: int | tuple[int, int], *, least: int) -> tuple[int, int]:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2 or not all(is_integer(side) and side >= least for side in pair):
        allowed = f"an integer or two, at least {least}"
        raise ValueError(f"{field} of {what} must be {allowed}. Got {value!r} instead.")
    return int(pair[0]), int(pair[1])
