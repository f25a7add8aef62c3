"""The run store: one folder a run, one writer a folder, every file written whole or not at all.

A run is done if and only if its folder holds a valid `result.json` and a valid file for every probe asked of it.
Folder names carry hints for people and are never parsed. JSON files are sealed with their own sha256, so a torn or
flipped file is noticed and counts as absent. The lease (POSIX `flock` around short sections, a growing token as
fence) keeps two workers off one folder, also when one of them was paused and wakes up late.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vision_attn.spec import canonical

SCHEMA = 1
LEASE_SECONDS = 120.0
FAILURES = ("failed", "oom", "killed", "timeout", "disk full")
WORKERS_LOG = "workers.log"
"""What workers say outside of runs, in the pool."""

RUNS = "runs"
"""The folder of all runs in the results."""

RESULT, PROBES, LEASE, ATTEMPTS, LOG = "result.json", "probes", "lease.json", "attempts.jsonl", "log.txt"


class DamagedFile(Exception):
    """A file of the store is torn, altered or of another format."""


class LeaseLost(Exception):
    """Another process took the run folder over; what this one wanted to write is not written."""


def write_atomic(path: Path, payload: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new, nothing between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sealed(content: dict[str, Any]) -> bytes:
    """JSON of the content with its own sha256, for people and for `read_json`."""
    seal = hashlib.sha256(canonical(content)).hexdigest()
    return (json.dumps({**content, "sha256": seal}, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write sealed JSON atomically. Raises `ValueError` on NaN and infinity."""
    write_atomic(path, sealed(content))


def read_json(path: Path) -> dict[str, Any]:
    """Read sealed JSON. Raises `FileNotFoundError`, and `DamagedFile` where the seal does not hold."""
    try:
        content = json.loads(path.read_bytes())
        seal = content.pop("sha256")
        intact = seal == hashlib.sha256(canonical(content)).hexdigest()
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise DamagedFile(f"{path} is damaged: its content does not match its checksum.")
    return content


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a torn or altered line is left out, a missing file has none."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    rows.append(row)
    return rows


def probe_file(probe: dict[str, Any]) -> str:
    """The name of the file in `probes/` that holds the records of a probe, given as JSON."""
    return f"{probe['kind']}-{hashlib.sha256(canonical(probe)).hexdigest()[:12]}.json"


@dataclasses.dataclass(frozen=True)
class State:
    """What has become of a run: `name` is done, diverged, running, pending or one of `FAILURES`."""

    name: str
    reason: str = ""


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def config(self) -> dict[str, Any]:
        return read_json(self.path / "config.json")

    def result(self) -> dict[str, Any] | None:
        """The result, or None where there is none that is intact."""
        return self._read(RESULT)

    def probe(self, file: str) -> dict[str, Any] | None:
        """The content of a probe file, by its name in `probes/`, or None where there is none that is intact."""
        return self._read(f"{PROBES}/{file}")

    def damaged(self) -> list[str]:
        """The names of sealed files that are there but not intact."""
        names = []
        for path in [*self.path.glob("*.json"), *self.path.glob(f"{PROBES}/*.json")]:
            if path.name != LEASE and self._read(str(path.relative_to(self.path))) is None:
                names.append(str(path.relative_to(self.path)))
        return sorted(names)

    def attempts(self) -> list[dict[str, Any]]:
        return read_rows(self.path / ATTEMPTS)

    def state(self, probe_files: Iterable[str]) -> State:
        """What has become of the run, from its files alone."""
        result = self.result()
        if result is not None and result["state"] == "diverged":
            return State("diverged", f"loss or gradient not finite at update {result['diverged_at']}")
        missing = [file for file in probe_files if self.probe(file) is None]
        if result is not None and not missing:
            return State("done")
        holder = self.holder()
        if holder is not None and is_alive(holder, self.path / LEASE):
            return State("running", f"by process {holder['pid']} on {holder['host']}")
        if holder is not None:
            return State("pending", "its worker ended without a word")
        attempts = self.attempts()
        if attempts and attempts[-1]["outcome"] in FAILURES:
            return State(attempts[-1]["outcome"], attempts[-1].get("error") or "")
        return State("pending", "trained, to be measured" if result is not None else "")

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lease, dead or alive. A damaged lease belongs to nobody."""
        return self._read(LEASE)

    def acquire(self) -> "Lease | None":
        """Take the lease; None where a living process has it. A dead holder's attempt is written down first."""
        with self._locked():
            holder = self.holder()
            if holder is not None:
                if is_alive(holder, self.path / LEASE):
                    return None
                self._bury(holder, "killed", "the worker ended without a word")
            for leftover in [*self.path.glob(".*.tmp"), *self.path.glob(f"{PROBES}/.*.tmp")]:
                leftover.unlink(missing_ok=True)
            content = {"token": self._next_token(), "nonce": secrets.token_hex(8), **identity()}
            write_json(self.path / LEASE, content)
            return Lease(self, content)

    def bury(self, *, pid: int, outcome: str, error: str) -> None:
        """Write down that the process `pid` of this host, which had the run, is dead; it may not have begun."""
        with self._locked():
            holder = self.holder()
            if holder is None and self.result() is None:
                self._bury({"token": self._next_token(), "started": None}, outcome, error)
            elif holder is not None and holder["pid"] == pid and holder["host"] == socket.gethostname():
                self._bury(holder, outcome, error)

    def forget_failure(self) -> None:
        """Make a failed or diverged run pending again; the attempts stay on record."""
        with self._locked():
            result = self.result()
            if result is not None and result["state"] == "diverged":
                (self.path / RESULT).unlink()
            last = max((row["attempt"] for row in self.attempts()), default=0)
            self._append(ATTEMPTS, {"attempt": last, "started": None, "outcome": "retried", "error": None})

    def _next_token(self) -> int:
        return 1 + max((row["attempt"] for row in self.attempts()), default=0)

    def _bury(self, holder: dict[str, Any], outcome: str, error: str | None) -> None:
        row = {"attempt": holder["token"], "started": holder["started"], "outcome": outcome, "error": error}
        try:
            self._append(ATTEMPTS, row)
        finally:
            (self.path / LEASE).unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return read_json(self.path / name)
        except (FileNotFoundError, DamagedFile):
            return None

    def _append(self, name: str, row: dict[str, Any]) -> None:
        """Append a row; a half line that a crash left behind is cut off first."""
        rows = [*read_rows(self.path / name), row]
        write_atomic(self.path / name, b"".join(canonical(each) + b"\n" for each in rows))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            for _ in range(600):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.05)
            else:
                raise LeaseLost(f"{self.path} has been locked by another process for 30 seconds.")
            yield
        finally:
            os.close(handle)


