"""Doctor for clusters: whether a folder can be the store of several machines, and whether Slurm or Ray can be used."""

import fcntl
import functools
import importlib.metadata
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vision_attn.doctor import GIBIBYTE, PREFIX, Check, existing, free_bytes, look_at
from vision_attn.executors import queue, ray
from vision_attn.spec import InputError
from vision_attn.store import LEASE_SECONDS

FEWEST_FILES = 10_000
"""Files that must still fit: some hundreds of runs."""

OLDEST_RAY = (2, 54)


def examine(engine: str, store: Path, *, address: str | None = None) -> list[Check]:
    """Every check of a store and of the engine 'slurm' or 'ray'. Leaves nothing behind, and submits nothing."""
    there = existing(store)
    checks: list[tuple[str, Callable[[Path], str]]] = [
        ("file system", _file_system),
        ("locks", _locks),
        ("renames", _renames),
        ("syncs", _syncs),
        ("clock", _clock),
        ("free space", _space),
        ("free files", _files),
    ]
    if engine == "slurm":
        checks += [("Slurm's commands", _commands), ("Slurm's controller", _controller), ("submission", _submission)]
    else:
        checks += [("Ray", _ray), ("Ray's cluster", lambda _: _cluster(address))]
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=PREFIX) as place:
            return [look_at(name, functools.partial(look, Path(place))) for name, look in checks]
    except OSError as error:
        return [Check("store", False, f"'{there}' cannot be written: {error.strerror}")]


def _file_system(place: Path) -> str:
    """The kind of file system; whether other machines see it cannot be told from here."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    over = [(mount, kind) for mount, kind in mounts if place.is_relative_to(mount.replace("\\040", " "))]
    mount, kind = max(over, key=lambda found: len(found[0]))
    return f"{kind} at {mount}; every machine of the cluster must see this folder by the same path"


def _locks(place: Path) -> str:
    with open(place / "lock", "w") as first, open(place / "lock", "w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "a second flock is kept out"
    raise InputError("flock keeps nobody out: two workers could take one run")


def _renames(place: Path) -> str:
    (place / "new").write_text("new")
    (place / "old").write_text("old")
    os.replace(place / "new", place / "old")
    if (place / "old").read_text() != "new":
        raise InputError("a renamed file keeps its old content")
    return "a file takes the place of another at once"


def _syncs(place: Path) -> str:
    began = time.monotonic()
    for path, flags in ((place / "synced", os.O_WRONLY | os.O_CREAT), (place, os.O_RDONLY)):
        handle = os.open(path, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return f"file and folder, in {(time.monotonic() - began) * 1000:.0f} ms"


def _clock(place: Path) -> str:
    (place / "stamp").write_text("now")
    distance = (place / "stamp").stat().st_mtime - time.time()
    if abs(distance) > LEASE_SECONDS:
        raise InputError(
            f"the file server is {distance:+.0f} s from this machine; runs are safe, times in listings mislead"
        )
    return f"the file server is {round(distance, 1) + 0.0:+.1f} s from this machine"


def _space(place: Path) -> str:
    return f"{free_bytes(place.parent) / GIBIBYTE:.0f} GiB"


def _files(place: Path) -> str:
    found = os.statvfs(place)
    if found.f_files == 0:
        return "no limit is stated"
    if found.f_favail < FEWEST_FILES:
        raise InputError(f"only {found.f_favail:,} more files fit (inodes); a run has about ten")
    return f"{found.f_favail:,} more fit (inodes)"


def _commands(place: Path) -> str:
    if missing := [name for name in (*queue.COMMANDS, "scontrol") if shutil.which(name) is None]:
        raise InputError(f"not on the PATH: {', '.join(missing)}")
    asked = subprocess.run(["sbatch", "--version"], capture_output=True, text=True, timeout=queue.SECONDS, check=False)
    return asked.stdout.strip() or asked.stderr.strip()


def _controller(place: Path) -> str:
    try:
        queue.listed(["vision-attn-doctor"])
    except (queue.Unreachable, queue.Refused) as error:
        raise InputError(f"squeue does not answer: {error}") from None
    return "squeue answers"


def _submission(place: Path) -> str:
    script = place / "script.sh"
    script.write_text("#!/bin/sh\ntrue\n")
    try:
        queue.submit(["--test-only", "--requeue", "--time=20", "--array=0-1", str(script)])
    except (queue.Unreachable, queue.Refused) as error:
        raise InputError(f"sbatch would not take an array of tasks: {error}") from None
    return "sbatch would take an array of tasks"


def _ray(place: Path) -> str:
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(ray.NOT_INSTALLED) from None
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_RAY:
        raise InputError(f"{version} is older than {'.'.join(map(str, OLDEST_RAY))}, which closes a hole for attackers")
    return version


def _cluster(address: str | None) -> str:
    where = address or os.environ.get("RAY_ADDRESS")
    if not where:
        return "none is named (RAY_ADDRESS or --address): a run starts one for this machine alone"
    module = ray.connect(where)
    try:
        nodes = sum(bool(node["Alive"]) for node in module.nodes())
        return f"{where}: {nodes} nodes, {module.cluster_resources().get('CPU', 0):g} CPUs"
    finally:
        module.shutdown()
