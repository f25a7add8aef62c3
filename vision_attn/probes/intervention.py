"""Intervention: how far a unit moves when a part of the image is exchanged. The check of influence by gradients.

Q units of a layer, P cells, S image size; C channels of the layer.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import require_two
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import at_once, grids, named, sizes, without_layers
from vision_attn.probes.lattice import chosen, lattice_side, pairs, profile, units
from vision_attn.probes.placement import placements
from vision_attn.spec import spec


@spec
class Intervention(Probe):
    """The change of a unit's features when the pixels of a cell become those of an image of another class, by distance.

        E |z_q(image with cell p exchanged) - z_q(image)|^2

    A gradient says what an infinitely small change does, which is little where units are saturated; this says what a
    whole one does. Units, layers, `layers` and distances are those of `Influence`; the cells are the patches of the
    image. Every image has a partner, drawn from those of other classes, where there are any, and else from all others;
    `partners_of_another_class` is the share of images with such a partner. What is derived, with and without the own
    cell: `intervention`, `intervention_relative`, `intervention_distance`, `intervention_distance_relative`. Raises
    `InputError` where `patch_size` does not divide the image size, and where outputs are not in raster order.
    """

    version: ClassVar[int] = 2

    images: int = 64
    patch_size: int = 4
    seed: int = 0
    split: Literal["train", "test"] = "test"
    layers: tuple[str, ...] | None = None

    def check(self) -> None:
        self.require("images", self.images >= 2, "at least 2")
        self.require("patch_size", self.patch_size >= 1, "at least 1")
        self.require("layers", self.layers != (), "None or at least one name")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def require_fit(self, data: Data) -> None:
        lattice_side(self.patch_size, data.image_size, what="Intervention")
        if self.split == "test":
            require_two(self, data)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        size, names = data.image_size, named(model, self.layers)
        cells = lattice_side(self.patch_size, size, what="Intervention")
        generator = torch.Generator().manual_seed(self.seed)
        source = chosen(data, split=self.split, images=self.images)
        images, others = data.normalise(source.images), partners(source.labels, generator=generator)
        where = placements(model, names=names, image_size=size, in_chans=data.in_chans)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            shapes, _ = sizes(model, images, names)
            goals = {
                name: units(grid, where[name], cells=cells, image_size=size, generator=generator)
                for name, grid in shapes.items()
            }
            changes = mean_changes(model, images, images[others], goals, cells=cells)
        if source.labels.ndim == 1:
            share = (source.labels[others] != source.labels).double().mean().item()
            yield {"metric": "partners_of_another_class", "value": share}
        for layer, name in enumerate(names):
            found = pairs(where[name].centres(goals[name]), where[name].step, cells=cells, image_size=size)
            for row in profile(changes[name], found, name="intervention"):
                yield {**row, "layer": layer}


def partners(labels: Tensor, *, generator: torch.Generator) -> Tensor:
    """For each image the number of another one, of another class where there is one; labels (N,) or on a grid."""
    count = len(labels)
    others = ~torch.eye(count, dtype=torch.bool)
    kinds = labels.cpu() if labels.ndim == 1 else torch.arange(count)
    differ = kinds[:, None] != kinds[None]
    allowed = torch.where(differ.any(dim=1, keepdim=True), differ, others)
    return torch.multinomial(allowed.double(), 1, generator=generator).flatten().to(labels.device)


def mean_changes(
    model: nn.Module, images: Tensor, others: Tensor, goals: dict[str, Tensor], *, cells: int
) -> dict[str, Tensor]:
    """Mean over images of |z_q' - z_q|^2 for units `goals[layer]` (Q, 2) and every exchanged cell: (Q, P), float64.

    The cells of image i are exchanged with those of `others[i]`, as many at once as fit into memory.
    """
    names, few = list(goals), at_once(sizes(model, images, list(goals))[1])
    totals = {name: torch.zeros(len(places), cells**2, dtype=torch.float64) for name, places in goals.items()}
    for image, other in zip(images, others, strict=True):
        before = grids(model, image[None], names)
        for start in range(0, cells**2, few):
            part = range(start, min(start + few, cells**2))
            for name, z in grids(model, exchanged(image, other, part, cells=cells), names).items():
                row, column = goals[name].to(z.device).T
                change = (z[:, :, row, column].double() - before[name][:, :, row, column].double()).square().sum(dim=1)
                totals[name][:, part.start : part.stop] += change.T.cpu()
    return {name: total / len(images) for name, total in totals.items()}


def exchanged(image: Tensor, other: Tensor, part: range, *, cells: int) -> Tensor:
    """The image (C, S, S) with one cell of `part` after the other taken from another image: (P, C, S, S)."""
    side = image.shape[-1] // cells
    out = image.repeat(len(part), 1, 1, 1)
    for i, cell in enumerate(part):
        rows, columns = (slice(at * side, (at + 1) * side) for at in divmod(cell, cells))
        out[i, :, rows, columns] = other[:, rows, columns]
    return out
