"""The archive of 60,000 JPEGs, where it lies beside the project: decoded in seconds, loaded in less."""

import io
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision_attn.data import ImageFolder
from vision_attn.data.cache import load_arrays

FOLDER = Path(__file__).resolve().parents[2] / "../shared/data"
ARCHIVE = FOLDER / "cifar10-jpeg.tar.gz"


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="needs ../shared/data/cifar10-jpeg.tar.gz")
def test_the_jpeg_archive_loads_fast_the_second_time_and_holds_its_images(monkeypatch):
    monkeypatch.setenv("VISION_ATTN_DATA", str(FOLDER))
    start = time.perf_counter()
    first = ImageFolder(name="cifar10-jpeg", train_size=10).load()
    decoded = time.perf_counter()
    load_arrays.cache_clear()
    data = ImageFolder(name="cifar10-jpeg").load()
    loaded = time.perf_counter()
    assert decoded - start < 60
    assert loaded - decoded < 2
    assert first.fingerprint == data.fingerprint
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    with tarfile.open(ARCHIVE) as tar:
        wanted = tar.extractfile("cifar10-jpeg/test/airplane/0001.jpg").read()
    expected = np.asarray(Image.open(io.BytesIO(wanted))).transpose(2, 0, 1)
    assert np.array_equal(data.test.images[1].numpy(), expected)
