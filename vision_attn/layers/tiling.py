"""Tokens cut into groups that see only themselves, without an N x N matrix; and back.

B batch, H heads, N tokens in raster order, D channels, P prefix tokens, G groups, n tokens a group, m keys a group,
k of them behind the prefix.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_attn.layers.shapes import Bool, Float


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A grid cut into tiles of equal size. With `stride` the tiles interleave: their tokens lie that far apart.

    A grid that the tile does not divide is padded below and right. With `shift` the grid is rolled first, so that
    the tiles at the border hold two or four pieces, which `labels` tells apart.
    """

    grid: tuple[int, int]
    tile: tuple[int, int]
    shift: tuple[int, int] = (0, 0)
    stride: tuple[int, int] | None = None

    @property
    def count(self) -> tuple[int, int]:
        """How many tiles below each other and beside each other."""
        return self.stride or (-(-self.grid[0] // self.tile[0]), -(-self.grid[1] // self.tile[1]))

    @property
    def padded(self) -> tuple[int, int]:
        """The grid with its padding."""
        return self.count[0] * self.tile[0], self.count[1] * self.tile[1]

    def split(self, t: Tensor) -> Tensor:
        """(B, H, N, D) to (B, H, G, n, D); padding is 0."""
        t = t.unflatten(2, self.grid)
        if self.padded != self.grid:
            t = F.pad(t, (0, 0, 0, self.padded[1] - self.grid[1], 0, self.padded[0] - self.grid[0]))
        if any(self.shift):
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
        if any(self.shift):
            t = t.roll(self.shift, dims=(2, 3))
        return t[:, :, : self.grid[0], : self.grid[1]].flatten(2, 3)

    def labels(self, device: torch.device) -> Tensor | None:
        """(G, n): tokens of a tile with equal labels may see each other, padding has 0. None: all may."""
        if self.padded == self.grid and not any(self.shift):
            return None
        y, x = (torch.arange(side, device=device) for side in self.grid)
        if any(self.shift):
            y, x = (
                (a - s).div(t, rounding_mode="floor") for a, s, t in zip((y, x), self.shift, self.tile, strict=True)
            )
            own = (y[:, None] + 1) * (self.grid[1] + 1) + x + 2
        else:
            own = torch.ones(self.grid, dtype=torch.long, device=device)
        return self.split(own.reshape(1, 1, -1, 1))[0, 0, :, :, 0]


@dataclasses.dataclass(frozen=True)
class Rows:
    """The queries of the prefix, or with `stop` None all queries, meet all keys."""

    prefix: int
    stop: int | None = None

    def queries(self, t: Float[Tensor, "B H N D"]) -> Float[Tensor, "B H n D"]:
        return t[:, :, : self.stop]

    def keys(self, t: Float[Tensor, "B H M D"]) -> Float[Tensor, "B H M D"]:
        return t

    def back(self, t: Float[Tensor, "B H n D"]) -> Float[Tensor, "B H n D"]:
        """The queries' results in their order."""
        return t

    def mask(self, device: torch.device) -> None:
        """Which pairs may see each other; None: all."""

    def places(self, places: Float[Tensor, "N 2"]) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 2"]] | None:
        """Where the queries and the keys lie; None: nowhere."""
        return (places, places) if self.stop is None else None

    def widen(self, bias: Float[Tensor, "H N N"]) -> Float[Tensor, "H n M"]:
        """What is added to the scores, with 0 for the prefix."""
        return F.pad(bias, (self.prefix, 0, self.prefix, 0))

    def spread(self, weights: Float[Tensor, "B H n M"]) -> Float[Tensor, "B H n M"]:
        """The weights of the queries for every key."""
        return weights


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The queries behind the prefix meet the prefix and the keys of their own tile.

    With `others_only` a query meets neither the prefix nor itself there: it has met them in another part.
    """

    tiling: Tiling
    prefix: int
    others_only: bool = False

    def queries(self, t: Float[Tensor, "B H N D"]) -> Float[Tensor, "B H G n D"]:
        return self.tiling.split(t[:, :, self.prefix :])

    def keys(self, t: Float[Tensor, "B H N D"]) -> Float[Tensor, "B H G m D"]:
        tiles = self.met(t[:, :, self.prefix :])
        if self.others_only or not self.prefix:
            return tiles
        first = t[:, :, None, : self.prefix].expand(-1, -1, tiles.shape[2], -1, -1)
        return torch.cat([first, tiles], dim=3)

    def met(self, t: Tensor) -> Tensor:
        """(B, H, N, D) to (B, H, G, k, D): what lies in the tile; padding is 0."""
        return self.tiling.split(t)

    def back(self, t: Float[Tensor, "B H G n D"]) -> Float[Tensor, "B H N D"]:
        """The queries' results in raster order."""
        return self.tiling.merge(t)

    def mask(self, device: torch.device) -> Bool[Tensor, "G n m"] | None:
        """Which pairs may see each other; None: all."""
        labels, (ny, nx) = self.tiling.labels(device), self.tiling.tile
        if self.others_only:
            others = ~torch.eye(ny * nx, dtype=torch.bool, device=device)[None]
            return others if labels is None else others & (labels[:, :, None] == labels[:, None, :])
        if labels is None:
            return None
        return F.pad(labels[:, :, None] == labels[:, None, :], (self.prefix, 0), value=True)

    def places(self, places: Float[Tensor, "N 2"]) -> tuple[Float[Tensor, "G n 2"], Float[Tensor, "G k 2"]]:
        """Where the queries and the keys behind the prefix lie."""
        return self.tiling.split(places[None, None])[0, 0], self.met(places[None, None])[0, 0]

    def widen(self, bias: Float[Tensor, "H G n k"]) -> Float[Tensor, "H G n m"]:
        """What is added to the scores, with 0 for the prefix."""
        return bias if self.others_only else F.pad(bias, (self.prefix, 0))

    def spread(self, weights: Float[Tensor, "B H G n m"]) -> Float[Tensor, "B H N M"]:
        """The weights of the queries for every key, 0 for those that they do not meet."""
        number = self.tiling.grid[0] * self.tiling.grid[1]
        rows, met = self.numbers(weights.device)
        columns = met + self.prefix
        if not self.others_only:
            first = torch.arange(self.prefix, device=weights.device).expand(len(rows), -1)
            columns = torch.cat([first, columns], dim=1)
        full = weights.new_zeros(*weights.shape[:2], number + 1, self.prefix + number + 1)
        full[:, :, rows[:, :, None], columns[:, None, :]] = weights
        return torch.cat([full[:, :, 1:, : self.prefix], full[:, :, 1:, self.prefix + 1 :]], dim=-1)

    def numbers(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(G, n) and (G, k): the tokens of the grid that the queries and keys are, counted from 1; padding has 0."""
        own = torch.arange(1, self.tiling.grid[0] * self.tiling.grid[1] + 1, device=device).reshape(1, 1, -1, 1)
        return self.tiling.split(own)[0, 0, :, :, 0], self.met(own)[0, 0, :, :, 0]


@dataclasses.dataclass(frozen=True)
class Surroundings(Tiles):
    """The queries behind the prefix meet the prefix and the keys at most `radius` rows and columns away.

    Those of a tile share the keys of the tile and of `halo` rows and columns on each side of it.
    """

    radius: int = 0
    halo: tuple[int, int] = (0, 0)

    def met(self, t: Tensor) -> Tensor:
        """(B, H, N, D) to (B, H, G, k, D): what lies in the tile and its halo; padding is 0."""
        if not any(self.halo):
            return self.tiling.split(t)
        (rows, columns), (y, x) = self.tiling.grid, self.halo
        (ny, nx), padded = self.tiling.tile, self.tiling.padded
        t = F.pad(t.unflatten(2, self.tiling.grid), (0, 0, x, x + padded[1] - columns, y, y + padded[0] - rows))
        t = t.unfold(2, ny + 2 * y, ny).unfold(3, nx + 2 * x, nx)
        return t.permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 5).flatten(2, 3)

    def mask(self, device: torch.device) -> Bool[Tensor, "G n m"]:
        """Which pairs may see each other."""
        queries, keys = self.numbers(device)
        columns = self.tiling.grid[1]
        near = (keys > 0)[:, None, :]
        for place in (lambda number: (number - 1) // columns, lambda number: (number - 1) % columns):
            near = near & ((place(queries)[:, :, None] - place(keys)[:, None, :]).abs() <= self.radius)
        return F.pad(near, (self.prefix, 0), value=True)
