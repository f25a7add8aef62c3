"""Accuracy by a fact of the test images, such as the quadrant in which the object stands."""

from collections.abc import Iterator

from torch import nn

from vision_attn.data.base import Data, Dataset
from vision_attn.models.base import Model
from vision_attn.probes.altered import require_numbers
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, spec
from vision_attn.training.evaluate import logits, read_out


@spec
class SubgroupAccuracy(Probe):
    """Accuracy, in [0, 1], on the test images of each value of a fact; the fact is the rows' coordinate.

    Skipped where the data set does not say that fact of its test images; asked all the same, it raises `InputError`.
    """

    attribute: str

    def skip(self, model: Model, data: Dataset) -> str | None:
        return (
            None
            if self.attribute in data.attributes
            else f"{data.label} does not say the {self.attribute} of its images"
        )

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        attributes = data.test.attributes
        if self.attribute not in attributes:
            known = ", ".join(map(repr, attributes)) or "known: this data set has none"
            raise InputError(
                f"attribute of SubgroupAccuracy must be one of {known} on {data.name}. Got {self.attribute!r} instead."
            )
        scores, labels = read_out(logits(model, data.test.images, normalise=data.normalise), data.test.labels)
        require_numbers(model, scores)
        hits = (scores.argmax(1) == labels).double()
        for value in attributes[self.attribute].unique().tolist():
            there = attributes[self.attribute] == value
            yield {"metric": "accuracy", "split": "test", self.attribute: value, "value": hits[there].mean().item()}
