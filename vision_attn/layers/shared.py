"""One softmax over the scores of several parts.

B batch, H heads, N queries, M keys of all parts, m of one; with groups (B, H, G, n, m).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vision_attn.layers import kernels
from vision_attn.layers.derivatives import may_be_asked
from vision_attn.layers.parts import Part
from vision_attn.layers.symbolic import surely

FEW, MANY = 64, 128
"""Of fewer keys than `FEW` a softmax is faster where they lie one behind the other, and putting all scores in order
costs little. Of `MANY` or more that costs more than a softmax in several steps, which leaves them as they are."""


def softmax(parts: Sequence[Part], scores: list[Tensor], drop: nn.Module) -> list[Tensor]:
    """The weights (B, H, N, m) or (B, H, G, n, m) of every part, as its scores were; the list of scores is emptied.

    `drop` is applied to the weights of all parts at once, (B, H, N, M).
    """
    sizes = [one.shape[-1] for one in scores]
    if surely(sum(sizes) >= MANY) and _is_lone(scores, drop):
        return _in_place(parts, scores)
    rows = [part.back(scores.pop(0)) for part in parts]
    if surely(sum(sizes) < FEW):
        every = torch.cat([row.transpose(-2, -1) for row in rows], dim=-2).softmax(dim=-2).transpose(-2, -1)
    else:
        every = torch.cat(rows, dim=-1).softmax(dim=-1)
    return [part.again(own) for part, own in zip(parts, drop(every).split(sizes, dim=-1), strict=True)]


def _is_lone(scores: list[Tensor], drop: nn.Module) -> bool:
    """Whether nothing but the values will see the weights, and no gradient."""
    kept = kernels.learned_from(*scores) or not may_be_asked(scores[0])
    return not kernels.draws(drop) and not kept and all(one.dtype != torch.float16 for one in scores)


def _in_place(parts: Sequence[Part], scores: list[Tensor]) -> list[Tensor]:
    """Of scores without gradients: only what a query has one number of is put in order."""
    most = torch.stack([part.back(one.amax(dim=-1, keepdim=True)) for part, one in zip(parts, scores, strict=True)])
    most = most.amax(dim=0)
    weights = [(scores.pop(0) - part.again(most)).exp_() for part in parts]  # the scores may be held by a hook
    sums = [part.back(own.sum(dim=-1, keepdim=True)) for part, own in zip(parts, weights, strict=True)]
    total = sum(sums[1:], sums[0])
    return [own.div_(part.again(total)) for part, own in zip(parts, weights, strict=True)]
