"""Parts: sets of queries with the keys that they meet, as a pattern cuts them.

B batch, H heads, N queries, M keys, D channels, P prefix tokens, G groups, n queries and m keys a group, k of them
behind the prefix.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_attn.layers.positions import coordinates
from vision_attn.layers.shapes import Bool, Float
from vision_attn.layers.tiling import Tiling


class Edges(NamedTuple):
    """What is added to all scores of prefix tokens with the grid, of the grid with them, and among them: (H, 1, 1)."""

    from_prefix: Tensor
    to_prefix: Tensor
    within: Tensor


def _framed(bias: Float[Tensor, "H *G n k"], edges: Edges | None, prefix: int, *, above: bool) -> Tensor:
    """With columns for the prefix before it, with `above` its rows, too: of `edges`, or of 0."""
    if not prefix:
        return bias
    if edges is None:
        return F.pad(bias, (prefix, 0, prefix if above else 0, 0))
    from_prefix, to_prefix, within = (edge.reshape(-1, *[1] * (bias.ndim - 1)) for edge in edges)
    bias = torch.cat([to_prefix.expand(*bias.shape[:-1], prefix), bias], dim=-1)
    if not above:
        return bias
    rows = [within.expand(-1, prefix, prefix), from_prefix.expand(-1, prefix, bias.shape[-1] - prefix)]
    return torch.cat([torch.cat(rows, dim=-1), bias], dim=-2)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The queries of the prefix, or with `stop` None all queries, meet all keys."""

    prefix: int
    stop: int | None = None

    @property
    def hides(self) -> bool:
        """Whether some queries and keys that meet do not see each other."""
        return False

    def queries(self, t: Float[Tensor, "B H N D"]) -> Float[Tensor, "B H n D"]:
        return t if self.stop is None else t[:, :, : self.stop]

    def keys(self, t: Tensor) -> Tensor:
        return t

    def back(self, t: Float[Tensor, "B H n D"]) -> Float[Tensor, "B H n D"]:
        """The queries' results in their order."""
        return t

    def again(self, t: Float[Tensor, "B H n D"]) -> Float[Tensor, "B H n D"]:
        """What `back` was given."""
        return t

    def mask(self, device: torch.device) -> Bool[Tensor, "n M"] | None:
        """Which pairs may see each other; None: all."""
        return None

    def pairs(self, mask: Tensor) -> Tensor:
        """What a mask (B, H, N, M) says of the pairs that meet."""
        return mask if self.stop is None else mask[:, :, : self.stop]

    def places(self, places: Float[Tensor, "N 2"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "N 2"]]:
        """Where the queries and the keys behind the prefix lie to each other."""
        return places if self.stop is None else places[:0], places

    def widen(self, bias: Float[Tensor, "H k N"], edges: Edges | None) -> Float[Tensor, "H n M"] | None:
        """What is added to the scores, with those of the prefix; None: 0."""
        if self.stop is not None and edges is None:
            return None
        return _framed(bias, edges, self.prefix, above=True)


