"""Accuracy at size: test images made larger or smaller, and the network's positions with them."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.models.copies import copied
from vision_attn.models.fitted import FittedModel
from vision_attn.probes.altered import accuracy_row, classes, evenly_spaced, without_class
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, spec


@spec
class AccuracyAtSize(Probe):
    """Accuracy on test images resized to other sizes than that of training, without further training.

    `zooms` are the sizes as multiples of that of training, 1.5 for 48 pixels after 32. Images are resized bilinearly
    with antialiasing. A network with `set_input_size` is told, so that a transformer sees more patches of the same size
    and brings its positions to the new grid, each encoding in its own way; others get the images as they are.
    Coordinate `image_size`, in pixels. At the size of training it is the accuracy of the images as they are.
    """

    zooms: tuple[float, ...] = (1.0, 1.5)
    images: int | None = None

    def check(self) -> None:
        self.require("zooms", bool(self.zooms) and min(self.zooms) > 0, "one or more numbers above 0")
        self.require("images", self.images is None or self.images >= 1, "None or at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        if isinstance(model, FittedModel):
            return f"{type(model).__name__} takes images of one size"
        return without_class(model)

    def require_fit(self, data: Data) -> None:
        if data.order is not None:
            allowed = "in their own order for AccuracyAtSize"
            raise InputError(f"pixels of {data.name} must be {allowed}. Got pixels that are permuted instead.")
        for zoom in self.zooms:
            side = round(zoom * data.image_size)
            if side < 1 or not math.isclose(side, zoom * data.image_size):
                allowed = f"a whole number of pixels, times the image size {data.image_size}"
                raise InputError(f"zooms of AccuracyAtSize must be {allowed}. Got {zoom} instead.")

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        self.require_fit(data)
        test = evenly_spaced(data.test, self.images)
        for zoom in self.zooms:
            size = round(zoom * data.image_size)
            network = model if size == data.image_size else _at_size(model, size)
            try:
                found = classes(network, test.images, data=data, alter=functools.partial(resized, size=size))
            except (RuntimeError, AssertionError) as error:  # how PyTorch and timm say that a size does not fit
                allowed = f"one that takes images of {size} pixels"
                given = f"{type(model).__name__} ({error})"
                raise InputError(f"model of AccuracyAtSize must be {allowed}. Got {given} instead.") from error
            yield accuracy_row(found, test.labels, image_size=size)


def _at_size(model: nn.Module, size: int) -> nn.Module:
    """A copy that takes images of that size."""
    network: Any = copied(model)
    if hasattr(network, "set_input_size"):
        network.set_input_size(size)
    return network


def resized(images: Tensor, size: int) -> Tensor:
    """Images uint8 (N, C, H, H) at size x size pixels, bilinear with antialiasing."""
    if images.shape[-1] == size:
        return images
    large = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return large.round().clamp(0, 255).to(torch.uint8)
