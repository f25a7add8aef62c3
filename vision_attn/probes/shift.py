"""Shift consistency: does the class stay when the image moves?

Letters: N images, C channels, H height, W width.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset, Split
from vision_attn.models.base import Model
from vision_attn.probes.altered import (
    accuracy_row,
    consistency_rows,
    evenly_spaced,
    require_numbers,
    without_class,
)
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec
from vision_attn.training.evaluate import logits

Border = Literal["circular", "padded"]
BORDERS: tuple[Border, ...] = ("circular", "padded")
AXES = ("vertical", "horizontal")


@spec
class ShiftConsistency(Probe):
    """How often the class survives a shift, pixel by pixel down and to the right (Azulay and Weiss 2019).

        consistency(s) = P(argmax f(shift_s x) = argmax f(x)),   logit_change(s) = |f(shift_s x) - f(x)|

    Rows have the coordinates `shift` in pixels, `axis` and `border`: "circular" shifts wrap round; "padded" ones
    bring in the image's own mirror image at the edge. logit_change_max is the largest change of any logit of any
    image, logit_change_mean the mean one. A constant classifier is consistent, on the images that it gets right as on
    all others, so consistency is read beside `accuracy`; the product of accuracy at shift 0 and correct_consistency
    is the share of images that are right both before and after.

    random_shift_consistency (Zhang 2019) is P(argmax f(shift_u x) = argmax f(shift_v x)) with u and v drawn for each
    image, both axes uniform on 0 ... max(pixels); correct_random_shift_consistency that of the images whose class
    under the first of both shifts is right. With `off_grid` the two shifts differ by no multiple of so many pixels on
    either axis, such as the patch size, by which tokens move without change; `random_images` images are asked for it,
    None being as many as for the rest.

    A translation by whole patches permutes the tokens: without positions and with mean pooling attention is exact
    there, and a sawtooth in between. The arithmetic is that of the run: in bfloat16 rounding moves single logits at
    the exact points (by 0.02 at most in a ViT of 6 blocks whose logits spread by 1), hardly ever a class.
    4 len(pixels) + 1 forward passes over the images where `pixels` has a 0: 37.
    """

    pixels: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8)
    images: int | None = None
    seed: int = 0
    random_images: int | None = None
    off_grid: int | None = None

    def check(self) -> None:
        usable = self.pixels and min(self.pixels) >= 0 and len(set(self.pixels)) == len(self.pixels)
        self.require("pixels", bool(usable), "one or more different numbers, at least 0")
        for field in ("images", "random_images"):
            self.require(field, getattr(self, field) is None or getattr(self, field) >= 1, "None or at least 1")
        steps = self.off_grid is None or self.off_grid >= 2
        self.require("off_grid", steps, "None or at least 2")
        self.require("off_grid", self.off_grid is None or max(self.pixels) >= 1, "None where no pixel is shifted")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def require_fit(self, data: Data) -> None:
        allowed = f"less than the image size {data.image_size}"
        self.require("pixels", max(self.pixels) < data.image_size, allowed)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        test = evenly_spaced(data.test, self.images)
        scores = functools.partial(_scores, model, data=data)
        still = scores(test.images)
        for border, axis, shift in itertools.product(BORDERS, AXES, self.pixels):
            down, right = (shift, 0) if axis == "vertical" else (0, shift)
            moved = scores(test.images, down=down, right=right, border=border) if shift else still
            where: Row = {"shift": shift, "axis": axis, "border": border}
            change = torch.where(moved == still, 0.0, (moved - still).abs())  # classes may be left out by -inf
            yield accuracy_row(moved.argmax(1), test.labels, **where)
            yield from consistency_rows(still.argmax(1), moved.argmax(1), test.labels, **where)
            yield {"metric": "logit_change_max", "split": "test", "value": change.max().item(), **where}
            yield {"metric": "logit_change_mean", "split": "test", "value": change.mean().item(), **where}
        if self.random_images is not None:
            test = evenly_spaced(data.test, self.random_images)
        for border in BORDERS:
            first, second = (scores(images).argmax(1) for images in self._pair(test, border))
            yield from consistency_rows(first, second, test.labels, name="random_shift_consistency", border=border)

    def _pair(self, test: Split, border: Border) -> Iterator[Tensor]:
        """The images under two shifts, drawn for each image by itself; the same ones for every border."""
        generator, most = torch.Generator().manual_seed(self.seed), max(self.pixels)
        offsets = torch.randint(most + 1, (2, 2, len(test)), generator=generator)
        if self.off_grid is not None:
            apart = torch.arange(most + 1)[:, None] - torch.arange(most + 1)[None]
            allowed = (apart % self.off_grid != 0).double()
            drawn = torch.multinomial(allowed[offsets[0].flatten()], 1, generator=generator)
            offsets = torch.stack([offsets[0], drawn.view_as(offsets[0])])
        for down, right in offsets.to(test.images.device):
            yield shifted_each(test.images, down=down, right=right, border=border)


def shifted(images: Tensor, *, down: int, right: int, border: Border) -> Tensor:
    """All images (N, C, H, W) moved by the same pixels."""
    rows, columns = (
        _sources(size, torch.tensor([by], device=images.device), border)[0]
        for size, by in zip(images.shape[-2:], (down, right), strict=True)
    )
    return images.index_select(2, rows).index_select(3, columns)


def shifted_each(images: Tensor, *, down: Tensor, right: Tensor, border: Border) -> Tensor:
    """Each image (N, C, H, W) moved by its own pixels (N,)."""
    height, width = images.shape[-2:]
    rows, columns = _sources(height, down, border), _sources(width, right, border)  # (N, H), (N, W)
    images = images.gather(2, rows[:, None, :, None].expand(images.shape))
    return images.gather(3, columns[:, None, None, :].expand(images.shape))


def _sources(size: int, by: Tensor, border: Border) -> Tensor:
    """Where each of `size` places takes its pixel from, for shifts (N,): (N, size)."""
    source = torch.arange(size, device=by.device) - by[:, None]
    return source % size if border == "circular" else source.abs()


def _scores(
    model: nn.Module, images: Tensor, *, data: Data, down: int = 0, right: int = 0, border: Border = "circular"
) -> Tensor:
    """Logits of the shifted images. Raises `InputError` where one is NaN."""

    def normalise(batch: Tensor) -> Tensor:
        return data.normalise(shifted(batch, down=down, right=right, border=border) if down or right else batch)

    found = logits(model, images, normalise=normalise)
    require_numbers(model, found)
    return found
