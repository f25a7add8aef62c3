"""softmax(scale q k^T + bias) v by one of two exact ways.

B batch, H heads, N queries, M keys, D channels of a key, E of a value; behind H there may be groups.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.derivatives import TwiceDifferentiable, beyond_first_gradients, may_be_asked, transformed
from vision_attn.layers.paths import PathName, attention_path
from vision_attn.layers.precision import compared, scaled
from vision_attn.layers.shapes import Float
from vision_attn.layers.symbolic import recorded, taped, traced

FEW = 8
"""A softmax over as few keys, which lie one after the other, takes several times as long a number as over many."""


def products(
    q: Float[Tensor, "B H *G N D"],
    k: Float[Tensor, "B H *G M D"],
    v: Float[Tensor, "B H *G M E"],
    bias: Tensor | None = None,
    *,
    scale: float,
    drop: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "B H *G N E"]:
    """By matrix products and a softmax, operations that have all derivatives; `drop` is applied to the weights."""
    alone = may_be_asked(q) and q.dtype == k.dtype != torch.float16
    if alone and bias is None and 0 < k.shape[-2] <= FEW and not (isinstance(drop, nn.Module) and rate(drop)):
        weights = _compared_at_once(k, q, scale, None).softmax(dim=-2).transpose(-2, -1).to(v.dtype)
        return (weights if drop is None else drop(weights)) @ v
    shared = alone and bias is not None and bias.dtype == q.dtype and bias.shape[:-2].numel() == 1
    if shared or (alone and not learned_from(q, k)):
        scores = _compared_at_once(q, k, scale, bias if shared else None)
    else:
        scores = compared(scaled(q, scale), k)
    if bias is not None and not shared:  # nothing else holds the scores, and a gradient does not need them
        scores = scores.add_(bias) if may_be_asked(scores) and bias.dtype == scores.dtype else scores + bias
    weights = scores.softmax(dim=-1).to(v.dtype)
    return (weights if drop is None else drop(weights)) @ v


def _compared_at_once(q: Tensor, k: Tensor, scale: float, bias: Tensor | None) -> Tensor:
    """scale q k^T + bias: keys are put in order, which is faster than to turn them over, queries are not scaled before.

    A bias that all samples and heads share is what products are added to: a third to a half of the time of adding it.
    """
    first, second = q.flatten(0, -3), k.flatten(0, -3).transpose(1, 2)
    to = q.new_zeros(1, 1, 1) if bias is None else bias.flatten(0, -3)
    scores = torch.baddbmm(to, first, second, beta=0 if bias is None else 1, alpha=scale)
    return scores.unflatten(0, q.shape[:-2])


def fused(
    q: Float[Tensor, "B H N D"],
    k: Float[Tensor, "B H M D"],
    v: Float[Tensor, "B H M E"],
    bias: Tensor | None = None,
    *,
    scale: float,
    dropout: float = 0.0,
    causal: bool = False,
) -> Float[Tensor, "B H N E"]:
    """By PyTorch's kernel for the device, which holds no scores. Its gradient has a gradient too."""
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=causal, scale=scale)
    if dropout or traced(q) or not mixed.requires_grad or recorded() or transformed():
        return mixed

    def plain(q: Tensor, k: Tensor, v: Tensor, *bias: Tensor) -> Tensor:
        if causal:
            seen = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
            bias = (torch.where(seen, 0.0, -torch.inf).to(q.dtype),)
        return products(q, k, v, *bias, scale=scale)

    return TwiceDifferentiable.apply(mixed, plain, q, k, v, *([] if bias is None else [bias]))  # type: ignore[no-untyped-call]


def fused_in_groups(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *, scale: float, dropout: float = 0.0
) -> Tensor:
    """The same of (B, H, G, n, D), (B, H, G, m, D), (B, H, G, m, E), groups as further heads."""
    groups = q.shape[1:3]
    if bias is not None:
        bias = bias.expand(-1, *groups, -1, -1).flatten(1, 2)
    q, k, v = (t.flatten(1, 2) for t in (q, k, v))
    return fused(q, k, v, bias, scale=scale, dropout=dropout).unflatten(1, groups)


def is_fused(path: PathName, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, drop: nn.Module) -> bool:
    """Whether the fused kernel is taken; `path` "auto" leaves it to what is faster and what it can do."""
    if path != "auto" or traced(q):
        return path != "math"
    tensors = (q, k, v) if bias is None else (q, k, v, bias)
    # Of float32 no way is the faster one in turn, so the rest need not be asked.
    in_turn = q.dtype != torch.float32 and may_be_asked(q) and not learned_from(*tensors)
    if not only_a_rate(drop) or attention_path(q.device, k.shape[-2], q.dtype, in_turn=in_turn) == "math":
        return False
    # Within a transform a tensor does not say whether what it stands for is learned.
    learned = bias is not None and torch.is_grad_enabled() and (bias.requires_grad or transformed())
    if q.device.type == "cpu" and (learned or rate(drop)) and not taped():
        return False  # PyTorch would take products, too
    return not beyond_first_gradients(*tensors)


def learned_from(*tensors: Tensor) -> bool:
    """Whether gradients are taken to some of the tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def rate(drop: nn.Module) -> float:
    """The share of the weights that is dropped now."""
    return drop.p if isinstance(drop, nn.Dropout) and drop.training else 0.0


def only_a_rate(drop: nn.Module) -> bool:
    """Whether a module for dropout is no more than a number, so that the kernel may do its work."""
    hooks = (drop._forward_hooks, drop._forward_pre_hooks, drop._backward_hooks, drop._backward_pre_hooks)
    return type(drop) in (nn.Dropout, nn.Identity) and not any(hooks)


def draws(drop: nn.Module) -> bool:
    """Whether weights are dropped out, or another module sees them, which may draw at random."""
    return rate(drop) > 0 or not only_a_rate(drop)
