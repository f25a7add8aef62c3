"""Position embeddings that are added to the tokens."""

import torch
from torch import Tensor


def sincos2d(grid: tuple[int, int], dim: int, *, temperature: float = 10000.0) -> Tensor:
    """The fixed 2-D sine-cosine embedding (1, N, dim) of Beyer et al. 2022, arXiv:2205.01580.

    A quarter of the channels each for sin(x w), cos(x w), sin(y w), cos(y w), w = temperature^(-i / (dim/4 - 1)).
    Raises `ValueError` where `dim` is not divisible by 4 or less than 8.
    """
    if dim % 4 or dim < 8:
        raise ValueError(f"dim of sincos2d must be a multiple of 4, at least 8. Got {dim!r} instead.")
    y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in grid), indexing="ij")
    omega = temperature ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4 - 1))
    angles = [axis.flatten()[:, None] * omega for axis in (x, y)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)[None].float()
