"""What one call of Attention is about: its tokens, how they lie, and what they may see, all of it checked.

B batch, N queries, M keys, C channels, H heads.
"""

import dataclasses
from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vision_attn.layers import checks
from vision_attn.layers.masks import Visible
from vision_attn.layers.positions import a_grid
from vision_attn.layers.symbolic import surely, traced
from vision_attn.layers.tiling import Tiling

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention


class Masks(NamedTuple):
    """What a caller says may not be seen."""

    key_padding_mask: Tensor | None = None
    attn_mask: Tensor | None = None
    is_causal: bool = False


@dataclasses.dataclass(frozen=True)
class Call:
    """Tokens (B, N, C), those that keys and values come from if they are others, and the grid behind the prefix.

    `extent` is the part of the grid over which two tokens that see each other can lie; neighbours in the grid lie
    `step` apart. With a `tiling` each of its tiles is a sample of its own, and `grid` a tile: the pattern has no more
    to say. `keys` (B, M) is True at the keys, tokens or their source, that may be seen at all; None: all.
    """

    tokens: Tensor
    source: Tensor | None
    grid: tuple[int, int]
    extent: tuple[int, int]
    prefix: int
    visible: Visible
    step: tuple[int, int] = (1, 1)
    tiling: Tiling | None = None
    keys: Tensor | None = None

    @property
    def empty(self) -> bool:
        """Whether there are no tokens behind the prefix."""
        return surely(self.grid[0] == 0) or surely(self.grid[1] == 0)

    @property
    def explicitly_visible(self) -> Visible:
        """What may be seen, with the causal order as pairs."""
        keys = self.tokens if self.source is None else self.source
        return self.visible.explicit(self.tokens.shape[1], keys.shape[1], self.tokens.device)

    def in_groups(self, tiling: Tiling) -> "Call":
        """The same with every tile as a sample of its own."""
        visible = self.explicitly_visible
        visible = visible.in_groups(tiling, batch=self.tokens.shape[0], device=self.tokens.device)
        return dataclasses.replace(self, grid=tiling.tile, visible=visible, step=tiling.step, tiling=tiling)


def read(
    layer: "Attention",
    x: Tensor,
    *,
    context: Tensor | None = None,
    masks: Masks | None = None,
    grid: tuple[int, int] | None = None,
) -> Call:
    """The call, its positions on tokens added. Raises `ValueError` where an argument does not fit."""
    checks.numbers("x", x)
    if context is not None:
        checks.numbers("context", context)
    shape = grid_of(layer, x, grid)
    tokens, source = checks.tokens(layer, x, context)
    visible = Visible()
    if masks is not None and any(mask is not None and mask is not False for mask in masks):
        checks.order(masks.is_causal)
        padding, keys = masks.key_padding_mask, tokens if source is None else source
        pairs = checks.masks(layer, tokens, keys, key_padding_mask=padding, attn_mask=masks.attn_mask)
        visible = Visible(None if padding is None else ~padding, pairs, causal=masks.is_causal)
    extent = layer.pattern.extent(shape) if layer.position is not None else shape
    call = Call(tokens, source, shape, extent, layer.num_prefix_tokens, visible, keys=visible.keys)
    placed = _placed(layer, call)
    return call if placed is tokens else dataclasses.replace(call, tokens=placed)


def grid_of(layer: "Attention", x: Tensor, grid: tuple[int, int] | None) -> tuple[int, int]:
    """How the tokens of x behind the prefix lie: (rows, columns).

    An image has its own; of tokens it is what the call says, else what the layer says. Where neither says it and the
    position or the pattern must know, it is a square.
    """
    stated = layer.grid if grid is None else a_grid(grid, "Attention")
    if traced(x):
        return stated or (1, 1)
    if x.ndim == 4:
        image = (x.shape[2], x.shape[3])
        checks.require(grid is None or image == stated, "grid", lambda: f"{image}, as that of the image", grid)
        return image
    number = x.shape[1] - layer.num_prefix_tokens
    if stated is not None:
        if stated[0] * stated[1] != number:
            raise _unfit(f"{stated[0]} x {stated[1]} tokens", number)
        return stated
    if not layer.on_grid or surely(number == 0):
        return 1, number
    side = isqrt(max(0, number))
    if side * side != number:
        raise _unfit("a square number of tokens", number)
    return side, side


def _unfit(allowed: str, number: int) -> ValueError:
    rest = "behind the prefix, or (B, C, H, W), or given with its grid"
    return ValueError(f"x of Attention must be {allowed} {rest}. Got '{number} tokens' instead.")


def _placed(layer: "Attention", call: Call) -> Tensor:
    """The tokens with their places added, where the position acts on tokens.

    Those that are not seen have no place among the others: a convolution finds 0 there.
    """
    position, prefix, tokens = layer.position, call.prefix, call.tokens
    if position is None or position.acts_on != "tokens" or call.empty:
        return tokens
    own = tokens[:, prefix:] if prefix else tokens
    if call.visible.keys is None:
        placed = position(own, call.grid)
    else:
        seen = call.visible.keys[:, prefix:, None]
        placed = position(own.masked_fill(~seen, 0), call.grid) + own.masked_fill(seen, 0)
    return torch.cat([tokens[:, :prefix].to(placed.dtype), placed], dim=1) if prefix else placed
