"""Patch shuffle: what is left of the accuracy when the pieces of the image change places?

Letters: N images, C channels, H height, W width, G pieces along a side, P pixels along the side of a piece.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import accuracy_row, classes, evenly_spaced, without_class
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, spec


@spec
class PatchShuffle(Probe):
    """Accuracy on images cut into `grid` x `grid` pieces that are put together in random order (Naseer et al. 2021).

    Every image has a permutation of its own, uniform over all of them, drawn anew in each `repeat`; a single one for
    the whole batch would leave the accuracy to the luck of one draw. Coordinates `grid` and `repeat`; grid 1 is the
    image as it is, measured once. A model that reads a bag of pieces is unchanged at that grid.
    One forward pass over the images for each grid above 1 and repeat, and one for grid 1: 16.
    """

    grids: tuple[int, ...] = (1, 2, 4, 8)
    repeats: int = 5
    images: int | None = None
    seed: int = 0

    def check(self) -> None:
        usable = self.grids and min(self.grids) >= 1 and len(set(self.grids)) == len(self.grids)
        self.require("grids", bool(usable), "one or more different numbers, at least 1")
        self.require("repeats", self.repeats >= 1, "at least 1")
        self.require("images", self.images is None or self.images >= 1, "None or at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def require_fit(self, data: Data) -> None:
        size = data.image_size
        for grid in self.grids:
            if size % grid:
                raise InputError(
                    f"grids of PatchShuffle must be divisors of the image size {size}. Got {grid} instead."
                )

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        test = evenly_spaced(data.test, self.images)
        generator = torch.Generator().manual_seed(self.seed)
        for grid in self.grids:
            for repeat in range(self.repeats if grid > 1 else 1):
                orders = permutations(len(test), grid * grid, generator=generator)
                found = classes(model, shuffled(test.images, orders.to(test.images.device)), data=data)
                yield accuracy_row(found, test.labels, grid=grid, repeat=repeat)


def permutations(count: int, length: int, *, generator: torch.Generator) -> Tensor:
    """`count` permutations of 0 ... length - 1, each drawn by itself: (count, length)."""
    return torch.rand(count, length, generator=generator, dtype=torch.float64).argsort(1)


def shuffled(images: Tensor, orders: Tensor) -> Tensor:
    """Images (N, C, H, H) whose i-th piece, row by row, is the one that `orders` (N, G * G) names at i."""
    count, channels, size, _ = images.shape
    grid = round(orders.shape[1] ** 0.5)
    side = size // grid
    pieces = images.view(count, channels, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    moved = pieces[torch.arange(count, device=images.device)[:, None], orders]  # (N, G * G, C, P, P)
    return moved.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