@dataclasses.dataclass(frozen=True)
class Masked(Rows):
    """All queries meet all keys; `seen` says which of them they see, in the place of tiles.

    Where it is kept from call to call (layers.kept), `added` gives what is added to scores of a type.
    """

    seen: Bool[Tensor, "M M"] | None = None
    added: Callable[[torch.dtype], Tensor | None] | None = None

    @property
    def hides(self) -> bool:
        return True

    def mask(self, device: torch.device) -> Bool[Tensor, "n M"]:
        """Which pairs may see each other: the prefix and the whole, and the pairs of the pattern."""
        assert self.seen is not None
        return self.seen


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The queries behind the prefix meet the prefix and the keys of their own tile.

    With `others_only` a query meets neither the prefix nor itself there: it has met them in another part.
    """

    tiling: Tiling
    prefix: int
    others_only: bool = False

    @property
    def hides(self) -> bool:
        """Whether some queries and keys of a tile, other than a token and itself, do not see each other."""
        return self.tiling.shifted or not self.tiling.exact

    @property
    def counts(self) -> tuple[int, int, int]:
        """(G, n, m): how many groups, and how many queries and keys behind the prefix each."""
        (gy, gx), (ny, nx) = self.tiling.count, self.tiling.tile
        return gy * gx, ny * nx, ny * nx

    def queries(self, t: Float[Tensor, "B H N D"]) -> Float[Tensor, "B H G n D"]:
        return self.tiling.split(t[:, :, self.prefix :])

    def keys(self, t: Tensor) -> Tensor:
        """(B, H, M, D) to (B, H, G, m, D)."""
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

    def again(self, t: Float[Tensor, "B H N D"]) -> Float[Tensor, "B H G n D"]:
        """What `back` was given; padding is 0."""
        return self.tiling.split(t)

    def mask(self, device: torch.device) -> Bool[Tensor, "G n m"] | None:
        """Which pairs may see each other; None: all."""
        together, (ny, nx) = self.tiling.together(device), self.tiling.tile
        if self.others_only:
            others = ~torch.eye(ny * nx, dtype=torch.bool, device=device)[None]
            return others if together is None else others & together
        return None if together is None else F.pad(together, (self.prefix, 0), value=True)

    def pairs(self, mask: Tensor) -> Tensor:
        """What a mask (B, H, N, M) says of the pairs that meet: (B, H, G, n, m); False or 0 for padding."""
        rows, columns = self.indices(mask.device)
        whole = F.pad(mask[:, :, self.prefix :], (1, 0, 1, 0))
        return whole[:, :, rows[:, :, None], columns[:, None, :]]

    def places(self, places: Float[Tensor, "N 2"]) -> tuple[Tensor, Tensor]:
        """Where the queries and the keys behind the prefix lie to each other: (G, n, 2) and (G, k, 2), G 1 if alike."""
        if self.tiling.congruent:
            own = self.tiling.local(places.device)[None]
            return own, own
        return self.tiling.split(places[None, None])[0, 0], self.met(places[None, None])[0, 0]

    def widen(self, bias: Float[Tensor, "H g n k"], edges: Edges | None) -> Float[Tensor, "H g n m"]:
        """What is added to the scores, with those of the prefix."""
        return bias if self.others_only else _framed(bias, edges, self.prefix, above=False)

    def indices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(G, n) and (G, m): which query behind the prefix and which key they are, counted from 1; padding has 0."""
        own = torch.arange(1, self.tiling.grid[0] * self.tiling.grid[1] + 1, device=device).reshape(1, 1, -1, 1)
        rows, met = self.tiling.numbers(device), self.met(own)[0, 0, :, :, 0]
        columns = torch.where(met > 0, met + self.prefix, 0)
        if self.others_only or not self.prefix:
            return rows, columns
        first = torch.arange(1, self.prefix + 1, device=device).expand(len(rows), -1)
        return rows, torch.cat([first, columns], dim=1)


@dataclasses.dataclass(frozen=True)
class Surroundings(Tiles):
    """The queries behind the prefix meet the prefix and the keys at most `radius` rows and columns away.

    Those of a tile share the keys of the tile and of `halo` rows and columns on each side of it.
    """

    radius: int = 0
    halo: tuple[int, int] = (0, 0)

    @property
    def hides(self) -> bool:
        return True

    @property
    def counts(self) -> tuple[int, int, int]:
        (gy, gx), (ny, nx), (y, x) = self.tiling.count, self.tiling.tile, self.halo
        return gy * gx, ny * nx, (ny + 2 * y) * (nx + 2 * x)

    def met(self, t: Tensor) -> Tensor:
        """(B, H, N, D) to (B, H, G, k, D): what lies in the tile and its halo; padding is 0."""
        (rows, columns), (y, x) = self.tiling.grid, self.halo
        (ny, nx), padded = self.tiling.tile, self.tiling.padded
        t = F.pad(t.unflatten(2, self.tiling.grid), (0, 0, x, x + padded[1] - columns, y, y + padded[0] - rows))
        t = t.unfold(2, ny + 2 * y, ny).unfold(3, nx + 2 * x, nx)
        return t.permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 5).flatten(2, 3)

    def places(self, places: Float[Tensor, "N 2"]) -> tuple[Float[Tensor, "1 n 2"], Float[Tensor, "1 k 2"]]:
        """Where the queries and the keys behind the prefix lie to each other."""
        (ny, nx), (y, x) = self.tiling.tile, self.halo
        rows, columns = coordinates((ny + 2 * y, nx + 2 * x), device=places.device).unbind(-1)
        return self.tiling.local(places.device)[None], torch.stack([rows - y, columns - x], dim=-1)[None]

    def mask(self, device: torch.device) -> Bool[Tensor, "G n m"]:
        """Which pairs may see each other."""
        queries, keys = self.places(torch.empty(0, 2, device=device))
        near = ((queries[0, :, None] - keys[0, None, :]).abs() <= self.radius).all(dim=-1)
        there = self.indices(device)[1][:, None, self.prefix :] > 0
        return F.pad(near & there, (self.prefix, 0), value=True) if self.prefix else near & there


Part: TypeAlias = Rows | Tiles
