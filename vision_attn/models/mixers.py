"""The token mixers, as specs: each is one word of difference in an experiment."""

from torch import nn

from vision_attn.layers import Attention, DepthwiseConvolution, NoMixing
from vision_attn.models.base import Mixer
from vision_attn.spec import InputError, spec


@spec
class SelfAttention(Mixer):
    """Multi-head self-attention: every token may take from every token, by content."""

    num_heads: int = 4
    qkv_bias: bool = True
    qk_norm: bool = False

    def check(self) -> None:
        self.require("num_heads", self.num_heads >= 1, "at least 1")

    def build(self, *, dim: int, grid: tuple[int, int]) -> nn.Module:
        if dim % self.num_heads:
            raise InputError(f"dim of ViT must be a multiple of num_heads = {self.num_heads}. Got {dim} instead.")
        return Attention(dim, self.num_heads, qkv_bias=self.qkv_bias, qk_norm=self.qk_norm)


@spec
class DepthwiseConv(Mixer):
    """A k x k depthwise convolution: every token takes from its neighbours, by place."""

    kernel_size: int = 7

    def check(self) -> None:
        self.require("kernel_size", self.kernel_size >= 1 and self.kernel_size % 2 == 1, "odd and at least 1")

    def build(self, *, dim: int, grid: tuple[int, int]) -> nn.Module:
        return DepthwiseConvolution(dim, grid=grid, kernel_size=self.kernel_size)


@spec
class Identity(Mixer):
    """No mixing at all: every token stays by itself until the pooling. The floor that a mixer must beat."""

    def build(self, *, dim: int, grid: tuple[int, int]) -> nn.Module:
        return NoMixing()
