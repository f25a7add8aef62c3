"""Lattice: where influence comes from and where it goes, the same for every model, and sums over those pairs.

The sources are the square cells of a lattice over the image, the goals units of a layer's own grid; distances are
pixels between the centre of a unit, its place scaled to the image, and the centre of a cell.
S image size, Q units, P cells (cells x cells, in raster order).
"""

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.data.base import Data
from vision_attn.probes.base import Row
from vision_attn.spec import InputError


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Every unit of a layer with every cell: (Q, P) each.

    distance    in pixels
    own         whether the unit's patch of the image and the cell overlap
    down, right by how many cells the cell lies lower and further right than the one the unit's centre is in
    cell        the side of a cell, in pixels
    centres     of the units, in pixels: (Q, 2)
    """

    distance: Tensor
    own: Tensor
    down: Tensor
    right: Tensor
    cell: float
    centres: Tensor

    def kept(self, own: str) -> Tensor:
        """The pairs that count with or without the own cells."""
        return torch.ones_like(self.own) if own == "with" else ~self.own


def lattice_side(patch_size: int, image_size: int, *, what: str) -> int:
    """The number of patches along a side of the image; raises `InputError` unless they fill it."""
    if image_size % patch_size:
        allowed = f"a divisor of the image size {image_size}"
        raise InputError(f"patch_size of {what} must be {allowed}. Got {patch_size!r} instead.")
    return image_size // patch_size


def chosen(data: Data, *, split: str, images: int) -> Tensor:
    """That many images of a split, evenly spaced, or all if it has fewer: uint8 (N, C, S, S)."""
    source = (data.train_sample if split == "train" else data.test).images
    number = min(images, len(source))
    return source[torch.arange(number, device=source.device) * len(source) // number]


def places(grid: tuple[int, int], *, image_size: int) -> Tensor:
    """The centres of all units of a grid on the image, in pixels: (rows x columns, 2)."""
    rows, columns = (((torch.arange(side) + 0.5) * image_size / side).double() for side in grid)
    return torch.cartesian_prod(rows, columns).view(-1, 2)


def units(grid: tuple[int, int], *, cells: int, generator: torch.Generator) -> Tensor:
    """Units (row, column) of a grid that stand for all of it: (Q, 2).

    All of them where the grid is no finer than the lattice; else one a cell, drawn evenly from those whose centre
    lies in it, so that every cell counts the same.
    """
    strata = torch.cartesian_prod(*(torch.arange(min(side, cells)) for side in grid)).view(-1, 2)
    drawn = torch.rand(len(strata), 2, generator=generator, dtype=torch.float64)
    out = []
    for axis, side in enumerate(grid):
        starts = torch.tensor([_first(side, cell, min(side, cells)) for cell in range(min(side, cells) + 1)])
        start, end = starts[strata[:, axis]], starts[strata[:, axis] + 1]
        out.append(start + (drawn[:, axis] * (end - start)).long())
    return torch.stack(out, dim=1)


def pairs(chosen_units: Tensor, grid: tuple[int, int], *, cells: int, image_size: int) -> Pairs:
    """The units of a grid with every cell of the lattice."""
    sides = torch.tensor(grid)
    cell = image_size / cells
    sources = torch.cartesian_prod(torch.arange(cells), torch.arange(cells)).view(-1, 2)
    centres = (chosen_units.double() + 0.5) * image_size / sides
    distance = torch.cdist(centres, (sources.double() + 0.5) * cell, compute_mode="donot_use_mm_for_euclid_dist")
    at, of = chosen_units[:, None] * cells, sources[None] * sides  # in units of S / (side x cells)
    own = ((at < of + sides) & (of < at + cells)).all(dim=2)
    offset = sources[None] - (centres / cell).floor().long()[:, None]
    return Pairs(distance, own, offset[..., 0], offset[..., 1], cell, centres)


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
    steps = (pairs.distance / pairs.cell).round().long()
    for own in ("with", "without"):
        kept = pairs.kept(own)
        total = mass[kept].sum()
        for step in steps[kept].unique().tolist():
            value = mass[kept & (steps == step)].mean()
            at = {"distance": step * pairs.cell, "own": own}
            yield {"metric": name, **at, "value": value.item()}
            if total > 0:
                yield {"metric": f"{name}_relative", **at, "value": (value / mass[kept].mean()).item()}
        if total > 0:
            distance = (mass[kept] * pairs.distance[kept]).sum() / total
            yield {"metric": f"{name}_distance", "own": own, "value": distance.item()}
            relative = distance / pairs.distance[kept].mean()
            yield {"metric": f"{name}_distance_relative", "own": own, "value": relative.item()}


def _first(side: int, cell: int, cells: int) -> int:
    """The first of `side` units in a row whose centre lies in that cell or behind: (u + 1/2) cells >= cell side."""
    return max(0, -(-(2 * cell * side - cells) // (2 * cells)))
