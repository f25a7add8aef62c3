"""The archive of 60,000 JPEGs, where it lies beside the project: decoded once."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision_attn.data import ImageFolder
from vision_attn.data.cache import load_arrays

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data"
ARCHIVE = FOLDER / "cifar10-jpeg.tar.gz"


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="needs ../shared/data/cifar10-jpeg.tar.gz")
def test_the_jpeg_archive_is_decoded_once_and_holds_its_images(monkeypatch):
    monkeypatch.setenv("VISION_ATTN_DATA", str(FOLDER))
    first = ImageFolder(name="cifar10-jpeg", train_size=10).load()
    load_arrays.cache_clear()

    def refused(*args, **kwargs):
        raise AssertionError("an image is decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refused)
        data = ImageFolder(name="cifar10-jpeg").load()
    assert first.fingerprint == data.fingerprint
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    with tarfile.open(ARCHIVE) as tar:
        wanted = tar.extractfile("cifar10-jpeg/test/airplane/0001.jpg").read()
    expected = np.asarray(Image.open(io.BytesIO(wanted))).transpose(2, 0, 1)
    assert np.array_equal(data.test.images[1].numpy(), expected)
