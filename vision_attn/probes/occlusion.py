"""Occlusion: what is left of the accuracy when a share of the image is gone?

Letters: N images, C channels, H height, W width, K cells of the lattice.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import (
    accuracy_row,
    another,
    classes,
    dropped,
    evenly_spaced,
    mean_colour,
    require_two,
    without_class,
)
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec


@spec
class Occlusion(Probe):
    """Accuracy when a `share` of the cells of a lattice is dropped at random (Naseer et al. 2021).

    The cells are drawn for each image by itself, anew in each `repeat`; within a repeat a larger share drops the
    same cells and more, and both fills drop the same ones. What is dropped is replaced by the channel means, before
    normalising (`fill` "mean"), or by the same place of another test image ("other"), which looks like an image and
    may show another class. Rows have the share of cells that are dropped (0.1 of 7 x 7 is 5 of 49, 0.102); shares that
    come to the same number are measured once. Share 0 is the image as it is, measured once. Cells of image sizes that
    `lattice` does not divide differ by a pixel.
    Two forward passes over the images for each share above 0 and repeat, and one for share 0: 51.
    """

    version: ClassVar[int] = 2

    shares: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    lattice: int = 8
    repeats: int = 5
    images: int | None = None
    seed: int = 0

    def check(self) -> None:
        usable = self.shares and 0 <= min(self.shares) <= max(self.shares) <= 1
        usable = usable and len(set(self.shares)) == len(self.shares)
        self.require("shares", bool(usable), "one or more different numbers from 0 to 1")
        self.require("lattice", self.lattice >= 1, "at least 1")
        self.require("repeats", self.repeats >= 1, "at least 1")
        self.require("images", self.images is None or self.images >= 2, "None or at least 2")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def require_fit(self, data: Data) -> None:
        self.require("lattice", self.lattice <= data.image_size, f"at most the image size {data.image_size}")
        require_two(self, data)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        test = evenly_spaced(data.test, self.images)
        generator = torch.Generator().manual_seed(self.seed)
        cells = self.lattice**2
        numbers = list(dict.fromkeys(round(share * cells) for share in self.shares))
        if 0 in numbers:
            clean = classes(model, test.images, data=data)
            for fill in ("mean", "other"):
                yield accuracy_row(clean, test.labels, share=0.0, fill=fill, repeat=0)
        for repeat in range(self.repeats):
            ranks = torch.rand(len(test), cells, generator=generator, dtype=torch.float64).argsort(1)
            ranks, others = (each.to(test.images.device) for each in (ranks, another(len(test), generator=generator)))
            fills = {"mean": mean_colour(data, test.images), "other": test.images[others]}
            for number in filter(None, numbers):
                gone = dropped(ranks, number=number, size=data.image_size)
                for fill, colours in fills.items():
                    found = classes(model, torch.where(gone, colours, test.images), data=data)
                    yield accuracy_row(found, test.labels, share=number / cells, fill=fill, repeat=repeat)
