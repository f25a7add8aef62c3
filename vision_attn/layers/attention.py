"""Multi-head attention over tokens, self and cross, its stages open to choice.

B batch, N queries, M keys, H heads, C channels, D channels a head of q and k, E of v.
One definition of q, k, v (`heads`) and of what is added to the scores (`bias`) is read by `forward` and by `weights`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers import checks, products
from vision_attn.layers.patterns import Part, Pattern, SpatialReduction, TopK
from vision_attn.layers.positions import Position, coordinates
from vision_attn.layers.projection import PackedProjection
from vision_attn.layers.shapes import Bool, Float
from vision_attn.layers.similarity import SIMILARITIES, SimilarityName

MATH_TOKENS = 400
"""Up to this many keys matrix products are faster than the fused kernel on a CPU in bfloat16, in no more memory."""

ScaleName = Literal["sqrt", "none", "inverse", "learned", "after_softmax"]
Tokens: TypeAlias = Float[Tensor, "B N C"] | Float[Tensor, "B C H W"]
Context: TypeAlias = Float[Tensor, "B M K"] | Float[Tensor, "B K P Q"]
Grid: TypeAlias = tuple[int, int]


def attention_path(device: torch.device, tokens: int, dtype: torch.dtype = torch.bfloat16) -> Literal["math", "fused"]:
    """Which of the two exact ways is taken: matrix products and a softmax, or PyTorch's fused kernel.

    `tokens` is the number of keys that a query meets. In other types than bfloat16 the fused kernel is not slower.
    """
    if device.type != "cpu" or dtype != torch.bfloat16 or torch.compiler.is_exporting():
        return "fused"
    return "math" if tokens <= MATH_TOKENS else "fused"


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762): softmax(scale sim(q, k) + bias) v, projected.

    Tokens (B, N, C) or an image of tokens (B, C, H, W) to the same shape; `weights` gives the attention that
    `forward` uses. Arguments and parameters are named as in timm, whose state loads where the settings are equal.

    qkv_bias        biases of the projections; `q_bias`, `k_bias`, `v_bias` overrule it for one
    key_dim, value_dim      widths of q and k, and of v, over all heads. None: `dim`
    context_dim     width of the tokens that keys and values come from (cross-attention); then `context` must be given.
                    None: `dim`, and `context` may be given
    similarity      "dot", "cosine", "bilinear", "gaussian", "additive", "perceptron" (layers.similarity)
    scale           what the similarity is multiplied by: 1/sqrt(D) ("sqrt"), 1 ("none"), 1/D ("inverse"), a learned
                    number a head ("learned"). "after_softmax" multiplies the weights, not the scores, by 1/sqrt(D): a
                    fault of early code, kept as a variant. None: the usual one of the similarity
    position        None or a module of layers.positions
    pattern         None (every token sees every token) or a module of layers.patterns
    num_prefix_tokens       that many tokens at the front (CLS, registers) lie nowhere: no pattern, no position
    grid            how tokens (B, N, C) lie. None: as the position's grid if N fits it, else as a square

    Raises `ValueError` where the arguments do not fit together.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        *,
        qkv_bias: bool = True,
        q_bias: bool | None = None,
        k_bias: bool | None = None,
        v_bias: bool | None = None,
        proj_bias: bool = True,
        qk_norm: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        key_dim: int | None = None,
        value_dim: int | None = None,
        context_dim: int | None = None,
        scale: ScaleName | None = None,
        similarity: SimilarityName = "dot",
        position: Position | None = None,
        pattern: Pattern | None = None,
        num_prefix_tokens: int = 0,
        grid: Grid | None = None,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        key_dim, value_dim = dim if key_dim is None else key_dim, dim if value_dim is None else value_dim
        checks.widths(dim, num_heads, key_dim=key_dim, value_dim=value_dim)
        self.dim, self.num_heads, self.head_dim, self.context_dim = dim, num_heads, key_dim // num_heads, context_dim
        self.scale, self.num_prefix_tokens = checks.scale_of(similarity, scale), num_prefix_tokens
        biases = {"q": q_bias, "k": k_bias, "v": v_bias}
        biased = {name: qkv_bias if bias is None else bias for name, bias in biases.items()}
        keys_values = {"k": key_dim, "v": value_dim}
        if context_dim is None:
            self.qkv = PackedProjection(dim, widths={"q": key_dim, **keys_values}, biases=biased)
        else:
            self.q = PackedProjection(dim, widths={"q": key_dim}, biases=biased)
            self.kv = PackedProjection(context_dim, widths=keys_values, biases=biased)
        self.q_norm = norm_layer(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = norm_layer(self.head_dim) if qk_norm else nn.Identity()
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(value_dim, dim, bias=proj_bias)
        self.proj_drop = nn.Dropout(proj_drop)
        self.similarity = SIMILARITIES[similarity](num_heads=num_heads, head_dim=self.head_dim)
        if self.scale == "learned":
            start = self.similarity.first_scale()
            self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(start)))
        self.position, self.pattern = position, Pattern() if pattern is None else pattern
        self.grid = grid if grid is not None or position is None else position.grid
        checks.parts(self)

    @property
    def factor(self) -> float:
        """What the dot products of the heads' q and k are multiplied by."""
        return {"sqrt": self.head_dim**-0.5, "inverse": 1 / self.head_dim}.get(self.scale, 1.0)

    @property
    def after(self) -> float:
        """What the weights are multiplied by."""
        return self.head_dim**-0.5 if self.scale == "after_softmax" else 1.0

    def temperature(self) -> Float[Tensor, "H 1 1"]:
        """The learned scale, at most 100 as in Swin V2."""
        return self.logit_scale.clamp(max=math.log(100)).exp()

    def heads(
        self, x: Tokens, *, context: Context | None = None
    ) -> tuple[Float[Tensor, "B heads N D"], Float[Tensor, "B heads M D"], Float[Tensor, "B heads M E"]]:
        """Queries, keys and values, with norm, rotary position, similarity and learned scale folded in."""
        grid, prefix, position = self.grid_of(x), self.num_prefix_tokens, self.position
        x, source = checks.read(self, x, context)
        if position is not None and position.acts_on == "tokens":
            x = _behind(prefix, x, position.tokens(x[:, prefix:], grid))
        if isinstance(self.pattern, SpatialReduction):
            source = self.pattern.reduce(x, grid, prefix=prefix)
        q, k, v = self._project(x, source)
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        if position is not None and position.acts_on == "queries and keys":
            places, seen = coordinates(grid, device=x.device), self.pattern.key_places(grid, device=x.device)
            q = _behind(prefix, q, position.rotate(q[:, :, prefix:], places))
            k = _behind(prefix, k, position.rotate(k[:, :, prefix:], seen))
        q, k = self.similarity.fold(q, k)
        if self.scale == "learned" and self.similarity.folds:
            q = q * self.temperature().to(q.dtype)
        return q, k, v

    def bias(self, part: Part, grid: Grid, *, key_padding_mask: Tensor | None, like: Tensor) -> Tensor | None:
        """What is added to the scores of a part, to be broadcast: relative position; a huge negative where unseen."""
        added = None
        if self.position is not None and self.position.acts_on == "scores":
            places = part.places(coordinates(grid, device=like.device))
            if places is not None:
                added = part.widen(self.position.bias(*places, self.pattern.extent(grid)).to(like.dtype))
        allowed = _allowed(part, key_padding_mask, like.device)
        if allowed is None:
            return added
        unseen = torch.full((), torch.finfo(like.dtype).min / 2, dtype=like.dtype, device=like.device)
        return torch.where(allowed, torch.zeros_like(unseen) if added is None else added, unseen)

    def weights(
        self, x: Tokens, *, context: Context | None = None, key_padding_mask: Bool[Tensor, "B M"] | None = None
    ) -> Float[Tensor, "B heads N M"]:
        """The attention that `forward` uses: row i says how much token i takes from each token. Rows sum to 1.

        They sum to 1/sqrt(D) with scale = "after_softmax", and to 0 where all that a token may see is padding.
        """
        q, k, _ = self.heads(x, context=context)
        checks.padding(self, key_padding_mask, k)
        rows = []
        for parts, biases in self._parts(x, key_padding_mask, like=q):
            scores = [self._scores(p.queries(q), p.keys(k), b) for p, b in zip(parts, biases, strict=True)]
            spread = [
                part.spread(s.softmax(dim=-1)) * share
                for part, s, share in zip(parts, scores, _shares(parts, scores), strict=True)
            ]
            rows.append(torch.stack(spread).sum(dim=0) * _seeing(parts, key_padding_mask, q))
        return torch.cat(rows, dim=2) * self.after

    def forward(
        self, x: Tokens, *, context: Context | None = None, key_padding_mask: Bool[Tensor, "B M"] | None = None
    ) -> Tokens:
        """Tokens to tokens. `key_padding_mask` is True at the keys that none may see; M counts prefix tokens too."""
        q, k, v = self.heads(x, context=context)
        checks.padding(self, key_padding_mask, k)
        rows = []
        for parts, biases in self._parts(x, key_padding_mask, like=q):
            mixed = self._mixed(parts, q, k, v, biases)
            rows.append(mixed if key_padding_mask is None else mixed * _seeing(parts, key_padding_mask, q))
        mixed = rows[0] if len(rows) == 1 else torch.cat(rows, dim=2)
        if self.scale == "after_softmax":
            mixed = mixed * self.after
        out = self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
        return out if x.ndim == 3 else out.transpose(1, 2).unflatten(2, x.shape[2:])

    def grid_of(self, x: Tokens) -> Grid:
        """How the tokens of x behind the prefix lie: (rows, columns)."""
        if x.ndim == 4:
            return x.shape[2], x.shape[3]
        number = x.shape[1] - self.num_prefix_tokens
        if self.grid is not None and self.grid[0] * self.grid[1] == number:
            return self.grid
        placeless = self.position is None and type(self.pattern) in (Pattern, TopK)
        return (1, number) if placeless else checks.square(number, self.grid)

    def _parts(
        self, x: Tensor, key_padding_mask: Tensor | None, *, like: Tensor
    ) -> Iterator[tuple[list[Part], list[Tensor | None]]]:
        """The queries, part by part, with what is added to the scores of each part."""
        grid = self.grid_of(x)
        for parts in self.pattern.parts(grid, prefix=self.num_prefix_tokens):
            yield parts, [self.bias(p, grid, key_padding_mask=key_padding_mask, like=like) for p in parts]

    def _project(self, x: Tensor, source: Tensor | None) -> tuple[Tensor, ...]:
        if self.context_dim is not None and source is not None:
            return *self.q.heads(x, self.num_heads, names="q"), *self.kv.heads(source, self.num_heads, names="kv")
        if source is None or source is x:
            return self.qkv.heads(x, self.num_heads, names="qkv")
        return *self.qkv.heads(x, self.num_heads, names="q"), *self.qkv.heads(source, self.num_heads, names="kv")

    def _scores(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        """The scores (B, heads, N, M) or (B, heads, groups, n, m) that the softmax is taken of."""
        scores = self.similarity.scores(q if self.factor == 1 else q * self.factor, k)
        if self.scale == "learned" and not self.similarity.folds:
            scores = scores * self.temperature().reshape(-1, *[1] * (scores.ndim - 2)).to(scores.dtype)
        return self.pattern.select(scores if bias is None else scores + bias)

    def _mixed(self, parts: list[Part], q: Tensor, k: Tensor, v: Tensor, biases: list[Tensor | None]) -> Tensor:
        """softmax(scores) v for some of the queries, one softmax over all parts: (B, heads, N, E)."""
        blocks = [(part.queries(q), part.keys(k), part.keys(v), bias) for part, bias in zip(parts, biases, strict=True)]
        if len(blocks) == 1 and self.similarity.folds and not isinstance(self.pattern, TopK):
            return parts[0].back(self._softmax_of_sum(*blocks[0]))
        scores = [self._scores(q, k, bias) for q, k, _, bias in blocks]
        mixed = [
            part.back(self.attn_drop(s.softmax(dim=-1)).to(v.dtype) @ block[2]) * share
            for part, s, block, share in zip(parts, scores, blocks, _shares(parts, scores), strict=True)
        ]
        return mixed[0] if len(mixed) == 1 else torch.stack(mixed).sum(dim=0)

    def _softmax_of_sum(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """softmax(factor q k^T + bias) v by the fastest exact way."""
        dropped = self.attn_drop.p if self.training else 0.0
        fused = attention_path(q.device, k.shape[-2], q.dtype) == "fused"
        if not fused and (bias is not None or dropped or torch.compiler.is_compiling()):
            return self.attn_drop(self._scores(q, k, bias).softmax(dim=-1)).to(v.dtype) @ v
        groups = q.shape[1:-2]
        if q.ndim == 5:
            bias = None if bias is None else _per_group(bias, groups)
            q, k, v = q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)
        if fused:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropped, scale=self.factor)
        else:
            mixed = products.attend(q, k, v, scale=self.factor)
        return mixed.unflatten(1, groups)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_heads={self.num_heads}, scale={self.scale!r}"


