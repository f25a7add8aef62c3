"""Masks of the patterns of this package, kept from call to call.

N tokens of a grid in raster order, T with the prefix tokens before them; n queries and m keys of a band.
"""

import functools
import itertools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from vision_attn.layers import patterns
from vision_attn.layers.patterns import Pattern
from vision_attn.layers.shapes import Bool, Float

WHOLE, IN_BANDS = 2**20, 2**22
"""Of at most so many pairs of tokens masks are kept, as a whole and in bands: at most 1 MiB for a whole one and 4 MiB
for what is added to float32, about twice as much for bands."""
SETTINGS: dict[type[Pattern], tuple[str, ...]] = {
    patterns.Window: ("size", "shift"),
    patterns.Neighbourhood: ("radius",),
    patterns.Dilated: ("stride",),
    patterns.Segmented: ("length",),
    patterns.Axial: (),
}
"""The patterns that are a mask, with all that it depends on beside the grid. A class made from one may say others."""
BAND, EDGES = 16, 32
"""As many scores for every token of the grid take the time of a band; bands begin at one of about so many tokens."""


class Key(NamedTuple):
    """All that a mask depends on: a class of patterns and how it is set, the grid, the tokens before it."""

    kind: type[Pattern]
    settings: tuple[tuple[str, Any], ...]
    grid: tuple[int, int]
    prefix: int

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1] + self.prefix

    @property
    def whole(self) -> bool:
        """Whether the mask is kept as a whole, too."""
        return self.tokens**2 <= WHOLE

    def pattern(self) -> Pattern:
        return self.kind(**dict(self.settings))


def is_known(pattern: Pattern) -> bool:
    """Whether it is a mask that only depends on how the pattern is set and on the grid."""
    return type(pattern) in SETTINGS


def key(pattern: Pattern, grid: tuple[int, int], prefix: int, *, most: int = WHOLE) -> Key | None:
    """What the mask of a pattern on a CPU is kept by; None where it is not, or has more than so many pairs."""
    names = SETTINGS.get(type(pattern))
    if names is None or (grid[0] * grid[1] + prefix) ** 2 > most:
        return None
    settings = tuple((name, getattr(pattern, name)) for name in names)
    hashable = all(isinstance(value, int | tuple) for _, value in settings)
    return Key(type(pattern), settings, grid, prefix) if hashable else None


def framed(seen: Bool[Tensor, "N N"], prefix: int) -> Bool[Tensor, "T T"]:
    """With the prefix, which sees and is seen by all."""
    return F.pad(seen, (prefix, 0, prefix, 0), value=True) if prefix else seen


@functools.lru_cache(maxsize=8)
def seen(of: Key) -> Bool[Tensor, "T T"] | None:
    """Which pairs see each other, on a CPU, the same tensor in every call; None: all. Nobody changes anything in it."""
    with torch.inference_mode(False), _disable_current_modes():  # what is kept serves calls outside of both
        allowed = of.pattern().seen(of.grid, torch.device("cpu"))
        return None if allowed is None else framed(allowed, of.prefix)


@functools.lru_cache(maxsize=8)
def added(of: Key, dtype: torch.dtype) -> Float[Tensor, "1 1 T T"] | None:
    """The same to be added to scores of a type: 0 and -infinity."""
    allowed = seen(of)
    if allowed is None:
        return None
    with torch.inference_mode(False), _disable_current_modes():
        return _to_be_added(allowed, dtype)


class Span(NamedTuple):
    """Neighbours in the raster as queries, and the neighbours that keys which they see lie among.

    `prefix` is how many prefix tokens, which all see, are keys before those.
    """

    queries: slice
    keys: slice
    prefix: int = 0

    def met(self, t: Float[Tensor, "B H T D"]) -> Float[Tensor, "B H m D"]:
        """Of all keys those of the span."""
        own = t[:, :, self.keys]
        return torch.cat([t[:, :, : self.prefix], own], dim=2) if self.prefix else own

    @property
    def number(self) -> int:
        """How many queries it has."""
        return self.queries.stop - self.queries.start

    @property
    def scores(self) -> int:
        """How many scores it forms."""
        return self.number * (self.keys.stop - self.keys.start + self.prefix)


@functools.lru_cache(maxsize=64)
def spans(of: Key) -> tuple[Span, ...]:
    """All queries in bands, of which none need be compared with keys before or behind what it sees.

    They are chosen so that few scores are formed, of which a band costs as many as `BAND` a token.
    """
    before, every = of.prefix, slice(0, of.tokens)
    with torch.inference_mode(False), _disable_current_modes():
        allowed = of.pattern().seen(of.grid, torch.device("cpu"))
        if allowed is None:
            return (Span(every, every),)
        found = [Span(slice(0, before), every)] if before else []
        for queries, keys in _bands(allowed):
            behind = slice(queries.start + before, queries.stop + before)
            if keys.start == 0:
                found.append(Span(behind, slice(0, keys.stop + before)))
            else:
                found.append(Span(behind, slice(keys.start + before, keys.stop + before), before))
        return tuple(found)


@functools.lru_cache(maxsize=64)
def scores(of: Key) -> int:
    """As many scores as attention in bands takes the time of."""
    return sum(span.scores + BAND * of.tokens for span in spans(of))


@functools.lru_cache(maxsize=8)
def added_in_bands(of: Key, dtype: torch.dtype) -> tuple[Float[Tensor, "1 1 n m"] | None, ...]:
    """For every band what is added to its scores."""
    with torch.inference_mode(False), _disable_current_modes():
        allowed = of.pattern().seen(of.grid, torch.device("cpu"))
        assert allowed is not None
        keys = framed(allowed, of.prefix).T[None, None]
        own = [span.met(keys)[0, 0, :, span.queries].T for span in spans(of)]
        return tuple(None if some.all() else _to_be_added(some, dtype) for some in own)


def _bands(allowed: Bool[Tensor, "N N"]) -> list[tuple[slice, slice]]:
    """Queries and keys of the bands, by the shortest way from the first token to behind the last."""
    tokens = len(allowed)
    edges = [*range(0, tokens, -(-tokens // EDGES)), tokens]
    met = [allowed[a:b].any(dim=0).nonzero() for a, b in itertools.pairwise(edges)]
    low, high = [int(keys[0]) for keys in met], [int(keys[-1]) + 1 for keys in met]
    cost, back = [0] * len(edges), [0] * len(edges)
    for stop in range(1, len(edges)):
        ways: list[tuple[int, int]] = []
        for start in range(stop):
            wide = max(high[start:stop]) - min(low[start:stop])
            ways.append((cost[start] + (edges[stop] - edges[start]) * wide + BAND * tokens, start))
        cost[stop], back[stop] = min(ways)
    found, stop = [], len(low)
    while stop:
        start = back[stop]
        keys = slice(min(low[start:stop]), max(high[start:stop]))
        found.append((slice(edges[start], edges[stop]), keys))
        stop = start
    return found[::-1]


def _to_be_added(allowed: Bool[Tensor, "n m"], dtype: torch.dtype) -> Float[Tensor, "1 1 n m"]:
    return allowed.new_zeros(tuple(allowed.shape), dtype=dtype).masked_fill_(~allowed, -torch.inf)[None, None]
