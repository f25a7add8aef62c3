"""Cifar10 and Cifar100: the official archives (Krizhevsky 2009), verified before anything in them is unpickled."""

import dataclasses
import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vision_attn.data.archive import members
from vision_attn.data.arrays import Arrays, select
from vision_attn.data.base import Data, Dataset
from vision_attn.data.cache import Source, load_arrays
from vision_attn.data.download import download, log_progress, md5
from vision_attn.data.locations import MissingData, cache_dir, data_dirs, is_offline
from vision_attn.spec import InputError, spec


@spec
class Cifar10(Dataset):
    """CIFAR-10: 50,000 training and 10,000 test photographs, 32 x 32, of ten kinds of objects."""

    def load(self) -> Data:
        return _load(self)

    @property
    def label(self) -> str:
        return "cifar10"


@spec
class Cifar100(Dataset):
    """CIFAR-100 with its hundred fine classes: 50,000 training and 10,000 test photographs, 32 x 32."""

    def load(self) -> Data:
        return _load(self)

    @property
    def label(self) -> str:
        return "cifar100"


@dataclasses.dataclass(frozen=True)
class Official:
    """What torchvision knows of an archive: where it lies, its md5, and the files in it with the md5 of each."""

    filename: str
    url: str
    md5: str
    folder: str
    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]
    meta: tuple[str, str]
    class_names: str


@dataclasses.dataclass(frozen=True)
class OfficialArchive(Source):
    """The archive in a data folder, else as downloaded into the cache."""

    progress: Callable[[int, int | None], None] = dataclasses.field(default=log_progress, compare=False)

    @classmethod
    def of(cls, name: str, *, progress: Callable[[int, int | None], None] = log_progress) -> "OfficialArchive":
        """The archive of 'cifar10' or 'cifar100'. There is one of each for ever, so the identity is constant."""
        return cls(name=name, identity="official", progress=progress)

    def read(self) -> Arrays:
        official = official_archive(self.name)
        path = find_archive(official.filename)
        if path is None:
            path = cache_dir() / "downloads" / official.filename
            remedy = f"Put {official.filename} (from {official.url}) into a folder and pass the folder with --data-dir"
            if is_offline():
                raise MissingData(f"{self.name} is not here and VISION_ATTN_OFFLINE forbids the download. {remedy}.")
            download(official.url, path, expected_md5=official.md5, remedy=remedy, progress=self.progress)
        return read_archive(path, official)


def official_archive(name: str) -> Official:
    """The archive of 'cifar10' or 'cifar100' as torchvision describes it."""
    from torchvision.datasets import CIFAR10, CIFAR100

    cls = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    return Official(
        filename=cls.filename,
        url=cls.url,
        md5=cls.tgz_md5,
        folder=cls.base_folder,
        train=tuple((file, checksum) for file, checksum in cls.train_list),
        test=tuple((file, checksum) for file, checksum in cls.test_list),
        meta=(cls.meta["filename"], cls.meta["md5"]),
        class_names=cls.meta["key"],
    )


def fetch(name: str, *, progress: Callable[[int, int | None], None]) -> None:
    """Bring 'cifar10' or 'cifar100' into the cache; `progress` is told the bytes that came and the total, if known."""
    load_arrays(OfficialArchive.of(name, progress=progress), cache_dir())


def find_archive(filename: str) -> Path | None:
    """The archive in the data folders or among the downloads."""
    folders = [*data_dirs(), cache_dir() / "downloads"]
    return next((folder / filename for folder in folders if (folder / filename).is_file()), None)


def read_archive(path: Path, official: Official) -> Arrays:
    """Images and labels of an archive whose md5, and that of each file in it, are the official ones.

    Raises `InputError` where one is not, before that file is unpickled.
    """
    found = md5(path)
    if found != official.md5:
        raise InputError(
            f"'{path}' must be the official archive with md5 {official.md5}. Its md5 is {found}: "
            f"remove it and get it again from {official.url}."
        )
    wanted = dict([*official.train, *official.test, official.meta])
    contents = {}
    for member in members(path):
        folder, file = member.parts[:-1], member.parts[-1]
        if member.content is not None and folder == (official.folder,) and file in wanted:
            contents[file] = _unpickled(member.content, wanted[file], f"{member.name!r} in '{path}'")
    if missing := [file for file in wanted if file not in contents]:
        raise InputError(f"'{path}' must hold {official.folder}/{missing[0]}, which is not there.")
    train_images, train_labels = _batches([contents[file] for file, _ in official.train], path)
    test_images, test_labels = _batches([contents[file] for file, _ in official.test], path)
    classes = tuple(str(name) for name in contents[official.meta[0]][official.class_names])
    return Arrays(train_images, train_labels, test_images, test_labels, classes)


def _load(dataset: Cifar10 | Cifar100) -> Data:
    loaded = load_arrays(OfficialArchive.of(dataset.label), cache_dir())
    return select(dataset, loaded.arrays, fingerprint=loaded.fingerprint, flip=True)


def _batches(batches: list[dict[str, Any]], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and labels (N,) of pickled batches; rows of 3072 are channel, row, column."""
    try:
        images = np.concatenate([batch["data"] for batch in batches])
        labels = np.concatenate([batch["labels" if "labels" in batch else "fine_labels"] for batch in batches])
        assert images.dtype == np.uint8
        return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)
    except (KeyError, ValueError, TypeError, AssertionError) as error:
        raise InputError(
            f"'{path}' must hold batches of 32 x 32 images with labels. It does not: {error!r}."
        ) from error


def _unpickled(content: bytes, expected_md5: str, what: str) -> dict[str, Any]:
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected_md5:
        raise InputError(f"{what} must have the official md5 {expected_md5}. It has another one, so it is not read.")
    try:
        found = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _UNPICKLING_ERRORS as error:
        raise InputError(f"{what} must be a pickled batch of arrays. Reading it failed: {error}.") from error
    if not isinstance(found, dict):
        raise InputError(f"{what} must be a pickled dict. Got a {type(found).__name__} instead.")
    return found


_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    MemoryError,
)
_RECONSTRUCT = np.zeros(0, np.uint8).__reduce__()[0]


class _ArrayUnpickler(pickle.Unpickler):
    """Reads builtin containers and NumPy arrays; any other name in the file is refused, so it can run no code."""

    _allowed: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no array needs")
        return self._allowed[module, name]