def _behind(prefix: int, before: Tensor, changed: Tensor) -> Tensor:
    """The prefix tokens of `before`, then the changed rest."""
    return torch.cat([before[..., :prefix, :].to(changed.dtype), changed], dim=-2) if prefix else changed


def _per_group(bias: Tensor, groups: torch.Size) -> Tensor:
    """A bias that broadcasts to (B, heads, groups, n, m) as one that broadcasts to (B, heads x groups, n, m)."""
    bias = bias.reshape(*[1] * (5 - bias.ndim), *bias.shape)
    return bias.expand(-1, *groups, -1, -1).flatten(1, 2)


def _shares(parts: list[Part], scores: list[Tensor]) -> list[Tensor | float]:
    """How much of the one softmax over all parts falls to each part, (B, heads, N, 1)."""
    if len(parts) == 1:
        return [1.0]
    sizes = [part.back(s.logsumexp(dim=-1, keepdim=True)) for part, s in zip(parts, scores, strict=True)]
    return list(torch.stack(sizes).softmax(dim=0))


def _allowed(part: Part, key_padding_mask: Tensor | None, device: torch.device) -> Tensor | None:
    """Which pairs of a part may see each other, to be broadcast; None: all."""
    by_pattern = part.mask(device)
    if key_padding_mask is None:
        return by_pattern
    by_key = part.keys(~key_padding_mask[:, None, :, None]).transpose(-2, -1)
    return by_key if by_pattern is None else by_key & by_pattern


def _seeing(parts: list[Part], key_padding_mask: Tensor | None, q: Tensor) -> Tensor | float:
    """1 for the queries that may see some key that is not padding, else 0: (B, 1, N, 1)."""
    if key_padding_mask is None:
        return 1.0
    some = []
    for part in parts:
        allowed = _allowed(part, key_padding_mask, q.device)
        assert allowed is not None
        rows = part.queries(q).shape[-2]
        some.append(part.back(allowed.any(dim=-1, keepdim=True).expand(*allowed.shape[:-2], rows, 1)))
    return torch.stack(some).any(dim=0).to(q.dtype)
