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
from vision_attn.layers.patterns import TopK
from vision_attn.layers.symbolic import surely
from vision_attn.layers.tiling import Masked, Part, Rows, Tiles, Tiling

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

COPY = 28
"""Copying one vector of a head to its group, or back, takes about as long as so many scores."""
TOGETHER = 3
"""So many times as long where parts share a softmax: scores are formed, and results weighed and added."""
LEAST = 2**17
"""As many numbers are no matter."""
MASK = 1
"""How many masks of all tokens the groups and scores that are there at once may be as large as."""
REORDER = 20
"""The same for a token that is put in order before it is projected."""


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
    return None if surely(own + 2 * REORDER >= tokens) else tiling


def parts(layer: "Attention", call: Call) -> list[list[Part]]:
    """The parts of the queries, in order, each a list of the sets of keys that they meet."""
    cut = None if call.empty else layer.pattern.cut(call.grid, prefix=call.prefix)
    if cut is not None and call.tiling is None and _pays(call, cut):
        tilings = [part.tiling for some in cut for part in some if isinstance(part, Tiles)]
        if all(map(_known, tilings)):
            return cut
    return [[whole(layer, call)]]


def whole(layer: "Attention", call: Call) -> Part:
    """All queries with all keys, and the pattern as a mask where it hides some."""
    seen = None if call.empty or call.tiling is not None else layer.pattern.seen(call.grid, call.tokens.device)
    return Rows(call.prefix) if seen is None else Masked(call.prefix, seen=seen)


def heads_at_once(layer: "Attention", lists: list[list[Part]], q: Tensor, *others: Tensor | None) -> int | None:
    """How many heads of samples are computed at a time, so that groups and scores take no more than a mask would.

    None: all. Fewer only where nothing is drawn at random and where no more than first gradients are needed of q and
    the others.
    """
    own = [part for some in lists for part in some if isinstance(part, Tiles)]
    scored = isinstance(layer.pattern, TopK) and layer.similarity.folds
    if not (own or scored) or not may_be_asked(q) or kernels.rate(layer.attn_drop) or not layer.similarity.folds:
        return None
    if beyond_first_gradients(q, *(t for t in others if t is not None)):
        return None
    tokens = q.shape[2]
    copies = sum(2 * groups * (n + m) for groups, n, m in (part.counts for part in own))
    formed = sum(groups * n * m for groups, n, m in (part.counts for part in own)) if len(own) > 1 else 0
    formed = tokens * tokens if scored else formed
    held = copies * layer.head_dim + 4 * formed
    at_once = max(1, max(MASK * tokens * tokens, LEAST) // max(1, held))
    return None if at_once >= q.shape[0] * q.shape[1] else at_once


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
