"""The theoretical receptive field: the pixels x on which a unit u depends, {x : du/dx is not identically 0}.

One definition and one code path for convolution, attention and recurrence: the support of the gradient, in float64.
Two modes: "architectural" asks which paths exist (norms without statistics, positive weights, so that none cancels);
"dependency" asks the module as it is in eval mode, and so sees norms over positions. It draws random images; where
units compete (ReLU, max-pooling, top-k) what no draw shows is not proven absent.

B batch, C channels, R x Q units of a layer, H x W pixels.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vision_attn.probes import capture
from vision_attn.probes.canvas import LARGEST, canvases, ends, offsets, seen_along, spots, unrolled
from vision_attn.probes.capture import NUMBERS
from vision_attn.probes.gradients import Gradients, Unit, require_asked
from vision_attn.probes.hidden import require_gradients
from vision_attn.probes.placement import Placement, placements
from vision_attn.probes.replacing import Mode

Box = tuple[float, float, float, float]
Extent = Literal["exact", "cut", "global"]
Sides = list[float | None]

OUTPUT = ""
"""The layer name of the model's own output, where that is (B, C, R, Q)."""
DRAWS = 3
"""Random images over which dependencies are joined."""
SPARED = 16
"""A field that attention, recurrence or norms make larger than convolutions do is followed at this part of the cost."""


@dataclasses.dataclass(frozen=True)
class Support:
    """What units of a layer see: the extent in pixels, its offsets from the unit's centre, fractions of the image.

    `height`, `width` and `box` (offsets of the outermost pixels: top, left, bottom, right) are, by `extent`,

    "exact"   those of the whole field, also where it is larger than the image; 0 where nothing is seen
    "cut"     those of the part in the image, for the unit in the middle: it goes on, and no canvas showed how far
    "global"  those of the image: every unit sees all of it, by attention or the like, and no canvas showed an end

    `centre`, `edge` and `corner` are the fractions of the image seen by the units in the middle, at the middle of the
    upper edge and in the upper left corner.
    """

    height: int
    width: int
    box: Box
    extent: Extent
    centre: float
    edge: float
    corner: float

    @property
    def is_global(self) -> bool:
        return self.extent == "global"

    @property
    def clipped(self) -> bool:
        return self.extent == "cut"


def support(
    model: nn.Module,
    *,
    image_size: int,
    in_chans: int = 3,
    layers: Sequence[str] | None = None,
    mode: Mode = "architectural",
    seed: int = 0,
    largest: int = LARGEST,
) -> dict[str, Support]:
    """The theoretical receptive field of each layer; `layers` (None: those of `capture.layers`) may be `OUTPUT`.

    A field that the image cuts is measured from units on the other side, and else on canvases that are doubled, up to
    `largest`, where the model takes them. The module itself is left alone. Raises `InputError` on unknown layers, where
    the model does not take such images, on outputs that do not lie in raster order over the image, and where pixels act
    through what has no gradient.
    """
    require_asked("support", model, mode, image_size=image_size, in_chans=in_chans, largest=largest)
    names = capture.named(model, layers)
    where = placements(model, names=names, image_size=image_size, in_chans=in_chans, seed=seed)
    require_gradients(model, names=names, image_size=image_size, in_chans=in_chans, seed=seed)
    return fields(model, where, image_size=image_size, in_chans=in_chans, mode=mode, seed=seed, largest=largest)


def fields(
    model: nn.Module,
    where: Mapping[str, Placement],
    *,
    image_size: int,
    in_chans: int,
    mode: Mode,
    seed: int = 0,
    largest: int = LARGEST,
) -> dict[str, Support]:
    """The `support` of layers whose units lie where `placements` says, once `require_gradients` has passed."""
    names, shape = list(where), (image_size, image_size)
    draws = DRAWS if mode == "dependency" else 1
    gradients = Gradients(model, in_chans=in_chans, mode=mode, seed=seed)
    grids = gradients.grids(names, shape)
    asked = {name: [_one(unit) for unit in spots(grid)] for name, grid in grids.items()}
    seen = gradients.look(asked, shape, draws=draws)
    sides = {name: [_sides(spots(grids[name]), seen[name], where[name], axis) for axis in (0, 1)] for name in names}

    def wanted(axis: int, length: int, numbers: float) -> list[str]:
        most = {name: NUMBERS / (2 if where[name].length[axis] >= length else SPARED) for name in names}
        return [name for name in names if None in sides[name][axis] and numbers <= most[name]]

    drawn = canvases(gradients, wanted, image_size=image_size, draws=draws, largest=largest)
    for axis, name, x, output in drawn:
        gradients.faded = False
        middle, _, *corners = spots(output.shape[2:])
        of_corners = [gradients.seen_by(x, output, unit) for unit in corners]
        if not all(field.any(dim=1 - axis).all() for field in of_corners):
            of_all = torch.stack([gradients.seen_by(x, output, middle), *of_corners])
            if _passes(of_all, axis) and not gradients.faded:
                sides[name][axis] = _sides([middle, *corners], of_all, where[name], axis)
    found: dict[str, Support] = {}
    for name in names:
        extent = _extent(seen[name], sides[name], where[name], found.values(), image_size)
        found[name] = _summary(seen[name], sides[name], extent, spots(grids[name])[0], where[name])
    return found


def _passes(fields: Tensor, axis: int) -> bool:
    """Whether a canvas is long enough: the first unit sees less far than the last; fields of the middle and these."""
    middle, first, last = (field.any(dim=1 - axis) for field in fields)
    lines = unrolled({0: first, 1: middle, 2: last})
    seen, seen_last = ends(lines[0]), ends(lines[2])
    return seen_last is not None and (seen is None or seen[1] < seen_last[1])


def _sides(units: Sequence[tuple[int, int]], seen: Tensor, where: Placement, axis: int) -> Sides:
    """The ends of the field along an axis, from what some units see."""
    lines = seen_along(axis, units, seen)
    return offsets(lines, lambda place: where.centre(place, axis), circular=where.length[axis] < math.inf)


def _extent(
    seen: Tensor, sides: Sequence[Sides], where: Placement, before: Iterable[Support], image_size: int
) -> Extent:
    """Whether a field is known to its end; else global where all is seen, and not because convolutions add up to it."""
    if not any(side is None for axis in sides for side in axis):
        return "exact"
    longest = max((max(one.height, one.width) for one in before if one.extent == "exact"), default=0)
    at_once = max(where.length) < math.inf or longest < image_size
    return "global" if seen.all() and at_once else "cut"


def _summary(seen: Tensor, sides: Sequence[Sides], extent: Extent, unit: tuple[int, int], where: Placement) -> Support:
    """What units in the middle, at the edge and in the corner see of the image, and what is known of the rest."""
    centre, edge, corner, _ = seen.flatten(1).double().mean(dim=1).tolist()
    spans = []
    for axis, found in enumerate(sides):
        line, middle = ends(seen[0].any(dim=1 - axis)), where.centre(unit[axis], axis)
        inside = [0.0, 0.0] if line is None else [side + 0.5 - middle for side in line]
        spans.append(inside if extent != "exact" else [side for side in found if side is not None])
    (top, bottom), (left, right) = spans
    height, width = (0, 0) if not seen.any() else (round(bottom - top) + 1, round(right - left) + 1)
    return Support(height, width, (top, left, bottom, right), extent, centre, edge, corner)


def _one(unit: tuple[int, int]) -> Unit:
    return slice(unit[0], unit[0] + 1), slice(unit[1], unit[1] + 1)
