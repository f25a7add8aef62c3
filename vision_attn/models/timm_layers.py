"""What both bridges read off the layers of timm."""

from typing import Any

from torch import nn


def is_nothing(module: nn.Module | None) -> bool:
    """Whether there is no such part."""
    return module is None or type(module) is nn.Identity


def rate(drop: nn.Module) -> float:
    """The share that a module for dropout drops."""
    return float(getattr(drop, "p", 0.0))


def head_dim(attention: Any) -> int:
    """The channels of a head of attention."""
    width: int = attention.qkv.out_features
    return width // 3 // int(attention.num_heads)


def has_usual_scale(attention: Any) -> bool:
    """Whether its scores are divided by the root of the channels of a head; the fused kernel does nothing else."""
    return bool(attention.fused_attn or attention.scale == head_dim(attention) ** -0.5)


def has_separate_biases(attention: Any) -> bool:
    """Whether queries and values have biases of their own and keys have none, as in BEiT."""
    return getattr(attention, "q_bias", None) is not None
