"""Correct by image: which test images a model gets right, for comparing the mistakes of several models."""

from collections.abc import Iterator

from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import classes, without_class
from vision_attn.probes.base import Probe, Row
from vision_attn.probes.lattice import chosen
from vision_attn.spec import spec


@spec
class CorrectByImage(Probe):
    """`correct`, 1 or 0, of each of `images` test images, evenly spaced; coordinate `image`, counted from 0.

    The images are the same for all models of a data set, so that mistakes can be compared (`ErrorConsistency`).
    """

    images: int = 500

    def check(self) -> None:
        self.require("images", self.images >= 1, "at least 1")

    def skip(self, model: Model, data: Dataset) -> str | None:
        return without_class(model)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        test = chosen(data, split="test", images=self.images)
        hits = classes(model, test.images, data=data) == test.labels
        for image, hit in enumerate(hits.tolist()):
            yield {"metric": "correct", "image": image, "value": float(hit)}
