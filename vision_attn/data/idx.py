"""Idx: data sets in the IDX format of MNIST and Fashion-MNIST."""

import dataclasses
import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from vision_attn.data.arrays import Arrays, select
from vision_attn.data.base import Data, Dataset
from vision_attn.data.cache import Source, load_arrays
from vision_attn.data.folder import NAME_RULE, is_name
from vision_attn.data.locations import MissingData, cache_dir, data_dirs
from vision_attn.data.tree import file_sha256
from vision_attn.spec import InputError, spec

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MAX_BYTES = 4 * 2**30
_UNSIGNED_BYTE = 8


@spec
class Idx(Dataset):
    """Grey images in four IDX files, plain or with `.gz`, in the folder `<name>/` of a data folder.

    Format: http://yann.lecun.com/exdb/mnist/. Class names are the digits of the labels.
    """

    name: str = "fashion-mnist"
    flip: bool = False

    def check(self) -> None:
        self.require("name", is_name(self.name), NAME_RULE)

    def load(self) -> Data:
        loaded = load_arrays(_source(self.name), cache_dir())
        return select(self, loaded.arrays, fingerprint=loaded.fingerprint, flip=self.flip)

    @property
    def label(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class IdxFiles(Source):
    """The four files; the identity is their sha256."""

    paths: tuple[Path, ...]

    def read(self) -> Arrays:
        train_images, train_labels, test_images, test_labels = (
            read_idx(path, dims=3 if "idx3" in path.name else 1) for path in self.paths
        )
        for images, labels, path in (
            (train_images, train_labels, self.paths[1]),
            (test_images, test_labels, self.paths[3]),
        ):
            if len(images) != len(labels) or not len(labels):
                raise InputError(f"'{path}' must hold a label for each of {len(images)} images. It has {len(labels)}.")
        arrays = Arrays(
            train_images[:, None],
            train_labels.astype(np.int64),
            test_images[:, None],
            test_labels.astype(np.int64),
            tuple(str(label) for label in range(int(max(train_labels.max(), test_labels.max())) + 1)),
        )
        arrays.require_usable(what=self.name)
        return arrays


def find_files(name: str) -> tuple[Path, ...] | None:
    """The four files in the first data folder that has them all."""
    for folder in data_dirs():
        found = [
            path for file in FILES for path in (folder / name / file, folder / name / f"{file}.gz") if path.is_file()
        ]
        kept = {path.name.removesuffix(".gz"): path.absolute() for path in reversed(found)}
        if len(kept) == len(FILES):
            return tuple(kept[file] for file in FILES)
    return None


def read_idx(path: Path, *, dims: int) -> np.ndarray:
    """The unsigned bytes of an IDX file with that many dimensions.

    The header is checked against the limit before the payload is read, and the payload against the header.
    Raises `InputError`.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * dims)
            if len(header) < 4 + 4 * dims or header[:4] != bytes([0, 0, _UNSIGNED_BYTE, dims]):
                raise InputError(f"'{path}' must be an IDX file of unsigned bytes in {dims} dimensions.")
            shape = struct.unpack(f">{dims}I", header[4:])
            size = math.prod(shape)
            if size > MAX_BYTES:
                raise InputError(f"'{path}' must hold at most {MAX_BYTES // 2**30} GiB. Its header says {shape}.")
            if path.suffix != ".gz" and os.fstat(file.fileno()).st_size != size + len(header):
                raise EOFError("its length is not what its header says")
            payload = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"'{path}' must be a whole IDX file. Reading it failed: {error}.") from error
    if len(payload) != size:
        raise InputError(f"'{path}' must hold the {size} bytes that its header says. It holds another number.")
    return np.frombuffer(payload, np.uint8).reshape(shape)


def _source(name: str) -> IdxFiles:
    paths = find_files(name)
    if paths is None:
        looked = ", ".join(f"'{folder / name}'" for folder in data_dirs()) or "no data folder was given"
        raise MissingData(
            f"name of Idx must be a folder with {', '.join(FILES)} (or with .gz) in a data folder given by --data-dir "
            f"(looked in: {looked}). Got {name!r} instead."
        )
    stats = [(path, path.stat()) for path in paths]
    identity = ":".join(file_sha256(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)
    return IdxFiles(name=name, identity=identity, paths=paths)
