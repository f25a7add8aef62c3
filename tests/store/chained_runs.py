"""Runs whose training is a chain of checksums, so that what they must leave behind is known without the store.

A `Worker` executes them as a worker of the package does: the same files in the same order, a write at a time.
"""

import hashlib
import json

from vision_attn.spec import json_sha256
from vision_attn.store import (
    CHECKPOINT,
    LEASE,
    PROBES,
    RESULT,
    SCHEMA,
    WEIGHTS,
    DamagedFile,
    LeaseLost,
    probe_file,
    read_json,
    sealed,
)

RUNS = [{"kind": "Run", "seed": seed} for seed in range(3)]
KEYS = {json_sha256(run): run for run in RUNS}
OTHER = list(KEYS)[-1]
"""The run that a plan may no longer ask for."""
UPDATES = 3
PROBE = {"kind": "Size"}
CONFIG, HISTORY, MEASURED = "config.json", "history.jsonl", f"{PROBES}/{probe_file(PROBE)}"
ATTEMPTS, LOCK = "attempts.jsonl", ".lock"
GONE = (LeaseLost, FileNotFoundError)
"""What a worker meets that slept while others have taken its run, or collected it."""


def updated(state):
    return hashlib.sha256(state).digest()


def history(key, updates):
    state, lines = key.encode(), b""
    for update in range(1, updates + 1):
        state = updated(state)
        lines += b'{"update":%d,"train_loss":%d}\n' % (update, state[0])
    return lines, state


def left_behind(key):
    """The bytes of every file of a finished run."""
    lines, state = history(key, UPDATES)
    files = {HISTORY: lines, WEIGHTS: state}
    own = {"schema": SCHEMA, "run": key}
    facts = {"data": {}, "choices": {}, "environment": {}, "measured": {}}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[RESULT] = sealed({**own, "state": "done", "diverged_at": None, **facts, "files": sums})
    files[MEASURED] = sealed({**own, "probe": PROBE, "records": [{"metric": "sum", "value": sum(state)}]})
    files[CONFIG] = sealed({"schema": SCHEMA, "digest": key, "hint": "run", "run": KEYS[key]})
    return files


EXPECTED = {key: left_behind(key) for key in KEYS}


class Worker:
    """A process that executes runs as a worker of the package does, a write at a time."""

    def __init__(self, process, store):
        self.process, self.store = process, store
        self.folders, self.lease, self.key, self.work, self.nonce = {}, None, None, None, None

    def look(self):
        for folder in self.folders.values():
            folder.state([probe_file(PROBE)])

    def drop(self):
        self.lease = self.key = self.work = None

    def step(self, check):
        """Go on by one write, with a run that is still to do; who has lost its lease writes nothing any more."""
        folder = self.folders[self.key].path if self.lease is not None else None
        before = files_of(folder) if folder is not None and nonce_in(folder) != self.nonce else None
        try:
            if self.work is None:
                self.work = self._taken(check)
            next(self.work, None)
            if self.lease is None:
                self.drop()
        except GONE:
            self.drop()
        assert before is None or (self.lease is None and files_of(folder) == before), "written without the lease"

    def open(self, key):
        """The folder of a run, kept, so that it is seen over time whether its holder renews the lease."""
        kept = self.folders.get(key)
        index = {key: kept} if kept is not None and kept.path.exists() else {}
        self.folders[key] = self.store.open(key, hint="run", run=KEYS[key], index=index)
        return self.folders[key]

    def _taken(self, check):
        for key in KEYS:
            folder = self.open(key)
            if folder.state([probe_file(PROBE)]).name not in ("pending", "running"):
                continue
            before, lease = nonce_in(folder.path), folder.acquire()
            if lease is not None:
                check(self, key, before)
                self.lease, self.key, self.nonce, self.process.silent = lease, key, nonce_in(folder.path), 0.0
                return self._work(folder, key, lease)
        return iter(())

    def _work(self, folder, key, lease):
        files = EXPECTED[key]
        result = folder.result()
        if result is None or read(folder.path / WEIGHTS) != files[WEIGHTS]:
            for update in range(self._resumed(folder) + 1, UPDATES + 1):
                lines, state = history(key, update)
                lease.write(HISTORY, lines)
                yield
                lease.write(CHECKPOINT, sealed({"update": update, "state": state.hex()}))
                yield
            for name in (WEIGHTS, HISTORY, RESULT):
                lease.write(name, files[name])
                yield
        lease.remove(CHECKPOINT)
        yield
        if folder.probe(probe_file(PROBE)) is None:
            lease.write(MEASURED, files[MEASURED])
            yield
        lease.release("done")
        self.lease = None

    def _resumed(self, folder):
        """The updates that an intact checkpoint has, whose state must be that of an undisturbed training."""
        try:
            saved = read_json(folder.path / CHECKPOINT)
        except (FileNotFoundError, DamagedFile):
            return 0
        assert saved["state"] == history(folder.digest, saved["update"])[1].hex()
        return saved["update"]


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path):
    return path.read_bytes() if path.exists() else None


def nonce_in(folder):
    """The number of the lease of a run, which no other has; None where nobody holds it."""
    content = read(folder / LEASE)
    return None if content is None else json.loads(content)["nonce"]


def differing(one, other):
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def rows_in(path):
    return [line for line in (read(path) or b"").split(b"\n") if line]


def is_row(line):
    """Whether a row of the attempts has its own checksum."""
    try:
        row = json.loads(line)
        return row.pop("sha256") == json_sha256(row)
    except (ValueError, KeyError, AttributeError):
        return False
