"""The stages of attention in the order of the equation: projection, position, similarity, masks, softmax, mixing.

B batch, N queries, M keys, H heads, D channels a head of q and k, E of v; behind H there may be groups.
"""

import contextlib
import dataclasses
import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vision_attn.layers import kernels, plan, projection, shared
from vision_attn.layers.calls import Call
from vision_attn.layers.derivatives import may_be_asked
from vision_attn.layers.lean import in_groups, in_turn
from vision_attn.layers.masks import unspoilt
from vision_attn.layers.parts import Edges, Masked, Part, Tiles
from vision_attn.layers.patterns import SpatialReduction, TopK
from vision_attn.layers.positions import Position, coordinates, kept_coordinates
from vision_attn.layers.precision import left_alone, scaled, wide_dtype
from vision_attn.layers.relative import RelativeBias, is_kept
from vision_attn.layers.symbolic import traced

if TYPE_CHECKING:
    from vision_attn.layers.attention import Attention


class Heads(NamedTuple):
    """Queries (B, H, N, D), keys (B, H, M, D), values (B, H, M, E), as compared and mixed.

    `spoilt` (B, 1, M, 1) is True at the keys with a number that is not finite: they are 0, and what sees them is made
    NaN in the end, so that they reach nothing else.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    spoilt: Tensor | None


def heads(layer: "Attention", call: Call, *, hiding: bool) -> Heads:
    """With norm, rotary position, similarity and learned scale folded in; `hiding` says that some pairs are unseen."""
    q, k, v = _projected(layer, call)
    q, k = layer.q_norm(q).to(v.dtype), layer.k_norm(k).to(v.dtype)
    spoilt = _spoilt(k, v) if hiding else None
    seen = call.visible.keys_of_any() if hiding or layer.similarity.centred else None
    if spoilt is not None:
        gone = spoilt if seen is None else spoilt | ~seen[:, None, :, None]  # products of large numbers are not finite
        k, v = k.masked_fill(gone, 0), v.masked_fill(gone, 0)
    q, k = _turned(layer, call, q, k)
    q, k = layer.similarity(q, k, seen=seen)
    if layer.scaling == "learned" and layer.similarity.folds:
        temperature = layer.temperature()
        q = q * temperature.to(q.dtype)
    if not layer.similarity.exact:
        q, k = q.to(v.dtype), k.to(v.dtype)
    return Heads(q, k, v, spoilt)


def weights(layer: "Attention", call: Call) -> Tensor:
    """softmax(scores) (B, H, N, M), all pairs formed; rows that see nothing are 0."""
    call, part = _cleaned(call), plan.whole(layer, call)
    q, k, v, spoilt = heads(layer, call, hiding=part.hides or not call.visible.everything)
    with _arithmetic(layer, q):
        seen = _seen(layer, part, call, like=q)
        found = _scores(layer, q, k, seen.bias).softmax(dim=-1).to(v.dtype)
    return _settled(found, part, seen, spoilt)


def mixed(layer: "Attention", call: Call) -> Tensor:
    """softmax(scores) v (B, H, N, E), by the fastest exact way.

    A key that is not seen has weight 0, and 0 times NaN or infinity is NaN. Where that can be looked at, it is: what
    comes out finite needed no care. Elsewhere care is taken always.
    """
    lists = plan.parts(layer, call)
    hiding = any(part.hides for parts in lists for part in parts) or not call.visible.everything
    if hiding and may_be_asked(call.tokens):
        out = _mixed(layer, call, lists, hiding=False)
        if is_finite(out):
            return out
    return _mixed(layer, _cleaned(call) if hiding else call, lists, hiding=hiding)


def is_finite(out: Tensor) -> bool:
    """Whether all numbers are, or at least their sum, and then all are."""
    return math.isfinite(out.detach().sum(dtype=wide_dtype(out) if out.dtype == torch.float16 else None).item())


def _mixed(layer: "Attention", call: Call, lists: list[list[Part]], *, hiding: bool) -> Tensor:
    q, k, v, spoilt = heads(layer, call, hiding=hiding)
    dtype, v = v.dtype, v.to(q.dtype)
    with _arithmetic(layer, q):
        drop = layer.attn_drop
        ordered = spoilt is None and _is_causal_alone(layer, call, lists)
        if ordered and kernels.is_fused(layer.path, q, k, v, None, drop):
            out = kernels.fused(q, k, v, causal=True, scale=layer.factor, dropout=kernels.rate(drop))
            return out.to(dtype)
        seen = [[_seen(layer, part, call, like=q) for part in parts] for parts in lists]

        def attend(q: Tensor, k: Tensor, v: Tensor, spoilt: Tensor | None, *flat: Tensor | None) -> Tensor:
            given = iter(_Seen(*flat[number : number + 3]) for number in range(0, len(flat), 3))
            rows = [_of_parts(layer, parts, [next(given) for _ in parts], q, k, v, spoilt) for parts in lists]
            return rows[0] if len(rows) == 1 else torch.cat(rows, dim=2)

        flat = [tensor for some in seen for one in some for tensor in one]
        at_once = plan.at_once(layer, lists, q, k, v, *flat)
        if at_once is None:
            out = attend(q, k, v, spoilt, *flat)
        else:
            out = in_turn(attend, q, k, v, spoilt, *flat, at_once=at_once)
    return out.to(dtype)


class _Seen(NamedTuple):
    """What is added to the scores of a part; which pairs see each other; which queries see some key. None: 0, all, all.

    All broadcast to (B, H, N, M), or with groups (B, H, G, n, m), and have as many dimensions. Queries that see nothing
    have nothing hidden in `bias`: a softmax of nothing is NaN.
    """

    bias: Tensor | None
    allowed: Tensor | None
    seeing: Tensor | None


def _seen(layer: "Attention", part: Part, call: Call, *, like: Tensor) -> _Seen:
    added = _added(layer, part, call, like=like)
    if type(part) is Masked and part.added and added is None and call.visible.everything:
        return _Seen(part.added(like.dtype), part.mask(like.device)[None, None], None)
    allowed, more = call.explicitly_visible.of(part, like=like)
    if more is not None:
        added = more if added is None else added + more
    dimensions = 5 if isinstance(part, Tiles) else 4
    added, allowed = (t if t is None else t[(None,) * (dimensions - t.ndim)] for t in (added, allowed))
    if allowed is None:
        return _Seen(added, None, None)
    if type(part) is Masked and call.visible.everything:  # every token sees itself
        return _Seen(torch.where(allowed, like.new_zeros(()) if added is None else added, -torch.inf), allowed, None)
    seeing = allowed.any(dim=-1, keepdim=True)
    bias = torch.where(allowed | ~seeing, like.new_zeros(()) if added is None else added, -torch.inf)
    return _Seen(bias, allowed, seeing)


def _added(layer: "Attention", part: Part, call: Call, *, like: Tensor) -> Tensor | None:
    """What the position adds to the scores of a part; None: nothing."""
    position = layer.position
    if position is None or position.acts_on != "scores" or call.empty:
        return None
    places = part.places(_places(position, call, like=like))
    edges = None
    if position.places_prefix and call.prefix:
        pairs = (None, places[1]), (places[0], None), (None, None)
        edges = Edges(*(position(q, k, call.extent).to(like.dtype) for q, k in pairs))
    return part.widen(position(*places, call.extent).to(like.dtype), edges)


def _places(position: Position, call: Call, *, like: Tensor) -> Tensor:
    """Where the tokens lie (N, 2): the very tensor that a relative bias has kept what it computes of it for."""
    alone = type(position) is RelativeBias and may_be_asked(like) and call.step == (1, 1)
    if alone and is_kept(call.grid):
        return kept_coordinates(call.grid)
    return coordinates(call.grid, device=like.device, step=call.step)


def _of_parts(
    layer: "Attention",
    parts: list[Part],
    seen: list[_Seen],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spoilt: Tensor | None,
) -> Tensor:
    """softmax(scores) v for some of the queries, one softmax over all parts: (B, H, N, E)."""
    if len(parts) == 1 and layer.similarity.folds and not isinstance(layer.pattern, TopK):
        part, one = parts[0], seen[0]
        own = part.queries(q), part.keys(k), part.keys(v)
        if layer.path == "auto" and one.bias is None and _are_few(layer, own[1]):
            out = kernels.products(*own, scale=layer.factor, drop=layer.attn_drop)
        else:
            out = attended(layer, *own, one.bias)
        return part.back(_settled(out, part, one, spoilt))
    found = []
    for part, one in zip(parts, seen, strict=True):
        scores = _scores(layer, part.queries(q), part.keys(k), one.bias)
        if len(parts) > 1 and one.seeing is not None:
            scores = scores.masked_fill(~one.seeing, torch.finfo(scores.dtype).min)
        found.append(scores)
    drop = layer.attn_drop
    weights = [drop(found[0].softmax(dim=-1))] if len(parts) == 1 else shared.softmax(parts, found, drop)
    outs = [
        part.back(_settled(own.to(v.dtype) @ part.keys(v), part, one, spoilt))
        for part, one, own in zip(parts, seen, weights, strict=True)
    ]
    return sum(outs[1:], outs[0])


def _are_few(layer: "Attention", k: Tensor) -> bool:
    """Whether keys are reduced to so few that products are the fastest way in every type."""
    return isinstance(layer.pattern, SpatialReduction) and may_be_asked(k) and k.shape[2] <= kernels.FEW


def attended(layer: "Attention", q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(factor q k^T + bias) v, with groups (B, H, G, n, E), by the fused kernel or by products."""
    drop = layer.attn_drop
    if not kernels.is_fused(layer.path, q, k, v, bias, drop):
        added = () if bias is None else (bias,)
        at_once = plan.scores_at_once(layer, q, k, v, *added) if layer.path == "auto" else None
        if at_once is None:
            return kernels.products(q, k, v, bias, scale=layer.factor, drop=drop)

        def some(q: Tensor, k: Tensor, v: Tensor, _: None, *bias: Tensor) -> Tensor:
            return kernels.products(q, k, v, *bias, scale=layer.factor)

        return in_turn(some, q, k, v, None, *added, at_once=at_once)
    fused = kernels.fused if traced(q) or q.ndim == 4 else kernels.fused_in_groups
    return fused(q, k, v, bias, scale=layer.factor, dropout=kernels.rate(drop))


