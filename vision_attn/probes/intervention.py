"""Intervention: how far a unit moves when a part of the image is exchanged. The check of influence by gradients.

Q units of a layer, P cells, S image size; C channels of the layer.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import grid_shapes, grids, layers, without_layers
from vision_attn.probes.lattice import chosen, lattice_side, pairs, profile, units
from vision_attn.spec import spec


@spec
class Intervention(Probe):
    """The change of a unit's features when the pixels of a cell become those of the next image, by distance.

        E |z_q(image with cell p exchanged) - z_q(image)|^2

    A gradient says what an infinitely small change does, which is little where units are saturated; this says what a
    whole one does. Cells, units, layers and what is derived (`intervention`, `intervention_relative`,
    `intervention_distance`, `intervention_distance_relative`) are those of `Influence`. Raises `InputError` where
    `patch_size` does not divide the image size.
    """

    images: int = 64
    patch_size: int = 4
    seed: int = 0
    split: Literal["train", "test"] = "test"

    def check(self) -> None:
        self.require("images", self.images >= 2, "at least 2")
        self.require("patch_size", self.patch_size >= 1, "at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        cells = lattice_side(self.patch_size, data.image_size, what="Intervention")
        generator = torch.Generator().manual_seed(self.seed)
        images = data.normalise(chosen(data, split=self.split, images=self.images))
        names = list(layers(model))
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            shapes = grid_shapes(model, images, names)
            goals = {name: units(grid, cells=cells, generator=generator) for name, grid in shapes.items()}
            changes = mean_changes(model, images, goals, cells=cells)
        for layer, name in enumerate(names):
            found = pairs(goals[name], shapes[name], cells=cells, image_size=data.image_size)
            for row in profile(changes[name], found, name="intervention"):
                yield {**row, "layer": layer}


def mean_changes(model: nn.Module, images: Tensor, goals: dict[str, Tensor], *, cells: int) -> dict[str, Tensor]:
    """Mean over images of |z_q' - z_q|^2 for units `goals[layer]` (Q, 2) and every exchanged cell: (Q, P), float64."""
    totals = {name: torch.zeros(len(places), cells**2, dtype=torch.float64) for name, places in goals.items()}
    for image, other in zip(images, images.roll(-1, dims=0), strict=True):
        x = torch.cat([image[None], exchanged(image, other, cells=cells)])
        for name, z in grids(model, x, list(goals)).items():
            row, column = goals[name].to(x.device).T
            z = z[:, :, row, column].double()
            totals[name] += (z[1:] - z[:1]).square().sum(dim=1).T.cpu()
    return {name: total / len(images) for name, total in totals.items()}


def exchanged(image: Tensor, other: Tensor, *, cells: int) -> Tensor:
    """The image (C, S, S) with one cell after the other taken from another image: (P, C, S, S), in raster order."""
    side = image.shape[-1] // cells
    out = image.repeat(cells**2, 1, 1, 1)
    for cell in range(cells**2):
        rows, columns = (slice(at * side, (at + 1) * side) for at in divmod(cell, cells))
        out[cell, :, rows, columns] = other[:, rows, columns]
    return out
