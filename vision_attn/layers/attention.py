"""Multi-head attention over tokens, self and cross, its stages open to choice.

B batch, N queries, M keys, H heads, C channels, D channels a head of q and k, E of v.
One definition of q, k, v and of what is added to the scores (layers.stages) is read by `forward` and by `weights`.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from vision_attn.layers import calls, checks, cost, foreign, named, plain, plan, stages, states, symbolic
from vision_attn.layers.named import PatternName, PositionName
from vision_attn.layers.paths import PathName, attention_path
from vision_attn.layers.patterns import Pattern
from vision_attn.layers.positions import Position, a_grid
from vision_attn.layers.precision import wide
from vision_attn.layers.projection import packed
from vision_attn.layers.shapes import Bool, Float
from vision_attn.layers.similarity import SIMILARITIES, Dot, SimilarityName
from vision_attn.layers.symbolic import traced

ScaleName = Literal["sqrt", "none", "inverse", "learned", "after_softmax"]
Tokens: TypeAlias = Float[Tensor, "B N C"] | Float[Tensor, "B C H W"]
Context: TypeAlias = Float[Tensor, "B M K"] | Float[Tensor, "B K P Q"]
Grid: TypeAlias = tuple[int, int]

__all__ = ["Attention", "Context", "Grid", "ScaleName", "Tokens", "attention_path"]


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762): softmax(scale sim(q, k) + bias) v, projected.

    Tokens (B, N, C) or an image of tokens (B, C, H, W) to the same shape; `weights` gives the attention that
    `forward` uses. Arguments and parameters are named as in timm, whose state loads where the settings are equal; so
    do those of its Swin, with RelativeBias, and of its BEiT.

    qkv_bias        biases of the projections; `q_bias`, `k_bias`, `v_bias` overrule it for one
    key_dim, value_dim      widths of q and k, and of v, over all heads. None: `dim`
    context_dim     width of the tokens that keys and values come from (cross-attention); then `context` must be given.
                    None: `dim`, and `context` may be given
    similarity      "dot", "cosine", "bilinear", "gaussian", "additive", "perceptron" (layers.similarity)
    scale           what the similarity is multiplied by: 1/sqrt(D) ("sqrt"), 1 ("none"), 1/D ("inverse"), a learned
                    number a head ("learned"), or a number. "after_softmax" multiplies the weights, not the scores, by
                    1/sqrt(D): a fault of early code, kept as a variant. None: the usual one of the similarity
    position        None, a module of layers.positions, or with `grid` its name: "learned", "sincos2d", "convolution",
                    "rotary", "relative", "relative_with_prefix"
    pattern         None (every token sees every token), a module of layers.patterns, or its name: "window",
                    "shifted_window", "neighbourhood", "dilated", "axial", "segmented", "reduced", "top_k"
    pattern_size    of a pattern by name: side of the windows, radius, stride, length of the segments, ratio, k; None: 4
    num_prefix_tokens       that many tokens at the front (CLS, registers) have no grid position: no pattern either
    grid            how tokens (B, N, C) behind the prefix lie, (rows, columns). None: as the grid that the position
                    was built for; where there is none either, as a square if position or pattern must know. Images
                    have their own grid, and a call may say another
    path            "fused" (PyTorch's kernel), "math" (matrix products and a softmax: all derivatives, hooks on
                    `attn_drop` see the weights), or "auto": the faster one (layers.paths)
    device, dtype   of parameters and buffers

    Raises `ValueError` where the arguments do not fit together, `TypeError` for an argument that is not there.
    """

    logit_scale: nn.Parameter | None
    similarity: Dot

    @foreign.in_our_names
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
        scale: ScaleName | float | None = None,
        similarity: SimilarityName = "dot",
        position: Position | PositionName | None = None,
        pattern: Pattern | PatternName | None = None,
        pattern_size: int | None = None,
        num_prefix_tokens: int = 0,
        grid: Grid | None = None,
        path: PathName = "auto",
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        key_dim, value_dim = dim if key_dim is None else key_dim, dim if value_dim is None else value_dim
        checks.widths(dim, num_heads, key_dim=key_dim, value_dim=value_dim, context_dim=context_dim)
        self.dim, self.num_heads, self.head_dim, self.context_dim = dim, num_heads, key_dim // num_heads, context_dim
        self.scaling, self.num_prefix_tokens = checks.scale_of(similarity, scale), num_prefix_tokens
        self.grid, self.path = None if grid is None else a_grid(grid, "Attention"), path
        self.widths = {"q": key_dim, "k": key_dim, "v": value_dim}
        biased = {"q": q_bias, "k": k_bias, "v": v_bias}
        checks.switches({f"{name}_bias": bias for name, bias in {"qkv": qkv_bias, **biased, "proj": proj_bias}.items()})
        checks.switches({"qk_norm": qk_norm})
        checks.makes_norms(norm_layer, wanted=bool(qk_norm))
        checks.rates(attn_drop=attn_drop, proj_drop=proj_drop)
        checks.floating(dtype)
        biases = {name: qkv_bias if bias is None else bias for name, bias in biased.items()}
        with contextlib.nullcontext() if device is None else torch.device(device):
            if context_dim is None:
                self.qkv = packed(dim, widths=self.widths, biases=biases)
            else:
                self.q = packed(dim, widths={"q": key_dim}, biases=biases)
                self.kv = packed(context_dim, widths={"k": key_dim, "v": value_dim}, biases=biases)
            self.q_norm = norm_layer(self.head_dim) if qk_norm else nn.Identity()
            self.k_norm = norm_layer(self.head_dim) if qk_norm else nn.Identity()
            self.attn_drop = nn.Dropout(attn_drop)
            self.proj = nn.Linear(value_dim, dim, bias=proj_bias)
            self.proj_drop = nn.Dropout(proj_drop)
            self.similarity = SIMILARITIES[similarity](num_heads=num_heads, head_dim=self.head_dim)
            learned = nn.Parameter(torch.empty(num_heads, 1, 1)) if self.scaling == "learned" else None
            self.register_parameter("logit_scale", learned)
            self._begin_scale()
            own = named.pattern_of(pattern, pattern_size, dim=dim)
            self.position = named.position_of(position, self.grid, layer=self, pattern=own)
            self.pattern = own
        checks.parts(self)
        if self.grid is None and self.position is not None and checks.covers_grid(self.position, own):
            self.grid = self.position.grid
        if device is not None or dtype is not None:
            self.to(device=device, dtype=dtype)

    @property
    def scale(self) -> float | Tensor:
        """What the similarity is multiplied by, as in timm a number; (heads, 1, 1) where it is learned."""
        return self.temperature() if self.scaling == "learned" else self.factor

    @property
    def factor(self) -> float:
        """What the similarity of the heads' q and k, into which a learned scale is folded, is multiplied by."""
        if isinstance(self.scaling, float):
            return self.scaling
        factors: dict[str, float] = {"sqrt": self.head_dim**-0.5, "inverse": 1 / self.head_dim}
        return factors.get(self.scaling, 1.0)

    @property
    def after(self) -> float:
        """What the weights are multiplied by."""
        return self.head_dim**-0.5 if self.scaling == "after_softmax" else 1.0

    @property
    def on_grid(self) -> bool:
        """Whether it must be known how the tokens lie."""
        return self.position is not None or self.pattern.on_grid

    def temperature(self) -> Float[Tensor, "H 1 1"]:
        """The learned scale, at most 100 as in Swin V2, in float32."""
        assert self.logit_scale is not None
        return wide(self.logit_scale).clamp(max=math.log(100)).exp()

    def reset_parameters(self) -> None:
        """Everything that is learned as in a new layer; tables that are computed, not stored, computed again."""
        for module in self.modules():
            reset = getattr(module, "reset_parameters", None)
            if module is not self and callable(reset):
                reset()
        self._begin_scale()

    def set_grid(self, grid: Grid) -> None:
        """Be built for tokens (B, N, C) on another grid from now on; positions become what they are there."""
        grid = a_grid(grid, "Attention")
        self.grid = None if self.grid is None else grid
        if self.position is not None:
            scored = self.position.acts_on == "scores"
            self.position.set_grid(self.pattern.extent(grid) if scored else grid)

    def heads(
        self, x: Tokens, *, context: Context | None = None, grid: Grid | None = None
    ) -> tuple[Float[Tensor, "B heads N D"], Float[Tensor, "B heads M D"], Float[Tensor, "B heads M E"]]:
        """Queries, keys and values, with norm, rotary position, similarity and learned scale folded in."""
        q, k, v, _ = stages.heads(self, calls.read(self, x, context=context, grid=grid), hiding=False)
        return q, k, v

    def weights(
        self,
        x: Tokens,
        *more: Any,
        context: Context | None = None,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        grid: Grid | None = None,
        **others: Any,
    ) -> Float[Tensor, "B heads N M"]:
        """The attention that `forward` uses: row i says how much token i takes from each token. Rows sum to 1.

        They sum to 1/sqrt(D) with scale = "after_softmax", and to 0 where a token may see nothing.
        """
        foreign.no_others("weights of Attention", others, by_place=more)
        masks = calls.Masks(key_padding_mask, attn_mask, is_causal)
        return stages.weights(self, calls.read(self, x, context=context, masks=masks, grid=grid)) * self.after

    def forward(
        self,
        x: Tokens,
        *more: Any,
        context: Context | None = None,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        grid: Grid | None = None,
        **others: Any,
    ) -> Tokens:
        """Tokens to tokens. A token that may see nothing gets the bias of the last projection.

        key_padding_mask        (B, M), True at the keys that none may see, as in `nn.MultiheadAttention`
        attn_mask       (N, M), (B, N, M) or (B, heads, N, M); bool: True where a query may see a key, as in
                        `scaled_dot_product_attention` and timm; floating: added to the scores, in their type
        is_causal       a token sees those up to itself, in the order in which they come
        grid            how the tokens behind the prefix lie in this call, (rows, columns)

        N and M count prefix tokens too. Masks say further what may not be seen beyond what the pattern says. What is
        masked may be NaN or infinite.
        """
        unmasked = key_padding_mask is None and attn_mask is None and is_causal is False
        if traced(others) or (not unmasked and (traced(attn_mask) or traced(is_causal))):
            x = symbolic.alone(x, more, context, key_padding_mask, attn_mask, is_causal, grid, others)
            return self.forward(x)
        if unmasked and context is None and grid is None and not others and not more and plain.is_plain(self, x):
            mixed = plain.mixed(self, x)
            if mixed is not None:
                return self._out(mixed)
        foreign.no_others("forward of Attention", others, by_place=more)
        masks = calls.Masks(key_padding_mask, attn_mask, is_causal)
        call = calls.read(self, x, context=context, masks=masks, grid=grid)
        tiling = plan.groups(self, call)
        if tiling is None:
            out = self._out(stages.mixed(self, call))
        else:
            of_groups = self._out(stages.mixed(self, call.in_groups(tiling)))
            below, beside = tiling.count
            out = tiling.merge(of_groups.unflatten(0, (-1, below * beside))[:, None]).squeeze(1)
        return out if traced(x) or x.ndim == 3 else out.transpose(1, 2).unflatten(2, x.shape[2:])

    def multiply_adds(self, x: Tokens, *, context: Context | None = None, **others: Any) -> int | None:
        """The multiply-adds of `forward`, from the definition; None with a pattern, whose way decides."""
        return cost.multiply_adds(self, x, context)

    def _out(self, mixed: Float[Tensor, "B H N E"]) -> Float[Tensor, "B N C"]:
        if self.scaling == "after_softmax":
            mixed = mixed * self.after
        out: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
        return out

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As any module, and from the state of timm's Swin or BEiT attention."""
        states.rename(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _begin_scale(self) -> None:
        if self.logit_scale is not None:
            with torch.no_grad():
                self.logit_scale.fill_(math.log(self.similarity.first_scale()))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_heads={self.num_heads}, scale={self.scaling!r}, path={self.path!r}"
