"""The patterns of self-attention, as specs: which token may see which.

Each builds the layer of its name in `vision_attn.layers`, whose docstring has the equation and the source. Earlier
models have patterns by name and size; what they store stays as it is, and means the spec of `named`.
"""

import abc
from collections.abc import Callable

from vision_attn import layers
from vision_attn.layers.named import PatternName
from vision_attn.spec import Spec, spec

STORED_SIZE = 4
"""The size that stored JSON leaves out."""

Side = int | tuple[int, int]


@spec
class Pattern(Spec, abc.ABC):
    """Which token may see which, for the slot `pattern` of `SelfAttention`."""

    @abc.abstractmethod
    def build(self, *, dim: int) -> layers.Pattern:
        """The module, for tokens of width `dim`. Raises `InputError` where it does not fit."""

    @property
    def stored(self) -> tuple[PatternName, int | None] | None:
        """The name and the size that stand for it in stored JSON; None: it stands there as a spec."""
        return None


@spec
class Full(Pattern):
    """Every token sees every token."""

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.Pattern()

    @property
    def stored(self) -> tuple[PatternName, int | None]:
        return "full", None


@spec
class Window(Pattern):
    """The own window of size x size tokens, or (rows, columns); windows begin `shift` tokens lower and further right.

    Shifted by half a side and unshifted in turn they are those of Swin.
    """

    size: Side
    shift: Side = 0

    def check(self) -> None:
        for field, value in (("size", self.size), ("shift", self.shift)):
            if isinstance(value, tuple) and value[0] == value[1]:
                object.__setattr__(self, field, value[0])  # equal windows are equal specs
        self.require("size", min(_pair(self.size)) >= 1, "at least 1")
        inside = all(0 <= shift < side for shift, side in zip(_pair(self.shift), _pair(self.size), strict=True))
        self.require("shift", inside, f"at least 0 and less than size = {self.size}")

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.Window(self.size, shift=self.shift)

    @property
    def stored(self) -> tuple[PatternName, int | None] | None:
        if isinstance(self.size, tuple) or self.shift not in (0, self.size // 2):
            return None
        return "shifted_window" if self.shift else "window", self.size


@spec
class Neighbourhood(Pattern):
    """The tokens at most `radius` rows and columns away."""

    radius: int

    def check(self) -> None:
        self.require("radius", self.radius >= 1, "at least 1")

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.Neighbourhood(self.radius)

    @property
    def stored(self) -> tuple[PatternName, int | None]:
        return "neighbourhood", self.radius


@spec
class Dilated(Pattern):
    """Every stride-th token of every stride-th row, the own among them."""

    stride: int

    def check(self) -> None:
        self.require("stride", self.stride >= 1, "at least 1")

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.Dilated(self.stride)

    @property
    def stored(self) -> tuple[PatternName, int | None]:
        return "dilated", self.stride


@spec
class Axial(Pattern):
    """The own row and the own column."""

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.Axial()

    @property
    def stored(self) -> tuple[PatternName, int | None]:
        return "axial", None


@spec
class Segmented(Pattern):
    """The own chunk of `length` tokens of the raster."""

    length: int

    def check(self) -> None:
        self.require("length", self.length >= 1, "at least 1")

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.Segmented(self.length)

    @property
    def stored(self) -> tuple[PatternName, int | None]:
        return "segmented", self.length


@spec
class SpatialReduction(Pattern):
    """Keys and values of ratio x ratio tokens, made one by a strided convolution."""

    ratio: int

    def check(self) -> None:
        self.require("ratio", self.ratio >= 1, "at least 1")

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.SpatialReduction(dim, self.ratio)

    @property
    def stored(self) -> tuple[PatternName, int | None]:
        return "reduced", self.ratio


@spec
class TopK(Pattern):
    """The `k` tokens of the highest scores, head by head."""

    k: int

    def check(self) -> None:
        self.require("k", self.k >= 1, "at least 1")

    def build(self, *, dim: int) -> layers.Pattern:
        return layers.TopK(self.k)

    @property
    def stored(self) -> tuple[PatternName, int | None]:
        return "top_k", self.k


NAMED: dict[PatternName, Callable[[int], Pattern]] = {
    "full": lambda size: Full(),
    "window": lambda size: Window(size=size),
    "shifted_window": lambda size: Window(size=size, shift=size // 2),
    "neighbourhood": lambda size: Neighbourhood(radius=size),
    "dilated": lambda size: Dilated(stride=size),
    "axial": lambda size: Axial(),
    "segmented": lambda size: Segmented(length=size),
    "reduced": lambda size: SpatialReduction(ratio=size),
    "top_k": lambda size: TopK(k=size),
}
"""The spec that a stored name and size stand for."""


def _pair(side: Side) -> tuple[int, int]:
    return side if isinstance(side, tuple) else (side, side)
