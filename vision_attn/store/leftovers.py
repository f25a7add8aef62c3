"""Leftovers: what a pool holds that no plan asks for any more, and what can be made again."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

from vision_attn.store.folder import CHECKPOINT, WEIGHTS, RunFolder
from vision_attn.store.locks import LeaseLost
from vision_attn.store.pool import Store

GONE = ".gone-"
"""What the name of a folder begins with while it is being removed."""


@dataclasses.dataclass(frozen=True)
class Leftover:
    """Something that can go: where it lies, why nobody needs it, its bytes, and the run that it belongs to."""

    path: Path
    why: str
    bytes: int
    folder: RunFolder | None = None


def leftovers_of(store: Store, asked: Container[str], *, weights: bool = False) -> Iterator[Leftover]:
    """What can be removed of a pool: runs that are not `asked` for and not at work, and what a crash has left.

    With `weights` those of finished runs too. What lies in a folder that says no run's name, or cannot be read, is left
    alone.
    """
    index = store.index()
    for path in sorted(store.root.glob(f"**/{GONE}*")):
        yield Leftover(path, "left by a removal that was interrupted", _bytes(path))
    for key, folder in index.items():
        with contextlib.suppress(PermissionError):  # another user's
            yield from _of_run(folder, is_asked=key in asked, weights=weights)


def _of_run(folder: RunFolder, *, is_asked: bool, weights: bool) -> Iterator[Leftover]:
    if folder.is_at_work():
        return
    if not is_asked:
        yield Leftover(folder.path, "no plan asks for it", _bytes(folder.path), folder)
        return
    for path in folder.unfinished():
        yield Leftover(path, "left by a write that was interrupted", _bytes(path), folder)
    if (path := folder.path / CHECKPOINT).is_file() and folder.result() is not None:
        yield Leftover(path, "checkpoint of a finished run", _bytes(path), folder)
    if weights and (path := folder.path / WEIGHTS).is_file() and folder.result() is not None:
        yield Leftover(path, "weights of a finished run", _bytes(path), folder)


def discard(one: Leftover) -> bool:
    """Remove it; False where a process is at work on its run, or keeps its folder locked. Raises `OSError`."""
    if one.folder is None:
        shutil.rmtree(one.path, ignore_errors=True)
        return True
    try:
        lease = one.folder.acquire()
    except LeaseLost:
        lease = None
    if lease is None:
        return False
    if one.path != one.folder.path:
        one.path.unlink(missing_ok=True)
        lease.release_unused()
        return True
    gone = one.path.with_name(f"{GONE}{one.path.name}")
    os.replace(one.path, gone)  # at once for everybody else
    shutil.rmtree(gone)
    return True


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(file.stat().st_size for file in files)
