"""Augmentation of a batch of uint8 images, on the device they lie on.

Letters: B batch, C channels, H height, W width, P padding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def crop(images: Tensor, *, padding: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `padding` pixels either way, an offset of its own; what comes in is 0 (black).

    The random crop of a zero-padded image (He et al. 2016). A crop is H rows of W neighbouring pixels, so the rows
    of all crops are picked from the overlapping W-windows over the padded batch: one gather of whole rows.
    """
    if padding == 0:
        return images
    batch, channels, height, width = images.shape
    top, left = _random_ints(2 * padding + 1, size=(2, batch), images=images, generator=generator)
    padded = F.pad(images, (padding,) * 4).contiguous()
    rows, columns = padded.shape[-2:]
    windows = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    planes = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * (rows * columns)
    lines = (top[:, None] + torch.arange(height, device=images.device)) * columns + left[:, None]  # (B, H)
    starts = planes + lines[:, None]  # (B, C, H)
    return windows.index_select(0, starts.flatten()).view(images.shape)


def flip(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability 1/2."""
    mirrored = _random_ints(2, size=(len(images),), images=images, generator=generator)
    width = images.shape[-1]
    column = torch.arange(width, device=images.device)
    source = torch.where(mirrored[:, None] == 1, width - 1 - column, column)  # (B, W)
    return images.gather(3, source[:, None, None].expand(images.shape))


def _random_ints(high: int, *, size: tuple[int, ...], images: Tensor, generator: torch.Generator) -> Tensor:
    """Integers in [0, high), drawn where the generator lives, so a CPU generator gives every device the same ones."""
    drawn = torch.randint(high, size, generator=generator, device=generator.device)
    return drawn.to(images.device, non_blocking=True)
