"""How the tokens of a pattern meet: cut into groups, or all with all and the pattern as a mask.

B batch, N tokens, H heads, D channels a head, n and m queries and keys of a group. Cutting saves scores and copies
vectors: where the copies cost more time or memory than the scores that they save, the pattern is a mask.
"""

import functools
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vision_attn.layers import kept, kernels
from vision_attn.layers.calls import Call
from vision_attn.layers.derivatives import beyond_first_gradients, may_be_asked
from vision_attn.layers.lean import AtOnce
from vision_attn.layers.parts import Masked, Part, Rows, Tiles
from vision_attn.layers.paths import attention_path
from vision_attn.layers.patterns import TopK
from vision_attn.layers.precision import product_dtype
from vision_attn.layers.symbolic import covering, surely, traced
from vision_attn.layers.tiling import Tiling

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention

COPY = 45
"""Copying one vector of a head to its group, or back, takes about as long as so many scores."""
REORDER = 20
"""The same for a token that is put in order before it is projected, and for rolling the grid and masking its pieces;
twice as many in bfloat16 on a CPU, where scores take half the time and copies do not."""
BEGUN = 2**15
"""The same for a call whose tokens are cut into groups, in all, beside what it copies: the time is Python's. Twice as
many in bfloat16; none while a graph is made."""
AGAIN = 3
"""Half as many times as long takes copying, with gradients, where copies are forgotten and made again."""
SHARED = 3
"""So many times as long takes a score where parts share a softmax, which it is put in order for, and its gradient."""
LEAST = 2**18
"""As many numbers are no matter: 1 MiB in float32."""
MASK = 0.75
"""How many masks of all tokens the groups and scores that are there at once may be as large as."""
COPIED = 3
"""As many times as large as the copies of vectors is what they take with their gradients."""
SORTED = 4
"""As many times as large as the scores is what it takes to sort them out."""
BANDS, BANDS_LEARNED = 2**18, 2**19
"""A band of queries takes about as long as so many scores, beside its own; more with gradients."""
SCORED = 3
"""As many times as large as the scores is what products hold of them with their gradients."""
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
    return None if _is_as_good(tiling, _prices(layer, call.tokens, call.grid[0] * call.grid[1])) else tiling


def _is_as_good(tiling: Tiling, prices: "Prices") -> bool:
    """Whether another way is as good as putting tokens into tiles."""
    own, tokens = tiling.tile[0] * tiling.tile[1], tiling.grid[0] * tiling.grid[1]
    begun = prices.begun // tokens if prices.begun else 0  # none while a graph is made, whose tokens may have no number
    return surely(own + (3 if tiling.shifted else 2) * prices.reorder + begun >= tokens)


def forgets(layer: "Attention", call: Call, tiling: Tiling) -> bool:
    """Whether the copy of the tokens in tiles is better made again for the gradients than kept.

    It is kept where it takes no more than tiles save of what full attention holds: a mask, and where it is computed by
    products the scores.
    """
    (samples, tokens, width), own = call.tokens.shape, tiling.tile[0] * tiling.tile[1]
    held = tokens * tokens
    if layer.path != "fused" and attention_path(call.tokens.device, tokens, product_dtype(call.tokens)) == "math":
        held += samples * layer.num_heads * tokens * (tokens - own)
    return surely(samples * tokens * width > held)


def parts(layer: "Attention", call: Call) -> list[list[Part]]:
    """The parts of the queries, in order, each a list of the sets of keys that they meet."""
    uncut = call.empty or call.tiling is not None
    cut = None if uncut else layer.pattern.cut(call.grid, prefix=call.prefix)
    tokens = call.grid[0] * call.grid[1] + call.prefix
    if cut is not None and surely(_scores(cut, _prices(layer, call.tokens, tokens)) < tokens * tokens):
        tilings = [part.tiling for some in cut for part in some if isinstance(part, Tiles)]
        if all(map(_known, tilings)):
            return cut
    return [[whole(layer, call)]]


def whole(layer: "Attention", call: Call) -> Part:
    """All queries with all keys, and the pattern as a mask where it hides some."""
    if call.empty or call.tiling is not None:
        return Rows(call.prefix)
    key = kept.key(layer.pattern, call.grid, call.prefix) if may_be_asked(call.tokens) else None
    if key is not None:
        seen = kept.seen(key)
        if seen is None:
            return Rows(call.prefix)
        return Masked(call.prefix, seen=seen, added=functools.partial(kept.added, key))
    seen = layer.pattern.seen(call.grid, call.tokens.device)
    return Rows(call.prefix) if seen is None else Masked(call.prefix, seen=kept.framed(seen, call.prefix))


def mask(layer: "Attention", x: Tensor, grid: tuple[int, int]) -> tuple[kept.Key, bool] | None:
    """By what the mask of a pattern is kept, and whether it is taken in bands; None where cutting is better.

    x (B, N, C) are tokens without places, of which nothing else is masked.
    """
    key = kept.key(layer.pattern, grid, layer.num_prefix_tokens, most=kept.IN_BANDS)
    if key is None:
        return None
    if key.whole and len(x) * layer.num_heads * key.tokens**2 <= BEGUN:  # all scores take less than to begin to cut
        return key, False
    every, cut = key.tokens**2, _cut(key, _prices(layer, x, key.tokens))
    if kept.scores(key) < min(every, cut) and _pays_in_bands(layer, kept.spans(key), x):
        return key, True
    return (key, False) if key.whole and every <= cut else None


