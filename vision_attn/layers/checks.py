"""What the arguments of Attention may be, in one sentence each: the argument, what is allowed, what was given."""

from collections.abc import Iterable
from math import isqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vision_attn.layers.patterns import Pattern, SpatialReduction, TopK
from vision_attn.layers.positions import RelativeBias
from vision_attn.layers.similarity import SIMILARITIES

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention


def require(holds: bool, field: str, allowed: str, given: Any) -> None:
    """Raise the sentence about the argument unless `holds`."""
    if not holds:
        raise ValueError(f"{field} of Attention must be {allowed}. Got {given!r} instead.")


def one_of(options: Iterable[str]) -> str:
    return "one of " + ", ".join(map(repr, options))


def widths(dim: int, num_heads: int, *, key_dim: int, value_dim: int) -> None:
    """The heads divide the widths."""
    if key_dim == dim or value_dim == dim:
        require(num_heads >= 1 and dim % num_heads == 0, "num_heads", f"a divisor of dim = {dim}", num_heads)
    require(num_heads >= 1, "num_heads", "at least 1", num_heads)
    for field, width in (("key_dim", key_dim), ("value_dim", value_dim)):
        fits = width >= 1 and width % num_heads == 0
        require(fits, field, f"a multiple of num_heads = {num_heads}", width)


def scale_of(similarity: str, scale: str | None) -> str:
    """The scale, the usual one of the similarity where none is given."""
    require(similarity in SIMILARITIES, "similarity", one_of(SIMILARITIES), similarity)
    scales = SIMILARITIES[similarity].scales
    allowed = f"{one_of(scales)} with similarity = {similarity!r}"
    require(scale is None or scale in scales, "scale", allowed, scale)
    return scales[0] if scale is None else scale


def parts(layer: "Attention") -> None:
    """The position and the pattern fit the layer."""
    position, pattern, cross = layer.position, layer.pattern, layer.context_dim is not None
    name = type(pattern).__name__
    require(layer.num_prefix_tokens >= 0, "num_prefix_tokens", "at least 0", layer.num_prefix_tokens)
    require(isinstance(pattern, Pattern), "pattern", "None or a module of vision_attn.layers.patterns", name)
    require(not cross or position is None, "position", "None with context_dim", type(position).__name__)
    require(not cross or type(pattern) in (Pattern, TopK), "pattern", "None or TopK with context_dim", name)
    for owner, field, width in (
        (position, "dim", layer.dim),
        (position, "num_heads", layer.num_heads),
        (position, "head_dim", layer.head_dim),
        (pattern, "dim", layer.dim),
    ):
        given = getattr(owner, field, width)
        place = "pattern" if owner is pattern else "position"
        require(given == width, place, f"built with {field} = {width}", f"{type(owner).__name__}({field}={given})")
    meets = isinstance(position, RelativeBias) and isinstance(pattern, SpatialReduction)
    allowed = "another than RelativeBias with the pattern SpatialReduction"
    require(not meets, "position", allowed, type(position).__name__)


def read(layer: "Attention", x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x and context as tokens (B, N, C)."""
    cross, placed = (
        layer.context_dim is not None,
        layer.position is not None or type(layer.pattern) not in (Pattern, TopK),
    )
    if context is None:
        require(not cross, "context", "given, as context_dim is", None)
        return _tokens(layer, x, "x", layer.dim), None
    alone = "None with a position, or with a pattern other than TopK: they need queries and keys on one grid"
    require(not placed, "context", alone, tuple(context.shape))
    source = _tokens(layer, context, "context", layer.context_dim or layer.dim)
    tokens = _tokens(layer, x, "x", layer.dim)
    require(len(source) == len(tokens), "context", f"of the batch size {len(tokens)}", tuple(context.shape))
    return tokens, source


def _tokens(layer: "Attention", x: Tensor, field: str, width: int) -> Tensor:
    shaped = x.ndim in (3, 4) and x.shape[2 if x.ndim == 3 else 1] == width
    require(shaped, field, f"(B, N, {width}) or (B, {width}, H, W)", tuple(x.shape))
    if x.ndim == 3:
        least = layer.num_prefix_tokens if field == "x" else 0
        require(x.shape[1] >= least, field, f"at least num_prefix_tokens = {least} tokens", tuple(x.shape))
        return x
    allowed = f"(B, N, {width}), as num_prefix_tokens is {layer.num_prefix_tokens}"
    require(layer.num_prefix_tokens == 0, field, allowed, tuple(x.shape))
    return x.flatten(2).transpose(1, 2)


def padding(layer: "Attention", mask: Tensor | None, k: Tensor) -> None:
    """The mask has one bool for every key."""
    if mask is None:
        return
    reduced = isinstance(layer.pattern, SpatialReduction)
    require(not reduced, "key_padding_mask", "None with the pattern SpatialReduction", tuple(mask.shape))
    shape = (k.shape[0], k.shape[2])
    fits = tuple(mask.shape) == shape and mask.dtype == torch.bool
    require(fits, "key_padding_mask", f"of shape {shape} and torch.bool", (tuple(mask.shape), mask.dtype))


def square(number: int, grid: tuple[int, int] | None) -> tuple[int, int]:
    """The square grid of so many tokens."""
    side = isqrt(max(0, number))
    known = "a square number" if grid is None else f"{grid[0]} x {grid[1]} or a square number"
    allowed = f"{known} of tokens behind the prefix, or (B, C, H, W)"
    require(side >= 1 and side * side == number, "x", allowed, f"{number} tokens")
    return side, side
