"""Locks: short sections in which one process alone writes into a run folder."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from vision_attn.spec import InputError
from vision_attn.store.files import UNSUPPORTED

LOCK_SECONDS = 30.0
WAIT_SECONDS = 0.05
LOCK = ".lock"


class LeaseLost(Exception):
    """Another process has the run folder; what this one wanted to write is not written."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process at the latest.

    Raises `LeaseLost` where another process keeps it, `InputError` where the file system has no locks, and `OSError`.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    limit = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > limit:
                raise LeaseLost(f"{folder} has been locked by another process for {LOCK_SECONDS:g} seconds.") from None
        except OSError as error:
            if error.errno not in (*UNSUPPORTED, errno.ENOLCK):
                raise
            raise InputError(
                f"'{folder}' must lie on a file system with locks (flock), as several processes write into it. "
                f"This one says: {error.strerror}."
            ) from error
        time.sleep(WAIT_SECONDS)
