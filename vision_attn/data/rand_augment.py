"""RandAugment of a batch: every image goes through operations of its own, images of one operation go together."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

LARGEST = 30
"""The largest magnitude, as in torchvision's 31 steps from 0."""

Operation = Callable[[Tensor, float], Tensor]


def rand_augment(images: Tensor, *, magnitude: int, num_ops: int = 2, generator: torch.Generator) -> Tensor:
    """`num_ops` of the 14 operations on each image, each drawn anew, at one magnitude (Cubuk et al. 2020).

    uint8 images (B, C, H, W) to the same. The operations and their ranges are torchvision's (arXiv:1909.13719);
    `magnitude` is 0 to 30, signs are drawn. What comes in from outside is 0 (black).
    """
    names = list(operations())
    for _ in range(num_ops):
        number = len(images)
        chosen = torch.randint(len(names), (number,), generator=generator, device=generator.device)
        negative = torch.randint(2, (number,), generator=generator, device=generator.device)
        changed, groups = images.clone(), (2 * chosen + negative).cpu()  # the only time that a GPU is waited for
        for group in groups.unique().tolist():
            operation, signed = operations()[names[group // 2]]
            where = (groups == group).nonzero()[:, 0].to(images.device, non_blocking=True)
            level = magnitude / LARGEST * (-1 if signed and group % 2 else 1)
            changed[where] = operation(images[where], level)
        images = changed
    return images


@functools.cache
def operations() -> dict[str, tuple[Operation, bool]]:
    """Each operation as a function of images and level in [-1, 1], and whether its sign matters."""
    from torchvision.transforms.v2 import functional as tv

    def affine(
        images: Tensor, *, shear: tuple[float, float] = (0.0, 0.0), move: tuple[float, float] = (0.0, 0.0)
    ) -> Tensor:
        sheared = [math.degrees(math.atan(s)) for s in shear]
        centre = [0.0, 0.0] if any(shear) else None
        moved = [int(move[0]), int(move[1])]
        return tv.affine(images, angle=0.0, translate=moved, scale=1.0, shear=sheared, center=centre)

    far = 150 / 331
    return {
        "identity": (lambda x, level: x, False),
        "shear_x": (lambda x, level: affine(x, shear=(0.3 * level, 0)), True),
        "shear_y": (lambda x, level: affine(x, shear=(0, 0.3 * level)), True),
        "translate_x": (lambda x, level: affine(x, move=(far * x.shape[-1] * level, 0)), True),
        "translate_y": (lambda x, level: affine(x, move=(0, far * x.shape[-2] * level)), True),
        "rotate": (lambda x, level: tv.rotate(x, 30.0 * level), True),
        "brightness": (lambda x, level: tv.adjust_brightness(x, 1 + 0.9 * level), True),
        "colour": (lambda x, level: tv.adjust_saturation(x, 1 + 0.9 * level), True),
        "contrast": (lambda x, level: tv.adjust_contrast(x, 1 + 0.9 * level), True),
        "sharpness": (lambda x, level: tv.adjust_sharpness(x, 1 + 0.9 * level), True),
        "posterize": (lambda x, level: tv.posterize(x, bits=8 - round(4 * level)), False),
        "solarize": (lambda x, level: tv.solarize(x, threshold=255 * (1 - level)), False),
        "autocontrast": (lambda x, level: tv.autocontrast(x), False),
        "equalize": (lambda x, level: tv.equalize(x), False),
    }
