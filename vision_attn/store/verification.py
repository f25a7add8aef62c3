"""Verification: every file of the pool is read and compared with its checksum, weights and histories too.

What is damaged is named with the way to mend it. Mending removes what is damaged and all that rests on it, so that the
next `vision-attn run` makes it again: the same bits on the same machine with the same versions.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from vision_attn.spec import InputError, json_sha256
from vision_attn.store.files import DamagedFile, read_json, sha256_of
from vision_attn.store.folder import ATTEMPTS, CONFIG, PROBES, RESULT, RunFolder
from vision_attn.store.lease import LEASE
from vision_attn.store.locks import LeaseLost, locked
from vision_attn.store.pool import PLANS, Store

AGAIN = "`vision-attn run` makes it again once `vision-attn verify STORE --mend` has removed what is damaged"
UNREAD = "cannot be read"
AWAY = "move it away or rename it"


@dataclasses.dataclass(frozen=True)
class Fault:
    """A file that is not as it must be: which, what is wrong with it, how it is mended, what mending removes."""

    file: str
    wrong: str
    remedy: str
    folder: RunFolder | None = None
    remove: tuple[str, ...] = ()


def verify(store: Store) -> Iterator[tuple[str, list[Fault]]]:
    """Every folder of the pool by its name, with its faults; last what cannot be listed, plans and doubles."""
    index, unread = store.index(), set()
    for name, folder in store.folders.items():
        found = list(_faults(name, folder))
        unread |= {name for fault in found if fault.wrong.startswith(UNREAD)}
        yield name, found
    for name, error in store.unlisted().items():
        yield name, [_unread(store.root / name, error)]
    for path in sorted((store.root / PLANS).glob("*.json")):
        yield f"{PLANS}/{path.name}", _plan_faults(path)
    chosen = {folder.path for folder in index.values()}
    for name, folder in store.folders.items():
        if folder.seen.digest is not None and folder.path not in chosen and name not in unread:
            other = index[folder.seen.digest].path.relative_to(store.root)
            yield name, [Fault(name, f"holds the run of {other} again, which got further", "the folder can be removed")]


def mend(faults: list[Fault]) -> list[str]:
    """Remove what is damaged and what rests on it; the names of the files that are gone."""
    gone = []
    for fault in faults:
        if fault.folder is None or not fault.remove:
            continue
        with contextlib.suppress(LeaseLost), locked(fault.folder.path):
            for name in () if fault.folder.is_at_work() else fault.remove:
                with contextlib.suppress(FileNotFoundError):
                    path = fault.folder.path / name
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    gone.append(str(path))
    return gone


def left_alone(faults: list[Fault]) -> list[str]:
    """Of the faults that mending would remove files for, those it has not touched, each with who has the run."""
    said = []
    for fault in faults:
        holder = fault.folder.holder() if fault.folder is not None and fault.remove else None
        if holder is not None and fault.folder is not None and fault.folder.is_at_work():
            who = f"process {holder['pid']} on {holder['host']} has the run"
            said.append(f"{fault.file}: {who}; where that has ended, remove {fault.folder.path / LEASE}")
    return said


def _faults(name: str, folder: RunFolder) -> Iterator[Fault]:
    try:
        config = folder.read_config()
        if config is None or json_sha256(config["run"]) != config["digest"]:
            remedy = (
                "`vision-attn run` writes it again, or makes the run anew beside the folder, which can be removed then"
            )
            yield Fault(f"{name}/{CONFIG}", "does not say which run the folder holds", remedy)
            return
        yield from _file_faults(name, folder)
    except OSError as error:
        yield _unread(error.filename or folder.path, error)
    except InputError as error:
        yield Fault(name, f"{UNREAD}: {error}", "read it with that version")


def _file_faults(name: str, folder: RunFolder) -> Iterator[Fault]:
    """Of the sealed files, and of those whose checksums the result has."""
    probes = tuple(f"{PROBES}/{file}" for file in folder.probe_files())
    for file in folder.damaged():
        if file == ATTEMPTS:
            yield Fault(f"{name}/{file}", "has a row that is altered", "harmless; the other attempts are kept")
        elif file == RESULT:
            yield Fault(f"{name}/{file}", "is damaged or of another run", AGAIN, folder, (file, *probes))
        else:
            yield Fault(f"{name}/{file}", "is damaged or of another probe", AGAIN, folder, (file,))
    result = folder.result()
    for file, sha256 in (result["files"] if result is not None else {}).items():
        found, is_there = sha256_of(folder.path / file), (folder.path / file).exists()
        if not is_there and file.endswith(".safetensors"):
            continue  # archives leave weights out: what was measured of them stands
        if found != sha256:
            wrong = "does not match the checksum in the result" if is_there else "is missing"
            in_the_way = (file,) if is_there and found is None else ()
            yield Fault(f"{name}/{file}", wrong, AGAIN, folder, (*in_the_way, RESULT, *probes))


def _unread(place: Path | str, error: OSError) -> Fault:
    """What cannot be read may be whole: nothing of it is to be removed."""
    remedy = "see to the file system"
    if isinstance(error, PermissionError):
        remedy = "let its owner make it readable (chmod -R u+rwX,g+rX)"
    elif isinstance(error, IsADirectoryError):
        remedy = AWAY
    return Fault(str(place), f"{UNREAD}: {error.strerror}", remedy)


def _plan_faults(path: Path) -> list[Fault]:
    try:
        if json_sha256(read_json(path)) == path.name.partition(".")[0]:
            return []
    except DamagedFile:
        pass
    except OSError as error:
        return [_unread(path, error)]
    remedy = AWAY if path.is_dir() else "`vision-attn run` writes it again"
    return [Fault(f"{PLANS}/{path.name}", "is damaged or not that of its name", remedy)]
