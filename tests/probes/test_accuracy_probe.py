import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Split
from vision_attn.probes import Accuracy
from vision_attn.probes import accuracy as module


def one_hot_images(labels: Tensor, *, num_classes: int = 4) -> Tensor:
    """Images of one row, white in the column of the class."""
    images = torch.zeros(len(labels), 1, 1, num_classes, dtype=torch.uint8)
    images[torch.arange(len(labels)), 0, 0, labels] = 255
    return images


def made(train_labels: list[int], shown: list[int]) -> Data:
    """Test images that show `shown` and are labelled 0, 1, 2, 3, 0, ...; training images that show their labels."""
    train, test = torch.tensor(train_labels), torch.arange(len(shown)) % 4
    return Data(
        name="made",
        train=Split(one_hot_images(train), train),
        val=None,
        test=Split(one_hot_images(torch.tensor(shown)), test),
        classes=("a", "b", "c", "d"),
        fingerprint="0" * 64,
        subset_sha256="0" * 64,
        flip=False,
        mean=(0.0,),
        std=(1.0,),
    )


class Reader(nn.Module):
    """The logit of a class is 3 where its column is white, else 0."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x.flatten(1)


def measured(data: Data) -> dict[tuple[str, str], float]:
    return {(row["metric"], row["split"]): row["value"] for row in Accuracy()(Reader().eval(), data)}


def test_accuracy_and_loss_of_a_model_that_reads_off_the_image():
    values = measured(made([0, 1, 2, 3, 1], shown=[0, 1, 0, 0, 0]))
    right, wrong = math.log(math.exp(3) + 3) - 3, math.log(math.exp(3) + 3)
    assert values[("accuracy", "train")] == 1.0
    assert values[("accuracy", "test")] == pytest.approx(3 / 5)
    assert values[("loss", "train")] == pytest.approx(right, rel=1e-6)
    assert values[("loss", "test")] == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-6)


def test_of_a_large_training_set_evenly_spaced_images_are_measured(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 4)
    data = made([0] * 10, shown=[0, 1])
    images = one_hot_images(torch.tensor([0, 1, 0, 1, 1, 1, 1, 1, 1, 1]))  # 0, 2, 5, 7 are looked at
    values = measured(dataclasses.replace(data, train=Split(images, data.train.labels)))
    assert values[("accuracy", "train")] == 0.5


def test_validation_images_are_not_looked_at():
    data = made([0, 1], shown=[0, 1])
    broken = Split(torch.zeros(1, 9, 9, 9, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    assert measured(dataclasses.replace(data, val=broken)) == measured(data)
