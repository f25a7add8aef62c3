"""Data of random pixels, and rows by their coordinates."""

import torch

from vision_attn.data.base import Data, Split


def noise(*, images: int = 4, image_size: int = 32, in_chans: int = 3, seed: int = 0) -> Data:
    """Independent, evenly distributed pixels, which come out with mean 0 and standard deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    shape = (images, in_chans, image_size, image_size)
    split = Split(
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64)
    )
    return Data(
        name="noise",
        train=split,
        val=None,
        test=split,
        classes=tuple("abcde"),
        fingerprint="0" * 64,
        subset_sha256="0" * 64,
        flip=False,
        mean=(0.5,) * in_chans,
        std=(0.29,) * in_chans,
    )


def selected(rows, metric, **coordinates):
    """The rows of a metric at given coordinates."""
    return [row for row in rows if row["metric"] == metric and all(row.get(k) == v for k, v in coordinates.items())]


def value(rows, metric, **coordinates):
    """The one value of a metric at given coordinates."""
    (row,) = selected(rows, metric, **coordinates)
    return row["value"]
