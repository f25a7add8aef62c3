"""What tokens and images may be: dense tensors of a floating type."""

from typing import Any

import torch
from torch import Tensor

from vision_attn.layers.symbolic import traced


def is_dense(x: Any) -> bool:
    """Whether it is a tensor with a number at every place: samples of different lengths and lists of places are not."""
    return isinstance(x, Tensor) and not x.is_nested and x.layout == torch.strided


def dense(x: Any, what: str, *, field: str = "x", before: str = "", advice: str = "") -> Any:
    """x. Raises `ValueError` unless it is a dense tensor, or stands for one while a graph is made."""
    if traced(x) or is_dense(x):
        return x
    if isinstance(x, Tensor):
        allowed, given = f"a dense tensor{advice}", "nested" if x.is_nested else str(x.layout)
    else:
        allowed, given = "a tensor", type(x).__name__
    raise ValueError(f"{field} of {what} must be {before}{allowed}. Got {given!r} instead.")


def numbers(x: Any, what: str, *, field: str = "x", advice: str = "") -> Any:
    """x. Raises `ValueError` unless it is a dense tensor of a floating type, or stands for one while a graph is made.

    Among integers a weight in [0, 1) is 0, without a word.
    """
    if traced(dense(x, what, field=field, advice=advice)) or x.is_floating_point():
        return x
    allowed = "of a floating type, such as torch.float32"
    raise ValueError(f"{field} of {what} must be {allowed}. Got {str(x.dtype)!r} instead.")


def images(x: Any, what: str, in_chans: int, *, field: str = "x") -> Any:
    """x. Raises `ValueError` unless it is images (B, in_chans, H, W) of a floating type, or stands for them."""
    if traced(numbers(x, what, field=field)) or (x.ndim == 4 and x.shape[1] == in_chans):
        return x
    raise ValueError(f"{field} of {what} must be (B, {in_chans}, H, W). Got {tuple(x.shape)} instead.")
