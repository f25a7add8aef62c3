"""Scores of pairs that are no dot product, w . f(q_i + k_j), without all pairs x channels at once.

B batch, H heads, N queries, M keys, D channels a head; behind H there may be groups.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from vision_attn.layers.derivatives import asked_again, beyond_first_gradients, stands_for_several
from vision_attn.layers.precision import wide
from vision_attn.layers.symbolic import recorded, traced

PAIRS_AT_ONCE = 2**20
"""How many numbers (pairs of tokens x channels) are held at once: 4 MiB in float32."""


def pair_scores(q: Tensor, k: Tensor, weight: Tensor, *, activation: Literal["tanh", "relu"]) -> Tensor:
    """w . f(q_i + k_j) (B, H, ..., N, M) of q (B, H, ..., N, D), k (B, H, ..., M, D) and w (1, H, ..., D)."""
    if recorded() or traced(q) or beyond_first_gradients(q, k, weight):
        return (_active(q, k, activation) * weight[..., None, None, :]).sum(dim=-1)
    return _PairScores.apply(q, k, weight, activation)  # type: ignore[no-untyped-call]


class _PairScores(torch.autograd.Function):
    """w . f(q_i + k_j) of every pair, for a chunk of queries at a time, forward and backward, in one buffer.

    No tensor of pairs x channels outlives its chunk: what is kept for the gradients is q, k and w. These are
    (B, H, ..., N, D), (B, H, ..., M, D) and (B or 1, H, ..., D).
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, weight: Tensor, activation: str) -> Tensor:
        out = q.new_empty(*q.shape[:-1], k.shape[-2])
        for rows in _chunks(q, k):
            active = _active(q[..., rows, :], k, activation)
            out[..., rows, :] = (active @ weight[..., None, :, None])[..., 0]
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, str], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.activation = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, weight = ctx.saved_tensors
        if asked_again() or stands_for_several(grad):
            active = _active(q, k, ctx.activation)
            dpairs = grad[..., None] * weight[..., None, None, :] * _slope(active, ctx.activation)
            dweight = (grad[..., None] * active).sum(dim=(-3, -2))
            return dpairs.sum(dim=-2), dpairs.sum(dim=-3), _like(weight, dweight), None
        return *_PairGradients.apply(q, k, weight, grad, ctx.activation), None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        tensors, batch = _one_batch(info.batch_size, in_dims[:3], inputs[:3])
        return _PairScores.apply(*tensors, inputs[3]).unflatten(0, (info.batch_size, batch)), 0  # type: ignore[no-untyped-call]


class _PairGradients(torch.autograd.Function):
    """The gradients of `_PairScores` for q, k and w."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, weight: Tensor, grad: Tensor, activation: str) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk = torch.empty_like(q), wide(torch.zeros_like(k))
        dweight = wide(q.new_zeros(*q.shape[:-2], q.shape[-1]))
        for rows in _chunks(q, k):
            active, g = _active(q[..., rows, :], k, activation), grad[..., rows, :]
            dweight += (g[..., None, :] @ active)[..., 0, :].sum(dim=-2, dtype=dweight.dtype)
            dpairs = _slope_(active, activation).mul_(weight[..., None, None, :]).mul_(g[..., None])
            dq[..., rows, :] = dpairs.sum(dim=-2)
            dk += dpairs.sum(dim=-3, dtype=dk.dtype)
        return dq, dk.to(k.dtype), _like(weight, dweight)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        tensors, batch = _one_batch(info.batch_size, in_dims[:4], inputs[:4])
        found = _PairGradients.apply(*tensors, inputs[4])  # type: ignore[no-untyped-call]
        dq, dk, dweight = (d.unflatten(0, (info.batch_size, batch)) for d in found)
        shared = inputs[2].movedim(in_dims[2], 0)[0] if in_dims[2] is not None else inputs[2]
        return (dq, dk, dweight.sum(dim=1, keepdim=True) if len(shared) == 1 else dweight), (0, 0, 0)


def _one_batch(size: int, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> tuple[list[Tensor], int]:
    """The dimension over which vmap goes and the batch as one, and the batch size; pairs do not mix samples."""
    front = [
        tensor.expand(size, *tensor.shape) if place is None else tensor.movedim(place, 0)
        for tensor, place in zip(tensors, in_dims, strict=True)
    ]
    batch = front[0].shape[1]
    return [tensor.expand(size, batch, *tensor.shape[2:]).flatten(0, 1) for tensor in front], batch


def _chunks(q: Tensor, k: Tensor) -> list[slice]:
    at_once = max(1, PAIRS_AT_ONCE // max(1, k.numel()))
    return [slice(first, first + at_once) for first in range(0, q.shape[-2], at_once)]


def _active(q: Tensor, k: Tensor, activation: str) -> Tensor:
    """f(q_i + k_j), (..., N, M, D)."""
    pairs = q[..., :, None, :] + k[..., None, :, :]
    if torch.is_grad_enabled() or recorded():
        return pairs.relu() if activation == "relu" else pairs.tanh()
    return pairs.relu_() if activation == "relu" else pairs.tanh_()


def _slope(active: Tensor, activation: str) -> Tensor:
    """f'(q_i + k_j)."""
    return (active > 0).to(active.dtype) if activation == "relu" else 1 - active.square()


def _slope_(active: Tensor, activation: str) -> Tensor:
    """The same, in the place of f."""
    return active.gt_(0) if activation == "relu" else active.square_().neg_().add_(1)


def _like(weight: Tensor, gradient: Tensor) -> Tensor:
    """A gradient (B, H, ..., D) summed to the shape of the weight."""
    gradient = gradient.flatten(2, -2).sum(dim=2) if gradient.ndim > 3 else gradient
    gradient = gradient.sum(dim=0, keepdim=True) if weight.shape[0] == 1 else gradient
    return gradient.reshape(weight.shape).to(weight.dtype)
