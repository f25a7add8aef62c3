"""Corruption: accuracy on test images that are noisy, blurred, pale, bright or coarse. No download.

N images, C channels, H pixels along a side.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import accuracy_row, classes, evenly_spaced, piecewise, without_class
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec

STRENGTHS: dict[str, tuple[float, ...]] = {
    "noise": (0.05, 0.1, 0.2),
    "blur": (0.5, 1.0, 1.5),
    "contrast": (0.6, 0.4, 0.2),
    "brightness": (0.1, 0.2, 0.3),
    "pixelate": (0.75, 0.5, 0.25),
}
"""Of severity 1, 2 and 3: standard deviation of normal noise; that of a Gaussian, in pixels; what is left of the
deviation from the image's mean; what is added; the size it is reduced to, as a share. Grey levels are in [0, 1]."""


@spec
class Corruption(Probe):
    """Accuracy on corrupted test images, coordinates `corruption` and `severity` (0, as they are, to 3).

    Five of the kinds of Hendrycks and Dietterich (2019, arXiv:1903.12261), computed here from one's own images: their
    strengths are chosen for images of about 32 pixels and are not those of CIFAR-10-C. Noise is drawn with `seed`.
    """

    images: int | None = 1000
    seed: int = 0

    def check(self) -> None:
        self.require("images", self.images is None or self.images >= 1, "None or at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        test = evenly_spaced(data.test, self.images)
        intact = classes(model, test.images, data=data)
        for kind, strengths in STRENGTHS.items():
            yield accuracy_row(intact, test.labels, corruption=kind, severity=0)
            for severity, strength in enumerate(strengths, start=1):
                found = classes(model, corrupted(test.images, kind, strength, seed=self.seed), data=data)
                yield accuracy_row(found, test.labels, corruption=kind, severity=severity)


def corrupted(images: Tensor, kind: str, strength: float, *, seed: int = 0) -> Tensor:
    """Images uint8 (N, C, H, H), corrupted, rounded and clipped to 0...255."""
    generator = torch.Generator().manual_seed(seed)
    change: dict[str, Callable[[Tensor, float], Tensor]] = {
        "noise": lambda x, sd: x + sd * torch.randn(x.shape, generator=generator).to(x.device),
        "blur": _blurred,
        "contrast": lambda x, share: (x - x.mean((1, 2, 3), keepdim=True)) * share + x.mean((1, 2, 3), keepdim=True),
        "brightness": lambda x, more: x + more,
        "pixelate": _pixelated,
    }

    def changed(part: Tensor) -> Tensor:
        return (change[kind](part.float() / 255, strength) * 255).round().clamp(0, 255).to(torch.uint8)

    with torch.autocast(images.device.type, enabled=False):  # whatever a model computes in
        return piecewise(images, changed)


def _blurred(x: Tensor, sd: float) -> Tensor:
    """With a Gaussian cut between 3 and 4 standard deviations, edges continued."""
    reach = min(round(3 * sd + 0.5), x.shape[-1] - 1)
    places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = (-(places**2) / (2 * sd**2)).exp()
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None], groups=x.shape[1])
    return F.conv2d(rows, kernel[..., None], groups=x.shape[1])


def _pixelated(x: Tensor, share: float) -> Tensor:
    small = F.interpolate(x, size=max(1, round(share * x.shape[-1])), mode="area")
    return F.interpolate(small, size=x.shape[-1], mode="nearest")
