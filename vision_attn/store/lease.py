"""Leases: the right of one process to write into a run folder."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vision_attn.store.files import sealed, write_atomic
from vision_attn.store.locks import LeaseLost, locked

if TYPE_CHECKING:
    from vision_attn.store.folder import RunFolder

LEASE = "lease.json"
SECOND = 10**9


class Lease:
    """The right to write into a run folder. Every write checks that the right still holds."""

    def __init__(self, folder: "RunFolder", content: dict[str, Any]) -> None:
        self.folder = folder
        self.token: int = content["token"]
        self.started: str = content["started"]
        self._content = content
        self._renewed = 0

    def renew(self) -> None:
        """Show a sign of life: a time of the lease's file that it has not had yet. Raises `LeaseLost`."""
        with self._held():
            self._renewed = max(time.time_ns(), self._renewed + 2 * SECOND)  # some file systems keep two seconds
            os.utime(self.folder.path / LEASE, ns=(self._renewed, self._renewed))

    def write(self, name: str, payload: bytes) -> None:
        """Write a file of the run atomically. Raises `LeaseLost`, and `OSError` where the disk refuses."""
        with self._held():
            path = self.folder.path / name
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, payload)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        self.write(name, sealed(content))

    def remove(self, name: str) -> None:
        with self._held():
            (self.folder.path / name).unlink(missing_ok=True)

    def release_unused(self) -> None:
        """End the lease without an attempt on record: there was nothing to do."""
        self.remove(LEASE)

    def release(self, outcome: str, error: str | None = None) -> None:
        """Write down how the attempt ended, and end the lease."""
        with self._held():
            self.folder.write_down(self._content, outcome, error)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        with locked(self.folder.path):
            if self.folder.holder() != self._content:
                raise LeaseLost(f"{self.folder.path} was taken over by another process.")
            yield
