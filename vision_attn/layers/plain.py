"""The most frequent calls by a short way: nothing placed, nothing masked but by the pattern.

B batch, N tokens, C channels, H heads, E channels of a value. On a GPU the kernels of small inputs run faster than
Python launches them: what `calls`, `plan` and `stages` would ask of such a call has the same answer every time.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vision_attn.layers import calls, kept, kernels, plan, projection
from vision_attn.layers.derivatives import may_be_asked
from vision_attn.layers.inputs import is_dense
from vision_attn.layers.patterns import Pattern
from vision_attn.layers.shapes import Float
from vision_attn.layers.similarity import Dot
from vision_attn.layers.stages import attended, is_finite

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention


def is_plain(layer: "Attention", x: Any) -> bool:
    """Whether x alone is tokens (B, N, C) for a layer with q . k, a scale that is a number, and no position.

    There is no pattern, or one that is a mask, on a CPU. False also where x does not fit: the long way says why.
    """
    if layer.position is not None or layer.context_dim is not None or layer.scaling == "learned":
        return False
    pattern = layer.pattern
    everything = type(pattern) is Pattern
    if type(layer.similarity) is not Dot or not (everything or kept.is_known(pattern)):
        return False
    if not is_dense(x) or not x.is_floating_point() or x.ndim != 3 or x.shape[2] != layer.dim:
        return False
    behind = x.shape[1] - layer.num_prefix_tokens
    if not (behind >= 0 if layer.grid is None else behind == layer.grid[0] * layer.grid[1]):
        return False
    return everything or (behind > 0 and may_be_asked(x))


def mixed(layer: "Attention", x: Float[Tensor, "B N C"]) -> Float[Tensor, "B H N E"] | None:
    """softmax(scores) v of a plain call; None where a pattern is no mask, or what it hides is not finite."""
    masked = None
    if type(layer.pattern) is not Pattern:
        masked = plan.mask(layer, x, calls.grid_of(layer, x, None))
        if masked is None:
            return None
    q, k, v = projection.heads(layer.qkv, x, widths=layer.widths, names="qkv", num_heads=layer.num_heads)
    q, k = layer.similarity(layer.q_norm(q).to(v.dtype), layer.k_norm(k).to(v.dtype))
    if masked is None:
        return attended(layer, q, k, v)
    key, in_bands = masked
    if in_bands:
        return _in_bands(layer, key, q, k, v)
    bias = kept.added(key, q.dtype)
    out = attended(layer, q, k, v, bias)
    return out if bias is None or is_finite(out) else None


def _in_bands(layer: "Attention", key: kept.Key, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    """The same of queries in bands, each compared with the keys among which those lie that it sees."""
    spans, biases = kept.spans(key), kept.added_in_bands(key, q.dtype)

    def of(span: kept.Span, bias: Tensor | None) -> Tensor:
        return attended(layer, q[:, :, span.queries], span.met(k), span.met(v), bias)

    if kernels.learned_from(q, k, v):
        out = torch.cat([of(*band).transpose(1, 2) for band in zip(spans, biases, strict=True)], dim=1).transpose(1, 2)
    else:
        out = q.new_empty(len(q), q.shape[2], q.shape[1], v.shape[3]).transpose(1, 2)
        for span, bias in zip(spans, biases, strict=True):
            out[:, :, span.queries] = of(span, bias)
    return out if is_finite(out) else None
