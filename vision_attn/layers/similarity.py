"""Similarities of queries and keys: what is compared before the softmax.

B batch, H heads, N queries, M keys, D channels a head. A similarity folds what it can into q and k, so that a dot
product is left and the fused kernel can be used; the two that cannot be folded look at pairs, in chunks of queries.
"""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.shapes import Float

SimilarityName = Literal["dot", "cosine", "bilinear", "additive", "perceptron", "gaussian"]

PAIRS_AT_ONCE = 2**21
"""How many numbers (pairs of tokens x channels) the additive and the perceptron similarity hold at once."""


class Dot(nn.Module):
    """q . k"""

    folds: ClassVar[bool] = True
    """Whether the similarity of the folded q and k is their dot product."""
    scales: ClassVar[tuple[str, ...]] = ("sqrt", "none", "inverse", "learned", "after_softmax")
    """The score scales that make sense, the usual one first."""

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim

    def first_scale(self) -> float:
        """What a learned scale begins with."""
        return self.head_dim**-0.5

    def fold(
        self, q: Float[Tensor, "B H N D"], k: Float[Tensor, "B H M D"]
    ) -> tuple[Float[Tensor, "B H N F"], Float[Tensor, "B H M F"]]:
        """The queries and keys that `scores` compares."""
        return q, k

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """The similarities (..., N, M) of folded queries (B, H, ..., N, F) and keys (B, H, ..., M, F)."""
        return q @ k.transpose(-2, -1)


class Cosine(Dot):
    """q . k / (|q| |k|), in [-1, 1] (cosine attention: Liu et al. 2022, Swin V2, arXiv:2111.09883)."""

    scales: ClassVar[tuple[str, ...]] = ("learned", "none")

    def first_scale(self) -> float:
        return 10.0

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1)


class Bilinear(Dot):
    """q^T W k, one W a head, the identity to begin with (Luong et al. 2015, "general", arXiv:1508.04025)."""

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        self.weight = nn.Parameter(torch.eye(head_dim).repeat(num_heads, 1, 1))

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return q @ self.weight, k


class Gaussian(Dot):
    """-|q - k|^2 / 2, the exponent of a Gaussian kernel (Tsai et al. 2019, arXiv:1908.11775).

    It is q . k - |k|^2 / 2 but for |q|^2 / 2, which the softmax cancels: a channel more, 1 for q, the norm term for k.
    """

    scales: ClassVar[tuple[str, ...]] = ("sqrt", "none", "inverse", "learned")

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        norm = k.square().sum(dim=-1, keepdim=True) / -2
        return torch.cat([q, torch.ones_like(q[..., :1])], dim=-1), torch.cat([k, norm.to(k.dtype)], dim=-1)


class Additive(Dot):
    """w . tanh(q + k): concatenation and tanh (Bahdanau et al. 2015, arXiv:1409.0473).

    As q = W_q x and k = W_k y, it is w . tanh([W_q W_k] [x; y]): one linear map of the concatenated tokens, split.
    """

    folds: ClassVar[bool] = False
    scales: ClassVar[tuple[str, ...]] = ("none", "learned")
    activation: ClassVar[Literal["tanh", "relu"]] = "tanh"

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        self.weight = nn.Parameter(torch.empty(num_heads, head_dim).uniform_(-1, 1) * head_dim**-0.5)

    def first_scale(self) -> float:
        return 1.0

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        weight = self.weight.to(q.dtype).reshape(self.weight.shape[0], *[1] * (q.ndim - 3), -1)
        return _PairScores.apply(q, k, weight, self.activation)


class Perceptron(Additive):
    """w_2 . relu(W_1 [q; k] + b_1): a perceptron with one hidden layer of D units on every pair."""

    activation: ClassVar[Literal["tanh", "relu"]] = "relu"

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        bound = (2 * head_dim) ** -0.5
        self.hidden = nn.Parameter(torch.empty(num_heads, 2 * head_dim, head_dim).uniform_(-bound, bound))
        self.hidden_bias = nn.Parameter(torch.empty(num_heads, 1, head_dim).uniform_(-bound, bound))

    def fold(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        for_q, for_k = self.hidden.chunk(2, dim=1)
        return q @ for_q + self.hidden_bias.to(q.dtype), k @ for_k


SIMILARITIES: dict[str, type[Dot]] = {
    "dot": Dot,
    "cosine": Cosine,
    "bilinear": Bilinear,
    "additive": Additive,
    "perceptron": Perceptron,
    "gaussian": Gaussian,
}


class _PairScores(torch.autograd.Function):
    """w . f(q_i + k_j) of every pair, for a chunk of queries at a time, forward and backward.

    No tensor of pairs x channels outlives its chunk: what is kept for the gradients is q, k and w.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor, weight: Tensor, activation: str) -> Tensor:
        return torch.cat([_active(c, k, activation)[0] @ weight[..., None] for c in _split(q, k)], dim=-3)[..., 0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, str], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.activation = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, weight = ctx.saved_tensors
        dq, dk, dweight = [], torch.zeros_like(k), torch.zeros_like(weight)
        chunks = _split(q, k)
        for c, g in zip(chunks, grad.split([c.shape[-2] for c in chunks], dim=-2), strict=True):
            active, slope = _active(c, k, ctx.activation)
            taken = (g[..., None, :] @ active)[..., 0, :]
            dweight = dweight + taken.sum(dim=(0, *range(2, taken.ndim - 1))).reshape(weight.shape)
            dpairs = g[..., None] * weight[..., None, :] * slope
            dq.append(dpairs.sum(dim=-2))
            dk = dk + dpairs.sum(dim=-3)
        return torch.cat(dq, dim=-2), dk, dweight, None


def _split(q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    return q.split(max(1, PAIRS_AT_ONCE // max(1, k.numel())), dim=-2)


def _active(q: Tensor, k: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """f(q_i + k_j) and f'(q_i + k_j), (..., N, M, D)."""
    pairs = q[..., :, None, :] + k[..., None, :, :]
    if activation == "relu":
        return pairs.relu(), (pairs > 0).to(pairs.dtype)
    active = pairs.tanh()
    return active, 1 - active.square()
