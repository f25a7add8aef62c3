"""Where the tokens lie: position encodings. Each says how it works at another grid than the one it was built for.

B batch, H heads, N tokens in raster order, C channels, D channels a head; a grid is (rows, columns).
An encoding acts in one of three places: on the tokens, on the queries and keys, or on the scores.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers import arguments
from vision_attn.layers.inputs import numbers
from vision_attn.layers.places import OfPlaces
from vision_attn.layers.precision import most_exact, wide
from vision_attn.layers.shapes import Float
from vision_attn.layers.symbolic import is_integer, surely, traced


def sincos2d(
    grid: tuple[int, int], dim: int, *, temperature: float = 10000.0, device: torch.device | None = None
) -> Tensor:
    """The fixed 2-D sine-cosine embedding (1, N, dim) of Beyer et al. 2022, arXiv:2205.01580.

    A quarter of the channels each for sin(x w), cos(x w), sin(y w), cos(y w), w = temperature^(-i / (dim/4 - 1)).
    Raises `ValueError` where `dim` is not divisible by 4 or less than 8, and for a `temperature` of 0 or less.
    """
    fits = is_integer(dim) or isinstance(dim, Tensor | torch.SymInt)  # these in graphs, where a size is no number
    if not fits or dim % 4 or dim < 8:
        raise ValueError(f"dim of sincos2d must be a multiple of 4, at least 8. Got {dim!r} instead.")
    arguments.above_0("temperature", "sincos2d", temperature)
    exact = most_exact(device)
    y, x = torch.meshgrid(*(torch.arange(size, dtype=exact, device=device) for size in grid), indexing="ij")
    omega = temperature ** -(torch.arange(dim // 4, dtype=exact, device=device) / (dim // 4 - 1))
    angles = [axis.flatten()[:, None] * omega for axis in (x, y)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)[None].float()


def coordinates(grid: tuple[int, int], *, device: torch.device, step: tuple[int, int] = (1, 1)) -> Float[Tensor, "N 2"]:
    """(row, column) of every token in raster order; with `step`, of the middle of every cell of that many tokens."""
    axes = [
        torch.arange(size, device=device, dtype=torch.float32) * apart + (apart - 1) / 2
        for size, apart in zip(grid, step, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)


@functools.lru_cache(maxsize=16)
def kept_coordinates(grid: tuple[int, int]) -> Float[Tensor, "N 2"]:
    """`coordinates` on a CPU, the same tensor in every call: whoever asks for it changes nothing in it."""
    with torch.inference_mode(False):  # what is kept from within may be in no gradient later
        return coordinates(grid, device=torch.device("cpu"))


class Position(nn.Module):
    """A position encoding, built for a `grid`. A subclass overrides the one method that `acts_on` names."""

    acts_on: ClassVar[Literal["tokens", "queries and keys", "scores"]] = "tokens"
    places_prefix = False
    """Whether scores with prefix tokens (CLS, registers) are added to, too."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = a_grid(grid, type(self).__name__)

    def forward(self, *given: Any) -> Tensor:
        """What the one method gives that `acts_on` names: `tokens`, `rotate` or `bias`.

        Raises `ValueError` for tokens, queries and keys that are not of a floating type.
        """
        if self.acts_on != "scores":
            numbers(given[0], type(self).__name__, field="tokens" if self.acts_on == "tokens" else "queries or keys")
        of: dict[str, Callable[..., Tensor]]
        of = {"tokens": self.tokens, "queries and keys": self.rotate, "scores": self.bias}
        return of[self.acts_on](*given)

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        """The tokens with their place added."""
        return x

    def rotate(self, t: Float[Tensor, "B H N D"], places: Float[Tensor, "N 2"]) -> Float[Tensor, "B H N D"]:
        """Queries or keys turned by their place (row, column)."""
        return t

    def bias(self, q_places: Tensor | None, k_places: Tensor | None, extent: tuple[int, int]) -> Tensor:
        """What is added to the scores, (H, ..., N, M) of places (..., N, 2) and (..., M, 2).

        `extent` is the part of the grid over which pairs can lie. For pairs farther apart, which do not see each other,
        any number will do. Where it `places_prefix` it is asked for None, too: for tokens without a grid position.
        """
        raise NotImplementedError

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Be built for another grid from now on: what is learned for places becomes what it is there."""
        self.grid = a_grid(grid, type(self).__name__)

    def extra_repr(self) -> str:
        return f"grid={self.grid}"


class LearnedPosition(OfPlaces, Position):
    """A learned vector for every place, added to the tokens (Dosovitskiy et al. 2021, arXiv:2010.11929).

    At another grid: the grid of vectors is interpolated (bicubic, antialiased, in float32), as timm does. The state of
    another is refused: load it at its own, then `set_grid`.
    """

    def __init__(self, grid: tuple[int, int], dim: int) -> None:
        super().__init__(grid)
        self.dim = arguments.whole("dim", "LearnedPosition", dim)
        self.pos_embed = nn.Parameter(torch.empty(1, grid[0] * grid[1], dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        return x + (self.pos_embed if same_grid(grid, self.grid) else interpolated(self.pos_embed, self.grid, grid))

    def set_grid(self, grid: tuple[int, int]) -> None:
        grid = a_grid(grid, type(self).__name__)
        trained, places = self.pos_embed.requires_grad, interpolated(self.pos_embed.detach(), self.grid, grid)
        self.pos_embed = nn.Parameter(places, requires_grad=trained)
        super().set_grid(grid)


class SinCosPosition(Position):
    """The fixed 2-D sine-cosine embedding `sincos2d`, added to the tokens (Beyer et al. 2022, arXiv:2205.01580).

    At another grid: by construction, the formula is evaluated at the places of that grid.
    """

    embedding: Tensor

    def __init__(self, grid: tuple[int, int], dim: int, *, temperature: float = 10000.0) -> None:
        super().__init__(grid)
        self.dim, self.temperature = dim, temperature
        self.register_buffer("embedding", sincos2d(self.grid, dim, temperature=temperature), persistent=False)

    def reset_parameters(self) -> None:
        """The table computed again, where it is: it is stored nowhere."""
        self.embedding = self._table(self.grid, self.embedding.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SinCosPosition":
        """Moved as any module; but the table keeps its precision, and its numbers where memory is left unset."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.reset_parameters()
        return self

    def set_grid(self, grid: tuple[int, int]) -> None:
        super().set_grid(grid)
        self.reset_parameters()

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        stored = same_grid(grid, self.grid) and (traced(x) or self.embedding.device == x.device)
        return x + (self.embedding if stored else self._table(grid, x.device)).to(x.dtype)

    def _table(self, grid: tuple[int, int], device: torch.device) -> Tensor:
        return sincos2d(grid, self.dim, temperature=self.temperature, device=device)


