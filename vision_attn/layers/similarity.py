"""Similarities of queries and keys: what is compared before the softmax.

B batch, H heads, N queries, M keys, D channels a head. A similarity folds what it can into q and k, so that a dot
product is left and the fused kernel can be used; the two that cannot be folded look at pairs, in chunks of queries.
"""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers.pairs import pair_scores
from vision_attn.layers.precision import compared, wide
from vision_attn.layers.shapes import Bool, Float
from vision_attn.layers.symbolic import traced

SimilarityName = Literal["dot", "cosine", "bilinear", "additive", "perceptron", "gaussian"]


class Dot(nn.Module):
    """q . k"""

    folds: ClassVar[bool] = True
    """Whether the similarity of the folded q and k is their dot product."""
    exact: ClassVar[bool] = False
    """Whether folded q and k are compared in float32 even where the tokens are of a smaller type."""
    centred: ClassVar[bool] = False
    """Whether queries and keys are taken from the mean of the keys that any may see."""
    turns: ClassVar[bool] = True
    """Whether it stays the same where q and k are turned alike: then places may be counted from anywhere."""
    scales: ClassVar[tuple[str, ...]] = ("sqrt", "none", "inverse", "learned", "after_softmax")
    """The score scales that make sense, the usual one first."""

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim

    def first_scale(self) -> float:
        """What a learned scale begins with."""
        return self.head_dim**-0.5

    def reset_parameters(self) -> None:
        """What is learned, as it is to begin with."""

    def forward(self, q: Tensor, k: Tensor, *, folded: bool = False, seen: Tensor | None = None) -> Any:
        """The folded queries and keys, or the similarities of those that are."""
        return self.scores(q, k) if folded else self.fold(q, k, seen)

    def fold(
        self, q: Float[Tensor, "B H N D"], k: Float[Tensor, "B H M D"], seen: Bool[Tensor, "B M"] | None
    ) -> tuple[Float[Tensor, "B H N F"], Float[Tensor, "B H M F"]]:
        """The queries and keys that `scores` compares; `seen` are the keys that any may see, None: all."""
        return q, k

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """The similarities (..., N, M) of folded queries (B, H, ..., N, F) and keys (B, H, ..., M, F)."""
        return compared(q, k)


class Cosine(Dot):
    """q . k / (|q| |k|), in [-1, 1] (cosine attention: Liu et al. 2022, Swin V2, arXiv:2111.09883)."""

    scales: ClassVar[tuple[str, ...]] = ("learned", "none")

    def first_scale(self) -> float:
        return 10.0

    def fold(self, q: Tensor, k: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        return F.normalize(wide(q), dim=-1), F.normalize(wide(k), dim=-1)


class Bilinear(Dot):
    """q^T W k, one W a head, the identity to begin with (Luong et al. 2015, "general", arXiv:1508.04025)."""

    turns: ClassVar[bool] = False

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        self.weight = nn.Parameter(torch.empty(num_heads, head_dim, head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.weight.copy_(torch.eye(self.head_dim))

    def fold(self, q: Tensor, k: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        return q @ self.weight, k


class Gaussian(Dot):
    """-|q - k|^2 / 2, the exponent of a Gaussian kernel (Tsai et al. 2019, arXiv:1908.11775).

    It is q . k - |k|^2 / 2 but for |q|^2 / 2, which the softmax cancels: a channel more, 1 for q, the norm term for k.
    Both are taken from the mean of the keys, in float32, as the terms of the square lose what they have in common: of
    those that are seen, as what padding holds may be large.
    """

    exact: ClassVar[bool] = True
    centred: ClassVar[bool] = True
    scales: ClassVar[tuple[str, ...]] = ("sqrt", "none", "inverse", "learned")

    def fold(self, q: Tensor, k: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        q, k = wide(q), wide(k)
        if seen is None:
            centre = k.detach().mean(dim=-2, keepdim=True)
        else:
            own = seen[:, None, :, None]
            centre = k.detach().masked_fill(~own, 0).sum(dim=-2, keepdim=True) / own.sum(dim=-2, keepdim=True)
        centre = centre.nan_to_num(0.0, 0.0, 0.0)  # of no keys, too
        q, k = q - centre, k - centre
        norm = k.square().sum(dim=-1, keepdim=True) / -2
        return torch.cat([q, torch.ones_like(q[..., :1])], dim=-1), torch.cat([k, norm], dim=-1)


class Additive(Dot):
    """w . tanh(q + k): concatenation and tanh (Bahdanau et al. 2015, arXiv:1409.0473).

    As q = W_q x and k = W_k y, it is w . tanh([W_q W_k] [x; y]): one linear map of the concatenated tokens, split.
    """

    folds: ClassVar[bool] = False
    turns: ClassVar[bool] = False
    scales: ClassVar[tuple[str, ...]] = ("none", "learned")
    activation: ClassVar[Literal["tanh", "relu"]] = "tanh"

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        self.weight = nn.Parameter(torch.empty(num_heads, head_dim))
        self._draw_weight()

    def _draw_weight(self) -> None:
        bound = self.head_dim**-0.5
        with torch.no_grad():
            self.weight.uniform_(-1, 1).mul_(bound)

    def reset_parameters(self) -> None:
        self._draw_weight()

    def first_scale(self) -> float:
        return 1.0

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        groups = 0 if traced(q) else q.ndim - 4
        weight = self.weight.to(q.dtype).reshape(1, self.weight.shape[0], *[1] * groups, -1)
        return pair_scores(q, k, weight, activation=self.activation)


class Perceptron(Additive):
    """w_2 . relu(W_1 [q; k] + b_1): a perceptron with one hidden layer of D units on every pair."""

    activation: ClassVar[Literal["tanh", "relu"]] = "relu"

    def __init__(self, *, num_heads: int, head_dim: int) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        self.hidden = nn.Parameter(torch.empty(num_heads, 2 * head_dim, head_dim))
        self.hidden_bias = nn.Parameter(torch.empty(num_heads, 1, head_dim))
        self._draw_hidden()

    def _draw_hidden(self) -> None:
        bound = (2 * self.head_dim) ** -0.5
        nn.init.uniform_(self.hidden, -bound, bound)
        nn.init.uniform_(self.hidden_bias, -bound, bound)

    def reset_parameters(self) -> None:
        self._draw_weight()
        self._draw_hidden()

    def fold(self, q: Tensor, k: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
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
