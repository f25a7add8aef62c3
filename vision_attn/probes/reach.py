"""Reach: how far each layer sees, in cells of the patch grid, over all of its units.

The cells that a unit depends on are those of `support`, by gradients of a copy in float64.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from vision_attn.probes import capture
from vision_attn.probes.gradients import Gradients, require_asked
from vision_attn.probes.lattice import lattice_side
from vision_attn.probes.placement import Placement, placements
from vision_attn.probes.replacing import Mode
from vision_attn.probes.support import DRAWS

QUERIES = 64
"""Cells that are asked beside the corners, at most."""
GOLDEN = 0.6180339887498949
"""The part of a line that multiples of it, without whole lines, are spread over most evenly."""


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far a layer sees, in cells of the patch grid, over all of its units.

    `distance` is the largest Chebyshev distance from a unit's cell to one that it depends on. `right` and `left` are
    the largest ones along the cell's own row, `down` and `up` along its own column: a memory that runs over the raster
    in one direction has seen rows above to their end, but nothing of its own row that is further right.
    """

    distance: int = 0
    right: int = 0
    left: int = 0
    down: int = 0
    up: int = 0


def reach(
    model: nn.Module,
    *,
    image_size: int,
    patch_size: int,
    in_chans: int = 3,
    layers: Sequence[str] | None = None,
    mode: Mode = "dependency",
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Reach]:
    """How many cells of patch_size x patch_size pixels each layer sees in each direction, from anywhere in the image.

    Units smaller than a cell are asked cell by cell; larger ones count from the border of the cells they cover. Of more
    than `QUERIES` cells the corners are asked and others that are spread over all rows and columns, which shows all of
    what is the same everywhere, and of what comes again after some rows or columns. Raises `InputError` as `support`.
    """
    require_asked("reach", model, mode, image_size=image_size, patch_size=patch_size, in_chans=in_chans, draws=draws)
    lattice_side(patch_size, image_size, what="reach")
    names = capture.named(model, layers)
    where = placements(model, names=names, image_size=image_size, in_chans=in_chans, seed=seed)
    return reached(
        model, where, image_size=image_size, patch_size=patch_size, in_chans=in_chans, mode=mode, seed=seed, draws=draws
    )


def reached(
    model: nn.Module,
    where: Mapping[str, Placement],
    *,
    image_size: int,
    patch_size: int,
    in_chans: int,
    mode: Mode,
    seed: int = 0,
    draws: int = 1,
) -> dict[str, Reach]:
    """The `reach` of layers whose units lie where `placements` says."""
    cells = lattice_side(patch_size, image_size, what="reach")
    names, shape = list(where), (image_size, image_size)
    gradients = Gradients(model, in_chans=in_chans, mode=mode, seed=seed)
    grids = gradients.grids(names, shape)
    lines = {
        name: [_Line(where[name], axis, side, cells, patch_size) for axis, side in enumerate(grids[name])]
        for name in names
    }
    most, unended = dict.fromkeys(names, Reach()), list(names)
    for queries in _queries(cells, gradients.at_once):
        asked = {
            name: [(down.units(row), across.units(column)) for row, column in queries]
            for name, (down, across) in lines.items()
            if name in unended
        }
        for name, seen in gradients.look(asked, shape, draws=draws).items():
            seen = seen.unflatten(2, (cells, patch_size)).unflatten(1, (cells, patch_size)).any(4).any(2)
            for (row, column), one in zip(queries, seen, strict=True):
                down, across = lines[name]
                most[name] = _further(most[name], _distances(one, down.own(row), across.own(column)))
            if min(dataclasses.astuple(most[name])) >= cells - max(line.widest for line in lines[name]):
                unended.remove(name)
        if not unended:
            break
    return most


class _Line:
    """A row or column of cells, the units that stand for each of them, and the cells that these cover."""

    def __init__(self, where: Placement, axis: int, side: int, cells: int, patch_size: int) -> None:
        centres = [where.centre(place, axis) / patch_size for place in range(side)]
        half = max(where.step[axis] / patch_size, 1.0) / 2
        self._units, self._own = [], []
        for cell in range(cells):
            inside = [place for place, centre in enumerate(centres) if cell <= centre < cell + 1]
            near = inside or [min(range(side), key=lambda place: abs(centres[place] - cell - 0.5))]
            middle = centres[near[0]]
            covered = [other for other in range(cells) if -half < other + 0.5 - middle <= half]
            covered = covered if covered and len(inside) < 2 else [cell]
            self._units.append(slice(near[0], near[-1] + 1))
            self._own.append(slice(covered[0], covered[-1] + 1))
        self.widest = max(own.stop - own.start for own in self._own)

    def units(self, cell: int) -> slice:
        return self._units[cell]

    def own(self, cell: int) -> slice:
        return self._own[cell]


def _queries(cells: int, at_once: int) -> list[list[tuple[int, int]]]:
    """Cells, a few at once: first the corners, which alone can show that a layer sees everything."""
    everything = [(row, column) for row in range(cells) for column in range(cells)]
    corners = [cell for cell in everything if set(cell) <= {0, cells - 1}]
    others = [cell for cell in everything if cell not in corners]
    if len(others) > QUERIES:
        others = [(i * cells // QUERIES, int(i * GOLDEN % 1 * cells)) for i in range(QUERIES)]
    return [corners, *(others[start : start + at_once] for start in range(0, len(others), at_once))]


def _distances(seen: Tensor, rows: slice, columns: slice) -> Reach:
    """From the cells of a unit to the outermost of the cells that it sees."""
    left, right = _beyond(seen[rows].any(dim=0), columns)
    up, down = _beyond(seen[:, columns].any(dim=1), rows)
    anywhere = max(*_beyond(seen.any(dim=0), columns), *_beyond(seen.any(dim=1), rows))
    return Reach(anywhere, right, left, down, up)


def _beyond(line: Tensor, own: slice) -> tuple[int, int]:
    """How far what is seen on a line lies before its own part and behind it."""
    places = line.nonzero().flatten().tolist() or [own.start]
    return max(0, own.start - places[0]), max(0, places[-1] - own.stop + 1)


def _further(one: Reach, other: Reach) -> Reach:
    return Reach(*map(max, dataclasses.astuple(one), dataclasses.astuple(other)))
