"""Positions and patterns by name."""

from typing import TYPE_CHECKING, Literal, get_args

from vision_attn.layers.checks import one_of, require
from vision_attn.layers.patterns import (
    Axial,
    Dilated,
    Neighbourhood,
    Pattern,
    Segmented,
    SpatialReduction,
    TopK,
    Window,
)
from vision_attn.layers.positions import (
    ConvPosition,
    LearnedPosition,
    Position,
    RelativeBias,
    Rotary,
    SinCosPosition,
)

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

PositionName = Literal["none", "learned", "sincos2d", "convolution", "rotary", "relative"]
PatternName = Literal[
    "full", "window", "shifted_window", "neighbourhood", "dilated", "axial", "segmented", "reduced", "top_k"
]
POSITIONS: tuple[str, ...] = get_args(PositionName)
PATTERNS: tuple[str, ...] = get_args(PatternName)


def pattern_named(name: PatternName, size: int, *, dim: int) -> Pattern:
    """The pattern; `size` is the side of the windows, the radius of "neighbourhood" in tokens, the stride of "dilated",
    the length of the segments, the ratio of "reduced" or the k of "top_k". Shifted windows are shifted by half a side.
    """
    match name:
        case "full":
            return Pattern()
        case "window":
            return Window(size)
        case "shifted_window":
            return Window(size, shift=size // 2)
        case "neighbourhood":
            return Neighbourhood(size)
        case "dilated":
            return Dilated(size)
        case "axial":
            return Axial()
        case "segmented":
            return Segmented(size)
        case "reduced":
            return SpatialReduction(dim, size)
        case "top_k":
            return TopK(size)


def position_named(
    name: PositionName, grid: tuple[int, int], *, dim: int, num_heads: int, head_dim: int, pattern: Pattern
) -> Position | None:
    """The position for a grid of tokens; None for "none"."""
    match name:
        case "none":
            return None
        case "learned":
            return LearnedPosition(grid, dim)
        case "sincos2d":
            return SinCosPosition(grid, dim)
        case "convolution":
            return ConvPosition(grid, dim)
        case "rotary":
            return Rotary(grid, head_dim)
        case "relative":
            return RelativeBias(pattern.extent(grid), num_heads)


def pattern_of(pattern: Pattern | PatternName | None, size: int, *, dim: int) -> Pattern:
    """The pattern that Attention was given, or that of the name. Raises `ValueError` where there is none."""
    if not isinstance(pattern, str):
        return Pattern() if pattern is None else pattern
    require(pattern in PATTERNS, "pattern", f"a module of vision_attn.layers.patterns or {one_of(PATTERNS)}", pattern)
    return pattern_named(pattern, size, dim=dim)


def position_of(
    position: Position | PositionName | None, grid: tuple[int, int] | None, *, layer: "Attention", pattern: Pattern
) -> Position | None:
    """The position that Attention was given, or that of the name. Raises `ValueError` where there is none."""
    if not isinstance(position, str):
        return position
    allowed = f"a module of vision_attn.layers.positions or {one_of(POSITIONS)}"
    require(position in POSITIONS, "position", allowed, position)
    if position == "none":
        return None
    if grid is None:
        raise ValueError(f"grid of Attention must be given with position = {position!r}. Got None instead.")
    sizes = {"dim": layer.dim, "num_heads": layer.num_heads, "head_dim": layer.head_dim}
    return position_named(position, grid, **sizes, pattern=pattern)
