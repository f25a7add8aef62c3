"""Copies that groups of tokens need are made, forgotten where they are large, and made again for the gradients.

B batch, H heads, N queries, M keys.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from vision_attn.layers.derivatives import asked_again, transformed
from vision_attn.layers.symbolic import recorded, traced
from vision_attn.layers.tiling import Tiling

Attend: TypeAlias = Callable[..., Tensor]
Slices: TypeAlias = tuple[slice, slice, slice]


@contextlib.contextmanager
def in_groups(tokens: Tensor, tiling: Tiling, *, forget: bool) -> Iterator[Tensor]:
    """The tokens (B, N, C) of every tile as samples of their own, (B G, n, C).

    With `forget` what is computed of them inside keeps the tokens for its gradients, and not this copy of them.
    """
    tiles, base = tiling.split(tokens[:, None]).squeeze(1).flatten(0, 1), tokens.detach()
    if not forget or recorded() or traced(tokens) or transformed():
        yield tiles
        return
    place, version = _place(tiles), base._version
    if place is None:
        yield tiles
        return

    def pack(saved: Tensor) -> Any:
        return saved.shape if _place(saved) == place else saved

    def unpack(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        if base._version != version:
            raise RuntimeError("tokens of Attention were modified by an inplace operation before their gradients.")
        return tiling.split(base[:, None]).reshape(kept)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield tiles


def _place(t: Tensor) -> int | None:
    """Where the numbers of a tensor are stored; None where it has none, or stands for others that have."""
    stored = type(t) in (Tensor, nn.Parameter) and t.layout == torch.strided and not t.is_meta
    return t.untyped_storage().data_ptr() if stored and not t._is_zerotensor() else None


KEYS = (1, 2, 3)
"""Which arguments of `attend` are of keys alone: k, v and `spoilt`."""


class AtOnce(NamedTuple):
    """How many heads of samples, and how many of their queries, are computed together; None: all queries."""

    heads: int
    queries: int | None = None


def in_turn(
    attend: Attend, q: Tensor, k: Tensor, v: Tensor, spoilt: Tensor | None, *pairs: Tensor | None, at_once: AtOnce
) -> Tensor:
    """attend(q, k, v, spoilt, *pairs) (B, H, N, E) of q (B, H, N, D), k, v (B, H, M, ...), so much at a time.

    `spoilt` is of keys, `pairs` are of queries and keys; they broadcast to B and H, and are None or tensors. All that
    `attend` needs gradients for are arguments. Fewer queries than all only where `pairs` are (B, H, N, M).
    """
    return _InTurn.apply(attend, at_once, q, k, v, spoilt, *pairs)  # type: ignore[no-untyped-call]


class _InTurn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attend: Attend, at_once: AtOnce, *tensors: Tensor | None) -> Tensor:
        q, _, v = tensors[:3]
        assert q is not None
        assert v is not None
        out = v.new_empty(*q.shape[:3], v.shape[-1])
        for chunk in _chunks(q, at_once):
            out[chunk] = attend(*_parts(tensors, chunk))
        ctx.attend, ctx.at_once, ctx.known = attend, at_once, [t is not None for t in tensors]
        ctx.autocast = torch.is_autocast_enabled(q.device.type), torch.get_autocast_dtype(q.device.type)
        ctx.save_for_backward(*(t for t in tensors if t is not None))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        saved = iter(ctx.saved_tensors)
        tensors = [next(saved) if known else None for known in ctx.known]
        wanted = [t is not None and needs for t, needs in zip(tensors, ctx.needs_input_grad[2:], strict=True)]
        again, (enabled, dtype) = asked_again(), ctx.autocast
        with torch.enable_grad(), torch.autocast(grad.device.type, dtype=dtype, enabled=enabled):
            if again:
                sources = [t for t, needs in zip(tensors, wanted, strict=True) if needs and t is not None]
                found = iter(torch.autograd.grad(ctx.attend(*tensors), sources, grad, create_graph=True))
                return None, None, *[next(found) if needs else None for needs in wanted]
            return None, None, *_gradients(ctx, tensors, wanted, grad)


def _gradients(ctx: Any, tensors: Sequence[Tensor | None], wanted: list[bool], grad: Tensor) -> list[Tensor | None]:
    out = [  # made from `grad`, which may stand for several gradients at once
        grad.new_zeros(t.shape, dtype=t.dtype) if needs and t is not None else None
        for t, needs in zip(tensors, wanted, strict=True)
    ]
    for chunk in _chunks(grad, ctx.at_once):
        leaves = [
            part if part is None else part.detach().requires_grad_(needs)
            for part, needs in zip(_parts(tensors, chunk), wanted, strict=True)
        ]
        sources = [leaf for leaf, needs in zip(leaves, wanted, strict=True) if needs and leaf is not None]
        found = iter(torch.autograd.grad(_Towards.apply(ctx.attend(*leaves), grad[chunk]), sources))  # type: ignore[no-untyped-call]
        for whole in _parts(out, chunk):
            if whole is not None:
                whole.add_(next(found))
    return out


class _Towards(torch.autograd.Function):
    """A number whose gradient to a tensor is `grad`.

    Given a gradient of a vector, `torch.autograd.grad` would load 40 MiB of a solver for sizes in the first call.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, grad: Tensor) -> Tensor:
        ctx.grad = grad
        return out.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.grad, None


def _chunks(t: Tensor, at_once: AtOnce) -> Iterator[Slices]:
    """Samples, heads and queries that are computed together: several samples, or of one sample some of its heads."""
    batch, heads, queries = t.shape[:3]
    samples, few = max(1, at_once.heads // heads), at_once.queries
    rows = [slice(None)] if few is None else [slice(first, first + few) for first in range(0, queries, few)]
    for sample in range(0, batch, samples):
        for head in range(0, heads, at_once.heads):
            for row in rows:
                yield slice(sample, sample + samples), slice(head, head + at_once.heads), row


def _parts(tensors: Sequence[Tensor | None], chunk: Slices) -> list[Tensor | None]:
    """The chunk of every argument of `attend`, along what it has more than one of."""
    found: list[Tensor | None] = []
    for number, t in enumerate(tensors):
        own = chunk[:2] if number in KEYS else chunk
        sizes = () if t is None else t.shape[: len(own)]
        index = tuple(part if size > 1 else slice(None) for part, size in zip(own[: len(sizes)], sizes, strict=True))
        found.append(None if t is None else t[index])
    return found
