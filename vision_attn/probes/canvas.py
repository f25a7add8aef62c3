"""The unbounded canvas: images larger than a model's own, so that a field larger than the image has an end."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from vision_attn.probes.gradients import Gradients, Unit

Ends = dict[str, list[tuple[float, float] | None]]
"""By layer, down and across: the first and the last offset seen from the unit's centre; None: without end."""

SHORTEST, LARGEST = 96, 1536
"""The sides of the canvas: multiples of the strides of usual networks. A field without end on the last is global."""
JUMP = 40
"""A layer whose field is at least that many times as long as the one of the layer before it is global."""


def unbounded(gradients: Gradients, names: Sequence[str], *, draws: int, largest: int = LARGEST) -> Ends:
    """The ends of the field of the unit in the middle, for layers in order of depth.

    Left out are layers for which the model does not take a canvas that they need. Behind a global layer all are.
    """
    ends: Ends = {name: [None, None] for name in names}
    unended = list(names)
    for shape in canvases(largest):
        axes = [axis for axis in (0, 1) if shape[axis] == max(shape)]
        wanted = [name for name in unended if any(ends[name][axis] is None for axis in axes)]
        if not wanted:
            continue
        x = gradients.images(draws, shape)
        try:
            maps = gradients.maps(x, wanted)
        except (RuntimeError, ValueError, AssertionError):
            return {name: found for name, found in ends.items() if name not in wanted}
        for name, output in maps.items():
            middle, _, corner = spots(output.shape[2:])
            seen = gradients.seen(x, output, [_one(middle)], draws=draws)[0]
            for axis in axes:
                line, before = seen.any(dim=1 - axis), names[: names.index(name)]
                if not line[0] and not line[-1]:
                    ends[name][axis] = offsets(line, middle[axis], output.shape[2 + axis])
                elif line.all() and before and _is_jump(ends[before[-1]][axis], 2 * len(line) - 1):
                    seen_far = gradients.seen(x, output, [_one(corner)], draws=draws)[0].any(dim=1 - axis)
                    unended = [other for other in unended if other in before or not seen_far.all()]
            if name not in unended:
                break
    return ends


def canvases(largest: int) -> Iterator[tuple[int, int]]:
    """A square, then long and thin ones along either axis, as the extent along one does not hang on the other."""
    yield SHORTEST, SHORTEST
    length = 2 * SHORTEST
    while length <= largest:
        yield length, SHORTEST
        yield SHORTEST, length
        length *= 2


def offsets(line: Tensor, place: int, units: int) -> tuple[float, float]:
    """The first and the last pixel seen on a line, from the centre of the unit's part of the line."""
    pixels, centre = line.nonzero().flatten().tolist() or [0], (place + 0.5) * len(line) / units - 0.5
    return pixels[0] - centre, pixels[-1] - centre


def spots(grid: Sequence[int]) -> list[tuple[int, int]]:
    """The units in the middle, at the middle of the upper edge, in the upper left corner."""
    return [(grid[0] // 2, grid[1] // 2), (0, grid[1] // 2), (0, 0)]


def span(place: int, size: int) -> slice:
    """Part number `place` of a line that is cut into parts of `size`."""
    return slice(place * size, (place + 1) * size)


def _one(unit: tuple[int, int]) -> Unit:
    return span(unit[0], 1), span(unit[1], 1)


def _is_jump(before: tuple[float, float] | None, length: int) -> bool:
    return before is not None and length >= JUMP * (before[1] - before[0] + 1)
