"""Frequency bands: accuracy on test images of which only low, or only high, spatial frequencies are left."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import accuracy_row, classes, evenly_spaced, piecewise, without_class
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec

Band = Literal["low", "high"]


@spec
class FrequencyBands(Probe):
    """Accuracy on test images filtered by frequency, coordinates `band` and `cutoff`, in cycles along an image's side.

    "low" keeps the frequencies up to the cutoff, "high" those above it and the mean of each channel, by the length of
    the two-dimensional frequency (as Park and Kim 2022, arXiv:2202.06709, ask of attention and convolution).
    """

    cutoffs: tuple[int, ...] = (2, 4, 6, 8, 12)
    images: int | None = 1000

    def check(self) -> None:
        self.require("cutoffs", bool(self.cutoffs) and min(self.cutoffs) >= 0, "one or more, at least 0")
        self.require("images", self.images is None or self.images >= 1, "None or at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        test = evenly_spaced(data.test, self.images)
        bands: tuple[Band, ...] = ("low", "high")
        for band in bands:
            for cutoff in self.cutoffs:
                found = classes(model, filtered(test.images, band, cutoff), data=data)
                yield accuracy_row(found, test.labels, band=band, cutoff=cutoff)


def filtered(images: Tensor, band: Band, cutoff: float) -> Tensor:
    """Images uint8 (N, C, H, H) of which one band is left, rounded and clipped to 0...255."""
    side = images.shape[-1]
    along = torch.fft.fftfreq(side, d=1 / side, device=images.device)
    length = (along[:, None].square() + along[None, :].square()).sqrt()
    kept = length <= cutoff if band == "low" else (length > cutoff) | (length == 0)

    def left(part: Tensor) -> Tensor:
        waves = torch.fft.fft2(part.double()) * kept
        return torch.fft.ifft2(waves).real.round().clamp(0, 255).to(torch.uint8)

    return piecewise(images, left)
