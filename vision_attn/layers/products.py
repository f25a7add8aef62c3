"""Attention by matrix products, a few samples or heads at a time: fast in bfloat16 on CPUs, small in memory.

B batch, H heads, N queries, M keys, D channels of a key, E of a value.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vision_attn.layers.shapes import Float

SCORES_AT_ONCE = 2**18
"""How many scores are held at once: 512 KiB in bfloat16, less than a core's cache; half as many for the gradients."""


def attend(
    q: Float[Tensor, "B H N D"], k: Float[Tensor, "B H M D"], v: Float[Tensor, "B H M E"], *, scale: float
) -> Float[Tensor, "B H N E"]:
    """softmax(scale q k^T) v. The weights are not kept but computed again for the gradients."""
    return _Products.apply(q, k, v, scale)


def _chunks(q: Tensor, k: Tensor, at_once: int) -> list[tuple[slice, slice]]:
    """Samples and heads that are computed together: several samples, or where one is too much some of its heads."""
    batch, heads, queries, _ = q.shape
    of_heads = max(1, at_once // (queries * k.shape[2]))
    of_samples = max(1, of_heads // heads)
    return [
        (slice(sample, sample + of_samples), slice(head, head + of_heads))
        for sample in range(0, batch, of_samples)
        for head in range(0, heads, of_heads)
    ]


def _weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T), the scale multiplied inside the product."""
    scores = torch.baddbmm(q.new_empty(()), q.flatten(0, 1), k.flatten(0, 1).mT, beta=0, alpha=scale)
    return scores.softmax(dim=-1).unflatten(0, q.shape[:2])


def _one_batch(size: int, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The dimension over which vmap goes and the batch as one; attention does not mix samples."""
    moved = [
        tensor.expand(size, *tensor.shape) if place is None else tensor.movedim(place, 0)
        for tensor, place in zip(tensors, in_dims, strict=True)
    ]
    return [tensor.flatten(0, 1) for tensor in moved]


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        batch, heads, queries, _ = q.shape
        out = v.new_empty(batch, queries, heads, v.shape[-1]).transpose(1, 2)
        with torch.autocast(q.device.type, enabled=False):
            for c in _chunks(q, k, SCORES_AT_ONCE):
                out[c] = _weights(q[c], k[c], scale) @ v[c]
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, float], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.scale = inputs[3]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        return *_Gradients.apply(*ctx.saved_tensors, grad, ctx.scale), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        q, k, v = _one_batch(info.batch_size, in_dims[:3], inputs[:3])
        return attend(q, k, v, scale=inputs[3]).unflatten(0, (info.batch_size, -1)), 0


class _Gradients(torch.autograd.Function):
    """dV = P^T dO, dS = P (dP - sum(P dP)) with dP = dO V^T, dQ = scale dS K, dK = scale dS^T Q."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        with torch.autocast(q.device.type, enabled=False):
            for c in _chunks(q, k, SCORES_AT_ONCE // 2):
                weights = _weights(q[c], k[c], scale)
                dv[c] = weights.transpose(-2, -1) @ grad[c]
                dweights = grad[c] @ v[c].transpose(-2, -1)
                dscores = torch.ops.aten._softmax_backward_data(dweights, weights, -1, weights.dtype).mul_(scale)
                dq[c] = dscores @ k[c]
                dk[c] = dscores.transpose(-2, -1) @ q[c]
        return dq, dk, dv

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        found = _Gradients.apply(*_one_batch(info.batch_size, in_dims[:4], inputs[:4]), inputs[4])
        return tuple(d.unflatten(0, (info.batch_size, -1)) for d in found), (0, 0, 0)
