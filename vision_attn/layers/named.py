"""Positions and patterns by name."""

from typing import TYPE_CHECKING, Literal, get_args

from vision_attn.layers import patterns, positions
from vision_attn.layers.arguments import is_among
from vision_attn.layers.checks import one_of, require
from vision_attn.layers.patterns import Pattern
from vision_attn.layers.positions import Position
from vision_attn.layers.relative import RelativeBias

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

PositionName = Literal["none", "learned", "sincos2d", "convolution", "rotary", "relative", "relative_with_prefix"]
PatternName = Literal[
    "full", "window", "shifted_window", "neighbourhood", "dilated", "axial", "segmented", "reduced", "top_k"
]
POSITIONS: tuple[str, ...] = get_args(PositionName)
PATTERNS: tuple[str, ...] = get_args(PatternName)
USUAL_SIZE = 4
"""Of a pattern by name."""
WITHOUT_SIZE = ("full", "axial")
"""The patterns that have none."""


def pattern_named(name: PatternName, size: int, *, dim: int) -> Pattern:
    """The pattern; `size` is the side of the windows, the radius of "neighbourhood" in tokens, the stride of "dilated",
    the length of the segments, the ratio of "reduced" or the k of "top_k". Shifted windows are shifted by half a side.
    """
    match name:
        case "full":
            return Pattern()
        case "window":
            return patterns.Window(size)
        case "shifted_window":
            sides = patterns.Window(size).size
            return patterns.Window(sides, shift=(sides[0] // 2, sides[1] // 2))
        case "neighbourhood":
            return patterns.Neighbourhood(size)
        case "dilated":
            return patterns.Dilated(size)
        case "axial":
            return patterns.Axial()
        case "segmented":
            return patterns.Segmented(size)
        case "reduced":
            return patterns.SpatialReduction(dim, size)
        case "top_k":
            return patterns.TopK(size)


def position_named(
    name: PositionName, grid: tuple[int, int], *, dim: int, num_heads: int, head_dim: int, pattern: Pattern
) -> Position | None:
    """The position for a grid of tokens; None for "none"."""
    match name:
        case "none":
            return None
        case "learned":
            return positions.LearnedPosition(grid, dim)
        case "sincos2d":
            return positions.SinCosPosition(grid, dim)
        case "convolution":
            return positions.ConvPosition(grid, dim)
        case "rotary":
            return positions.Rotary(grid, head_dim)
        case "relative":
            return RelativeBias(pattern.extent(grid), num_heads)
        case "relative_with_prefix":
            return RelativeBias(pattern.extent(grid), num_heads, prefix=True)


def pattern_of(pattern: Pattern | PatternName | None, size: int | None, *, dim: int) -> Pattern:
    """The pattern that Attention was given, or that of the name. Raises `ValueError` where there is none."""
    if pattern is None or isinstance(pattern, Pattern):
        require(size is None, "pattern_size", "left out where pattern is not a name", size)
        return pattern or Pattern()
    allowed = f"a module of vision_attn.layers.patterns or {one_of(PATTERNS)}"
    require(is_among(pattern, PATTERNS), "pattern", allowed, pattern)
    sizeless = f"left out with pattern = {pattern!r}, which has none"
    require(size is None or pattern not in WITHOUT_SIZE, "pattern_size", sizeless, size)
    return pattern_named(pattern, USUAL_SIZE if size is None else size, dim=dim)


def position_of(
    position: Position | PositionName | None, grid: tuple[int, int] | None, *, layer: "Attention", pattern: Pattern
) -> Position | None:
    """The position that Attention was given, or that of the name. Raises `ValueError` where there is none."""
    if position is None or isinstance(position, Position):
        return position
    allowed = f"a module of vision_attn.layers.positions or {one_of(POSITIONS)}"
    require(is_among(position, POSITIONS), "position", allowed, position)
    if position == "none":
        return None
    if grid is None:
        raise ValueError(f"grid of Attention must be given with position = {position!r}. Got None instead.")
    sizes = {"dim": layer.dim, "num_heads": layer.num_heads, "head_dim": layer.head_dim}
    return position_named(position, grid, **sizes, pattern=pattern)
