"""What the arguments of Attention may be, in one sentence each: the argument, what is allowed, what was given."""

from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vision_attn.layers import arguments, inputs
from vision_attn.layers.arguments import is_among
from vision_attn.layers.paths import PATHS
from vision_attn.layers.patterns import Pattern, SpatialReduction, TopK
from vision_attn.layers.positions import Position
from vision_attn.layers.relative import RelativeBias
from vision_attn.layers.similarity import SIMILARITIES
from vision_attn.layers.symbolic import is_integer, traced

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

UNBOUNDED = 2**30
"""The side of a grid that no pattern spans."""


def require(holds: bool, field: str, allowed: str | Callable[[], str], given: Any) -> None:
    """Raise the sentence about the argument unless `holds`.

    What is allowed is a function where it has the sizes of a call in it: these are no text while a graph is made.
    """
    if not holds:
        allowed = allowed if isinstance(allowed, str) else allowed()
        raise ValueError(f"{field} of Attention must be {allowed}. Got {given!r} instead.")


def one_of(options: Iterable[str]) -> str:
    return "one of " + ", ".join(map(repr, options))


def whole(field: str, value: Any, *, least: int) -> None:
    """An integer of at least so much; 2.0 and True are none."""
    arguments.whole(field, "Attention", value, least=least)


def widths(dim: int, num_heads: int, *, key_dim: int, value_dim: int, context_dim: int | None) -> None:
    """The heads divide the widths."""
    whole("dim", dim, least=1)
    if is_integer(num_heads) and any(is_integer(width) and width == dim for width in (key_dim, value_dim)):
        require(num_heads >= 1 and dim % num_heads == 0, "num_heads", f"a divisor of dim = {dim}", num_heads)
    whole("num_heads", num_heads, least=1)
    for field, width in (("key_dim", key_dim), ("value_dim", value_dim)):
        fits = is_integer(width) and width >= 1 and width % num_heads == 0
        require(fits, field, f"a multiple of num_heads = {num_heads}", width)
    if context_dim is not None:
        whole("context_dim", context_dim, least=1)


def switches(given: Mapping[str, Any]) -> None:
    """True or False each, or None where a general one decides; any text would be true."""
    for field, value in given.items():
        if value is not None:
            arguments.switch(field, "Attention", value)


def rates(**given: Any) -> None:
    """Shares of what is dropped."""
    for field, value in given.items():
        fits = isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1
        require(fits, field, "a number from 0 to 1", value)


def makes_norms(norm_layer: Any, *, wanted: bool) -> None:
    """A class or function, not a layer that is made."""
    fits = not wanted or (callable(norm_layer) and not isinstance(norm_layer, nn.Module))
    require(fits, "norm_layer", "what makes a norm of so many channels, with qk_norm", norm_layer)


def floating(dtype: Any) -> None:
    """A type of numbers that parameters may have."""
    fits = dtype is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point)
    require(fits, "dtype", "None or a floating torch.dtype", dtype)


def scale_of(similarity: str, scale: str | float | None) -> str | float:
    """The scale, the usual one of the similarity where none is given."""
    require(is_among(similarity, SIMILARITIES), "similarity", one_of(SIMILARITIES), similarity)
    scales = SIMILARITIES[similarity].scales
    if scale is None:
        return scales[0]
    allowed = f"{one_of(scales)} with similarity = {similarity!r}, or a number"
    require(arguments.is_number(scale) or is_among(scale, scales), "scale", allowed, scale)
    return scale if isinstance(scale, str) else float(scale)


def parts(layer: "Attention") -> None:
    """The position and the pattern fit the layer."""
    position, pattern, cross = layer.position, layer.pattern, layer.context_dim is not None
    name = type(pattern).__name__
    whole("num_prefix_tokens", layer.num_prefix_tokens, least=0)
    require(isinstance(pattern, Pattern), "pattern", "None or a module of vision_attn.layers.patterns", name)
    fits = position is None or isinstance(position, Position)
    require(fits, "position", "None or a module of vision_attn.layers.positions", type(position).__name__)
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
    require(is_among(layer.path, PATHS), "path", one_of(PATHS), layer.path)
    folds = layer.similarity.folds and not isinstance(pattern, TopK)
    what = "the pattern TopK" if layer.similarity.folds else f"the similarity {type(layer.similarity).__name__}"
    require(folds or layer.path != "fused", "path", f"'auto' or 'math' with {what}", layer.path)
    if isinstance(position, RelativeBias):
        allowed = "another than RelativeBias with the pattern SpatialReduction"
        require(not isinstance(pattern, SpatialReduction), "position", allowed, type(position).__name__)
        _spans(position, pattern, layer.grid)
        alone = position.places_prefix and not layer.num_prefix_tokens
        require(not alone, "position", "without prefix=True where num_prefix_tokens is 0", repr(position))


def _spans(position: RelativeBias, pattern: Pattern, grid: tuple[int, int] | None) -> None:
    """The table is for the offsets that the pattern has: those in a window, in a neighbourhood, in the grid."""
    most = pattern.extent((UNBOUNDED, UNBOUNDED)) if grid is None else pattern.extent(grid)
    wanted = tuple(own if side == UNBOUNDED else side for side, own in zip(most, position.grid, strict=True))
    what = f"built with grid = {wanted}, over which the pattern {type(pattern).__name__} sees"
    require(position.grid == wanted, "position", what, f"RelativeBias(grid={position.grid})")


