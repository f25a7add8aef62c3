"""Influence: how much the pixels of each part of the image move a unit, by its distance, layer by layer.

Q units of a layer, P cells, S image size; C channels of the layer.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import at_once, frozen, grids, named, sizes, without_layers
from vision_attn.probes.fields import THRESHOLDS, Field, square
from vision_attn.probes.lattice import by_cell, chosen, distances, lattice_side, places, units
from vision_attn.probes.placement import Placement, placements
from vision_attn.spec import spec

LAGS = (1, 2, 4, 8, 16, 32)
OF_A_MAP = 10
"""How many numbers are made of one of a map while distances, shares and gradients of channels are taken."""


@spec
class Influence(Probe):
    """The effective receptive field (Luo et al. 2016, arXiv:1701.04128) as influence by distance.

    Of unit q with features z_q and pixel x, as normalised for the model,

        I(q, x) = E |dz_q / dx|^2 = E |v^T dz_q / dx|^2,    v = +-1 at random for every channel

    by Hutchinson's estimate, mean over `images` and `probes` vectors v each: nothing cancels over channels, and
    networks of every kind are measured alike. I is squared: Luo's map is its root. The units are those of the layer's
    grid, one for each patch of patch_size x patch_size pixels where it is finer. Distances are pixels from the centre
    of a unit's architectural field, not from the middle of its part of the image, which strided convolutions miss by
    up to half a stride. Cells are squares of the side `patch_size` around that centre; the unit's own one is as large
    as the step to the next unit where this is more.

    `influence`      mean of the cells at a `distance`, to the nearest whole number of cells; `influence_relative`:
                     divided by the mean of all that count, so that uniform is 1; with and without the `own` cell
    `influence_distance`   sum(I distance) / sum(I), and `influence_distance_relative`, divided by that of uniform I
    `d50`, `d90`     the radius in pixels that holds 50 or 90 % of the influence
    `effective_receptive_field`   the side in pixels of the smallest square around the unit that holds the `share` 0.5
                     or 0.9, cut at the border: the root of its area, mean over units. Never more than the theoretical
    `minimum_area`   the smallest part of the cells that holds the share `threshold`, mean over units; of uniform I the
                     threshold itself
    `square_area`    the part of the image in the smallest square around the unit nearest to the centre that holds the
                     share `threshold`, as in RepLKNet (Ding et al. 2022, arXiv:2203.06717) but without logarithm
    `influence_lag`  the mean of units and cells `lag` steps apart in raster order, uniform being 1; without own cells.
                     Only of layers with one unit in the middle of each cell
    `erf_map`        the mean at `row` cells below and `column` cells right of the unit, uniform being 1: half of all
                     rows, left out without `maps`

    `layers` names modules of the model, `layer` being the place among them; None: its stem or patch embedding, which is
    layer 0, and its blocks. As many units at once are asked as `capture.NUMBERS` allows, whatever their number. Raises
    `InputError` where `patch_size` does not divide the image size, and where outputs are not in raster order.
    """

    version: ClassVar[int] = 2

    images: int = 64
    probes: int = 1
    patch_size: int = 4
    seed: int = 0
    split: Literal["train", "test"] = "test"
    maps: bool = True
    layers: tuple[str, ...] | None = None

    def check(self) -> None:
        for field in ("images", "probes", "patch_size"):
            self.require(field, getattr(self, field) >= 1, "at least 1")
        self.require("layers", self.layers != (), "None or at least one name")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def require_fit(self, data: Data) -> None:
        lattice_side(self.patch_size, data.image_size, what="Influence")

    @torch.inference_mode(False)
    @torch.enable_grad()
    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        size, names = data.image_size, named(model, self.layers)
        cells = lattice_side(self.patch_size, size, what="Influence")
        generator = torch.Generator().manual_seed(self.seed)
        images = data.normalise(chosen(data, split=self.split, images=self.images).images)
        where = placements(model, names=names, image_size=size, in_chans=data.in_chans)
        with torch.autocast(images.device.type, enabled=False):
            shapes, _ = sizes(model, images, names)
            goals = {
                name: units(grid, where[name], cells=cells, image_size=size, generator=generator)
                for name, grid in shapes.items()
            }
            layers = {name: _Layer(where[name], goals[name], cells=cells, image_size=size) for name in names}
            for name, start, maps in influence_maps(model, images, goals, probes=self.probes, generator=generator):
                layers[name].add(start, maps)
        for number, layer in enumerate(layers.values()):
            for row in layer.rows():
                if self.maps or row["metric"] != "erf_map":
                    yield {**row, "layer": number}


def influence_maps(
    model: nn.Module, images: Tensor, goals: dict[str, Tensor], *, probes: int, generator: torch.Generator
) -> Iterator[tuple[str, int, Tensor]]:
    """E |v^T dz_q/dx|^2 summed over the channels of each pixel x, for units `goals[layer]` (Q, 2), a few at a time.

    Yields layer, number of the first unit, and (q, S, S) in float64. A batch is one image q times: replica i is asked
    for unit i only, which gives all of them in one backward pass. How many are asked at once changes nothing.
    """
    largest = max(len(places) for places in goals.values())
    few = at_once(numbers_of_one(model, images, list(goals)))
    seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()
    with frozen(model):
        for start in range(0, largest, few):
            parts = {name: slice(start, start + few) for name, places in goals.items() if len(places) > start}
            totals: dict[str, Any] = dict.fromkeys(parts, 0.0)
            for image, seed in zip(images, seeds, strict=True):
                x = image.expand(min(few, largest - start), -1, -1, -1).clone().requires_grad_()
                signs = torch.Generator().manual_seed(seed)
                outputs = grids(model, x, list(goals))
                for name, z in outputs.items():
                    drawn = torch.randint(0, 2, (probes, len(goals[name]), z.shape[1]), generator=signs)
                    if name in parts:
                        totals[name] = totals[name] + _squares(x, z, goals[name], drawn, parts[name])
            for name, total in totals.items():
                yield name, start, total / (len(images) * probes)


def numbers_of_one(model: nn.Module, images: Tensor, names: list[str]) -> int:
    """How many numbers a replica of an image takes, with its maps for all layers and what is made of one of them."""
    return sizes(model, images, names)[1] + (OF_A_MAP + len(names)) * images[0, 0].numel()


def _squares(x: Tensor, z: Tensor, places: Tensor, drawn: Tensor, part: slice) -> Tensor:
    """The squared gradients (q, S, S) of some units, their channels added with the signs that were drawn."""
    row, column = places[part].to(x.device).T
    at = z[torch.arange(len(row), device=x.device), :, row, column]
    total = torch.zeros(len(row), *x.shape[2:], dtype=torch.float64)
    for signs in drawn[:, part]:
        (gradient,) = torch.autograd.grad((at * signs.mul(2).sub(1).to(at)).sum(), [x], retain_graph=True)
        total += gradient[: len(row)].double().square().sum(dim=1).cpu()
    return total


class _Layer:
    """What is kept of the influence on the units of a layer."""

    def __init__(self, where: Placement, goals: Tensor, *, cells: int, image_size: int) -> None:
        self.centres, self.cells, self.image_size = where.centres(goals), cells, image_size
        self.fields = [
            Field(own=own, cells=cells, image_size=image_size, step=where.step) for own in ("with", "without")
        ]
        middles = places((cells, cells), image_size=image_size)
        self.in_cells = self.centres.shape == middles.shape and torch.allclose(self.centres, middles)
        off = (self.centres - image_size / 2).norm(dim=1)
        self.middle = (off < off.min() + 1e-6).nonzero().flatten().tolist()
        self.squares: dict[float, list[float]] = {threshold: [] for threshold in THRESHOLDS}
        self.lags = torch.zeros(2, cells**2, dtype=torch.float64)  # sums and numbers of pairs, by lag

    def add(self, start: int, maps: Tensor) -> None:
        """The influence (q, S, S) on the units from number `start` on."""
        centres = self.centres[start : start + len(maps)]
        for field in self.fields:
            field.add(maps, centres)
        for unit, one, (down, across) in zip(
            range(start, start + len(maps)), maps, distances(centres, self.image_size), strict=True
        ):
            if unit in self.middle and one.sum() > 0:
                nearest = torch.maximum(down.abs()[:, None], across.abs()[None])
                for threshold, areas in self.squares.items():
                    areas.append(square(one, nearest, threshold).double().mean().item())
        if self.in_cells:
            mass = by_cell(maps, cells=self.cells)
            units = torch.arange(start, start + len(maps))
            lags = (units[:, None] - torch.arange(self.cells**2)[None]).abs()
            for sums, values in zip(self.lags, (mass, torch.ones_like(mass)), strict=True):
                sums.index_add_(0, lags.flatten(), values.flatten())

    def rows(self) -> Iterator[Row]:
        for field in self.fields:
            yield from field.rows()
        if self.in_cells:
            sums, numbers = self.lags
            others = sums[1:].sum() / numbers[1:].sum()
            for lag in LAGS:
                if lag < len(sums) and others > 0:
                    value = (sums[lag] / numbers[lag] / others).item()
                    yield {"metric": "influence_lag", "lag": lag, "value": value}
        for threshold, areas in self.squares.items():
            if areas:
                yield {"metric": "square_area", "threshold": threshold, "value": sum(areas) / len(areas)}
        yield from self.fields[0].map_rows()