class Lease:
    """The right to write into a run folder. Every write checks that the right still holds."""

    def __init__(self, folder: RunFolder, content: dict[str, Any]) -> None:
        self.folder = folder
        self.token: int = content["token"]
        self.started: str = content["started"]
        self._content = content

    def renew(self) -> None:
        """Show a sign of life. Raises `LeaseLost`."""
        with self._held():
            os.utime(self.folder.path / LEASE)

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

    def give_back(self) -> None:
        """Give the lease back unused: there was nothing to do."""
        self.remove(LEASE)

    def release(self, outcome: str, error: str | None = None) -> None:
        """Write down how the attempt ended and give the lease back."""
        with self._held():
            self.folder._bury(self._content, outcome, error)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        with self.folder._locked():
            if self.folder.holder() != self._content:
                raise LeaseLost(f"{self.folder.path} was taken over by another process.")
            yield


class Store:
    """The pool of run folders."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def index(self) -> dict[str, RunFolder]:
        """Every run folder with an intact config.json, by the run's digest."""
        found = {}
        for path in sorted(self.root.glob("*/config.json")):
            folder = RunFolder(path.parent)
            with contextlib.suppress(DamagedFile, FileNotFoundError, KeyError):
                found[folder.config()["digest"]] = folder
        return found

    def open(self, digest: str, *, hint: str, run: dict[str, Any], index: dict[str, RunFolder]) -> RunFolder:
        """The folder of a run, made where there is none. Safe against others doing the same at the same time."""
        if digest in index:
            return index[digest]
        folder = RunFolder(self.root / f"{hint}--{digest[:12]}")
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(folder.path / "config.json", {"schema": SCHEMA, "digest": digest, "hint": hint, "run": run})
        index[digest] = folder
        return folder


def identity() -> dict[str, Any]:
    """Which process this is, so that another one can tell whether it lives: a PID alone is used again."""
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pid": os.getpid(),
        "pid_started": _pid_started(os.getpid()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
    }


def is_alive(holder: dict[str, Any], lease: Path) -> bool:
    """Whether the holder of a lease can still be at work: its process lives, where that can be seen, and shows it."""
    if holder["host"] == socket.gethostname():
        started = _pid_started(holder["pid"]) if holder["boot"] == _boot_id() else None
        if started is None or started != holder["pid_started"]:
            return False
    try:
        return time.time() - lease.stat().st_mtime < LEASE_SECONDS
    except FileNotFoundError:
        return False


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _pid_started(pid: int) -> str | None:
    """When a living process started; None where there is none. Zombies do not live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _pid_exists(pid)
    return None if fields[0] in "ZX" else fields[19]


def _pid_exists(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
