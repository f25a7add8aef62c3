"""Tokens cut into groups that see only themselves, without an N x N matrix; and back.

B batch, H heads, N tokens in raster order, D channels, G groups, n tokens a group.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_attn.layers.positions import coordinates
from vision_attn.layers.shapes import Bool, Float
from vision_attn.layers.symbolic import covering, surely


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A grid cut into tiles of equal size. With `stride` the tiles interleave: their tokens lie that far apart.

    A grid that the tile does not divide is padded below and right. With `shift` the grid is rolled first, so that
    the tiles at the border hold two or four pieces, which `labels` tells apart. `congruent` says that the tokens of
    every tile lie to each other as those of the first.
    """

    grid: tuple[int, int]
    tile: tuple[int, int]
    shift: tuple[int, int] = (0, 0)
    stride: tuple[int, int] | None = None
    congruent: bool = True

    @property
    def count(self) -> tuple[int, int]:
        """How many tiles below each other and beside each other."""
        return self.stride or (covering(self.grid[0], self.tile[0]), covering(self.grid[1], self.tile[1]))

    @property
    def padded(self) -> tuple[int, int]:
        """The grid with its padding."""
        return self.count[0] * self.tile[0], self.count[1] * self.tile[1]

    @property
    def exact(self) -> bool:
        """Whether there is no padding."""
        return all(surely(side % size == 0) for side, size in zip(self.grid, self.stride or self.tile, strict=True))

    @property
    def settled(self) -> bool:
        """Whether nothing needs to be asked about sizes that are free in a graph: that would fix them.

        Asked about would be whether there is padding, and whether a number of tiles or of their tokens is 1.
        """
        free = [size for size in (*self.tile, *self.count) if isinstance(size, torch.SymInt)]
        return not free or (self.exact and all(surely(size > 1) for size in free))

    @property
    def shifted(self) -> bool:
        return not (surely(self.shift[0] == 0) and surely(self.shift[1] == 0))

    def split(self, t: Tensor) -> Tensor:
        """(B, H, N, D) to (B, H, G, n, D); padding is 0."""
        t = t.unflatten(2, self.grid)
        if not self.exact:
            t = F.pad(t, (0, 0, 0, self.padded[1] - self.grid[1], 0, self.padded[0] - self.grid[0]))
        if self.shifted:
            t = t.roll((-self.shift[0], -self.shift[1]), dims=(2, 3))
        (gy, gx), (ny, nx) = self.count, self.tile
        if self.stride:
            t = t.unflatten(3, (nx, gx)).unflatten(2, (ny, gy)).permute(0, 1, 3, 5, 2, 4, 6)
        else:
            t = t.unflatten(3, (gx, nx)).unflatten(2, (gy, ny)).permute(0, 1, 2, 4, 3, 5, 6)
        return t.flatten(4, 5).flatten(2, 3)

    def merge(self, t: Tensor) -> Tensor:
        """(B, H, G, n, D) back to (B, H, N, D), without the padding."""
        t = t.unflatten(3, self.tile).unflatten(2, self.count)
        order = (0, 1, 4, 2, 5, 3, 6) if self.stride else (0, 1, 2, 4, 3, 5, 6)
        t = t.permute(order).flatten(4, 5).flatten(2, 3)
        if self.shifted:
            t = t.roll(self.shift, dims=(2, 3))
        return (t if self.exact else t[:, :, : self.grid[0], : self.grid[1]]).flatten(2, 3)

    def labels(self, device: torch.device) -> Tensor | None:
        """(G, n): tokens of a tile with equal labels may see each other, padding has 0. None: all may."""
        if self.exact and not self.shifted:
            return None
        if self.shifted:
            y, x = self.pieces(device)
            own = (y[:, None] + 1) * (self.grid[1] + 1) + x + 2
        else:
            own = torch.ones(self.grid, dtype=torch.long, device=device)
        return self.split(own.reshape(1, 1, -1, 1))[0, 0, :, :, 0]

    def pieces(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """For every row and for every column of the grid the number of the piece that it belongs to."""
        y, x = (torch.arange(side, device=device) for side in self.grid)
        if self.stride:
            return y % self.stride[0], x % self.stride[1]
        below, right = y - self.shift[0], x - self.shift[1]
        return below.div(self.tile[0], rounding_mode="floor"), right.div(self.tile[1], rounding_mode="floor")

    def together(self, device: torch.device) -> Bool[Tensor, "G n n"] | None:
        """Which tokens of a tile may see each other; None: all."""
        labels = self.labels(device)
        return None if labels is None else labels[:, :, None] == labels[:, None, :]

    @property
    def step(self) -> tuple[int, int]:
        """How far apart neighbours of a tile lie in the grid."""
        return self.stride or (1, 1)

    def local(self, device: torch.device) -> Float[Tensor, "n 2"]:
        """Where the tokens of a tile lie to its first: (rows, columns)."""
        return coordinates(self.tile, device=device, step=self.step)

    def seen(self, device: torch.device) -> Bool[Tensor, "N N"]:
        """Which tokens of the grid may see each other: those whose rows and columns belong to the same pieces."""
        rows, columns = (own[:, None] == own[None, :] for own in self.pieces(device))
        return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(2, 3).flatten(0, 1)

    def numbers(self, device: torch.device) -> Tensor:
        """(G, n): the tokens of the grid that lie in the tiles, counted from 1; padding has 0."""
        own = torch.arange(1, self.grid[0] * self.grid[1] + 1, device=device).reshape(1, 1, -1, 1)
        return self.split(own)[0, 0, :, :, 0]
