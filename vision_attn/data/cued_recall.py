"""Cued recall at a distance: which glyph lies d cells from the cue?

What is read out at one place must have come there, so a model that cannot see d cells far is at chance, 1 / K, exactly.
"""

import math
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from vision_attn.data.base import UNLABELLED, Split
from vision_attn.data.generated import MOST_GLYPHS, Generated, dense, glyph_table
from vision_attn.data.lattice import CELL, cells_of, ends, kept_cells, offsets, painted, placed, starts, token
from vision_attn.spec import spec

Directions = Literal["all", "horizontal", "vertical"]
CHOSEN = {"all": (0, 1, 2, 3), "horizontal": (0, 1), "vertical": (2, 3)}
COLOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))
"""Red, green, blue, yellow: right, left, down, up. Each leaves a channel in which the glyph stands untinted."""

TINT = 95
RING = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1), (3, 0), (2, 0), (1, 0))
"""The border of a cell, clockwise from its upper left corner."""


@spec
class CuedRecall(Generated):
    """The glyph `distance` cells from the cue, in the direction that the cue's colour tells; chance is 1 / num_glyphs.

    The cue is a cell with a tinted border: red the target is to the right, green to the left, blue below, yellow above.
    The tint is added, so the cell's own glyph stays readable; at distance 0 it is the target. With `distance` None each
    image has its own, from 0 to the largest, uniformly: the cue's border then has a gap at its d-th pixel, clockwise
    from the upper left corner. The direction is uniform, the cue is uniform over the cells from which the
    target exists, glyphs are uniform and independent: no place, direction or distance says anything about the label.

    "popout": besides cue and target all cells are blank, so the target is found by what it is, and only transport is
    tested. "filled": every cell holds a glyph, so the target is found by where it is; a model that knows no places is
    held to `multiset_baseline`. The label stands at the token that holds the cue's centre; with `pooled` it is one
    label an image, to be read out by mean pooling, which lets every model see everything (`bag_ceiling`).

    There are L (L - d) places for a cue and its target in each direction, L cells along a side: near targets come in
    more pairs than far ones, and who learns pairs by heart finds near ones harder. With `num_pairs` every distance has
    so many, equally many in each direction, drawn by `pair_seed`, for all splits; all directions of the farthest
    distance have 4 L, so 32 of 8 x 8 cells.

    Training images may hold up to `train_cues` cues, each with its label: as many lessons at the price of one. Where
    two fall on one cell, one counts. Validation and test images always hold one.
    """

    attributes: ClassVar[tuple[str, ...]] = ("distance", "direction")

    distance: int | None
    variant: Literal["popout", "filled"] = "filled"
    directions: Directions = "all"
    pooled: bool = False
    num_glyphs: int = 8
    train_cues: int = 1
    num_pairs: int | None = None
    pair_seed: int = 0

    def check(self) -> None:
        super().check()
        fits = self.distance is None or 0 <= self.distance < self.side
        self.require("distance", fits, f"None or from 0 to {self.side - 1}")
        single = self.train_cues == 1 or (self.variant == "filled" and not self.pooled)
        self.require(
            "train_cues", self.train_cues >= 1 and single, "1, or more where every cell is filled and not pooled"
        )
        ways, farthest = len(CHOSEN[self.directions]), self.side - 1 if self.distance is None else self.distance
        most = ways * self.side * (self.side - farthest)
        fits = self.num_pairs is None or (1 <= self.num_pairs <= most and self.num_pairs % ways == 0)
        self.require("num_pairs", fits, f"None or a multiple of {ways} up to {most}")
        self.require("num_glyphs", 2 <= self.num_glyphs <= MOST_GLYPHS, f"from 2 to {MOST_GLYPHS}")

    @property
    def label(self) -> str:
        parts = ["cued-recall", self.variant, "mixed" if self.distance is None else str(self.distance)]
        parts += [self.directions] * (self.directions != "all") + ["unaligned"] * (not self.aligned)
        parts += [f"{self.num_pairs}-pairs"] * (self.num_pairs is not None)
        return "-".join(parts + ["pooled"] * self.pooled)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"glyph {number}" for number in range(self.num_glyphs))

    def draw(self, number: int, *, generator: torch.Generator) -> Split:
        return self._drawn(number, 1, generator)

    def draw_training(self, number: int, *, generator: torch.Generator) -> Split:
        return self._drawn(number, self.train_cues, generator)

    def _drawn(self, number: int, cues: int, generator: torch.Generator) -> Split:
        image, shape = torch.arange(number), (number, self.side, self.side)
        kinds = torch.randint(self.num_glyphs, shape, generator=generator)
        shown = torch.full(shape, self.variant == "filled")
        labels, colour, gap = torch.full((3, *shape), UNLABELLED).unbind()  # at the cues; the last cue of a cell counts
        for _ in range(cues):
            distance, direction = self._asked(number, generator)
            rows, columns = self._places(distance, direction, generator)
            there = ends(rows, columns, distance, direction)
            shown[image, rows, columns] = shown[image, *there] = True
            labels[image, rows, columns] = kinds[image, *there]
            colour[image, rows, columns], gap[image, rows, columns] = direction, distance
        images = painted(glyph_table(self.num_glyphs)[kinds.where(shown, self.num_glyphs)])[:, None].repeat(1, 3, 1, 1)
        image, rows, columns = at = (labels != UNLABELLED).nonzero(as_tuple=True)
        cells_of(images)[image, :, rows, columns] += _cue(colour[at], gap[at] if self.distance is None else None)
        moved = offsets(number, aligned=self.aligned, generator=generator)
        images, attributes = placed(images, moved), {"distance": distance, "direction": direction} if cues == 1 else {}
        if self.pooled:
            return Split(images, labels[at], attributes)
        tokens = (image, token(rows, moved[image, 0]), token(columns, moved[image, 1]))
        return Split(images, dense(number, labels[at], tokens), attributes)

    def _asked(self, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A distance and a direction for each image."""
        distance = torch.full((number,), self.distance or 0)
        if self.distance is None:
            distance = torch.randint(self.side, (number,), generator=generator)
        chosen = torch.tensor(CHOSEN[self.directions])
        return distance, chosen[torch.randint(len(chosen), (number,), generator=generator)]

    def _places(self, distance: Tensor, direction: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The cells of the cues, uniform over those that may hold one."""
        if self.num_pairs is None:
            return starts(distance, direction, side=self.side, generator=generator)
        ways = CHOSEN[self.directions]
        number = self.num_pairs // len(ways)
        options = {"number": number, "side": self.side, "seed": self.pair_seed}
        which = torch.randint(number, (len(distance),), generator=generator)
        places = torch.empty(len(distance), 2, dtype=torch.int64)
        for steps in range(self.side) if self.distance is None else (self.distance,):
            for way in ways:
                here = (distance == steps) & (direction == way)
                places[here] = kept_cells(steps, way, **options)[which[here]]
        return places[:, 0], places[:, 1]


def _cue(direction: Tensor, gap: Tensor | None) -> Tensor:
    """What the cue adds to its cell, uint8 (N, 3, 4, 4): the colour of the direction on the border, but for the gap."""
    ring = torch.zeros(len(direction), CELL, CELL, dtype=torch.uint8)
    ring[:, *torch.tensor(RING).T] = TINT
    if gap is not None:
        ring[torch.arange(len(gap)), *torch.tensor(RING)[gap].T] = 0
    return torch.tensor(COLOURS, dtype=torch.uint8)[direction][:, :, None, None] * ring[:, None]


def multiset_baseline(num_glyphs: int = 8, *, num_others: int = 63) -> float:
    """The best accuracy of who sees all glyphs but no places: E[largest count among the others] / their number.

    Of the n others each is as likely the target, so the best answer is the commonest glyph among them. With
    P(largest count <= m) = n! / K^n [x^n] (sum_{j <= m} x^j / j!)^K, the expectation is the sum over m of 1 - P.
    """
    n, expected = num_others, 0.0
    for most in range(n):
        few = np.array([1 / math.factorial(j) if j <= most else 0.0 for j in range(n + 1)])
        product = np.array([1.0] + [0.0] * n)
        for _ in range(num_glyphs):
            product = np.convolve(product, few * float(num_glyphs) ** -np.arange(n + 1))[: n + 1]
        expected += 1 - product[n] * math.factorial(n)
    return expected / n


def bag_ceiling(task: CuedRecall) -> float:
    """The best accuracy from the bag of single cells, whatever is computed from the bag: what pooling lets through.

    In pop-out the only glyph without a border is the target: 1, at every distance. Filled, `multiset_baseline`. At
    distance 0 the cue's own cell says it: 1. Local features wider than a cell can only do better, up to 1 from the
    radius at which one window holds both cells, so at half the distance.
    """
    if task.variant == "popout" or task.distance == 0:
        return 1.0
    filled = multiset_baseline(task.num_glyphs, num_others=task.side**2 - 1)
    return filled if task.distance is not None else (1 + (task.side - 1) * filled) / task.side