class ConvPosition(Position):
    """x + a depthwise k x k convolution of x over the grid, zero-padded: neighbours and borders tell the place.

    Conditional position encoding (Chu et al. 2021, arXiv:2102.10882). At another grid: by construction, the same
    kernel slides over it.
    """

    def __init__(self, grid: tuple[int, int], dim: int, *, kernel_size: int = 3) -> None:
        super().__init__(grid)
        self.dim = arguments.whole("dim", "ConvPosition", dim)
        kernel_size = arguments.odd("kernel_size", "ConvPosition", kernel_size)
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def tokens(self, x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
        return x + self.conv(as_image(x, grid)).flatten(2).transpose(1, 2)


class Rotary(Position):
    """Axial 2-D rotary embedding: q . k depends on places by their difference alone (Su et al. 2021; Heo et al. 2024).

    Half of the channels turn with the row, half with the column, pair i by place * temperature^(-4 i / D)
    (arXiv:2104.09864, arXiv:2403.13298), in float32 whatever the type of the tokens. At another grid, square or not:
    by construction, places are counted in tokens.
    """

    acts_on = "queries and keys"

    def __init__(self, grid: tuple[int, int], head_dim: int, *, temperature: float = 100.0) -> None:
        super().__init__(grid)
        if not is_integer(head_dim) or head_dim < 4 or head_dim % 4:
            raise ValueError(f"head_dim of Rotary must be a multiple of 4. Got {head_dim!r} instead.")
        self.head_dim, self.temperature = head_dim, arguments.above_0("temperature", "Rotary", temperature)

    def rotate(self, t: Float[Tensor, "B H N D"], places: Float[Tensor, "N 2"]) -> Float[Tensor, "B H N D"]:
        exact = wide(t)
        steps = torch.arange(0, self.head_dim, 4, dtype=most_exact(t.device), device=t.device)
        omega = (self.temperature ** -(steps / self.head_dim)).float().to(exact.dtype)
        angles = (places.to(exact.dtype)[:, :, None] * omega).flatten(1)
        cos, sin = angles.cos(), angles.sin()
        even, odd = exact.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(t.dtype)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, head_dim={self.head_dim}, temperature={self.temperature}"


def a_grid(grid: Any, what: str) -> tuple[int, int]:
    """The grid as two ints. Raises `ValueError` where it is not two numbers, each at least 1."""
    pair = isinstance(grid, tuple | list) and len(grid) == 2
    if not pair or not all((is_integer(side) or isinstance(side, torch.SymInt)) and side >= 1 for side in grid):
        raise ValueError(f"grid of {what} must be two numbers, each at least 1. Got {grid!r} instead.")
    rows, columns = (side if isinstance(side, torch.SymInt) else int(side) for side in grid)
    return rows, columns  # type: ignore[return-value]


def on_grid(x: Tensor, grid: tuple[int, int], what: str) -> Tensor:
    """x (B, N, C). Raises `ValueError` where it is not of a floating type, N not that of the grid, or that none."""
    rows, columns = a_grid(grid, what)
    number = rows * columns
    if numbers(x, what).ndim != 3 or x.shape[1] != number:
        allowed = f"(B, {number}, C), {rows} x {columns} tokens"
        raise ValueError(f"x of {what} must be {allowed}. Got {tuple(x.shape)} instead.")
    return x


def as_image(x: Float[Tensor, "B N C"], grid: tuple[int, int]) -> Float[Tensor, "B C R S"]:
    """Tokens as an image, for a convolution."""
    channels = x.transpose(1, 2)
    if torch.compiler.is_compiling():
        channels = channels.contiguous()  # else a convolution asks for the order of its memory: that fixes free sides
    return channels.unflatten(2, grid)


def interpolated(places: Float[Tensor, "1 N C"], grid: tuple[int, int], to: tuple[int, int]) -> Float[Tensor, "1 M C"]:
    """Vectors of the places of a grid for those of another: bicubic, antialiased, in float32, as timm does."""
    image = _resized(wide(places).transpose(1, 2).unflatten(2, grid), to)
    return image.flatten(2).transpose(1, 2).to(places.dtype)


def _resized(image: Float[Tensor, "1 C R S"], grid: tuple[int, int]) -> Float[Tensor, "1 C P Q"]:
    """Bicubic and antialiased. In a graph with free sizes its gradient has no kernel: there it is two products."""
    if not torch.compiler.is_compiling():
        return F.interpolate(image, grid, mode="bicubic", antialias=True)
    for axis, side in enumerate(grid):
        own = torch.eye(image.shape[3 if axis else 2], dtype=image.dtype, device=image.device)[None, None]
        to = F.interpolate(own, (side, own.shape[3]), mode="bicubic", antialias=True)[0, 0]
        image = image @ to.T if axis else to @ image
    return image


def same_grid(grid: tuple[int, int], other: tuple[int, int]) -> bool:
    return surely(grid[0] == other[0]) and surely(grid[1] == other[1])
