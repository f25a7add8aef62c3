"""Multi-head self-attention over tokens.

B batch, N tokens, C channels, H heads, D channels a head.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MATH_TOKENS = 1024
"""Up to this many tokens a CPU in bfloat16 takes two matrix products: forward and backward together were 1.0 to 5
times as fast as with the fused kernel, for heads of 16 to 64 channels, 49 to 1,024 tokens, one and two threads (a
processor with avx512_bf16). Beyond, the N x N weights cost more memory than the gain is worth. In float32 the fused
kernel was never slower by more than 2 % there."""


def attention_path(device: torch.device, tokens: int, dtype: torch.dtype) -> Literal["math", "fused"]:
    """Which of the two exact ways is taken: matrix products and a softmax, or PyTorch's fused kernel.

    `dtype` is that of the arithmetic: under autocast the autocast's.
    """
    low = device.type == "cpu" and dtype == torch.bfloat16
    return "math" if low and tokens <= MATH_TOKENS else "fused"


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): softmax(q k^T / sqrt(D)) v, heads side by side, projected.

    Tokens (B, N, dim) to tokens (B, N, dim). `weights(x)` gives the attention that `forward` uses. Raises
    `ValueError` where `dim` is not divisible by `num_heads`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        *,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"num_heads of Attention must be a divisor of dim = {dim}. Got {num_heads!r} instead.")
        self.dim, self.num_heads, self.head_dim = dim, num_heads, dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, scaled by 1 / sqrt(D), keys and values, each (B, H, N, D)."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        return self.q_norm(q) * self.head_dim**-0.5, self.k_norm(k), v

    def weights(self, x: Tensor) -> Tensor:
        """The attention weights (B, H, N, N): row i says how much token i takes from each token. Rows sum to 1."""
        q, k, _ = self.heads(x)
        return (q @ k.transpose(-2, -1)).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        if attention_path(x.device, x.shape[1], _arithmetic(x)) == "math":
            mixed = self.attn_drop((q @ k.transpose(-2, -1)).softmax(dim=-1)) @ v
        else:
            dropped = self.attn_drop.p if self.training else 0.0
            mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropped, scale=1.0)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(x.shape)))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_heads={self.num_heads}"


def _arithmetic(x: Tensor) -> torch.dtype:
    """The dtype in which matrix products of `x` are computed, as far as the choice of the path needs it."""
    lowered = x.is_cpu and torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if lowered else x.dtype
