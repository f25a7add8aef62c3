"""Classifiers whose answers to altered images are known, and small data to ask them about."""

import torch
from torch import Tensor, nn

from vision_attn.data.base import Data, Split


def noise_images(count: int, *, size: int = 16, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


def data_of(images: Tensor, labels: Tensor, *, num_classes: int = 4) -> Data:
    """Data whose test split is given; normalising divides by 255 and takes away 0.5."""
    channels = images.shape[1]
    return Data(
        name="made",
        train=Split(images[:1], labels[:1]),
        val=None,
        test=Split(images, labels),
        classes=tuple("abcdefgh"[:num_classes]),
        fingerprint="0" * 64,
        subset_sha256="0" * 64,
        flip=False,
        mean=(0.5,) * channels,
        std=(1.0,) * channels,
    )


def labelled(model: nn.Module, images: Tensor, *, num_classes: int = 4) -> Data:
    """Data on which the model is always right."""
    data = data_of(images, torch.zeros(len(images), dtype=torch.int64), num_classes=num_classes)
    with torch.no_grad():
        return data_of(images, model(data.normalise(images)).argmax(1), num_classes=num_classes)


class Counted(nn.Module):
    """Counts the images that pass through a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return self.model(x)


class InFloat64(nn.Module):
    """A model in float64 that takes images in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.double())


class Constant(nn.Module):
    """Always class 1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(len(x), 4)


class OnePixel(nn.Module):
    """Reads the class off the grey value of one pixel: 0 ... 63 is class 0, 64 ... 127 class 1, ..."""

    def __init__(self, row: int = 0, column: int = 0) -> None:
        super().__init__()
        self.row, self.column = row, column

    def forward(self, x: Tensor) -> Tensor:
        level = ((x[:, 0, self.row, self.column] + 0.5) * 255).round()
        return -(level[:, None] - torch.tensor([31.5, 95.5, 159.5, 223.5])).abs()


class MeanColour(nn.Module):
    """Random linear logits of the mean colour, summed over whole numbers so that the order does not matter."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        weights = torch.randn(4, channels, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.register_buffer("weights", weights - weights.mean(1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        return ((x + 0.5) * 255).round().double().sum((2, 3)) @ self.weights.T


class BagOfPieces(nn.Module):
    """Random linear logits of each piece, squared, summed over the pieces in whatever order."""

    def __init__(self, side: int, channels: int = 3) -> None:
        super().__init__()
        self.read = nn.Conv2d(channels, 4, side, stride=side).double()
        nn.init.normal_(self.read.weight, generator=torch.Generator().manual_seed(2))
        nn.init.zeros_(self.read.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x.double()).square().mean((2, 3))
