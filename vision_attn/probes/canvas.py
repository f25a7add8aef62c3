"""Canvases: images larger than a model's own, so that a field larger than the image has an end; where the ends lie.

The field of a unit is looked at along one axis at a time, as a line of pixels that are seen or not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from vision_attn.probes.gradients import Gradients

LARGEST = 4096
"""The longest canvas, in pixels. A field may be nearly twice as long: its ends are seen from either side."""
NARROW = 96
"""Canvases are that wide, or as wide as the image: the extent along one axis does not hang on the other."""

Ends = tuple[int, int] | None


def ends(line: Tensor) -> Ends:
    """The first and the last pixel that are seen on a line; None where nothing is."""
    places = line.nonzero().flatten().tolist()
    return (places[0], places[-1]) if places else None


def hole(line: Tensor) -> int:
    """The longest way from a pixel that is seen on a line to the next one; dilated kernels leave some out."""
    places = line.nonzero().flatten()
    return int(places.diff().max()) if len(places) > 1 else 1


def spots(grid: Sequence[int]) -> list[tuple[int, int]]:
    """The units in the middle, at the middle of the upper edge, in the upper left and in the lower right corner."""
    return [(grid[0] // 2, grid[1] // 2), (0, grid[1] // 2), (0, 0), (grid[0] - 1, grid[1] - 1)]


def seen_along(axis: int, units: Sequence[tuple[int, int]], fields: Tensor) -> dict[int, Tensor]:
    """What units see along an axis, by their place on it: of several in one place, what any of them sees."""
    found: dict[int, Tensor] = {}
    for unit, field in zip(units, fields, strict=True):
        line = field.any(dim=1 - axis)
        found[unit[axis]] = found.get(unit[axis], torch.zeros_like(line)) | line
    return found


def unrolled(lines: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """The lines without what circular padding shows at the other end of the image, by the unit's place on the line.

    There units near a border see both ends, and between them a hole that no field of another unit has. Kept is the end
    at which the unit lies, as if the image ended there.
    """
    around = {place: line for place, line in lines.items() if line[0] and line[-1]}
    others = [line for place, line in lines.items() if place not in around and line.any()]
    widest = max(map(hole, others), default=0)
    middle = sorted(lines)[len(lines) // 2]
    if middle in around or not others or 2 * widest >= len(lines[middle]):
        return dict(lines)
    return {place: _one_end(line, widest, place < middle) if place in around else line for place, line in lines.items()}


def _one_end(line: Tensor, widest: int, first: bool) -> Tensor:
    """The part of a line before its longest hole, or behind it; all of it where no hole is longer than `widest`."""
    places = line.nonzero().flatten()
    gaps = places.diff()
    if not len(gaps) or int(gaps.max()) <= widest:
        return line
    before = torch.arange(len(line)) <= places[int(gaps.argmax())]
    return line & (before if first else ~before)


def free_ends(
    lines: Mapping[int, Tensor], borders: tuple[int, int] | None = None, *, circular: bool = True
) -> tuple[dict[int, int], dict[int, int]]:
    """The first and the last pixels seen, by the unit's place on the line, that no border can have cut.

    `borders` are the first and the last pixel of what units may see; None: those of the image. With `circular` fields
    may go on at the other end of the image (`unrolled`).
    """
    lines = unrolled(lines) if circular else lines
    margin = max(map(hole, lines.values()))
    known = {place: seen for place, line in lines.items() if (seen := ends(line)) is not None}
    low, high = borders or (0, max(map(len, lines.values())) - 1)
    starts = {place: first for place, (first, _) in known.items() if first >= low + margin}
    stops = {place: last for place, (_, last) in known.items() if last <= high - margin}
    return starts, stops


def offsets(lines: Mapping[int, Tensor], centre: Callable[[int], float], *, circular: bool) -> list[float | None]:
    """The first and the last pixel of a field as offsets from its unit's centre, from lines by the unit's place.

    Of either side asked is the unit in the middle, and where its field may be cut there, also by the border of a layer
    between, the unit farthest from that side as well, the outermost of both; None where that one's is cut too, 0 where
    nothing is seen. Strides may leave pixels at the image's border unseen: what counts as border is the outermost pixel
    that any unit sees, where each sees some. `circular` is as in `free_ends`.
    """
    middle = sorted(lines)[len(lines) // 2]
    longest = max(int(line.sum()) for line in lines.values())
    all_see = all(line.any() for line in lines.values())
    seen = ends(torch.stack(list(lines.values())).any(dim=0)) if all_see else None
    sides = zip(*(free_ends(lines, limits, circular=circular) for limits in (seen, None)), strict=True)
    free_sides = [within or free for within, free in sides]
    found: list[float | None] = []
    both, borders = ((max(lines), min), (min(lines), max)), (0, len(lines[0]) - 1)
    for free, (farthest, outermost), border in zip(free_sides, both, borders, strict=True):
        is_sure = middle in free and abs(free[middle] - border) >= longest / 4
        asked = [middle] if is_sure else [place for place in (farthest, middle) if place in free and farthest in free]
        found.append(outermost((free[place] + 0.5 - centre(place) for place in asked), default=None))
    return found if longest else [0.0, 0.0]


def canvases(
    gradients: Gradients,
    wanted: Callable[[int, int, float], list[str]],
    *,
    image_size: int,
    draws: int = 1,
    largest: int = LARGEST,
) -> Iterator[tuple[int, str, Tensor, Tensor]]:
    """Axis, layer, images and the layer's output, on canvases twice as long each time, first down, then across.

    For the layers that are `wanted`, given the axis, the length and about how many numbers this takes; it ends along an
    axis where there are none, or the model takes no longer canvas.
    """
    for axis in (0, 1):
        length, before, expected = 2 * image_size, None, 4.0 * draws * gradients.numbers_of_one
        while length <= largest and (names := wanted(axis, length, expected)):
            try:
                x, maps = _drawn(gradients, names, axis, length, image_size=image_size, draws=draws)
            except (RuntimeError, ValueError, AssertionError):
                break
            for name, output in maps.items():
                yield axis, name, x, output
            growth = 4.0 if before is None else gradients.numbers / before
            before, expected, length = gradients.numbers, gradients.numbers * growth, 2 * length


def _drawn(
    gradients: Gradients, names: list[str], axis: int, length: int, *, image_size: int, draws: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Images of a canvas and what the layers make of them, on a narrow one where the model takes it."""

    def on(width: int) -> tuple[Tensor, dict[str, Tensor]]:
        x = gradients.images(draws, (length, width) if axis == 0 else (width, length))
        return x, gradients.maps(x, names)

    if image_size <= NARROW:
        return on(image_size)
    try:
        return on(NARROW)
    except (RuntimeError, ValueError, AssertionError):
        return on(image_size)
