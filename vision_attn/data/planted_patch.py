"""Planted patch: one patch of many carries the sign of the class, the others are noise."""

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from vision_attn.data.base import Data, Split
from vision_attn.data.generated import Generated
from vision_attn.data.subsets import permutation
from vision_attn.spec import spec

MIDDLE, UNIT = 128, 24
"""Grey level of 0, and grey levels of 1: noise of standard deviation 1 stays within 5 of them on either side."""


@spec
class PlantedPatch(Generated):
    """y w + noise in one of `num_patches` patches of patch_size x patch_size pixels, anywhere; noise in all others.

    The class is y = -1 or 1, w a fixed pattern of ±`strength` and noise standard normal, pixel by pixel: the model of
    Lahoti et al. (2024, arXiv:2403.15707, "dynamic signal distribution") for d = patch_size^2 and k = `num_patches`,
    where they show how many images one needs: about k + d where patches share their weights (a CNN), k d where each
    patch has its own (locally connected), k^2 d where nothing is built in (fully connected). Patches lie on the grid of
    a patch embedding of that size. Pixels are rounded to 256 grey levels; a model gets them as they are in the formula.
    The attribute `place` says which patch it is, in raster order.
    """

    attributes: ClassVar[tuple[str, ...]] = ("place",)

    num_patches: int = 16
    patch_size: int = 4
    strength: float = 1.0

    def check(self) -> None:
        super().check()
        square = self.num_patches >= 1 and math.isqrt(self.num_patches) ** 2 == self.num_patches
        self.require("num_patches", square, "a square number, at least 1, such as 16")
        self.require("patch_size", self.patch_size >= 1, "at least 1")
        self.require("strength", 0 < self.strength <= 2, "more than 0 and at most 2")
        self.require("aligned", self.aligned, "True: patches lie on the grid")

    @property
    def label(self) -> str:
        strength = "" if self.strength == 1 else f"-{self.strength:g}"
        return f"planted-{self.num_patches}-of-{self.patch_size}x{self.patch_size}{strength}"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("minus", "plus")

    @property
    def pattern(self) -> Tensor:
        """w (patch_size, patch_size): half of its numbers `strength`, half of them -`strength`, the same for ever."""
        number = self.patch_size**2
        order = torch.from_numpy(permutation(number, purpose="planted pattern", seed=0))
        signs = torch.where(order % 2 == 0, 1.0, -1.0)
        return self.strength * signs.view(self.patch_size, self.patch_size)

    def draw(self, number: int, *, generator: torch.Generator) -> Split:
        side, size = math.isqrt(self.num_patches), self.patch_size
        labels = torch.randint(2, (number,), generator=generator)
        place = torch.randint(self.num_patches, (number,), generator=generator)
        pixels = torch.randn(number, self.num_patches, size, size, generator=generator)
        pixels[torch.arange(number), place] += (2 * labels - 1)[:, None, None] * self.pattern
        levels = (MIDDLE + UNIT * pixels).round().clamp(0, 255).to(torch.uint8)
        images = levels.unflatten(1, (side, side)).transpose(2, 3).reshape(number, 1, side * size, side * size)
        return Split(images, labels, {"place": place})

    def load(self) -> Data:
        return dataclasses.replace(super().load(), mean=(MIDDLE / 255,), std=(UNIT / 255,))
