"""The folder of one run: what it holds, what has become of the run, who is at work on it."""

import dataclasses
import functools
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vision_attn.store import attempts as attempt_rows
from vision_attn.store.attempts import DAMAGED, FAILURES
from vision_attn.store.files import DamagedFile, has_known_schema, probe_file, read_json, write_json
from vision_attn.store.holder import LEASE_SECONDS, Watch, identity, is_here, job, lives
from vision_attn.store.lease import LEASE, Lease
from vision_attn.store.locks import locked
from vision_attn.store.seen import Seen

CONFIG, RESULT, PROBES, ATTEMPTS, LOG = "config.json", "result.json", "probes", "attempts.jsonl", "log.txt"
WEIGHTS, CHECKPOINT = "weights.safetensors", "checkpoint.pt"
ENDS = ("done", "diverged")
OPEN = ("pending", "running")
"""States of runs that are still to do."""
_PARTS = ("data", "choices", "environment", "files", "measured")
"""The parts of a result that are mappings themselves."""

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class State:
    """What has become of a run: `name` is done, diverged, running, pending or one of `FAILURES`."""

    name: str
    reason: str = ""


DONE = State("done")


class RunFolder:
    """The folder of one run.

    An object that is kept sees over time whether a holder elsewhere still renews its lease; a new one has seen nothing
    and takes nothing over. `seen` is what an index says of the files, which holds as long as they do not change.
    """

    def __init__(self, path: Path | str, *, seen: Seen | None = None) -> None:
        self.place = os.fspath(path)
        self.seen = seen or Seen()

    @functools.cached_property
    def path(self) -> Path:
        """The folder, as a path; where many runs are looked at, `place` is told faster."""
        return Path(self.place)

    @functools.cached_property
    def _watch(self) -> Watch:
        return Watch()

    @property
    def digest(self) -> str | None:
        """The digest of the folder's run, by its config.json; None where that is missing or damaged."""
        if self.seen.digest is None:
            content = self.read_config()
            self.seen.digest = None if content is None else content["digest"]
        return self.seen.digest

    def config(self) -> Json:
        """What the run is. Raises `FileNotFoundError`, `DamagedFile`."""
        return read_json(self.path / CONFIG)

    def read_config(self) -> Json | None:
        """What the run is, or None where no intact file says it. Raises `InputError` as `state`, and `OSError`."""
        content = self._read(CONFIG)
        if content is None or not has_known_schema(content, f"{self.place}/{CONFIG}"):
            return None
        return content if isinstance(content.get("digest"), str) and isinstance(content.get("run"), dict) else None

    def result(self) -> Json | None:
        """The result, or None where there is none that is intact and of this run."""
        content = self._own(RESULT)
        if content is None or content.get("state") not in ENDS:
            return None
        return content if all(isinstance(content.get(part), dict) for part in _PARTS) else None

    def probe_files(self) -> list[str]:
        """The names of the files in `probes/`, sorted. Raises `OSError` where they cannot be listed."""
        try:
            return sorted(name for name in os.listdir(f"{self.place}/{PROBES}") if name.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def probe(self, file: str) -> Json | None:
        """The content of a probe file, by its name in `probes/`, or None where there is none that is intact."""
        content = self._own(f"{PROBES}/{file}")
        if content is None or not isinstance(content.get("records"), list):
            return None
        probe = content.get("probe")
        return content if isinstance(probe, dict) and "kind" in probe and probe_file(probe) == file else None

    def damaged(self) -> list[str]:
        """The names of files that are there but not intact, or of another run."""
        names = [] if self.read_config() is not None or not os.path.lexists(self.path / CONFIG) else [CONFIG]
        if os.path.lexists(self.path / RESULT) and self.result() is None:
            names.append(RESULT)
        names += [f"{PROBES}/{file}" for file in self.probe_files() if self.probe(file) is None]
        return names + [ATTEMPTS] * any(row["outcome"] == DAMAGED for row in self.attempts())

    def attempts(self) -> list[Json]:
        """How every attempt has ended, in their order."""
        return attempt_rows.read(self.path / ATTEMPTS)

    def failure(self, *, after: int | None = None) -> State | None:
        """How the last attempt failed, where it did; with `after`, only where it came after that many attempts."""
        rows = self.attempts()
        if not rows or len(rows) <= (after or 0) or rows[-1]["outcome"] not in (*FAILURES, DAMAGED):
            return None
        outcome = rows[-1]["outcome"]
        return State("failed" if outcome == DAMAGED else outcome, rows[-1].get("error") or "")

    def ended(self) -> Json | None:
        """`state` and `diverged_at` of the result, without reading it again where it was seen before."""
        return self.seen.look(self.place, RESULT, self.result, keep=("state", "diverged_at"))

    def has_probe(self, file: str) -> bool:
        """Whether a probe file is there and intact, without reading it again where it was seen before."""
        return self.seen.look(self.place, f"{PROBES}/{file}", lambda: self.probe(file)) is not None

    def state(self, probe_files: Iterable[str]) -> State:
        """What has become of the run, from its files alone. Raises `InputError` where they are of a later version."""
        result = self.ended()
        if result is not None and result["state"] == "diverged":
            return State("diverged", f"loss or gradient not finite at update {result['diverged_at']}")
        if result is not None and all(map(self.has_probe, probe_files)):
            return DONE
        holder = self.holder()
        if holder is not None and self._is_on_record(holder):
            holder = None
        if holder is not None and self._is_gone(holder):
            return State("pending", "its worker died without reporting")
        if holder is not None:
            unseen = "" if is_here(holder) else ", which cannot be seen from here"
            return State("running", f"by process {holder['pid']} on {holder['host']}{unseen}")
        return self.failure() or State("pending", "trained, to be measured" if result is not None else "")

    def holder(self) -> Json | None:
        """Who holds the lease, dead or alive. A damaged lease belongs to nobody."""
        content = self._read(LEASE)
        types = {"token": int, "nonce": str, "host": str, "pid": int, "started": str}
        fits = content is not None and all(type(content.get(name)) is kind for name, kind in types.items())
        return content if content is not None and fits and 0 < content["pid"] < 1 << 31 else None

    def unfinished(self) -> list[Path]:
        """What writes that were interrupted have left."""
        return sorted([*self.path.glob(".*.tmp"), *self.path.glob(f"{PROBES}/.*.tmp")])

    def is_at_work(self) -> bool:
        """Whether a process has the lease that may be alive."""
        holder = self.holder()
        return holder is not None and not self._is_gone(holder)

    def acquire(self) -> Lease | None:
        """Take the lease; None where a process has it that may be alive. A dead holder's attempt is written down.

        Raises `LeaseLost` where the folder stays locked, `InputError` where its file system has no locks.
        """
        with locked(self.path):
            holder = self.holder()
            if holder is not None:
                if not self._is_gone(holder):
                    return None
                self.write_down(holder, "killed", "the worker died without reporting")
            for leftover in self.unfinished():
                leftover.unlink(missing_ok=True)
            token = attempt_rows.next_number(self.attempts())
            content = {"token": token, "nonce": secrets.token_hex(8), **identity()}
            write_json(self.path / LEASE, content)
            return Lease(self, content)

    def record_death(self, *, pid: int, outcome: str, error: str) -> None:
        """Write down that the process `pid` of this place, which had the run, is dead; it may not have begun."""
        with locked(self.path):
            holder = self.holder()
            if holder is None and self.result() is None:
                unbegun = {"token": attempt_rows.next_number(self.attempts()), "started": None}
                self.write_down({**unbegun, "host": socket.gethostname(), "pid": pid, "job": job()}, outcome, error)
            elif holder is not None and holder["pid"] == pid and is_here(holder):
                self.write_down(holder, outcome, error)

    def forget_failure(self) -> None:
        """Make a failed or diverged run pending again; the attempts stay on record."""
        with locked(self.path):
            result = self.result()
            if result is not None and result["state"] == "diverged":
                (self.path / RESULT).unlink()
            last = attempt_rows.next_number(self.attempts()) - 1
            row = {"attempt": last, "started": None, "outcome": "retried", "error": None}
            attempt_rows.append(self.path / ATTEMPTS, row)

    def write_down(self, holder: Json, outcome: str, error: str | None) -> None:
        """Write down how the holder's attempt ended, once, and that it has ended. The caller has the lock."""
        who = {name: holder.get(name) for name in ("host", "pid", "job")}
        row = {"attempt": holder["token"], "started": holder["started"], "outcome": outcome, "error": error, **who}
        try:
            if not self._is_on_record(holder):
                attempt_rows.append(self.path / ATTEMPTS, row)
        finally:
            (self.path / LEASE).unlink(missing_ok=True)

    def _is_on_record(self, holder: Json) -> bool:
        """Whether the end of the holder's attempt is written down: it may have died before it gave the lease back."""
        attempt = holder["token"], holder["started"]
        return any((row["attempt"], row.get("started")) == attempt for row in self.attempts())

    def _is_gone(self, holder: Json) -> bool:
        """Whether the holder is dead, or has been silent for the lease time while this object looked."""
        if lives(holder) is False:
            return True
        try:
            renewed = os.stat(self.path / LEASE).st_mtime_ns
        except FileNotFoundError:
            return True
        return self._watch.silence((holder["nonce"], renewed)) >= LEASE_SECONDS

    def _own(self, name: str) -> Json | None:
        """A sealed file that is intact, of a known schema and of this run, or None."""
        content = self._read(name)
        if content is None or not has_known_schema(content, f"{self.place}/{name}"):
            return None
        return content if self.digest is not None and content.get("run") == self.digest else None

    def _read(self, name: str) -> Json | None:
        try:
            return read_json(f"{self.place}/{name}")
        except (FileNotFoundError, NotADirectoryError, DamagedFile):
            return None
