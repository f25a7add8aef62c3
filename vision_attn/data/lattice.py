"""The lattice of glyph cells that the long-range tasks are drawn on: 32 x 32 pixels in cells of 4 x 4.

Letters: N images, L cells along a side, K glyphs, C channels.
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vision_attn.data.subsets import permutation

SIDE, CELL = 32, 4
BLANK, CONTRAST = 96, 64
"""Grey level of a blank cell; a glyph's dark and bright pixels lie this much below and above it."""

DIRECTIONS = ("right", "left", "down", "up")
STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Rows and columns that one step in each of the `DIRECTIONS` goes."""

LARGEST_OFFSET = 3
APART = 6
"""Pixels, of 16, in which any two glyphs differ at least."""


def length(*, aligned: bool) -> int:
    """Cells along a side: 8, or 7 where the lattice may be moved against the 4-px grid."""
    return SIDE // CELL - (not aligned)


@functools.cache
def glyphs(number: int) -> Tensor:
    """The first `number` glyphs, uint8 (K, 4, 4): the same ones for ever, half of their pixels bright, half dark.

    A random order of all patterns is gone through, taking each that differs from those taken in `APART` pixels or more.
    """
    order = permutation(2**16, purpose="glyphs", seed=0)
    taken: list[np.ndarray] = []
    for pattern in order:
        bits = pattern >> np.arange(16) & 1
        if bits.sum() == 8 and all((bits != other).sum() >= APART for other in taken):
            taken.append(bits)
        if len(taken) == number:
            break
    assert len(taken) == number, "there are not so many glyphs so far apart"
    levels = BLANK + CONTRAST * (2 * np.stack(taken) - 1)
    return torch.from_numpy(levels.astype(np.uint8)).view(number, CELL, CELL)


def starts(distance: Tensor, direction: Tensor, *, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cells (rows, columns), each (N,), uniform over those from which `distance` steps stay on the lattice."""
    steps = torch.tensor(STEPS)[direction] * distance[:, None]  # (N, 2)
    free = side - steps.abs()
    uniform = torch.rand(len(distance), 2, generator=generator, dtype=torch.float64)
    place = (uniform * free).long() + (-steps).clamp(min=0)
    return place[:, 0], place[:, 1]


def free_cells(distance: int, direction: int, *, side: int) -> Tensor:
    """Every cell from which `distance` steps stay on the lattice: (places, 2), in raster order."""
    (down, right) = (distance * step for step in STEPS[direction])
    axes = [torch.arange(max(0, -step), side - max(0, step)) for step in (down, right)]
    return torch.cartesian_prod(*axes).view(-1, 2)


@functools.cache
def kept_cells(distance: int, direction: int, *, number: int, side: int, seed: int) -> Tensor:
    """So many of the `free_cells`, (number, 2), drawn without replacement: the same ones for ever."""
    cells = free_cells(distance, direction, side=side)
    order = permutation(len(cells), purpose=f"{DIRECTIONS[direction]} {distance} of {side}", seed=seed)
    return cells[torch.from_numpy(np.sort(order[:number]))]


def ends(rows: Tensor, columns: Tensor, distance: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The cells `distance` steps from (rows, columns)."""
    steps = torch.tensor(STEPS)[direction] * distance[:, None]
    return rows + steps[:, 0], columns + steps[:, 1]


def offsets(number: int, *, aligned: bool, generator: torch.Generator) -> Tensor:
    """Pixels that each image's lattice is moved down and to the right, (N, 2)."""
    if aligned:
        return torch.zeros(number, 2, dtype=torch.int64)
    return torch.randint(LARGEST_OFFSET + 1, (number, 2), generator=generator)


def painted(cells: Tensor) -> Tensor:
    """Cells, (N, L, L, 4, 4), as one channel of images, (N, 4 L, 4 L)."""
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def cells_of(images: Tensor) -> Tensor:
    """A view of images (N, C, 4 L, 4 L) by cells, (N, C, L, L, 4, 4)."""
    return images.unflatten(3, (-1, CELL)).unflatten(2, (-1, CELL)).transpose(3, 4)


def placed(images: Tensor, moved: Tensor, *, blank: int = BLANK) -> Tensor:
    """The images on a canvas of 32 x 32 pixels, moved by (down, right) pixels each; `blank` fills the rest.

    What is moved is cut out of the padded image: rows of it, picked from the overlapping windows over the batch.
    """
    number, channels, height, _ = images.shape
    if height == SIDE:
        return images
    margin = SIDE - height
    padded = F.pad(images, (margin,) * 4, value=blank)
    wide = padded.shape[-1]
    windows = padded.as_strided((padded.numel() - SIDE + 1, SIDE), (1, 1))
    top, left = (margin - moved).unbind(1)
    lines = (top[:, None] + torch.arange(SIDE)) * wide + left[:, None]  # (N, 32)
    planes = torch.arange(number * channels).view(number, channels, 1) * wide**2
    return windows.index_select(0, (planes + lines[:, None]).flatten()).view(number, channels, SIDE, SIDE)


def token(cell: Tensor, moved: Tensor) -> Tensor:
    """Along one axis, the 4-px token that holds the centre of a cell on a lattice moved by `moved` pixels."""
    return cell + (moved + CELL // 2) // CELL
