"""How the tokens of a pattern meet: cut into groups, or all with all and the pattern as a mask.

B batch, N tokens, H heads, D channels a head, n and m queries and keys of a group. Cutting saves scores and copies
vectors: where the copies cost more time or memory than the scores that they save, the pattern is a mask.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vision_attn.layers import kernels
from vision_attn.layers.calls import Call
from vision_attn.layers.derivatives import beyond_first_gradients, may_be_asked
from vision_attn.layers.lean import AtOnce
from vision_attn.layers.parts import Masked, Part, Rows, Tiles
from vision_attn.layers.paths import attention_path
from vision_attn.layers.patterns import TopK
from vision_attn.layers.symbolic import covering, surely
from vision_attn.layers.tiling import Tiling

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

COPY = 28
"""Copying one vector of a head to its group, or back, takes about as long as so many scores."""
TOGETHER = 3
"""So many times as long where parts share a softmax: scores are formed, and results weighed and added."""
LEAST = 2**18
"""As many numbers are no matter: 1 MiB in float32."""
MASK = 1
"""How many masks of all tokens the groups and scores that are there at once may be as large as."""
COPIED = 3
"""As many times as large as the copies of vectors is what they take with their gradients."""
SORTED = 4
"""As many times as large as the scores is what it takes to sort them out."""
REORDER = 20
"""The same for a token that is put in order before it is projected, and for rolling the grid and masking its pieces."""
SCORES = 2**21
"""So many scores are formed at a time by products on a CPU: their memory is used again, and stays near the processor.
With gradients, for which they are formed once more, all are where a head has at most HELD."""
HELD = 2 * SCORES


def groups(layer: "Attention", call: Call) -> Tiling | None:
    """The tiles into which tokens are put before they are projected; None where another way is as good, or the only."""
    tiling = None if call.empty else layer.pattern.tiling(call.grid)
    if tiling is None or call.prefix or not tiling.exact or not _known(tiling):
        return None
    acts_on = "tokens" if layer.position is None else layer.position.acts_on
    if acts_on != "tokens" and not tiling.congruent:
        return None
    if acts_on == "queries and keys" and not layer.similarity.turns:
        return None
    own, tokens = tiling.tile[0] * tiling.tile[1], call.grid[0] * call.grid[1]
    return None if surely(own + (3 if tiling.shifted else 2) * REORDER >= tokens) else tiling


def forgets(layer: "Attention", call: Call, tiling: Tiling) -> bool:
    """Whether the copy of the tokens in tiles is better made again for the gradients than kept.

    It is kept where it takes no more than tiles save of what full attention holds: a mask, and where it is computed by
    products the scores.
    """
    (samples, tokens, width), own = call.tokens.shape, tiling.tile[0] * tiling.tile[1]
    held = tokens * tokens
    if layer.path != "fused" and attention_path(call.tokens.device, tokens, layer.proj.weight.dtype) == "math":
        held += samples * layer.num_heads * tokens * (tokens - own)
    return surely(samples * tokens * width > held)


def parts(layer: "Attention", call: Call) -> list[list[Part]]:
    """The parts of the queries, in order, each a list of the sets of keys that they meet."""
    uncut = call.empty or call.tiling is not None
    cut = None if uncut else layer.pattern.cut(call.grid, prefix=call.prefix)
    if cut is not None and _pays(call, cut):
        tilings = [part.tiling for some in cut for part in some if isinstance(part, Tiles)]
        if all(map(_known, tilings)):
            return cut
    return [[whole(layer, call)]]


def whole(layer: "Attention", call: Call) -> Part:
    """All queries with all keys, and the pattern as a mask where it hides some."""
    seen = None if call.empty or call.tiling is not None else layer.pattern.seen(call.grid, call.tokens.device)
    return Rows(call.prefix) if seen is None else Masked(call.prefix, seen=seen)


def at_once(layer: "Attention", lists: list[list[Part]], q: Tensor, k: Tensor, *others: Tensor | None) -> AtOnce | None:
    """How much is computed at a time, so that groups and scores take no more than a mask would; None: all.

    Less only where no module sees the weights, as it would once more for the gradients and could draw other random
    numbers, and where no more than first gradients are needed of q, k and the others.
    """
    own = [part for some in lists for part in some if isinstance(part, Tiles)]
    scored = isinstance(layer.pattern, TopK) and layer.similarity.folds
    drop = layer.attn_drop
    drawn = kernels.rate(drop) > 0 or not kernels.only_a_rate(drop)
    if not (own or scored) or not may_be_asked(q) or drawn or not layer.similarity.folds:
        return None
    if beyond_first_gradients(q, k, *(t for t in others if t is not None)):
        return None
    pairs = q.shape[2] * k.shape[2]
    copies = sum(2 * groups * (n + m) for groups, n, m in (part.counts for part in own))
    formed = sum(groups * n * m for groups, n, m in (part.counts for part in own)) if len(own) > 1 else 0
    held = SORTED * pairs if scored else COPIED * copies * layer.head_dim + 4 * formed
    allowed = max(MASK * pairs, LEAST)
    if scored and held > allowed:
        return AtOnce(1, max(1, q.shape[2] * allowed // held))
    heads = max(1, allowed // max(1, held))
    return None if heads >= q.shape[0] * q.shape[1] else AtOnce(heads)


def scores_at_once(layer: "Attention", q: Tensor, k: Tensor, v: Tensor, *bias: Tensor) -> AtOnce | None:
    """How many of the scores of q (B, H, N, D) and k (B, H, M, D) are formed at a time by products; None: all."""
    drop = layer.attn_drop
    if not may_be_asked(q) or q.ndim != 4 or kernels.rate(drop) or not kernels.only_a_rate(drop):
        return None
    pairs = q.shape[2] * k.shape[2]
    few = pairs <= HELD if kernels.learned_from(q, k, v, *bias) else q.shape[0] * q.shape[1] * pairs <= SCORES
    if few or beyond_first_gradients(q, k, v, *bias):
        return None
    if pairs > SCORES:
        return AtOnce(1, _evenly(q.shape[2], max(1, SCORES // k.shape[2])))
    (samples, heads), most = q.shape[:2], SCORES // pairs
    return AtOnce(_evenly(samples, most // heads) * heads if most >= heads else _evenly(heads, most))


def _evenly(number: int, most: int) -> int:
    """How many of a number at a time, at most so many, so that none of as few rounds as can be has much less to do."""
    return covering(number, covering(number, most))


def _known(tiling: Tiling) -> bool:
    """Whether a program may be exported with these tiles: it has no second graph for the sizes that they do not fit."""
    return not torch.compiler.is_exporting() or tiling.settled


def _pays(call: Call, cut: list[list[Part]]) -> bool:
    """Whether the parts of a pattern take less time than all scores with a mask."""
    own = [part.counts for some in cut for part in some if isinstance(part, Tiles)]
    tokens = call.grid[0] * call.grid[1] + call.prefix
    scores = sum(groups * n * m for groups, n, m in own)
    copies = sum(2 * groups * (n + m) for groups, n, m in own) * (TOGETHER if len(own) > 1 else 1)
    return surely(scores + COPY * copies < tokens * tokens)