@functools.lru_cache(maxsize=64)
def _cut(key: kept.Key, prices: "Prices") -> int:
    """As many scores as cutting takes the time of; 0 where tokens are put into tiles before they are projected."""
    pattern = key.pattern()
    tiling = None if key.prefix else pattern.tiling(key.grid)
    if tiling is not None and tiling.exact and not _is_as_good(tiling, prices):
        return 0
    cut = pattern.cut(key.grid, prefix=key.prefix)
    return key.tokens**2 if cut is None else _scores(cut, prices)


def _pays_in_bands(layer: "Attention", spans: tuple[kept.Span, ...], x: Tensor) -> bool:
    """Whether there are enough samples and heads for it."""
    samples, tokens, _ = x.shape
    if kernels.draws(layer.attn_drop):
        return False
    learned = kernels.learned_from(x, *layer.qkv.parameters())
    every = samples * layer.num_heads
    if _held_by_full(layer, x.device, product_dtype(x), tokens, every, learned=learned) == 0:
        # What the fused kernel gives is held twice, band by band and as a whole, in the place of a mask of all pairs.
        twice = 2 * tokens if learned else max(span.number for span in spans)
        if twice * samples * layer.widths["v"] > tokens**2:
            return False
    saved = every * (tokens**2 - sum(span.scores for span in spans))
    return saved > len(spans) * (BANDS_LEARNED if learned else BANDS)


def at_once(layer: "Attention", lists: list[list[Part]], q: Tensor, k: Tensor, *others: Tensor | None) -> AtOnce | None:
    """How much is computed at a time, so that groups and scores take no more than a mask would; None: all.

    Less only where no module sees the weights, as it would once more for the gradients and could draw other random
    numbers, and where no more than first gradients are needed of q, k and the others.
    """
    own = [part for some in lists for part in some if isinstance(part, Tiles)]
    scored = isinstance(layer.pattern, TopK) and layer.similarity.folds
    if not (own or scored) or not may_be_asked(q) or kernels.draws(layer.attn_drop) or not layer.similarity.folds:
        return None
    if beyond_first_gradients(q, k, *(t for t in others if t is not None)):
        return None
    pairs = q.shape[2] * k.shape[2]
    copies = sum(2 * groups * (n + m) for groups, n, m in (part.counts for part in own))
    formed = sum(groups * n * m for groups, n, m in (part.counts for part in own)) if len(own) > 1 else 0
    learned = kernels.learned_from(q, k, *(t for t in others if t is not None))
    held = SORTED * pairs if scored else (COPIED if learned else 1) * copies * layer.head_dim + 4 * formed
    every = q.shape[0] * q.shape[1]
    allowed = max(int(MASK * pairs), LEAST, _held_by_full(layer, q.device, q.dtype, k.shape[2], every, learned=learned))
    if scored and held > allowed:
        return AtOnce(1, max(1, q.shape[2] * allowed // held))
    heads = max(1, allowed // max(1, held))
    return None if heads >= q.shape[0] * q.shape[1] else AtOnce(heads)


def _held_by_full(
    layer: "Attention", device: torch.device, dtype: torch.dtype, tokens: int, heads: int, *, learned: bool
) -> int:
    """How many numbers products hold of all scores; 0 where full attention is computed by the fused kernel."""
    if layer.path == "fused" or attention_path(device, tokens, dtype, in_turn=not learned) == "fused":
        return 0
    every = heads * tokens**2
    return SCORED * every if learned and tokens**2 <= HELD else 3 * min(every, SCORES) // 2


def scores_at_once(layer: "Attention", q: Tensor, k: Tensor, v: Tensor, *bias: Tensor) -> AtOnce | None:
    """How many of the scores of q (B, H, N, D) and k (B, H, M, D) are formed at a time by products; None: all."""
    if not may_be_asked(q) or q.ndim != 4 or kernels.draws(layer.attn_drop):
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


class Prices(NamedTuple):
    """As many scores of a head as it takes the time of: to copy a vector, a score where parts share a softmax, to put a
    token in order, and to begin to cut."""

    copy: int
    shared: int
    reorder: int
    begun: int


def _prices(layer: "Attention", x: Tensor, tokens: int) -> Prices:
    """Those of a call on x. With gradients what stays below the memory of a mask is computed twice.

    What is drawn at random is the same with gradients and without, as where a checkpoint runs forward once more.
    """
    known = not traced(x)
    less = 2 if known and x.device.type == "cpu" and product_dtype(x) == torch.bfloat16 else 1
    begun = less * BEGUN // max(1, len(x) * layer.num_heads) if known and may_be_asked(x) else 0
    copy, shared = COPY, SHARED
    if not torch.is_grad_enabled() and not kernels.draws(layer.attn_drop):
        shared = 1
    elif known and (layer.path == "fused" or attention_path(x.device, tokens, product_dtype(x)) == "fused"):
        copy = AGAIN * COPY // 2
    return Prices(copy, shared, less * REORDER, begun)


def _scores(cut: list[list[Part]], prices: Prices) -> int:
    """As many scores as the parts of a pattern take the time of."""
    own = [part.counts for some in cut for part in some if isinstance(part, Tiles)]
    scores = sum(groups * n * m for groups, n, m in own) * (prices.shared if len(own) > 1 else 1)
    return scores + prices.copy * sum(2 * groups * (n + m) for groups, n, m in own) + prices.begun
