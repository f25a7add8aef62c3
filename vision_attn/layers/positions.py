"""Where the tokens lie: position encodings. Each says how it works at another grid than the one it was built for.

B batch, H heads, N tokens in raster order, C channels, D channels a head; a grid is (rows, columns).
An encoding acts in one of three places: on the tokens, on the queries and keys, or on the scores.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.shapes import Float


def sincos2d(grid: tuple[int, int], dim: int, *, temperature: float = 10000.0) -> Tensor:
    """The fixed 2-D sine-cosine embedding (1, N, dim) of Beyer et al. 2022, arXiv:2205.01580.

    A quarter of the channels each for sin(x w), cos(x w), sin(y w), cos(y w), w = temperature^(-i / (dim/4 - 1)).
    Raises `ValueError` where `dim` is not divisible by 4 or less than 8.
    """
    if dim % 4 or dim < 8:
        raise ValueError(f"dim of sincos2d must be a multiple of 4, at least 8. Got {dim!r} instead.")
    y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in grid), indexing="ij")
    omega = temperature ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4 - 1))
    angles = [axis.flatten()[:, None] * omega for axis in (x, y)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)[None].float()


def coordinates(grid: tuple[int, int], *, device: torch.device, step: int = 1) -> Float[Tensor, "N 2"]:
    """(row, column) of every token in raster order; with `step`, of the middle of every step x step cell."""
    axes = [torch.arange(size, device=device, dtype=torch.float32) * step + (step - 1) / 2 for size in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


class Position(nn.Module):
    """A position encoding, built for a `grid`. A subclass overrides the one method that `acts_on` names."""

    acts_on: ClassVar[Literal["tokens", "queries and keys", "scores"]] = "tokens"

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        if len(grid) != 2 or min(grid) < 1:
            allowed = "two numbers, each at least 1"
            raise ValueError(f"grid of {type(self).__name__} must be {allowed}. Got {grid!r} instead.")
        self.grid = (int(grid[0]), int(grid[1]))

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        """The tokens with their place added."""
        return x

    def rotate(self, t: Float[Tensor, "B H N D"], places: Float[Tensor, "N 2"]) -> Float[Tensor, "B H N D"]:
        """Queries or keys turned by their place (row, column)."""
        return t

    def bias(
        self, q_places: Float[Tensor, "*G N 2"], k_places: Float[Tensor, "*G M 2"], extent: tuple[int, int]
    ) -> Float[Tensor, "H *G N M"]:
        """What is added to the scores; `extent` is the part of the grid over which pairs can lie."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"grid={self.grid}"


class LearnedPosition(Position):
    """A learned vector for every place, added to the tokens (Dosovitskiy et al. 2021, arXiv:2010.11929).

    At another grid: the grid of vectors is interpolated (bicubic, antialiased), as timm does.
    """

    def __init__(self, grid: tuple[int, int], dim: int) -> None:
        super().__init__(grid)
        self.dim = dim
        self.pos_embed = nn.Parameter(torch.empty(1, grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        if grid == self.grid:
            return x + self.pos_embed
        image = self.pos_embed.transpose(1, 2).unflatten(2, self.grid)
        return x + F.interpolate(image, grid, mode="bicubic", antialias=True).flatten(2).transpose(1, 2)


class SinCosPosition(Position):
    """The fixed 2-D sine-cosine embedding `sincos2d`, added to the tokens (Beyer et al. 2022, arXiv:2205.01580).

    At another grid: by construction, the formula is evaluated at the places of that grid.
    """

    embedding: Tensor

    def __init__(self, grid: tuple[int, int], dim: int, *, temperature: float = 10000.0) -> None:
        super().__init__(grid)
        self.dim, self.temperature = dim, temperature
        self.register_buffer("embedding", sincos2d(self.grid, dim, temperature=temperature), persistent=False)

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        if grid == self.grid:
            return x + self.embedding.to(x.dtype)
        return x + sincos2d(grid, self.dim, temperature=self.temperature).to(x)


class ConvPosition(Position):
    """x + a depthwise k x k convolution of x over the grid, zero-padded: neighbours and borders tell the place.

    Conditional position encoding (Chu et al. 2021, arXiv:2102.10882). At another grid: by construction, the same
    kernel slides over it.
    """

    def __init__(self, grid: tuple[int, int], dim: int, *, kernel_size: int = 3) -> None:
        super().__init__(grid)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size of ConvPosition must be odd. Got {kernel_size!r} instead.")
        self.dim = dim
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        return x + self.conv(x.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)


class Rotary(Position):
    """Axial 2-D rotary embedding: q . k depends on places by their difference alone (Su et al. 2021; Heo et al. 2024).

    Half of the channels turn with the row, half with the column, pair i by place * temperature^(-4 i / D)
    (arXiv:2104.09864, arXiv:2403.13298). At another grid, square or not: by construction, places are counted in tokens.
    """

    acts_on = "queries and keys"
    omega: Tensor

    def __init__(self, grid: tuple[int, int], head_dim: int, *, temperature: float = 100.0) -> None:
        super().__init__(grid)
        if head_dim < 4 or head_dim % 4:
            raise ValueError(f"head_dim of Rotary must be a multiple of 4. Got {head_dim!r} instead.")
        self.head_dim = head_dim
        omega = temperature ** -(torch.arange(0, head_dim, 4, dtype=torch.float64) / head_dim)
        self.register_buffer("omega", omega.float(), persistent=False)

    def rotate(self, t: Float[Tensor, "B H N D"], places: Float[Tensor, "N 2"]) -> Float[Tensor, "B H N D"]:
        angles = (places.to(self.omega.dtype)[:, :, None] * self.omega).flatten(1)
        cos, sin = angles.cos().to(t.dtype), angles.sin().to(t.dtype)
        even, odd = t.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class RelativeBias(Position):
    """A learned number for every head and 2-D offset between two tokens, added to the score (Liu et al. 2021, Swin).

    `grid` is the part of the token grid over which pairs lie: the window with a window pattern, else the whole.
    At another: the table of offsets is interpolated (bicubic), as for BEiT and Swin in timm. arXiv:2103.14030.
    """

    acts_on = "scores"

    def __init__(self, grid: tuple[int, int], num_heads: int) -> None:
        super().__init__(grid)
        self.num_heads = num_heads
        offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def bias(
        self, q_places: Float[Tensor, "*G N 2"], k_places: Float[Tensor, "*G M 2"], extent: tuple[int, int]
    ) -> Float[Tensor, "H *G N M"]:
        table = self.relative_position_bias_table.T.unflatten(1, (2 * self.grid[0] - 1, 2 * self.grid[1] - 1))
        if extent != self.grid:
            sizes = (2 * extent[0] - 1, 2 * extent[1] - 1)
            table = F.interpolate(table[None], sizes, mode="bicubic", align_corners=True)[0]
        offsets = q_places[..., :, None, :] - k_places[..., None, :, :]
        row = (offsets[..., 0].long() + extent[0] - 1).clamp(0, 2 * extent[0] - 2)
        column = (offsets[..., 1].long() + extent[1] - 1).clamp(0, 2 * extent[1] - 2)
        return table.flatten(1)[:, row * (2 * extent[1] - 1) + column]
