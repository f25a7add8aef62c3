"""Recall: how often what lies at a distance is told, by distance and by direction."""

from collections.abc import Iterator

from torch import Tensor, nn

from vision_attn.data.base import Data
from vision_attn.data.lattice import DIRECTIONS
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, spec
from vision_attn.training.evaluate import logits, read_out


@spec
class Recall(Probe):
    """Accuracy, in [0, 1], on the test images of each distance, in cells: of all of them, and of each direction."""

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        test = data.test
        if not {"distance", "direction"} <= test.facts.keys():
            allowed = "a task that says the distance and direction of each image, such as CuedRecall"
            raise InputError(f"data of Recall must be {allowed}. Got {data.name} instead.")
        scores, labels = read_out(logits(model, test.images, normalise=data.normalise), test.labels)
        hits = (scores.argmax(1) == labels).double()
        distances, directions = test.facts["distance"], test.facts["direction"]
        for distance in distances.unique().tolist():
            there = distances == distance
            yield _row(hits[there], distance=distance)
            for number, name in enumerate(DIRECTIONS):
                if bool((chosen := there & (directions == number)).any()):
                    yield _row(hits[chosen], distance=distance, direction=name)


def _row(hits: Tensor, **coordinates: int | str) -> Row:
    return {"metric": "accuracy", "split": "test", **coordinates, "value": hits.mean().item()}