def _is_causal_alone(layer: "Attention", call: Call, lists: list[list[Part]]) -> bool:
    """Whether the kernel's own causal order says all that is to be said."""
    placed = layer.position is not None and layer.position.acts_on == "scores"
    simple = layer.similarity.folds and type(layer.pattern) is not TopK and not placed
    return simple and call.visible.only_causal(lists[0][0])


def _settled(out: Tensor, part: Part, seen: _Seen, spoilt: Tensor | None) -> Tensor:
    """Rows of queries: 0 for those that see nothing, NaN for those that see what is not finite."""
    if seen.seeing is not None and not (may_be_asked(out) and bool(seen.seeing.all())):
        out = out * seen.seeing
    if spoilt is None:
        return out
    reached = part.keys(spoilt).transpose(-2, -1)
    reached = reached if seen.allowed is None else reached & seen.allowed
    return out.masked_fill(reached.any(dim=-1, keepdim=True), torch.nan)


def _scores(layer: "Attention", q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """The scores (B, H, N, M) or (B, H, G, n, m) that the softmax is taken of."""
    factor, folds = layer.factor, layer.similarity.folds
    scores = layer.similarity(scaled(q, factor) if folds else q, k, folded=True)
    if not folds and layer.scaling == "learned":
        dimensions = 4 if traced(scores) else scores.ndim
        scores = scores * layer.temperature().reshape(-1, *[1] * (dimensions - 2)).to(scores.dtype)
    elif not folds and factor != 1:
        scores = scores * factor
    return layer.pattern.select(scores if bias is None else scores + bias)


def _projected(layer: "Attention", call: Call) -> tuple[Tensor, ...]:
    x, source, number, widths = call.tokens, call.source, layer.num_heads, layer.widths
    if isinstance(layer.pattern, SpatialReduction) and not call.empty:
        source = layer.pattern(x, call.grid, prefix=call.prefix)
    if layer.context_dim is not None and source is not None:
        own, others = {"q": widths["q"]}, {name: widths[name] for name in "kv"}
        q = projection.heads(layer.q, x, widths=own, names="q", num_heads=number)
        return *q, *projection.heads(layer.kv, source, widths=others, names="kv", num_heads=number)
    if call.tiling is not None:
        forget = torch.is_grad_enabled() and plan.forgets(layer, call, call.tiling)
        with in_groups(x, call.tiling, forget=forget) as tiles:
            return projection.heads(layer.qkv, tiles, widths=widths, names="qkv", num_heads=number)
    if source is None or source is x:
        return projection.heads(layer.qkv, x, widths=widths, names="qkv", num_heads=number)
    q = projection.heads(layer.qkv, x, widths=widths, names="q", num_heads=number)
    return *q, *projection.heads(layer.qkv, source, widths=widths, names="kv", num_heads=number)


def _turned(layer: "Attention", call: Call, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys turned by their places, where the position is of that kind."""
    position, prefix = layer.position, call.prefix
    if position is None or position.acts_on != "queries and keys" or call.empty:
        return q, k
    places = coordinates(call.grid, device=q.device, step=call.step)
    reduced = isinstance(layer.pattern, SpatialReduction)
    seen = layer.pattern.key_places(call.grid, device=q.device) if reduced else places
    if not prefix:
        return position(q, places), position(k, seen)
    return tuple(  # type: ignore[return-value]
        torch.cat([t[:, :, :prefix], position(t[:, :, prefix:], at)], dim=2) for t, at in ((q, places), (k, seen))
    )


def _spoilt(k: Tensor, v: Tensor) -> Tensor:
    """(B, 1, M, 1): the keys with a number that is not finite."""
    total = k.sum(dim=(1, 3), dtype=wide_dtype(k)) + v.sum(dim=(1, 3), dtype=wide_dtype(v))
    return ~torch.isfinite(total)[:, None, :, None]


def _cleaned(call: Call) -> Call:
    """The call without numbers that are not finite in tokens that none may see: they would reach gradients."""
    if call.keys is None:
        return call
    if call.source is None:
        return dataclasses.replace(call, tokens=unspoilt(call.tokens, call.keys))
    return dataclasses.replace(call, source=unspoilt(call.source, call.keys))


def _arithmetic(layer: "Attention", q: Tensor) -> contextlib.AbstractContextManager[None]:
    """Where folded queries and keys are compared in float32, autocast must leave them in it."""
    return contextlib.nullcontext() if not layer.similarity.exact or traced(q) else left_alone(q.device)
