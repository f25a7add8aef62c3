"""Data sets decoded once: uint8 arrays in the cache folder, beside a sealed manifest with their fingerprint.

An entry is a folder that is made under another name and then renamed, so it is there whole or not at all. The
fingerprint is computed from its bytes whenever a process opens it: a truncated or altered entry is never used, it
is made again. Where the cache cannot be written, data sets are read from their source in every process.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import logging
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vision_attn.data.arrays import PARTS, Arrays
from vision_attn.spec import canonical
from vision_attn.store import DamagedFile, read_json, write_json

SCHEMA = 1
MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Source(ABC):
    """Where a data set comes from. `identity` changes when what would be read changes."""

    name: str
    identity: str

    @abstractmethod
    def read(self) -> Arrays:
        """All images and labels. Raises `InputError` where they are not there or not what they should be."""

    def entry(self, cache: Path) -> Path:
        """The folder in the cache that belongs to this source."""
        key = hashlib.sha256(canonical([SCHEMA, type(self).__name__, self.name, self.identity])).hexdigest()
        return cache / f"{self.name}-{key[:16]}"


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """Arrays and their fingerprint."""

    arrays: Arrays
    fingerprint: str


@functools.lru_cache(maxsize=4)
def load_arrays(source: Source, cache: Path) -> Loaded:
    """The data of a source: from this process, else from the cache, else read and put there."""
    entry = source.entry(cache)
    found = open_entry(entry)
    if found is not None:
        return found
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(entry))
        except OSError as error:
            _log.warning("The cache %s cannot be written (%s).", cache, error.strerror)
            return _loaded(source.read())
        return open_entry(entry) or _keep(source.read(), entry) or open_entry(entry) or _loaded(source.read())


def open_entry(entry: Path) -> Loaded | None:
    """The arrays of a cache entry as read-only maps of its files; None where it is missing or damaged."""
    try:
        manifest = read_json(entry / MANIFEST)
        parts = {part: np.load(entry / f"{part}.npy", mmap_mode="r", allow_pickle=False) for part in PARTS}
    except (OSError, ValueError, EOFError, DamagedFile):
        return None
    arrays = Arrays(**parts, classes=tuple(manifest["classes"]))
    fingerprint = arrays.fingerprint()
    return Loaded(arrays, fingerprint) if fingerprint == manifest["fingerprint"] else None


def _keep(arrays: Arrays, entry: Path) -> Loaded | None:
    """Write an entry, under the lock; None, so that memory holds the arrays once: in the maps that `open_entry` makes.

    Where the disk refuses, the arrays as they are.
    """
    loaded = _loaded(arrays)
    _sweep(entry)
    making = entry.with_name(f".{entry.name}.{secrets.token_hex(4)}.tmp")
    try:
        making.mkdir()
        for part in PARTS:
            np.save(making / f"{part}.npy", getattr(arrays, part), allow_pickle=False)
        manifest = {
            "schema": SCHEMA,
            "fingerprint": loaded.fingerprint,
            "classes": list(arrays.classes),
            "train_size": len(arrays.train_labels),
            "test_size": len(arrays.test_labels),
        }
        write_json(making / MANIFEST, manifest)
        if entry.exists():
            entry.rename(entry.with_name(f".{entry.name}.{secrets.token_hex(4)}.tmp"))
        making.rename(entry)
    except OSError as error:
        _log.warning("%s cannot be kept (%s).", entry, error.strerror)
        return loaded
    finally:
        _sweep(entry)
    return None


def _loaded(arrays: Arrays) -> Loaded:
    return Loaded(arrays, arrays.fingerprint())


def _sweep(entry: Path) -> None:
    """Remove half-made entries that a process left behind; the lock is held, so nobody is making one."""
    for leftover in entry.parent.glob(f".{entry.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _locked(entry: Path) -> Iterator[None]:
    """Wait for, and hold, the right to make an entry. The lock ends with the process."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(entry.with_name(f".{entry.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
