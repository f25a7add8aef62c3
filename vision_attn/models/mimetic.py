"""Mimetic initialisation: attention that starts as that of trained networks looks (Trockman and Kolter 2023)."""

import torch
from torch import Tensor

from vision_attn.layers import Attention

QUERY_KEY, VALUE_PROJECTION = (0.7, 0.7), (0.4, -0.4)
"""The paper's scales of noise and of identity in the two products."""


@torch.no_grad()
def initialise_mimetic(attention: Attention) -> None:
    """Set the weights so that tokens attend to those like them and values are the tokens turned round, with noise.

    With tokens as rows, d their width, k the width of a head and Z a fresh d x d matrix of normal numbers of variance
    1/d (section 4 of arXiv:2305.09828):

        W_q W_k^T = 0.7 Z + 0.7 I, cut to its k largest singular values, for every head by itself
        W_v W_proj = 0.4 Z - 0.4 I

    Both are split by the singular value decomposition U S V^T into U sqrt(S) and sqrt(S) V^T. Keys and values must be
    as wide as the tokens. Biases are left as they are. The paper has sine-cosine positions beside it: a token then
    attends to its neighbours. Random numbers come from torch's global generator.
    """
    weight = attention.qkv.weight
    dim, width = attention.dim, attention.head_dim
    queries, keys = [], []
    for _ in range(attention.num_heads):
        left, right = _factors(*QUERY_KEY, like=weight)
        queries.append(left[:, :width].T)
        keys.append(right[:width])
    left, right = _factors(*VALUE_PROJECTION, like=weight)
    weight.copy_(torch.cat([*queries, *keys, left.T]))
    attention.proj.weight.copy_(right.T)
    assert weight.shape == (3 * dim, dim), "keys and values as wide as the tokens"


def _factors(noise: float, identity: float, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Two square matrices whose product is noise x Z + identity x I, Z normal of variance 1 / width."""
    width = like.shape[1]
    z = torch.randn(width, width, device=like.device) * width**-0.5
    u, s, vh = torch.linalg.svd(noise * z + identity * torch.eye(width, device=like.device))
    root = s.sqrt()
    return u * root, root[:, None] * vh
