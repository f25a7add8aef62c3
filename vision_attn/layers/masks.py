"""What the queries may see beyond what the pattern says: padding, masks over pairs, the causal order.

B batch, H heads, N queries, M keys; a part is a set of queries with the keys that they meet (layers.parts).
"""

import dataclasses

import torch
from torch import Tensor

from vision_attn.layers.parts import Part, Rows, Tiles
from vision_attn.layers.shapes import Bool
from vision_attn.layers.tiling import Tiling


@dataclasses.dataclass(frozen=True)
class Visible:
    """The keys that may be seen at all, and pair by pair; None: all.

    `pairs` is bool, True where the query may see the key, or floating: then it is added to the scores, and what is at
    or below the least number of its type, or of the scores' type, is not seen.
    """

    keys: Bool[Tensor, "B M"] | None = None
    pairs: Tensor | None = None
    causal: bool = False

    @property
    def everything(self) -> bool:
        """Whether nothing is hidden and nothing added."""
        return self.keys is None and self.pairs is None and not self.causal

    def keys_of_any(self) -> Bool[Tensor, "B M"] | None:
        """The keys that some query may see, the causal order apart; None: all."""
        if self.pairs is None:
            return self.keys
        pairs = self.pairs
        met = (pairs if pairs.dtype == torch.bool else ~(pairs <= torch.finfo(pairs.dtype).min)).any(dim=2).any(dim=1)
        return met if self.keys is None else self.keys & met

    def only_causal(self, part: Part) -> bool:
        """Whether the fused kernel's own causal order says it all."""
        return self.causal and self.keys is None and self.pairs is None and type(part) is Rows and part.stop is None

    def explicit(self, queries: int, keys: int, device: torch.device) -> "Visible":
        """The same with the causal order among the pairs."""
        if not self.causal:
            return self
        order = causal_pairs(queries, keys, device)
        if self.pairs is None:
            return Visible(self.keys, order)
        pairs = self.pairs
        return Visible(self.keys, pairs & order if pairs.dtype == torch.bool else torch.where(order, pairs, -torch.inf))

    def of(self, part: Part, *, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Which pairs of a part may see each other, and what is added to their scores, to be broadcast; None: all, 0.

        `like` is a tensor of the type of the scores.
        """
        allowed, added = part.mask(like.device), None
        if self.keys is not None:
            allowed = _both(allowed, part.keys(self.keys[:, None, :, None]).transpose(-2, -1))
        if self.pairs is not None:
            met = part.pairs(self.pairs)
            if met.dtype == torch.bool:
                allowed = _both(allowed, met)
            else:
                least = max(torch.finfo(met.dtype).min, torch.finfo(like.dtype).min)
                seen = ~(met <= least)  # NaN is seen, and spreads
                allowed, added = _both(allowed, seen), torch.where(seen, met, 0).to(like.dtype)
        return allowed, added

    def in_groups(self, tiling: Tiling, *, batch: int, device: torch.device) -> "Visible":
        """The same for the tokens of every tile by themselves, tiles of one sample one after the other."""
        keys = None if self.keys is None else tiling.split(self.keys[:, None, :, None])[:, 0, :, :, 0].flatten(0, 1)
        own, pairs = tiling.together(device), None
        if self.pairs is not None:
            pairs = Tiles(tiling, 0).pairs(self.pairs)
            if own is not None:
                pairs = pairs & own if pairs.dtype == torch.bool else torch.where(own, pairs, -torch.inf)
        elif own is not None:
            pairs = own[None, None]
        if pairs is not None:
            pairs = pairs.transpose(1, 2).expand(batch, -1, -1, -1, -1).flatten(0, 1)
        return Visible(keys, pairs)


def causal_pairs(queries: int, keys: int, device: torch.device) -> Bool[Tensor, "1 1 N M"]:
    """The pairs whose key is not behind the query."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()[None, None]


def unspoilt(tokens: Tensor, keys: Bool[Tensor, "B M"] | None) -> Tensor:
    """Tokens (B, M, C), 0 for what is neither seen nor finite: 0 times NaN would reach the gradients."""
    return tokens if keys is None else torch.where(keys[:, :, None], tokens, tokens.nan_to_num(0.0, 0.0, 0.0))


def _both(first: Tensor | None, second: Tensor) -> Tensor:
    return second if first is None else first & second
