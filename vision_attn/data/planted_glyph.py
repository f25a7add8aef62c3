"""Planted glyph: a small pattern stands somewhere on every image, and says its class."""

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from vision_attn.data.arrays import Arrays, select
from vision_attn.data.base import Data, Dataset, Split
from vision_attn.data.lattice import CELL, glyphs
from vision_attn.data.subsets import permutation
from vision_attn.spec import InputError, spec


@spec
class PlantedGlyph(Dataset):
    """The images of `of` with one of `num_glyphs` glyphs of `side` x `side` pixels; the class is the glyph.

    So it is known which pixels decide, whatever else an image shows. Glyphs are patterns of 4 x 4 light and dark
    fields, and begin at multiples of `step` pixels, but never cover the middle of the image, where the objects of
    photographs are: a map that points to the middle points wrongly. Glyphs and places are as even as they can be over
    all images, the same for every subset, and have nothing to do with what the images show. The attributes `top`,
    `left` and `side` say where the glyph is, in pixels. The subset is that of this spec's own `train_size`,
    `subset_seed` and `val_size`, by glyphs; those of `of` must be left alone.
    """

    attributes: ClassVar[tuple[str, ...]] = ("top", "left", "side")

    of: Dataset
    num_glyphs: int = 4
    side: int = 8
    step: int = 4

    def check(self) -> None:
        self.require("of", self.of.is_whole, "a data set with its subset left to PlantedGlyph")
        self.require("num_glyphs", 2 <= self.num_glyphs <= 32, "from 2 to 32")
        self.require("side", self.side >= CELL and self.side % CELL == 0, f"a multiple of {CELL}")
        self.require("step", self.step >= 1, "at least 1")

    @property
    def label(self) -> str:
        return f"{self.of.label}-glyphs"

    def load(self) -> Data:
        data = self.of.load()
        if not isinstance(data.train, Split) or data.label_shape:
            raise InputError(f"PlantedGlyph needs images that are held, with one label each. Got {data.name} instead.")
        self.require("side", 2 * self.side <= data.image_size, f"at most {data.image_size // 2} on {data.name}")
        train, test = self._planted(data.train, "training images"), self._planted(data.test, "test images")
        arrays = Arrays(
            train.images.numpy(),
            train.labels.numpy(),
            test.images.numpy(),
            test.labels.numpy(),
            classes=tuple(f"glyph {number}" for number in range(1, self.num_glyphs + 1)),
        )
        chosen = select(self, arrays, fingerprint=arrays.fingerprint(), flip=False)
        return dataclasses.replace(chosen, test=test, crop=False)

    def _planted(self, split: Split, purpose: str) -> Split:
        """The images with their glyphs."""
        count, size, side = len(split), split.images.shape[-1], self.side
        labels = torch.from_numpy(permutation(count, purpose=f"glyphs of {purpose}", seed=0)) % self.num_glyphs
        order = torch.from_numpy(permutation(count, purpose=f"places of {purpose}", seed=0))
        places = free_places(size, side, self.step)
        top, left = places[order % len(places)].unbind(1)
        pattern = glyphs(self.num_glyphs).repeat_interleave(side // CELL, 1).repeat_interleave(side // CELL, 2)
        down, across = torch.arange(side).view(1, side, 1), torch.arange(side).view(1, 1, side)
        rows, columns = top.view(-1, 1, 1) + down, left.view(-1, 1, 1) + across
        images = split.images.clone()
        for channel in range(images.shape[1]):
            images[torch.arange(count).view(-1, 1, 1), channel, rows, columns] = pattern[labels]
        return Split(images, labels, {"top": top, "left": left, "side": torch.full_like(top, side)})


def free_places(size: int, side: int, step: int) -> Tensor:
    """Where a square of `side` pixels may begin, (places, 2) rows and columns, without covering the image's middle.

    The upper left corner is always one of them.
    """
    along = torch.arange(0, size - side + 1, step)
    starts = torch.cartesian_prod(along, along)
    covers = ((starts <= size // 2) & (starts + side > size // 2)).all(dim=1)
    return starts[~covers]
