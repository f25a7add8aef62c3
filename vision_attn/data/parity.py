"""Parity of two glyphs at a distance: are the two marks alike?"""

from typing import ClassVar

import torch

from vision_attn.data.base import Split
from vision_attn.data.cued_recall import CHOSEN, Directions
from vision_attn.data.generated import Generated, dense
from vision_attn.data.lattice import BLANK, CELL, SIDE, cells_of, ends, glyphs, offsets, placed, starts, token
from vision_attn.spec import spec

NOISE = 32
"""Grey levels that the background varies by, either way, a pixel by itself."""


@spec
class Parity(Generated):
    """(a + b) mod 2 of two glyphs a, b in {0, 1}, `distance` cells apart in a row or a column, on noise; chance is 1/2.

    The label is read out by mean pooling: a window of radius L around some cell holds both up to distance 2 L. From
    the bag of single cells a linear layer gets the number of ones, n = 0, 1, 2, and can only weigh it: cross-entropy
    has its optimum at weight 0, loss ln 2, accuracy 1/2, as n = 0 and n = 2 want the same answer; no threshold gets
    more than 3/4. Anything but a linear layer behind the pooling, be it a LayerNorm, can single out n = 1: ceiling 1.
    Without `pooled` the label stands at the token of the first glyph, the left or upper one, and no bag helps.
    """

    attributes: ClassVar[tuple[str, ...]] = ("distance", "direction")

    distance: int
    directions: Directions = "all"
    pooled: bool = True

    def check(self) -> None:
        super().check()
        self.require("distance", 1 <= self.distance < self.side, f"from 1 to {self.side - 1}")

    @property
    def label(self) -> str:
        parts = ["parity", str(self.distance), *[self.directions] * (self.directions != "all")]
        return "-".join(parts + ["unaligned"] * (not self.aligned) + ["dense"] * (not self.pooled))

    @property
    def classes(self) -> tuple[str, ...]:
        return ("alike", "different")

    def draw(self, number: int, *, generator: torch.Generator) -> Split:
        chosen = torch.tensor(CHOSEN[self.directions][::2])  # right and down: each pair is named by its first glyph
        direction = chosen[torch.randint(len(chosen), (number,), generator=generator)]
        distance = torch.full((number,), self.distance)
        rows, columns = starts(distance, direction, side=self.side, generator=generator)
        there = ends(rows, columns, distance, direction)
        kinds = torch.randint(2, (2, number), generator=generator)
        moved = offsets(number, aligned=self.aligned, generator=generator)
        images = torch.randint(
            BLANK - NOISE, BLANK + NOISE + 1, (number, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8
        )
        drawn = torch.zeros(number, 1, self.side * CELL, self.side * CELL, dtype=torch.uint8)
        image = torch.arange(number)
        cells_of(drawn)[image, 0, rows, columns] = glyphs(2)[kinds[0]]
        cells_of(drawn)[image, 0, *there] = glyphs(2)[kinds[1]]
        drawn = placed(drawn, moved, blank=0)
        images = torch.where(drawn == 0, images, drawn).expand(-1, 3, -1, -1).contiguous()
        labels = kinds.sum(0) % 2
        if not self.pooled:
            labels = dense(number, labels, (image, token(rows, moved[:, 0]), token(columns, moved[:, 1])))
        return Split(images, labels, {"distance": distance, "direction": direction})
