"""Accuracy by how far away the answer lies: in cells and by direction, or in steps of the sequence that is read."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Dataset
from vision_attn.data.generated import TOKENS
from vision_attn.data.lattice import DIRECTIONS, STEPS
from vision_attn.layers import RecurrentMixing
from vision_attn.models.base import Model
from vision_attn.probes.altered import require_numbers
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, spec
from vision_attn.training.evaluate import logits, read_out

ATTRIBUTES = ("distance", "direction")


@spec
class AccuracyByDistance(Probe):
    """Accuracy, in [0, 1], on the test images of each distance, in cells: of all of them, and of each direction.

    Skipped where the data set does not say the distance and direction of its images; else it raises `InputError`.
    """

    def skip(self, model: Model, data: Dataset) -> str | None:
        return _lacks(data)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        hits, distances, directions = _hits(self, model, data)
        for distance in distances.unique().tolist():
            there = distances == distance
            yield _row(hits[there], distance=distance)
            for number, name in enumerate(DIRECTIONS):
                if bool((chosen := there & (directions == number)).any()):
                    yield _row(hits[chosen], distance=distance, direction=name)


@spec
class AccuracyByLag(Probe):
    """Accuracy, in [0, 1], on the test images of each lag: by how many tokens the target precedes its cue.

    Counted in the order in which the model reads tokens: columns if that is how all its recurrent layers read, else
    row by row. The target at lag 5 is read 5 steps before the cue, that at lag -5 so much later, which a network that
    reads one way cannot know. On a grid of G x G tokens d steps to the left are a lag of d, and d steps up one of G d;
    read by columns it is the other way round. Skipped as `AccuracyByDistance` is.
    """

    def skip(self, model: Model, data: Dataset) -> str | None:
        return _lacks(data)

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        hits, distances, directions = _hits(self, model, data)
        down, right = (torch.tensor(STEPS)[directions] * distances[:, None]).unbind(1)
        lags = -(right * TOKENS + down) if _reads_columns(model) else -(down * TOKENS + right)
        for lag in lags.unique().tolist():
            yield _row(hits[lags == lag], lag=lag)


def _lacks(data: Dataset) -> str | None:
    names = [name for name in ATTRIBUTES if name not in data.attributes]
    return f"{data.label} does not say the {' and '.join(names)} of its images" if names else None


def _hits(probe: Probe, model: nn.Module, data: Data) -> tuple[Tensor, Tensor, Tensor]:
    """Of every test image whether it is classified correctly, its distance and its direction, on the CPU."""
    test = data.test
    if not set(ATTRIBUTES) <= test.attributes.keys():
        allowed = "a task that says the distance and direction of each image, such as CuedRecall"
        raise InputError(f"data of {type(probe).__name__} must be {allowed}. Got {data.name} instead.")
    scores, labels = read_out(logits(model, test.images, normalise=data.normalise), test.labels)
    require_numbers(model, scores)
    hits = (scores.argmax(1) == labels).double()
    return hits.cpu(), test.attributes["distance"].cpu(), test.attributes["direction"].cpu()


def _reads_columns(model: nn.Module) -> bool:
    orders = {module.order for module in model.modules() if isinstance(module, RecurrentMixing)}
    return orders == {"columns"}


def _row(hits: Tensor, **coordinates: int | str) -> Row:
    return {"metric": "accuracy", "split": "test", **coordinates, "value": hits.mean().item()}
