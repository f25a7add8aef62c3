"""Calibration: is a model that is sure of its answer right as often as it says?"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data
from vision_attn.probes.altered import require_numbers
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import spec
from vision_attn.training.evaluate import logits, read_out


@spec
class Calibration(Probe):
    """Confidence, the largest softmax probability, against accuracy, on the test split.

    `expected_calibration_error`    mean over images of |accuracy - mean confidence| of the image's bin, one of `bins`
                                    of equal width over confidence (Guo et al. 2017, arXiv:1706.04599)
    `confidence`                    its mean; above accuracy the model is overconfident
    """

    bins: int = 15

    def check(self) -> None:
        self.require("bins", self.bins >= 1, "at least 1")

    def __call__(self, model: nn.Module, data: Data) -> Iterator[Row]:
        scores, labels = read_out(logits(model, data.test.images, normalise=data.normalise), data.test.labels)
        require_numbers(model, scores)
        confidence, found = scores.double().softmax(1).max(1)
        error = calibration_error(confidence, found == labels, bins=self.bins)
        yield {"metric": "expected_calibration_error", "split": "test", "value": error}
        yield {"metric": "confidence", "split": "test", "value": confidence.mean().item()}


def calibration_error(confidence: Tensor, hits: Tensor, *, bins: int) -> float:
    """The expected calibration error of confidences (N,) in [0, 1] and hits (N,)."""
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64).to(confidence.device)
    gaps.index_add_(0, place, hits.double() - confidence.double())
    return gaps.abs().sum().item() / len(confidence)
