"""Accuracy: how well the model knows the images it was trained on, and the test images."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from vision_attn.data.base import Data, Split
from vision_attn.probes.altered import require_numbers
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec
from vision_attn.training.evaluate import logits, read_out

LARGEST = 10_000
"""Of a larger training set, this many evenly spaced images are measured; the test split is always whole."""


@spec
class Accuracy(Probe):
    """Accuracy, in [0, 1], and mean cross-entropy, in nats, on the training subset and on the test split.

    Both are of the images as they are, without augmentation and label smoothing; of a dense task only places with a
    label count. Where every update draws fresh images, "train" is a fixed sample of such, on which nothing was trained.
    """

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        for name, split in (("train", _thinned(data.train_sample)), ("test", data.test)):
            scores, labels = read_out(logits(model, split.images, normalise=data.normalise).double(), split.labels)
            require_numbers(model, scores)
            hits = scores.argmax(1) == labels
            yield {"metric": "accuracy", "split": name, "value": hits.double().mean().item()}
            yield {"metric": "loss", "split": name, "value": F.cross_entropy(scores, labels).item()}


def _thinned(split: Split) -> Split:
    """At most `LARGEST` images of the split, evenly spaced."""
    if len(split) <= LARGEST:
        return split
    chosen = torch.arange(LARGEST, device=split.labels.device) * len(split) // LARGEST
    return Split(split.images[chosen], split.labels[chosen])
