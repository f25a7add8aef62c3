"""Zoom: does the class stay when the object is larger or smaller, in the middle or in a corner?"""

import functools
from collections.abc import Iterator

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
    without_class,
)
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec

CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


@spec
class Zoom(Probe):
    """Accuracy of images at other scales on the canvas that the model was trained on, and consistency with scale 1.

    The image is resized (bilinear, antialiased) to `scale` times its side, or as near as leaves the same number of
    pixels on all sides. A larger one is cut to its centre; a smaller one lies in the centre of a canvas of the
    channel means, and by itself in each of its corners: coordinate `place`, "centre" or such as "top left". The canvas
    keeps its size, so that no position has to be interpolated. What a small image loses in the corners beside the
    centre is lost to translation, what it loses in the centre to scale.
    One forward pass over the images for each scale, four more for each scale below 1: 25.
    """

    scales: tuple[float, ...] = (0.5, 0.6, 0.75, 0.875, 1.0, 1.15, 1.33, 1.6, 2.0)
    images: int | None = None

    def check(self) -> None:
        usable = self.scales and min(self.scales) > 0 and len(set(self.scales)) == len(self.scales)
        self.require("scales", bool(usable), "one or more different numbers above 0")
        self.require("images", self.images is None or self.images >= 1, "None or at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        test = evenly_spaced(data.test, self.images)
        fill = mean_colour(data, test.images)
        whole = classes(model, test.images, data=data)
        for scale in self.scales:
            for place in ("centre", *(CORNERS if scale < 1 else ())):
                alter = functools.partial(zoomed, scale=scale, place=place, fill=fill)
                found = whole if scale == 1 else classes(model, test.images, data=data, alter=alter)
                yield accuracy_row(found, test.labels, scale=scale, place=place)
                yield from consistency_rows(whole, found, test.labels, scale=scale, place=place)


def zoomed(images: Tensor, *, scale: float, place: str, fill: Tensor) -> Tensor:
    """Images, uint8 of shape (N, C, H, H), resized and cut or laid on a canvas of the colour `fill` (C, 1, 1)."""
    canvas = images.shape[-1]
    side = side_at(scale, canvas)
    if side == canvas:
        return images
    small = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    small = small.round_().clamp_(0, 255).to(torch.uint8)
    margin = abs(canvas - side) // 2
    if side > canvas:
        return small[..., margin : margin + canvas, margin : margin + canvas]
    top, left = (margin, margin) if place == "centre" else ((canvas - side) * edge for edge in CORNERS[place])
    out = fill.expand(images.shape).clone()
    out[..., top : top + side, left : left + side] = small
    return out


def side_at(scale: float, canvas: int) -> int:
    """The side of an image at a scale: the canvas less or plus an even number of pixels, at least one or two."""
    return max(canvas + 2 * round((scale - 1) * canvas / 2), 2 - canvas % 2)
