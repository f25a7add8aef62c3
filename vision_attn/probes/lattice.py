"""Lattice: where influence comes from and where it goes, the same for every model, and sums over those pairs.

The sources are the square cells of a lattice over the image, the goals units of a layer's own grid, which lie where
`placement` says. Distances are pixels from the centre of a unit, to a cell the mean over its pixels.
S image size, Q units, P cells (cells x cells, in raster order).
"""

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.data.base import Data, Split
from vision_attn.probes.base import Row
from vision_attn.probes.placement import Placement
from vision_attn.spec import InputError


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Every unit of a layer with every cell: (Q, P) each.

    distance    in pixels
    step        the distance of the middle of the cell, to the nearest whole number of cells
    own         whether the cell's middle lies in the unit's part of the image, the square of the units' step, or of the
                cell if that is larger, around its centre
    cell        the side of a cell, in pixels
    """

    distance: Tensor
    step: Tensor
    own: Tensor
    cell: float

    def kept(self, own: str) -> Tensor:
        """The pairs that count with or without the own cells."""
        return torch.ones_like(self.own) if own == "with" else ~self.own


def lattice_side(patch_size: int, image_size: int, *, what: str) -> int:
    """The number of patches along a side of the image; raises `InputError` unless they fill it."""
    if image_size % patch_size:
        allowed = f"a divisor of the image size {image_size}"
        raise InputError(f"patch_size of {what} must be {allowed}. Got {patch_size!r} instead.")
    return image_size // patch_size


def chosen(data: Data, *, split: str, images: int) -> Split:
    """That many images of a split, evenly spaced, or all if it has fewer."""
    source = data.train_sample if split == "train" else data.test
    number = min(images, len(source))
    places = torch.arange(number, device=source.labels.device) * len(source) // number
    return Split(source.images[places], source.labels[places])


def places(grid: tuple[int, int], *, image_size: int) -> Tensor:
    """The centres of the cells of a grid that is spread evenly over the image, in pixels: (rows x columns, 2)."""
    rows, columns = (((torch.arange(side) + 0.5) * image_size / side).double() for side in grid)
    return torch.cartesian_prod(rows, columns).view(-1, 2)


def units(
    grid: tuple[int, int], where: Placement, *, cells: int, image_size: int, generator: torch.Generator
) -> Tensor:
    """Units (row, column) of a grid that stand for all of it: (Q, 2).

    All of them where the grid is no finer than the lattice; else one a cell, drawn evenly from those whose centre
    lies in it, so that every cell counts the same.
    """
    rows, columns = (_strata(side, where, axis, cells, image_size) for axis, side in enumerate(grid))
    drawn = torch.rand(len(rows) * len(columns), 2, generator=generator, dtype=torch.float64)
    out = []
    for i, (down, across) in enumerate(drawn.tolist()):
        row, column = rows[i // len(columns)], columns[i % len(columns)]
        out.append((row[int(down * len(row))], column[int(across * len(column))]))
    return torch.tensor(out)


def pairs(centres: Tensor, step: tuple[float, float], *, cells: int, image_size: int) -> Pairs:
    """Units with these centres (Q, 2), `step` pixels from each other, with every cell of the lattice."""
    cell = image_size // cells
    middles = (torch.cartesian_prod(torch.arange(cells), torch.arange(cells)).view(-1, 2).double() + 0.5) * cell
    away = middles[None] - centres[:, None]
    half = torch.tensor(step, dtype=torch.float64).clamp(min=cell) / 2
    own = ((-half < away) & (away <= half)).all(dim=2)
    return Pairs(_mean_distance(centres, cells, cell), (away.norm(dim=2) / cell).round().long(), own, float(cell))


def by_cell(maps: Tensor, *, cells: int) -> Tensor:
    """The sums of maps (Q, S, S) over the pixels of every cell: (Q, P)."""
    side = maps.shape[-1] // cells
    return maps.unflatten(2, (cells, side)).unflatten(1, (cells, side)).sum(dim=(2, 4)).flatten(1)


def profile(mass: Tensor, pairs: Pairs, *, name: str) -> Iterator[Row]:
    """What the pairs (Q, P) hold, by distance: rows of one layer.

    `{name}`                    mean of the pairs at that distance, to the nearest whole number of cells
    `{name}_relative`           that, divided by the mean of all pairs that count: uniform is 1
    `{name}_distance`           sum(mass distance) / sum(mass), in pixels
    `{name}_distance_relative`  that, divided by its value for uniform mass
    """
    for own in ("with", "without"):
        kept = pairs.kept(own)
        total = mass[kept].sum()
        for step in pairs.step[kept].unique().tolist():
            value = mass[kept & (pairs.step == step)].mean()
            at = {"distance": step * pairs.cell, "own": own}
            yield {"metric": name, **at, "value": value.item()}
            if total > 0:
                yield {"metric": f"{name}_relative", **at, "value": (value / mass[kept].mean()).item()}
        if total > 0:
            distance = (mass[kept] * pairs.distance[kept]).sum() / total
            yield {"metric": f"{name}_distance", "own": own, "value": distance.item()}
            relative = distance / pairs.distance[kept].mean()
            yield {"metric": f"{name}_distance_relative", "own": own, "value": relative.item()}


def distances(centres: Tensor, image_size: int) -> Tensor:
    """From each of the centres (Q, 2) to the middle of every pixel, down and across: (Q, 2, S)."""
    return (torch.arange(image_size) + 0.5).double() - centres[:, :, None]


def _strata(side: int, where: Placement, axis: int, cells: int, image_size: int) -> list[list[int]]:
    """The places on a line from which one is drawn each: those in one cell, or every place by itself."""
    if where.step[axis] >= image_size / cells:
        return [[place] for place in range(side)]
    found: dict[int, list[int]] = {}
    for place in range(side):
        cell = math.floor(where.centre(place, axis) * cells / image_size)
        found.setdefault(min(max(cell, 0), cells - 1), []).append(place)
    return list(found.values())


def _mean_distance(centres: Tensor, cells: int, cell: int) -> Tensor:
    """The mean distance of the pixels of every cell to the centres (Q, 2): (Q, P)."""
    found = []
    for down, across in distances(centres, cells * cell):
        found.append(by_cell(torch.hypot(down[:, None], across[None])[None], cells=cells)[0] / cell**2)
    return torch.stack(found)
