"""Mixup and CutMix: images and labels of a batch mixed with those of the same batch in reverse order.

B batch, K classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def mixed(
    images: Tensor, labels: Tensor, *, num_classes: int, mixup: float, cutmix: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Float images (B, C, H, W) and labels (B,) to mixed images and label shares (B, K) that sum to 1.

    lambda ~ Beta(alpha, alpha), one a batch. Mixup (Zhang et al. 2018, arXiv:1710.09412): lambda x + (1 - lambda) x';
    CutMix (Yun et al. 2019, arXiv:1905.04899): a box of area 1 - lambda is pasted from x', its place uniform, and the
    labels are shared by the area really pasted. Where both alphas are positive each has half of the batches. x' is
    the batch in reverse order, as in timm.
    """
    draw = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator, device=generator.device)))
    cutting = cutmix > 0 and (mixup == 0 or bool(draw.integers(2)))
    share = float(draw.beta(*(2 * (cutmix if cutting else mixup,))))
    if cutting:
        top, bottom, left, right = _box(images.shape[-2], images.shape[-1], share, draw)
        images = images.clone()
        images[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
    else:
        images = share * images + (1 - share) * images.flip(0)
    shares = F.one_hot(labels, num_classes).float()
    return images, share * shares + (1 - share) * shares.flip(0)


def _box(height: int, width: int, share: float, draw: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box with sides sqrt(1 - share) of the image's, cut at the border."""
    rows, columns = int(height * (1 - share) ** 0.5), int(width * (1 - share) ** 0.5)
    y, x = int(draw.integers(height)), int(draw.integers(width))
    top, left = y - rows // 2, x - columns // 2
    return max(0, top), min(height, top + rows), max(0, left), min(width, left + columns)
