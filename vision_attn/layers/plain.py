"""The most frequent call by a short way: tokens that all see each other, with nothing placed and nothing masked.

B batch, N tokens, C channels, H heads, E channels of a value. On a GPU the kernels of small inputs run faster than
Python launches them: what `calls`, `plan` and `stages` would ask of such a call has the same answer every time.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from vision_attn.layers import projection
from vision_attn.layers.inputs import is_dense
from vision_attn.layers.patterns import Pattern
from vision_attn.layers.shapes import Float
from vision_attn.layers.similarity import Dot
from vision_attn.layers.stages import attended

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention


def is_plain(layer: "Attention", x: Any) -> bool:
    """Whether x alone is tokens (B, N, C) for a layer with q . k, a scale that is a number, no position, no pattern.

    False also where x does not fit: the long way says why.
    """
    if layer.position is not None or layer.context_dim is not None or layer.scaling == "learned":
        return False
    if type(layer.pattern) is not Pattern or type(layer.similarity) is not Dot:
        return False
    if not is_dense(x) or not x.is_floating_point() or x.ndim != 3 or x.shape[2] != layer.dim:
        return False
    behind = x.shape[1] - layer.num_prefix_tokens
    return behind >= 0 if layer.grid is None else behind == layer.grid[0] * layer.grid[1]


def mixed(layer: "Attention", x: Float[Tensor, "B N C"]) -> Float[Tensor, "B H N E"]:
    """softmax(scores) v of a plain call."""
    q, k, v = projection.heads(layer.qkv, x, widths=layer.widths, names="qkv", num_heads=layer.num_heads)
    q, k = layer.similarity(layer.q_norm(q).to(v.dtype), layer.k_norm(k).to(v.dtype))
    return attended(layer, q, k, v)
