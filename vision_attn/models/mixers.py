"""The token mixers, as specs: each is one word of difference in an experiment."""

import math
from typing import Any, ClassVar, Literal, Self

from torch import nn

from vision_attn import layers
from vision_attn.layers import Attention
from vision_attn.layers.mixers import (
    AveragePooling,
    DepthwiseConvolution,
    IdentityMixing,
    RandomMixing,
    RecurrentMixing,
    ZeroMixing,
)
from vision_attn.layers.named import PatternName, PositionName, position_named
from vision_attn.layers.paths import PathName
from vision_attn.models.base import Mixer
from vision_attn.models.patterns import NAMED, STORED_SIZE, Pattern
from vision_attn.spec import InputError, spec

__all__ = ["LSTM", "DepthwiseConv", "IdentityMixer", "PoolingMixer", "RandomMixer", "SelfAttention", "ZeroMixer"]


@spec
class SelfAttention(Mixer):
    """Multi-head self-attention: every token may take from every token, by content.

    The switches are those of `layers.Attention`, `pattern` is a spec such as `Window(size=4)`. A name with a
    `pattern_size`, as stored models have it, stands for the spec: "window" and 4 for Window(size=4). What is stored
    keeps to the name where there is one, so that equal patterns are one run.
    """

    takes_prefix: ClassVar[bool] = True

    num_heads: int = 4
    qkv_bias: bool = True
    qk_norm: bool = False
    q_bias: bool | None = None
    k_bias: bool | None = None
    v_bias: bool | None = None
    key_dim: int | None = None
    value_dim: int | None = None
    similarity: Literal["dot", "cosine", "bilinear", "additive", "perceptron", "gaussian"] = "dot"
    scale: Literal["sqrt", "none", "inverse", "learned", "after_softmax"] | None = None
    position: PositionName = "none"
    pattern: Pattern | PatternName = "full"
    pattern_size: int | None = None
    attn_drop: float = 0.0
    proj_drop: float = 0.0
    path: PathName = "auto"

    def __post_init__(self) -> None:
        if isinstance(given := self.pattern, nn.Module):
            allowed = "a spec of vision_attn.models, such as Window(size=4)"
            raise InputError(f"pattern of SelfAttention must be {allowed}. Got the module {given} instead.")
        Mixer.__post_init__(self)

    def check(self) -> None:
        self.require("num_heads", self.num_heads >= 1, "at least 1")
        self.require("pattern_size", self.pattern_size is None or self.pattern_size >= 1, "at least 1")
        self._settle_pattern()
        for field in ("attn_drop", "proj_drop"):
            self.require(field, 0 <= getattr(self, field) < 1, "at least 0 and less than 1")

    def _settle_pattern(self) -> None:
        """The spec in the place of its name, unless stored JSON says more than the spec does."""
        if isinstance(self.pattern, Pattern):
            allowed = f"left out beside the pattern {self.pattern}"
            self.require("pattern_size", self.pattern_size is None, allowed)
            return
        size = STORED_SIZE if self.pattern_size is None else self.pattern_size
        meant = NAMED[self.pattern](size)
        if meant.stored in ((self.pattern, size), (self.pattern, self.pattern_size)):
            object.__setattr__(self, "pattern", meant)
            object.__setattr__(self, "pattern_size", None)

    def stored_fields(self) -> dict[str, Any]:
        fields = super().stored_fields()
        if isinstance(self.pattern, Pattern) and self.pattern.stored is not None:
            name, size = self.pattern.stored
            fields |= {"pattern": name, "pattern_size": None if size == STORED_SIZE else size}
        return fields

    def _pattern(self, dim: int) -> layers.Pattern:
        pattern, size = self.pattern, self.pattern_size or STORED_SIZE
        return (pattern if isinstance(pattern, Pattern) else NAMED[pattern](size)).build(dim=dim)

    @property
    def is_dot_product(self) -> bool:
        """Whether scores are the products of q and k as the weights give them, all as wide as the tokens."""
        return self.similarity == "dot" and not self.qk_norm and self.key_dim is None and self.value_dim is None

    @property
    def width_multiple(self) -> int:
        if self.position == "rotary" and self.key_dim is None:
            return 4 * self.num_heads
        return math.lcm(self.num_heads, 8) if self.position == "sincos2d" else self.num_heads

    def widened(self, factor: int) -> Self:
        """With `factor` times as many heads of the same width, as in Swin."""
        wide = {
            name: width and width * factor for name, width in (("key_dim", self.key_dim), ("value_dim", self.value_dim))
        }
        return self.replace(num_heads=self.num_heads * factor, **wide)

    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        return self.layer(Attention, dim=dim, grid=grid, num_prefix_tokens=num_prefix_tokens)

    def layer(self, kind: type[Attention], *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> Attention:
        """The layer with these switches, of a class that takes the arguments of `Attention`."""
        if dim % self.num_heads:
            raise InputError(f"dim of ViT must be a multiple of num_heads = {self.num_heads}. Got {dim} instead.")
        same = ("qkv_bias", "qk_norm", "q_bias", "k_bias", "v_bias", "key_dim", "value_dim", "similarity", "scale")
        options = {name: getattr(self, name) for name in (*same, "attn_drop", "proj_drop", "path")}
        try:
            pattern = self._pattern(dim)
            head_dim = (self.key_dim or dim) // self.num_heads
            position = position_named(
                self.position, grid, dim=dim, num_heads=self.num_heads, head_dim=head_dim, pattern=pattern
            )
            return kind(
                dim,
                self.num_heads,
                position=position,
                pattern=pattern,
                grid=grid if position is not None or pattern.on_grid else None,
                num_prefix_tokens=num_prefix_tokens,
                **options,
            )
        except ValueError as error:
            raise InputError(str(error)) from error


@spec
class DepthwiseConv(Mixer):
    """A k x k depthwise convolution: every token takes from its neighbours, by place.

    `branch_sd` is the standard deviation of its output before training, on the normed tokens of a block. None: kernels
    start as in PyTorch, which gives about 0.5; attention has that with the init "mimetic" and much less without. Given
    what the probe `BranchScale` measures of attention, twins differ in the mixer and not in its scale.
    """

    kernel_size: int = 7
    branch_sd: float | None = None

    def check(self) -> None:
        self.require("kernel_size", self.kernel_size >= 1 and self.kernel_size % 2 == 1, "odd and at least 1")
        self.require("branch_sd", self.branch_sd is None or self.branch_sd > 0, "None or more than 0")

    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        return DepthwiseConvolution(dim, grid=grid, kernel_size=self.kernel_size, branch_sd=self.branch_sd)


@spec
class LSTM(Mixer):
    """A long short-term memory over the tokens, row by row or column by column: from far away, through many steps.

    A token `d` places to the right or left is d steps away in "raster" order, one d rows above or below d rows full.
    """

    bidirectional: bool = True
    order: Literal["raster", "columns"] = "raster"

    @property
    def width_multiple(self) -> int:
        return 2 if self.bidirectional else 1

    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        if dim % self.width_multiple:
            raise InputError(f"dim of ViT must be even with the bidirectional LSTM. Got {dim} instead.")
        return RecurrentMixing(dim, grid=grid, bidirectional=self.bidirectional, order=self.order)


@spec
class PoolingMixer(Mixer):
    """The mean of a token's neighbourhood, less the token: by place, with no weights (Yu et al. 2022, PoolFormer)."""

    kernel_size: int = 3

    def check(self) -> None:
        self.require("kernel_size", self.kernel_size >= 1 and self.kernel_size % 2 == 1, "odd and at least 1")

    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        return AveragePooling(grid=grid, kernel_size=self.kernel_size)


@spec
class RandomMixer(Mixer):
    """A random mean over all tokens, drawn from the run's seed and never trained (Yu et al. 2024, arXiv:2210.13452)."""

    takes_prefix: ClassVar[bool] = True

    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        return RandomMixing(num_prefix_tokens + grid[0] * grid[1])


@spec
class IdentityMixer(Mixer):
    """The identity: a token gets itself, normed, once more. No token sees another before the pooling."""

    takes_prefix: ClassVar[bool] = True

    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        return IdentityMixing()


@spec
class ZeroMixer(Mixer):
    """Nothing: the branch of the mixer is 0 and a block is its MLP. The floor that a mixer must beat."""

    takes_prefix: ClassVar[bool] = True

    def build(self, *, dim: int, grid: tuple[int, int], num_prefix_tokens: int = 0) -> nn.Module:
        return ZeroMixing()
