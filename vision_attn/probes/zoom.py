"""Zoom: does the class stay when the object is larger or smaller, in the middle or in a corner?"""

import functools
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import (
    accuracy_row,
    classes,
    consistency_rows,
    evenly_spaced,
    mean_colour,
    piecewise,
    without_class,
)
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec

CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


@spec
class Zoom(Probe):
    """Accuracy of images at other scales on the canvas that the model was trained on, and consistency with scale 1.

    The image is resized (bilinear, antialiased) to `scale` times its side, or as near as leaves the same number of
    pixels on all sides; rows have the scale that comes out (1.15 of 28 pixels is 1.143), and scales that come to the
    same side are measured once. A larger image is cut to its centre; a smaller one lies in the centre of the canvas,
    and by itself in the corners: coordinate `place`, "centre" or such as "top left". Every image takes one corner, in
    turn, so the mean of the four is over all images. The canvas around it goes on in the colours of the image's edge
    (`fill` "edge"), or has the channel means of the training images ("mean"): a frame in a colour of its own, which
    models mind as well as the scale. The canvas keeps its size, so that no position has to be interpolated. What a
    small image loses in the corners beside the centre is lost to translation, what it loses in the centre to scale.
    One forward pass over the images for each scale, one more for each scale below 1: 13.
    """

    version: ClassVar[int] = 2

    scales: tuple[float, ...] = (0.5, 0.6, 0.75, 0.875, 1.0, 1.15, 1.33, 1.6, 2.0)
    images: int | None = None
    fill: Literal["edge", "mean"] = "edge"

    def check(self) -> None:
        usable = self.scales and min(self.scales) > 0 and len(set(self.scales)) == len(self.scales)
        self.require("scales", bool(usable), "one or more different numbers above 0")
        self.require("images", self.images is None or self.images >= 1, "None or at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        test, canvas = evenly_spaced(data.test, self.images), data.image_size
        fill = mean_colour(data, test.images) if self.fill == "mean" else None
        whole = classes(model, test.images, data=data)
        corner = torch.arange(len(test), device=test.labels.device) % len(CORNERS)
        for side in dict.fromkeys(side_at(scale, canvas) for scale in self.scales):
            for in_corners in (False, *([True] if side < canvas else [])):
                found = whole
                if side != canvas:
                    places = [*CORNERS] if in_corners else ["centre"]
                    altered = zoomed(test.images, side=side, places=places, fill=fill)
                    found = classes(model, altered, data=data)
                for number, place in enumerate(CORNERS if in_corners else ["centre"]):
                    here = corner == number if in_corners else torch.ones_like(corner, dtype=torch.bool)
                    if here.any():
                        where: Row = {"scale": side / canvas, "place": place}
                        yield accuracy_row(found[here], test.labels[here], **where)
                        yield from consistency_rows(whole[here], found[here], test.labels[here], **where)


def zoomed(images: Tensor, *, side: int, places: list[str], fill: Tensor | None) -> Tensor:
    """Images, uint8 of shape (N, C, H, H), resized to `side` and cut, or laid on a canvas, in one of `places` in turn.

    The canvas has the colour `fill` (C, 1, 1); None: that of the nearest pixel of the image.
    """
    canvas = images.shape[-1]
    small = piecewise(images, functools.partial(_resized, side=side))
    margin = abs(canvas - side) // 2
    if side >= canvas:
        return small[..., margin : margin + canvas, margin : margin + canvas]
    out = torch.empty_like(images)
    for number, place in enumerate(places):
        part = slice(number, None, len(places))
        top, left = (margin, margin) if place == "centre" else ((canvas - side) * far for far in CORNERS[place])
        if fill is None:
            along = torch.arange(canvas, device=images.device)
            rows, columns = ((along - start).clamp(0, side - 1) for start in (top, left))
            out[part] = small[part].index_select(2, rows).index_select(3, columns)
        else:
            out[part] = fill
            out[part, :, top : top + side, left : left + side] = small[part]
    return out


def side_at(scale: float, canvas: int) -> int:
    """The side of an image at a scale: the canvas less or plus an even number of pixels, at least one or two."""
    return max(canvas + 2 * round((scale - 1) * canvas / 2), 2 - canvas % 2)


def _resized(images: Tensor, side: int) -> Tensor:
    small = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.round_().clamp_(0, 255).to(torch.uint8)
