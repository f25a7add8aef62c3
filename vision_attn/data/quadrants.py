"""Quadrants: objects stand in some quadrants of the image while a model learns, and in all when it is tested."""

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F

from vision_attn.data.arrays import channel_statistics
from vision_attn.data.base import Data, Dataset, Split
from vision_attn.spec import InputError, spec


@spec
class Quadrants(Dataset):
    """The images of `of` at half their size in one quadrant of a black canvas of their own size.

    They touch the border, or keep `inset` pixels from it, and so lie half the side less 2 `inset` apart: choose that no
    multiple of the patch size, by which a transformer's tokens move without change. Training and validation images
    stand in `train_quadrants` in turn (0 upper left, 1 upper right, 2 lower left, 3 lower right), test images in all
    four in turn; the attributes `quadrant` and `seen` (1: one of training) say where. Mirrored images would stand in
    another quadrant, so there are none, and crops move an image by less than half its size. The subset is that of this
    spec's own `train_size`, `subset_seed` and `val_size`; those of `of` must be left alone.
    """

    version: ClassVar[int] = 2
    attributes: ClassVar[tuple[str, ...]] = ("quadrant", "seen")

    of: Dataset
    train_quadrants: tuple[int, ...] = (0,)
    inset: int = 0

    def check(self) -> None:
        self.require("of", self.of.is_whole, "a data set with its subset left to Quadrants")
        rising = list(self.train_quadrants) == sorted(set(self.train_quadrants) & set(range(4)))
        self.require("train_quadrants", bool(self.train_quadrants) and rising, "rising numbers from 0 to 3")
        self.require("inset", self.inset >= 0, "at least 0")

    @property
    def label(self) -> str:
        return f"{self.of.label}-quadrants-{''.join(map(str, self.train_quadrants))}"

    def load(self) -> Data:
        data = self.subset_of(self.of)
        if data.image_size % 2 or not isinstance(data.train, Split) or data.label_shape:
            raise InputError(f"Quadrants needs images of an even size with one label each. Got {data.name} instead.")
        self.require("inset", self.inset <= data.image_size // 4, f"at most {data.image_size // 4} on {data.name}")
        train = self._standing(data.train, self.train_quadrants)
        mean, std = channel_statistics(train.images)
        return dataclasses.replace(
            data,
            name=self.label,
            train=train,
            val=None if data.val is None else self._standing(data.val, self.train_quadrants),
            test=self._standing(data.test, (0, 1, 2, 3)),
            flip=False,
            farthest=data.image_size // 4 - 1,
            mean=mean,
            std=std,
        )

    def _standing(self, split: Split, quadrants: tuple[int, ...]) -> Split:
        """The images at half their size (means of 2 x 2 pixels), one after another in the next of the quadrants."""
        quadrant = torch.tensor(quadrants)[torch.arange(len(split)) % len(quadrants)]
        small = torch.cat([F.avg_pool2d(part.float(), 2).round().to(torch.uint8) for part in split.images.split(1024)])
        half = small.shape[-1]
        canvas = torch.zeros_like(split.images)
        for number in set(quadrants):
            there = quadrant == number
            top, left = (half - self.inset if far else self.inset for far in divmod(number, 2))
            canvas[there, :, top : top + half, left : left + half] = small[there]
        seen = torch.isin(quadrant, torch.tensor(self.train_quadrants)).long()
        return Split(canvas, split.labels, {"quadrant": quadrant, "seen": seen})
