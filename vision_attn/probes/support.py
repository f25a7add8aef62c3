"""The theoretical receptive field: the pixels x on which a unit u depends, {x : du/dx is not identically 0}.

One definition and one code path for convolution, attention and recurrence: the support of the gradient, in float64.
Two modes: "architectural" asks which paths exist (norms without statistics, positive weights, so that none cancels);
"dependency" asks the module as it is in eval mode, and so sees norms over positions. It draws random images; where
units compete (ReLU, max-pooling, top-k) what no draw shows is not proven absent.

B batch, C channels, R x Q units of a layer, H x W pixels.
"""

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vision_attn.probes import capture
from vision_attn.probes.canvas import LARGEST, Ends, offsets, span, spots, unbounded
from vision_attn.probes.gradients import Gradients, Mode
from vision_attn.spec import InputError

Box = tuple[float, float, float, float]

OUTPUT = ""
"""The layer name of the model's own output, where that is (B, C, R, Q)."""
DRAWS = 3
"""Random images over which dependencies are joined."""
AT_ONCE = 16  # queries in one pass


@dataclasses.dataclass(frozen=True)
class Support:
    """What units of a layer see: the extent in pixels, its offsets from the unit's centre, fractions of the image.

    Extent and `box` (offsets of the outermost pixels: top, left, bottom, right) are those of the unit in the middle, on
    an unbounded canvas where the model takes one, else cut by the image (`clipped`). Where the field has no end
    (`is_global`) they are those of the image. `centre`, `edge` and `corner` are the fractions of the image seen by the
    units in the middle, at the middle of the upper edge and in the upper left corner.
    """

    height: int
    width: int
    box: Box
    is_global: bool
    clipped: bool
    centre: float
    edge: float
    corner: float


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

    They are in order of depth. Networks that take any size are run on a canvas that is doubled, up to `largest`, until
    the field ends on it; those bound to a grid on images of `image_size`. The module itself is left alone.
    """
    names = _names(model, layers)
    gradients = Gradients(model, in_chans=in_chans, mode=mode, seed=seed)
    draws = DRAWS if mode == "dependency" else 1
    x = gradients.images(3 * draws, (image_size, image_size))
    ends = unbounded(gradients, names, draws=draws, largest=largest)
    found = {}
    for name, output in gradients.maps(x, names).items():
        units = [(span(row, 1), span(column, 1)) for row, column in spots(output.shape[2:])]
        found[name] = _summary(gradients.seen(x, output, units, draws=draws), output.shape[2:], ends, name)
    return found


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

    Units smaller than a cell are asked cell by cell; larger ones count from the border of the cells they cover.
    """
    if image_size % patch_size:
        allowed = f"a divisor of the image size {image_size}"
        raise InputError(f"patch_size of reach must be {allowed}. Got {patch_size!r} instead.")
    names, cells = _names(model, layers), image_size // patch_size
    gradients = Gradients(model, in_chans=in_chans, mode=mode, seed=seed)
    most, unended = dict.fromkeys(names, Reach()), list(names)
    for queries in _queries(cells):
        x = gradients.images(len(queries) * draws, (image_size, image_size))
        for name, output in gradients.maps(x, unended).items():
            fine, step = _ratio(output.shape[2:], cells, patch_size=patch_size)
            own = [(row // step, column // step) for row, column in queries]
            units = [(span(row, fine), span(column, fine)) for row, column in own]
            seen = gradients.seen(x, output, units, draws=draws)
            seen = seen.unflatten(2, (cells, patch_size)).unflatten(1, (cells, patch_size)).any(4).any(2)
            for (row, column), one in zip(own, seen, strict=True):
                most[name] = _further(most[name], _distances(one, row, column, step=step))
            if min(dataclasses.astuple(most[name])) == cells - step:
                unended.remove(name)
        if not unended:
            break
    return most


def leaks_between_samples(module: nn.Module, x: Tensor) -> bool:
    """Whether the output for one image of the batch depends on another, as with batch statistics in train mode.

    The module is asked in the mode it is in, with its weights, on a copy.
    """
    copied = copy.deepcopy(module).double().requires_grad_(False)
    images = x.detach().double().requires_grad_()
    first = copied(images)[0]
    weights = torch.rand(first.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x.device)
    (gradient,) = torch.autograd.grad((weights * first).sum(), images)
    return bool((gradient[1:] != 0).any())


def _summary(seen: Tensor, grid: Sequence[int], ends: Ends, name: str) -> Support:
    shares = seen.flatten(1).double().mean(dim=1).tolist()
    unit, lines = spots(grid)[0], [seen[0].any(dim=1), seen[0].any(dim=0)]
    inside = [offsets(line, place, units) for line, place, units in zip(lines, unit, grid, strict=True)]
    found = ends.get(name, [])
    is_global = None in found if found else min(shares) == 1
    clipped = not found and not is_global and any(bool(line[0] or line[-1]) for line in lines)
    (top, bottom), (left, right) = (free or cut for free, cut in zip(found or inside, inside, strict=True))
    height, width = (round(last - first) + 1 for first, last in ((top, bottom), (left, right)))
    centre, edge, corner = shares
    return Support(height, width, (top, left, bottom, right), is_global, clipped, centre, edge, corner)


def _names(model: nn.Module, names: Sequence[str] | None) -> list[str]:
    return list(capture.layers(model)) if names is None else list(names)


def _ratio(grid: Sequence[int], cells: int, *, patch_size: int) -> tuple[int, int]:
    """How many units lie along the side of a cell, and how many cells along that of a unit: one of them is 1."""
    fine, step = max(1, grid[0] // cells), max(1, cells // grid[0])
    if grid[0] != grid[1] or grid[0] * step != cells * fine:
        allowed = f"such that {cells} cells and the {grid[0]} x {grid[1]} units of every layer divide each other"
        raise InputError(f"patch_size of reach must be {allowed}. Got {patch_size!r} instead.")
    return fine, step


def _queries(cells: int) -> list[list[tuple[int, int]]]:
    """All cells, a few at once: first the corners, which alone can show that a layer sees everything."""
    everything = [(row, column) for row in range(cells) for column in range(cells)]
    corners = [cell for cell in everything if set(cell) <= {0, cells - 1}]
    others = [cell for cell in everything if cell not in corners]
    return [corners, *(others[start : start + AT_ONCE] for start in range(0, len(others), AT_ONCE))]


def _distances(seen: Tensor, row: int, column: int, *, step: int) -> Reach:
    """From the step x step cells of the unit at (row, column) to the outermost of the cells that are seen."""
    rows, columns = span(row, step), span(column, step)
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
