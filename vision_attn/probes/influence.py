"""Influence: how much the pixels of each part of the image move a unit, by its distance, layer by layer.

Q units of a layer, P cells, S image size; C channels of the layer.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.capture import frozen, grid_shapes, grids, layers, without_layers
from vision_attn.probes.lattice import Pairs, by_cell, chosen, lattice_side, pairs, profile, units
from vision_attn.spec import spec

THRESHOLDS = (0.2, 0.3, 0.5, 0.99)
LAGS = (1, 2, 4, 8, 16, 32)


@spec
class Influence(Probe):
    """The effective receptive field (Luo et al. 2016, arXiv:1701.04128) as influence by distance.

    Of unit q with features z_q and cell p with pixels x_p, as normalised for the model,

        I(q, p) = E |dz_q / dx_p|^2 = E |v^T dz_q / dx_p|^2,    v = +-1 at random for every channel

    by Hutchinson's estimate, mean over `images` and `probes` vectors v each: nothing cancels over channels, and
    networks of every kind are measured alike. The cells are patches of patch_size x patch_size pixels, the units those
    of the layer's grid, one a cell where it is finer. I is squared: Luo's map is its root. `layer` 0 is the patch
    embedding or stem. Raises `InputError` where `patch_size` does not divide the image size.

    `influence` and what `lattice.profile` derives from it, with and without the `own` cell
    `d50`, `d90`    the radius in pixels that holds 50 or 90 % of the influence
    `minimum_area`  the smallest part of the cells that holds the share `threshold`, mean over units; uniform: threshold
    `square_area`   the part of the image in the smallest square around the unit nearest to the centre that holds it, as
                    in RepLKNet (Ding et al. 2022, arXiv:2203.06717) but without logarithm; cut at the border
    `influence_lag` the mean of units and cells `lag` steps apart in raster order, uniform being 1; without own cells.
                    Only of layers with one unit in each cell
    `erf_map`       the mean at `row` cells below and `column` cells right of the unit, uniform being 1: half of all
                    rows, left out without `maps`
    """

    images: int = 64
    probes: int = 1
    patch_size: int = 4
    seed: int = 0
    split: Literal["train", "test"] = "test"
    maps: bool = True

    def check(self) -> None:
        for field in ("images", "probes", "patch_size"):
            self.require(field, getattr(self, field) >= 1, "at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_layers(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        cells = lattice_side(self.patch_size, data.image_size, what="Influence")
        generator = torch.Generator().manual_seed(self.seed)
        images = data.normalise(chosen(data, split=self.split, images=self.images))
        names = list(layers(model))
        with torch.autocast(images.device.type, enabled=False):
            shapes = grid_shapes(model, images, names)
            goals = {name: units(grid, cells=cells, generator=generator) for name, grid in shapes.items()}
            maps = influence_maps(model, images, goals, probes=self.probes, generator=generator)
        for layer, name in enumerate(names):
            found = pairs(goals[name], shapes[name], cells=cells, image_size=data.image_size)
            for row in _rows(maps[name], found, cells=cells):
                if self.maps or row["metric"] != "erf_map":
                    yield {**row, "layer": layer}


def influence_maps(
    model: nn.Module, images: Tensor, goals: dict[str, Tensor], *, probes: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """E |v^T dz_q/dx|^2 summed over the channels of each pixel x, for units `goals[layer]` (Q, 2): (Q, S, S), float64.

    A batch is one image Q times: replica q is asked for unit q only, which gives all units in one backward pass.
    """
    largest = max(len(places) for places in goals.values())
    totals = {name: torch.zeros(len(places), *images.shape[2:], dtype=torch.float64) for name, places in goals.items()}
    with frozen(model):
        for image in images:
            x = image.expand(largest, -1, -1, -1).clone().requires_grad_()
            for name, z in grids(model, x, list(goals)).items():
                row, column = goals[name].to(x.device).T
                z = z[torch.arange(len(row), device=x.device), :, row, column]
                for _ in range(probes):
                    signs = torch.randint(0, 2, z.shape, generator=generator).mul_(2).sub_(1).to(z)
                    (gradient,) = torch.autograd.grad((z * signs).sum(), [x], retain_graph=True)
                    totals[name] += gradient[: len(row)].double().square().sum(dim=1).cpu()
    return {name: total / (len(images) * probes) for name, total in totals.items()}


def _rows(maps: Tensor, pairs: Pairs, *, cells: int) -> Iterator[Row]:
    mass = by_cell(maps, cells=cells)
    yield from profile(mass, pairs, name="influence")
    for own in ("with", "without"):
        if mass[pairs.kept(own)].sum() > 0:
            for share in (50, 90):
                radius = mass_radius(mass, pairs, own=own, share=share / 100)
                yield {"metric": f"d{share}", "own": own, "value": radius}
            for threshold in THRESHOLDS:
                area = minimum_area(mass, pairs.kept(own), threshold)
                yield {"metric": "minimum_area", "own": own, "threshold": threshold, "value": area}
    if torch.equal(pairs.own, torch.eye(cells**2, dtype=torch.bool)):
        yield from _lags(mass)
    if mass.sum() > 0:
        yield from _areas_and_map(maps, mass, pairs)


def _lags(mass: Tensor) -> Iterator[Row]:
    """Influence by the steps between unit and cell in raster order: what a recurrent net decays with."""
    steps = torch.arange(len(mass))
    lags = (steps[:, None] - steps[None]).abs()
    others = mass[lags > 0].mean()
    for lag in LAGS:
        if lag < len(mass) and others > 0:
            yield {"metric": "influence_lag", "lag": lag, "value": (mass[lags == lag].mean() / others).item()}


def _areas_and_map(maps: Tensor, mass: Tensor, pairs: Pairs) -> Iterator[Row]:
    off_centre = (pairs.centres - maps.shape[-1] / 2).norm(dim=1)
    middle = (off_centre < off_centre.min() + 1e-6).nonzero().flatten().tolist()
    for threshold in THRESHOLDS:
        areas = [square_area(maps[unit], pairs.centres[unit], threshold) for unit in middle]
        yield {"metric": "square_area", "threshold": threshold, "value": sum(areas) / len(areas)}
    reach = round(maps.shape[-1] / pairs.cell) // 2  # further off, few units have a cell
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            here = (pairs.down == down) & (pairs.right == right)
            if here.any():
                value = mass[here].mean() / mass.mean()
                yield {"metric": "erf_map", "row": down, "column": right, "value": value.item()}


def mass_radius(mass: Tensor, pairs: Pairs, *, own: str, share: float) -> float:
    """The smallest distance within which the pairs hold that share of their mass."""
    kept = pairs.kept(own)
    distance, order = pairs.distance[kept].sort()
    held = mass[kept][order].cumsum(0)
    index = torch.searchsorted(held, share * held[-1]).clamp(max=len(held) - 1)
    return distance[index].item()


def minimum_area(mass: Tensor, kept: Tensor, threshold: float) -> float:
    """The smallest part of the kept cells that holds the share `threshold` of a unit's mass, mean over units.

    Cells are taken from the heaviest on, the last one in part. Units without any mass are left out.
    """
    areas = []
    for of_unit, of_kept in zip(mass, kept, strict=True):
        weights = of_unit[of_kept].sort(descending=True).values
        if len(weights) and weights.sum() > 0:
            held = weights.cumsum(0) / weights.sum()
            whole = int((held < threshold).sum().clamp(max=len(held) - 1))
            before = held[whole - 1].item() if whole else 0.0
            areas.append((whole + (threshold - before) / (held[whole].item() - before)) / len(held))
    return sum(areas) / len(areas)


def square_area(pixels: Tensor, centre: Tensor, threshold: float) -> float:
    """The part of the image in the smallest square around `centre` that holds the share `threshold` of (S, S)."""
    size = pixels.shape[-1]
    at = torch.arange(size, dtype=torch.float64) + 0.5
    away = torch.maximum((at - centre[0]).abs()[:, None], (at - centre[1]).abs()[None])
    order = away.flatten().sort()
    held = pixels.flatten()[order.indices].cumsum(0)
    index = torch.searchsorted(held, threshold * held[-1]).clamp(max=size * size - 1)
    return (away <= order.values[index] + 1e-9).double().mean().item()