def covers_grid(position: Position, pattern: Pattern) -> bool:
    """Whether the grid that a position was built for is that of the tokens, and not of a window."""
    return not isinstance(position, RelativeBias) or UNBOUNDED in pattern.extent((UNBOUNDED, UNBOUNDED))


def numbers(field: str, x: Any) -> None:
    """Raise the sentence unless it is a dense tensor of a floating type, or stands for one while a graph is made."""
    inputs.numbers(x, "Attention", field=field, advice=", shorter samples padded (key_padding_mask)")


def tokens(layer: "Attention", x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x and context as tokens (B, N, C)."""
    cross = layer.context_dim is not None
    if context is None:
        require(not cross, "context", "given, as context_dim is", None)
        return _tokens(layer, x, "x", layer.dim), None
    placed = layer.position is not None or type(layer.pattern) not in (Pattern, TopK)
    alone = "None with a position, or with a pattern other than TopK: they need queries and keys on one grid"
    require(not placed, "context", alone, tuple(context.shape))
    source = _tokens(layer, context, "context", layer.context_dim or layer.dim)
    found = _tokens(layer, x, "x", layer.dim)
    same = traced(x) or source.shape[0] == found.shape[0]
    require(same, "context", lambda: f"of the batch size {found.shape[0]}", tuple(context.shape))
    return found, source


def _tokens(layer: "Attention", x: Tensor, field: str, width: int) -> Tensor:
    if traced(x):
        return _followed(layer, x)
    shaped = x.ndim in (3, 4) and x.shape[2 if x.ndim == 3 else 1] == width
    require(shaped, field, f"(B, N, {width}) or (B, {width}, H, W)", tuple(x.shape))
    if x.ndim == 3:
        least = layer.num_prefix_tokens if field == "x" else 0
        require(x.shape[1] >= least, field, f"at least num_prefix_tokens = {least} tokens", tuple(x.shape))
        return x
    allowed = f"(B, N, {width}), as num_prefix_tokens is {layer.num_prefix_tokens}"
    require(layer.num_prefix_tokens == 0, field, allowed, tuple(x.shape))
    return x.flatten(2).transpose(1, 2)


def _followed(layer: "Attention", x: Any) -> Any:
    """x as it is in `torch.fx.symbolic_trace`, which follows what makes no tensors of its own."""
    placed = layer.position is not None and layer.position.acts_on != "tokens"
    for field, part, able in (
        ("position", layer.position, not placed),
        ("pattern", layer.pattern, type(layer.pattern) in (Pattern, SpatialReduction)),
    ):
        allowed = "a tensor: torch.fx.symbolic_trace cannot follow the {} {}; torch.export can"
        require(able, "x", allowed.format(field, type(part).__name__), type(x).__name__)
    known = layer.grid is not None or not layer.on_grid
    require(known, "x", "a tensor where the layer was built without a grid", type(x).__name__)
    return x


def order(is_causal: Any) -> None:
    """Whether tokens see only those up to themselves is a bool, and no mask."""
    fits = is_causal is None or isinstance(is_causal, bool | torch.SymBool)
    what = "True or False; a mask is attn_mask"
    require(fits, "is_causal", what, is_causal if isinstance(is_causal, str | int) else type(is_causal).__name__)


def masks(
    layer: "Attention", queries: Tensor, keys: Tensor, *, key_padding_mask: Tensor | None, attn_mask: Tensor | None
) -> Tensor | None:
    """The masks have the shapes of the call; `attn_mask` comes back as (B or 1, heads or 1, N, M)."""
    for name, mask in (("key_padding_mask", key_padding_mask), ("attn_mask", attn_mask)):
        if mask is not None:
            inputs.dense(mask, "Attention", field=name, before="None or ")
        if mask is not None and mask.device != keys.device:
            require(False, name, f"on {keys.device}, the device of the tokens", str(mask.device))
    reduced = isinstance(layer.pattern, SpatialReduction)
    given = "a mask" if key_padding_mask is None else tuple(key_padding_mask.shape)
    field = "attn_mask" if key_padding_mask is None else "key_padding_mask"
    require(not reduced, field, "None with the pattern SpatialReduction", given)
    batch, (n, m) = queries.shape[0], (queries.shape[1], keys.shape[1])
    if key_padding_mask is not None:
        fits = tuple(key_padding_mask.shape) == (batch, m) and key_padding_mask.dtype == torch.bool
        found = (tuple(key_padding_mask.shape), key_padding_mask.dtype)
        require(fits, "key_padding_mask", lambda: f"of shape {(batch, m)} and torch.bool", found)
    if attn_mask is None:
        return None
    whole = {2: (1, 1, n, m), 3: (batch, 1, n, m), 4: (batch, layer.num_heads, n, m)}.get(attn_mask.ndim)
    four = attn_mask if attn_mask.ndim == 4 else attn_mask[(slice(None),) * (attn_mask.ndim - 2) + (None,)]
    four = four[None] if attn_mask.ndim == 2 else four
    shaped = whole is not None and all(a in (1, b) for a, b in zip(four.shape, whole, strict=True))
    typed = attn_mask.dtype == torch.bool or attn_mask.dtype.is_floating_point

    def allowed() -> str:
        return (
            f"of shape {(n, m)}, {(batch, n, m)} or {(batch, layer.num_heads, n, m)}, and torch.bool (True where a "
            "query may see a key) or floating (added to the scores)"
        )

    require(shaped and typed, "attn_mask", allowed, (tuple(attn_mask.shape), attn_mask.dtype))
    return four.expand(-1, -1, n, m)
