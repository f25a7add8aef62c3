"""Fields: how influence lies around units, added up over them, a few units at a time.

Every unit has a lattice of its own, of cells around its centre; pixels that a border cuts count in part. So units of
all kinds are treated alike, wherever between the pixels of the image they lie.

q units at once, S image size, K = 2 cells + 1 offsets of the lattice.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.probes.base import Row
from vision_attn.probes.lattice import distances

THRESHOLDS = (0.2, 0.3, 0.5, 0.99)
SHARES = (0.5, 0.9)
FINE = 16
"""Distances are sorted into that many bins a pixel."""


class Field:
    """The sums over the units of a layer that rows are made of; `own` is "with" or "without" their own cells."""

    def __init__(self, *, own: str, cells: int, image_size: int, step: tuple[float, float]) -> None:
        self.own, self.cells, self.image_size, self.step = own, cells, image_size, step
        self.cell = image_size / cells
        self.mass = torch.zeros(2 * cells + 1, 2 * cells + 1, dtype=torch.float64)  # by offset, in cells
        self.area = torch.zeros_like(self.mass)
        self.moments = torch.zeros(2, 2, dtype=torch.float64)  # of influence and of even influence: sum, distance
        self.by_distance = torch.zeros(4 * image_size * FINE, dtype=torch.float64)
        self.areas: dict[float, list[float]] = {threshold: [] for threshold in THRESHOLDS}
        self.sides: dict[float, list[float]] = {share: [] for share in SHARES}

    def add(self, maps: Tensor, centres: Tensor) -> None:
        """The influence (q, S, S) on units with these centres (q, 2), in pixels."""
        down, across = (away.squeeze(1) for away in distances(centres, self.image_size).split(1, dim=1))
        weights = torch.ones_like(maps)
        if self.own == "without":
            own = (torch.tensor(self.step, dtype=torch.float64).clamp(min=self.cell) / 2).tolist()
            weights = 1 - _within(down, -own[0], own[0])[:, :, None] * _within(across, -own[1], own[1])[:, None]
        maps = maps * weights
        mass, area = self._by_offset(maps, down, across), self._by_offset(weights, down, across) / self.cell**2
        self.mass += mass.sum(dim=0)
        self.area += area.sum(dim=0)
        away = torch.hypot(down[:, :, None], across[:, None])
        for i, part in enumerate((maps, weights)):
            self.moments[i] += torch.stack([part.sum(), (part * away).sum()])
        self.by_distance.index_add_(0, (away.flatten() * FINE).long(), maps.flatten())
        nearest = torch.maximum(down.abs()[:, :, None], across.abs()[:, None])
        for one, its_mass, its_area, its_nearest in zip(maps, mass, area, nearest, strict=True):
            if one.sum() > 0:
                for threshold in THRESHOLDS:
                    self.areas[threshold].append(minimum_area(its_mass, its_area, threshold))
                for share in SHARES:
                    self.sides[share].append(math.sqrt(square(one, its_nearest, share).sum().item()))

    def rows(self) -> Iterator[Row]:
        """What the units of the layer have in common."""
        yield from self._profile()
        (total, moment), (even, even_moment) = self.moments.tolist()
        if not total > 0:
            return
        at = {"own": self.own}
        yield {"metric": "influence_distance", **at, "value": moment / total}
        yield {"metric": "influence_distance_relative", **at, "value": moment / total / (even_moment / even)}
        for share in SHARES:
            yield {"metric": f"d{100 * share:g}", **at, "value": self.radius(share)}
            yield {
                "metric": "effective_receptive_field",
                "share": share,
                **at,
                "value": sum(self.sides[share]) / len(self.sides[share]),
            }
        for threshold, areas in self.areas.items():
            yield {"metric": "minimum_area", **at, "threshold": threshold, "value": sum(areas) / len(areas)}

    def radius(self, share: float) -> float:
        """The distance within which that share of the influence lies, to a part of a pixel."""
        held = self.by_distance.cumsum(0)
        return (int(torch.searchsorted(held, share * held[-1])) + 0.5) / FINE

    def map_rows(self) -> Iterator[Row]:
        """The mean influence at every offset, up to half the image, as part of the mean of all."""
        mean = self.moments[0, 0] / self.moments[1, 0] * self.cell**2
        for row in range(-(self.cells // 2), self.cells // 2 + 1):
            for column in range(-(self.cells // 2), self.cells // 2 + 1):
                mass, area = (of[row + self.cells, column + self.cells] for of in (self.mass, self.area))
                if area > 0 and mean > 0:
                    value = (mass / area / mean).item()
                    yield {"metric": "erf_map", "row": row, "column": column, "value": value}

    def _profile(self) -> Iterator[Row]:
        """The mean influence of a cell, by its distance in whole cells, and as part of the mean of all."""
        offsets = torch.arange(-self.cells, self.cells + 1, dtype=torch.float64)
        steps = torch.hypot(offsets[:, None], offsets[None]).round().long()
        mean = self.moments[0, 0] / self.moments[1, 0] * self.cell**2
        for step in steps.unique().tolist():
            mass, area = (of[steps == step].sum() for of in (self.mass, self.area))
            if area > 1e-9:
                at = {"distance": step * self.cell, "own": self.own}
                yield {"metric": "influence", **at, "value": (mass / area).item()}
                if mean > 0:
                    yield {"metric": "influence_relative", **at, "value": (mass / area / mean).item()}

    def _by_offset(self, maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
        """The sums of maps (q, S, S) over the cells of each unit's own lattice: (q, K, K)."""
        edges = (torch.arange(2 * self.cells + 2, dtype=torch.float64) - self.cells - 0.5) * self.cell
        low, high = edges[:-1, None], edges[1:, None]
        rows, columns = (_within(away[:, None], low, high) for away in (down, across))
        return rows @ maps @ columns.transpose(1, 2)


def minimum_area(mass: Tensor, area: Tensor, threshold: float) -> float:
    """The smallest part of the area of cells that holds the share `threshold` of their mass.

    Cells are taken from the densest on, the last one in part.
    """
    mass, area = mass[area > 0], area[area > 0]
    order = (mass / area).argsort(descending=True)
    held, taken = mass[order].cumsum(0) / mass.sum(), area[order].cumsum(0)
    last = int((held < threshold).sum().clamp(max=len(held) - 1))
    before = held[last - 1].item() if last else 0.0
    part = (threshold - before) / max(held[last].item() - before, 1e-300)
    return ((taken[last] - area[order[last]] * (1 - part)) / taken[-1]).item()


def square(pixels: Tensor, nearest: Tensor, share: float) -> Tensor:
    """Which pixels lie in the smallest square around a centre that holds that share of (S, S), cut at the border.

    `nearest` has the larger of each pixel's two distances to the centre. Where nothing lies outside a box around the
    centre, the square is no larger than the box.
    """
    order = nearest.flatten().sort()
    held = pixels.flatten()[order.indices].cumsum(0)
    index = torch.searchsorted(held, share * held[-1]).clamp(max=len(held) - 1)
    return nearest <= order.values[index] + 1e-9


def _within(away: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Which part of pixels, whose middles are `away` from a centre, lies between two distances from it."""
    lowest, highest = torch.as_tensor(low, dtype=away.dtype), torch.as_tensor(high, dtype=away.dtype)
    return (torch.minimum(away + 0.5, highest) - torch.maximum(away - 0.5, lowest)).clamp(min=0)
