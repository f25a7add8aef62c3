"""The relative position bias: a number for every head and offset.

B batch, H heads, N queries, M keys, G groups, T offsets; a grid is (rows, columns).
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers import arguments
from vision_attn.layers.derivatives import may_be_asked
from vision_attn.layers.places import OfPlaces
from vision_attn.layers.positions import Position, a_grid, kept_coordinates, same_grid
from vision_attn.layers.precision import wide
from vision_attn.layers.shapes import Float

PREFIX_OFFSETS = 3
"""From a prefix token to the grid, from the grid to a prefix token, from one prefix token to another or itself."""
KEPT_TOKENS = 256
"""Of grids with at most so many tokens, as windows are, the numbers of all offsets are kept: at most 512 KiB each."""


def is_kept(grid: tuple[int, int]) -> bool:
    """Whether places and offsets of a whole grid are kept from call to call."""
    return grid[0] * grid[1] <= KEPT_TOKENS


def _numbers(q_places: Tensor, k_places: Tensor, extent: tuple[int, int]) -> Tensor:
    """Where in the table the offset of every query (..., n, 2) and key (..., m, 2) lies: (..., n, m)."""
    rows, columns = (2 * side - 1 for side in extent)
    # The number of an offset is that of the query's place less that of the key's, and a constant.
    q_number, k_number = ((t[..., 0] * columns + t[..., 1]).long() for t in (q_places, k_places))
    middle = (extent[0] - 1) * columns + extent[1] - 1
    numbers = (q_number + middle)[..., :, None] - k_number[..., None, :]
    return numbers.clamp_(0, rows * columns - 1)


@functools.lru_cache(maxsize=16)
def _kept_numbers(grid: tuple[int, int]) -> Tensor:
    """Those of a whole grid with itself."""
    with torch.inference_mode(False):
        places = kept_coordinates(grid)
        return _numbers(places, places, grid)


class RelativeBias(OfPlaces, Position):
    """A learned number for every head and 2-D offset between two tokens, added to the score (Liu et al. 2021, Swin).

    `grid` is the part of the token grid over which pairs lie: the window with a window pattern, else the whole.
    At another: the table is interpolated (bicubic, in float32), its corners on the new corners, so that an offset
    means the same share of the grid. timm's rule for BEiT and Swin is another: it keeps the numbers of near offsets.
    The state of another is refused: load it at its own, then `set_grid`. arXiv:2103.14030.

    With `prefix` three more numbers a head are learned, the last rows of the table: for what prefix tokens take from
    the grid, for what the grid takes from them, and for what they take from each other, as with the class token of
    BEiT (Bao et al. 2022, arXiv:2106.08254). At another grid they stay. Without, nothing is added to those scores.
    """

    acts_on = "scores"

    def __init__(self, grid: tuple[int, int], num_heads: int, *, prefix: bool = False) -> None:
        super().__init__(grid)
        self.num_heads = arguments.whole("num_heads", "RelativeBias", num_heads)
        self.places_prefix = arguments.switch("prefix", "RelativeBias", prefix)
        offsets = self.numbers_of(self.grid) + PREFIX_OFFSETS * self.places_prefix
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def numbers_of(self, grid: tuple[int, ...]) -> int:
        return math.prod(2 * side - 1 for side in grid)

    def bias(self, q_places: Tensor | None, k_places: Tensor | None, extent: tuple[int, int]) -> Tensor:
        if q_places is None or k_places is None:
            row = 2 if q_places is k_places else int(k_places is None)
            return self.relative_position_bias_table[row - PREFIX_OFFSETS, :, None, None]
        known = q_places is k_places and may_be_asked(q_places) and is_kept(extent)
        if known and q_places is kept_coordinates(extent):
            return self._table(extent)[:, _kept_numbers(extent)]
        return self._table(extent)[:, _numbers(q_places, k_places, extent)]

    def set_grid(self, grid: tuple[int, int]) -> None:
        grid, before = a_grid(grid, "RelativeBias"), self.relative_position_bias_table
        table = self._table(grid).detach().T
        if self.places_prefix:
            table = torch.cat([table, before.detach()[-PREFIX_OFFSETS:]])
        self.relative_position_bias_table = nn.Parameter(table.contiguous(), requires_grad=before.requires_grad)
        super().set_grid(grid)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, num_heads={self.num_heads}" + (", prefix=True" if self.places_prefix else "")

    def _table(self, grid: tuple[int, int]) -> Float[Tensor, "H T"]:
        """The numbers for the offsets within a grid."""
        table = self.relative_position_bias_table.T
        table = table[:, :-PREFIX_OFFSETS] if self.places_prefix else table
        if same_grid(grid, self.grid):
            return table
        image = wide(table).unflatten(1, (2 * self.grid[0] - 1, 2 * self.grid[1] - 1))
        sides = (2 * grid[0] - 1, 2 * grid[1] - 1)
        return F.interpolate(image[None], sides, mode="bicubic", align_corners=True)[0].flatten(1).to(table.dtype)
