"""Augmentation of a batch of uint8 images, on the device they lie on.

Letters: B batch, C channels, H height, W width, P padding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def crop(images: Tensor, *, padding: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `padding` pixels either way, an offset of its own; what comes in is 0 (black).

    The random crop of a zero-padded image (He et al. 2016).
    """
    if padding == 0:
        return images
    offsets = crop_offsets(len(images), padding=padding, generator=generator)
    return crop_at(images, offsets.to(images.device, non_blocking=True), padding=padding)


def crop_offsets(number: int, *, padding: int, generator: torch.Generator) -> Tensor:
    """Where the crops of so many images begin in the padded ones: rows and columns (2, number), from 0."""
    return torch.randint(2 * padding + 1, (2, number), generator=generator, device=generator.device)


def crop_at(images: Tensor, offsets: Tensor, *, padding: int) -> Tensor:
    """The crops (B, C, H, W) that begin at `offsets` (2, B) of images padded with 0.

    A crop is H rows of W neighbouring pixels, so the rows of all crops are picked from the overlapping W-windows over
    the padded batch: one gather of whole rows.
    """
    batch, channels, height, width = images.shape
    top, left = offsets
    padded = F.pad(images, (padding,) * 4).contiguous()
    rows, columns = padded.shape[-2:]
    windows = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    planes = torch.arange(batch * channels, device=images.device).view(batch, channels, 1) * (rows * columns)
    lines = (top[:, None] + torch.arange(height, device=images.device)) * columns + left[:, None]  # (B, H)
    starts = planes + lines[:, None]  # (B, C, H)
    return windows.index_select(0, starts.flatten()).view(images.shape)


def flip(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability 1/2."""
    return flip_where(images, mirrored(len(images), generator=generator).to(images.device, non_blocking=True))


def mirrored(number: int, *, generator: torch.Generator) -> Tensor:
    """1 for the images, of so many, that are mirrored, else 0: (number,)."""
    return torch.randint(2, (number,), generator=generator, device=generator.device)


def flip_where(images: Tensor, mirrored: Tensor) -> Tensor:
    """The images of which `mirrored` (B,) is 1 mirrored left to right."""
    width = images.shape[-1]
    column = torch.arange(width, device=images.device)
    source = torch.where(mirrored[:, None] == 1, width - 1 - column, column)  # (B, W)
    return images.gather(3, source[:, None, None].expand(images.shape))


def drop_patches(images: Tensor, *, share: float, patch_size: int, generator: torch.Generator) -> Tensor:
    """Normalised images (B, C, H, W) without some of their patches, which become 0, the mean colour.

    Each image loses a share of its own, uniform from 0 to `share`, of square patches of `patch_size` pixels, which
    divides H and W.
    """
    batch, _, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    shares = torch.rand(batch, 1, generator=generator) * share
    ranks = torch.rand(batch, rows * columns, generator=generator).argsort(1)
    gone = (ranks < (shares * rows * columns).round()).view(batch, 1, rows, columns).to(images.device)
    gone = gone.repeat_interleave(patch_size, 2).repeat_interleave(patch_size, 3)
    return images.masked_fill(gone, 0)
