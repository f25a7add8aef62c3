"""Placement: where the units of a layer lie on the image.

The centre of a unit is the centre of what it depends on by its architecture: i stride + 1/2 - padding + (kernel - 1)/2,
composed over the layers. With padding 1 and stride 2 that is i stride + 1/2, not the middle (i + 1/2) stride of the
unit's part of the image. Attention, recurrence and means over the image see everything, and are left out.
"""

import dataclasses
import itertools
import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from vision_attn.probes.canvas import LARGEST, canvases, ends, free_ends, hole, seen_along
from vision_attn.probes.capture import NUMBERS
from vision_attn.probes.gradients import Gradients, Unit
from vision_attn.spec import InputError

SHORT = 12
"""The longest line all of whose units are asked: borders cut most of them."""
FEW = 6
"""Units asked on a longer canvas, each of which takes a pass backward of its own."""
CHECKED = 8
"""Units drawn at random that must lie where tokens in raster order lie."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """The centre of unit (0, 0) and the step to the next, down and across, in pixels from the upper left corner."""

    first: tuple[float, float]
    step: tuple[float, float]
    length: tuple[float, float] = (math.inf, math.inf)
    """How long an image has to be to show this, down and across; without end where no image did."""

    def centre(self, place: int, axis: int) -> float:
        """The centre of the units in a row (axis 0) or column (axis 1) of the grid."""
        return self.first[axis] + self.step[axis] * place

    def centres(self, units: Tensor) -> Tensor:
        """The centres of units (Q, 2), in pixels: (Q, 2), float64."""
        return torch.tensor(self.first, dtype=torch.float64) + units.double() * torch.tensor(self.step)


def placements(
    model: nn.Module, *, names: Sequence[str], image_size: int, in_chans: int, seed: int = 0, largest: int = LARGEST
) -> dict[str, Placement]:
    """Where the units of each layer lie on images of `image_size`.

    Fields larger than the image are followed on a canvas, where the model takes one. Where this shows no end, or
    nothing is left to see, units lie as those of the layer before with the same grid, or evenly. Raises `InputError`
    where a layer's outputs do not lie in raster order over the image.
    """
    gradients = Gradients(model, in_chans=in_chans, mode="own", seed=seed)
    shape = (image_size, image_size)
    grids = gradients.grids(names, shape)
    asked = {name: _asked(grid, gradients.generator) for name, grid in grids.items()}
    seen = gradients.look({name: [_one(unit) for unit in units] for name, units in asked.items()}, shape)
    found: dict[str, list[tuple[float, float] | None]] = {}
    for name, units in asked.items():
        found[name] = [_regular(seen_along(axis, units, seen[name]), image_size / grids[name][axis]) for axis in (0, 1)]
        for axis in (0, 1):
            _require_raster(name, units, seen[name], found[name], axis)

    lengths = {name: [float(image_size) if line else math.inf for line in lines] for name, lines in found.items()}

    def wanted(axis: int, length: int, numbers: float) -> list[str]:
        if numbers > NUMBERS / 2:
            return []
        return [name for name in names if found[name][axis] is None and seen[name].any()]

    for axis, name, x, output in canvases(gradients, wanted, image_size=image_size, largest=largest):
        places = _places(output.shape[2 + axis], FEW)
        beside = output.shape[3 - axis] // 2
        units = [(place, beside) if axis == 0 else (beside, place) for place in places]
        fields = torch.stack([gradients.seen_by(x, output, unit) for unit in units])
        found[name][axis] = _regular(seen_along(axis, units, fields), x.shape[2 + axis] / output.shape[2 + axis])
        if found[name][axis] is not None:
            lengths[name][axis] = x.shape[2 + axis]
    return _filled(found, lengths, grids, image_size)


def _filled(
    found: Mapping[str, list[tuple[float, float] | None]],
    lengths: Mapping[str, list[float]],
    grids: Mapping[str, tuple[int, int]],
    image_size: int,
) -> dict[str, Placement]:
    """Placements, where none was found those of the layer before with the same grid."""
    out: dict[str, Placement] = {}
    for name, axes in found.items():
        before = next((other for other in reversed(out) if grids[other] == grids[name]), None)
        even = [(image_size / side / 2, image_size / side) for side in grids[name]]
        if before is not None:
            even = list(zip(out[before].first, out[before].step, strict=True))
        down, across = (known or other for known, other in zip(axes, even, strict=True))
        out[name] = Placement((down[0], across[0]), (down[1], across[1]), (lengths[name][0], lengths[name][1]))
    return out


def _places(side: int, number: int = SHORT) -> list[int]:
    """So many places on a line that show where all others are: neighbours at its ends and in its middle, or all."""
    if side <= SHORT:
        return list(range(side))
    first = side // 2 - (number - 4) // 2
    return [0, 1, *range(first, first + number - 4), side - 2, side - 1]


def _asked(grid: tuple[int, int], generator: torch.Generator) -> list[tuple[int, int]]:
    """Units of all those rows and columns, none on the diagonal if it can be avoided, and some at random."""
    rows, columns = (_places(side) for side in grid)
    aside = [2 * (i // len(rows)) for i in range(SHORT)]  # a row that comes again has another column
    chosen = [(rows[i % len(rows)], columns[(SHORT - 1 - i + aside[i]) % len(columns)]) for i in range(SHORT)]
    drawn = torch.rand(CHECKED, 2, generator=generator, dtype=torch.float64)
    return chosen + [(int(down * grid[0]), int(across * grid[1])) for down, across in drawn.tolist()]


def _regular(lines: Mapping[int, Tensor], even: float) -> tuple[float, float] | None:
    """The centre of unit 0 and the step from unit to unit, near `even` pixels; None where borders leave too few ends.

    The ends of the whole field are the outermost of all units, as a border can only take from it, be it the image's or
    that of a layer between. So the step is the one that brings most of these together.
    """
    starts, stops = free_ends(lines)
    steps = {*_steps(starts), *_steps(stops)} - {0.0}  # ends that stay are those of borders
    if not steps or not starts or not stops:
        return None
    rise = _rise(*free_ends(lines, ends(torch.stack(list(lines.values())).any(dim=0))))

    def on_a_line(step: float) -> int:
        return sum(_level(marks, step, side, rise)[1] for marks, side in ((starts, -1), (stops, 1)))

    def plain(step: float) -> tuple[int, float]:
        return -Fraction(step).limit_denominator(10**4).denominator, -abs(step - even)

    step = max(sorted(steps), key=lambda one: (on_a_line(one), plain(one)))
    start, stop = (_level(marks, step, side, rise)[0] for marks, side in ((starts, -1), (stops, 1)))
    return (start + stop + 1) / 2, step


def _rise(*ends: Mapping[int, int]) -> int:
    """How high the stairs are that ends rise by: some neighbours have the same one, all others lie that far apart.

    So do units that repeat what they are made of, and units finer than pixels, by 1. Where there are none: 1.
    """
    steps = [marks[place + 1] - marks[place] for marks in ends for place in marks if place + 1 in marks]
    return max(steps) if len(set(steps)) == 2 and min(steps) == 0 else 1


def _level(marks: Mapping[int, int], step: float, side: int, rise: int) -> tuple[float, int]:
    """Where most marks lie, moved back to place 0 by `step` a place, or else the outermost; how many lie outermost.

    Those lie together that are no further apart than on stairs with that rise: units lie in the middle of their stair
    on average. Reflected pixels may show beyond the field of a unit near the border, on its other side.
    """
    moved = sorted(side * (mark - place * step) for place, mark in marks.items())
    below = max(rise - step, 0.0) + 1e-6
    numbers = {one: bisect(moved, one + 1e-6) - bisect(moved, one - below) for one in moved}
    return side * max(moved, key=lambda one: (numbers[one], one)), numbers[moved[-1]]


def _steps(marks: Mapping[int, int]) -> list[float]:
    """The distances between marks per place, of every two."""
    return [(marks[last] - marks[first]) / (last - first) for first, last in itertools.combinations(sorted(marks), 2)]


def _require_raster(
    name: str,
    units: Sequence[tuple[int, int]],
    seen: Tensor,
    found: Sequence[tuple[float, float] | None],
    axis: int,
) -> None:
    """Raise `InputError` where a unit does not see the place where it would lie."""
    known = found[axis]
    if known is None:
        return
    first, step = known
    widest = max(hole(field.any(dim=1 - axis)) for field in seen)  # what a border leaves of a field may begin behind it
    for unit, field in zip(units, seen, strict=True):
        line = ends(field.any(dim=1 - axis))
        if line is None:
            continue
        length, near = field.shape[axis], max(step, widest)
        centre = min(max(first + step * unit[axis], 0.0), float(length))  # of a field that a border cuts, the part left
        if step <= 0 or not line[0] - near <= centre <= line[1] + 1 + near:
            allowed = "in raster order over the image"
            raise InputError(
                f"units of {name} must lie {allowed}. Got {unit}, which sees pixels {line[0]} to {line[1]}, instead."
            )


def _one(unit: tuple[int, int]) -> Unit:
    return slice(unit[0], unit[0] + 1), slice(unit[1], unit[1] + 1)
