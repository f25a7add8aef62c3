"""Patch embedding: an image to tokens."""

from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Non-overlapping patches, each mapped linearly to a token: (B, in_chans, H, W) to (B, N, dim), raster order.

    The weights have timm's layout, that of a convolution with stride = kernel = patch_size (Dosovitskiy et al. 2021).
    """

    def __init__(self, *, patch_size: int, in_chans: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)
