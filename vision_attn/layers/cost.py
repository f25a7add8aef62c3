"""What attention costs, from its definition.

B batch, N queries, M keys, H heads, C channels, D channels a head of q and k.
"""

import math
from typing import TYPE_CHECKING

from torch import Tensor

from vision_attn.layers.patterns import Pattern
from vision_attn.layers.positions import ConvPosition
from vision_attn.layers.similarity import Bilinear, Gaussian, Perceptron

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention


def multiply_adds(layer: "Attention", x: Tensor, context: Tensor | None) -> int | None:
    """The multiply-adds for tokens (B, N, C) or images of them, where every token sees every token; else None.

    What a pattern saves depends on how it is computed.
    """
    if type(layer.pattern) is not Pattern:
        return None
    source = x if context is None else context
    queries, keys = _count(x), _count(source)
    q, k, v = (layer.widths[name] for name in "qkv")
    projections = queries * layer.dim * q + keys * (layer.context_dim or layer.dim) * (k + v) + queries * v * layer.dim
    pairs = queries * keys // len(x)
    return projections + pairs * (_width(layer) + v) + _prepared(layer, queries, keys) + _placed(layer, queries, len(x))


def _count(x: Tensor) -> int:
    """The number of tokens of all samples."""
    return x.shape[0] * (x.shape[1] if x.ndim == 3 else math.prod(x.shape[2:]))


def _width(layer: "Attention") -> int:
    """What a pair costs in all heads: D a head, one more for the term of the norm."""
    return layer.widths["q"] + layer.num_heads * isinstance(layer.similarity, Gaussian)


def _prepared(layer: "Attention", queries: int, keys: int) -> int:
    """What the similarity makes of queries and keys before they meet: linear maps of every head."""
    square = layer.num_heads * layer.head_dim**2
    if isinstance(layer.similarity, Bilinear):
        return queries * square
    return (queries + keys) * square if isinstance(layer.similarity, Perceptron) else 0


def _placed(layer: "Attention", tokens: int, samples: int) -> int:
    """What a position multiplies: only a convolution does."""
    if not isinstance(layer.position, ConvPosition):
        return 0
    on_grid = tokens - samples * layer.num_prefix_tokens
    return on_grid * layer.dim * layer.position.conv.kernel_size[0] ** 2
