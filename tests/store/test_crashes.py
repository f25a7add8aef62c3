"""The store through crashes: whatever ends when, no finished run is lost and the same command ends in the same bytes.

Hypothesis plays processes on three places against one store: they take runs, train, die at any call of the file system,
fall asleep, wake up; files are damaged, mended and collected; clocks jump. Training is a chain of checksums, so what a
run must leave behind is known without the store.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pretended_crashes import Machines

from vision_attn.spec import json_sha256
from vision_attn.store import (
    LEASE,
    LEASE_SECONDS,
    PROBES,
    RESULT,
    SCHEMA,
    WEIGHTS,
    DamagedFile,
    LeaseLost,
    Store,
    discard,
    leftovers_of,
    mend,
    probe_file,
    read_json,
    sealed,
    verify,
)

PLACES = (("node", "boot 1", "1"), ("node", "boot 1", "2"), ("another", "boot 2", "1"))
"""Two containers of one name, and another host."""
RUNS = [{"kind": "Run", "seed": seed} for seed in range(3)]
KEYS = {json_sha256(run): run for run in RUNS}
OTHER = list(KEYS)[-1]
"""The run that a plan may no longer ask for."""
UPDATES = 3
PROBE = {"kind": "Size"}
CONFIG, HISTORY, CHECKPOINT, MEASURED = "config.json", "history.jsonl", "checkpoint.pt", f"{PROBES}/{probe_file(PROBE)}"
ATTEMPTS, LOCK = "attempts.jsonl", ".lock"


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
        """Go on by one write, with a run that is still to do."""
        try:
            if self.work is None:
                self.work = self._taken(check)
            next(self.work, None)
            if self.lease is None:
                self.drop()
        except LeaseLost:
            self.drop()

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
            before, lease = nonce_in(folder), folder.acquire()
            if lease is not None:
                check(self, key, before)
                self.lease, self.key, self.nonce, self.process.silent = lease, key, nonce_in(folder), 0.0
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


def read(path):
    return path.read_bytes() if path.exists() else None


class StoreThroughCrashes(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="store-"))
        self.patch = pytest.MonkeyPatch()
        self.machines = Machines(self.patch)
        self.operator = self.machines.start(PLACES[0])
        self.workers, self.finished, self.failed = [], set(), set()

    def teardown(self):
        try:
            self._bring_to_an_end()
        finally:
            self.patch.undo()
            shutil.rmtree(self.root)

    @initialize(places=st.lists(st.sampled_from(PLACES), min_size=1, max_size=3))
    def begin(self, places):
        for place in places:
            self.start(place)

    @rule(place=st.sampled_from(PLACES))
    def start(self, place):
        if len(self.alive()) < 4:
            self.workers.append(Worker(self.machines.start(place), Store(self.root)))

    def alive(self):
        return [worker for worker in self.workers if worker.process.is_alive]

    def one(self, number):
        return self.alive()[number % len(self.alive())]

    @precondition(lambda self: self.alive())
    @rule(number=st.integers(0, 3), steps=st.integers(1, 12), calls=st.none() | st.integers(0, 25))
    def work(self, number, steps, calls):
        """A worker goes on; with `calls` it dies on the way."""
        worker = self.one(number)
        with self.machines.at_work(worker.process, calls=calls):
            for _ in range(steps):
                worker.step(self._check_taking)
        self._note()

    def _check_taking(self, taker, key, before):
        """A run is taken from the dead of the same place, and from those who were silent for the lease time."""
        assert key not in self.failed
        for process in [other.process for other in self.workers if before is not None and other.nonce == before]:
            is_seen_dead = not process.is_alive and process.place == taker.process.place
            assert is_seen_dead or process.silent >= LEASE_SECONDS, "taken from the living"

    @precondition(lambda self: self.alive())
    @rule(number=st.integers(0, 3), calls=st.none() | st.integers(0, 6))
    def fail(self, number, calls):
        worker = self.one(number)
        if worker.lease is None:
            return
        with self.machines.at_work(worker.process, calls=calls), contextlib.suppress(LeaseLost):
            worker.lease.release("failed", "why")
        key = worker.key
        if worker.process.is_alive:
            worker.drop()
        with self.machines.at_work(self.operator):
            folder = Store(self.root).find(key)
            if folder is not None and folder.failure() is not None and key not in self.finished:
                self.failed.add(key)

    @precondition(lambda self: self.alive())
    @rule(number=st.integers(0, 3))
    def kill(self, number):
        self.one(number).process.is_alive = False

    @rule(asleep=st.sets(st.integers(0, 3)), seconds=st.sampled_from([20, 60, 140]))
    def time_passes(self, asleep, seconds):
        """Every twenty seconds those awake renew their leases, and look at the runs."""
        for _ in range(seconds // 20):
            self.machines.seconds += 20
            for number, worker in enumerate(self.workers):
                worker.process.silent += 20
                if worker.process.is_alive and number % 4 not in asleep:
                    with self.machines.at_work(worker.process):
                        worker.look()
                        self._renew(worker)

    def _renew(self, worker):
        try:
            if worker.lease is not None:
                worker.lease.renew()
        except LeaseLost:
            worker.drop()
        worker.process.silent = 0.0

    @rule(host=st.sampled_from(["node", "another"]), seconds=st.integers(-(10**6), 10**6))
    def clock_jumps(self, host, seconds):
        self.machines.ahead[host] = seconds

    @rule(
        key=st.sampled_from(list(KEYS)),
        name=st.sampled_from([CONFIG, RESULT, MEASURED, HISTORY, WEIGHTS, CHECKPOINT, ATTEMPTS]),
        how=st.sampled_from(["flip", "cut", "empty"]),
        place=st.integers(0, 10**6),
    )
    def damage(self, key, name, how, place):
        path = self.folder(key) / name
        content = read(path)
        if not content or (name == ATTEMPTS and (how != "flip" or len(content) < 2)):
            return
        at = place % (len(content) - (name == ATTEMPTS))
        flipped = content[:at] + bytes([content[at] ^ 1 << place % 8]) + content[at + 1 :]
        path.write_bytes({"flip": flipped, "cut": content[: len(content) // 2], "empty": b""}[how])
        if name == ATTEMPTS and key not in self.finished and not (self.folder(key) / LEASE).exists():
            self.failed |= {key} if not is_row(rows_in(path)[-1]) else set()
        if name in EXPECTED[key]:
            self.finished.discard(key)

    @rule(calls=st.none() | st.integers(0, 4))
    def verify_and_mend(self, calls):
        process = self.machines.start(PLACES[2])
        with self.machines.at_work(process):
            faults = [fault for _, found in verify(Store(self.root)) for fault in found]
        damages = [(key, name) for key in KEYS for name in self._damages(key)]
        named = {str(self.root / fault.file) for fault in faults}
        assert named == {str(self.folder(key) / name) for key, name in damages}
        with self.machines.at_work(process, calls=calls):
            mend(faults)
            idle = [key for key in KEYS if not (self.folder(key) / LEASE).exists()]
            assert {name for key in idle for name in self._damages(key)} <= {CONFIG, ATTEMPTS}
        process.is_alive = False

    def _damages(self, key):
        """The files of a run that are others than an undisturbed one leaves behind, as far as that must be noticed."""
        files, folder = EXPECTED[key], self.folder(key)
        wrong = {name for name, content in files.items() if read(folder / name) not in (None, content)}
        if CONFIG in wrong:
            return {CONFIG}
        if read(folder / RESULT) != files[RESULT]:
            wrong -= {HISTORY, WEIGHTS}  # they are still being written
        elif read(folder / HISTORY) is None:
            wrong.add(HISTORY)
        return wrong if all(map(is_row, rows_in(folder / ATTEMPTS))) else wrong | {ATTEMPTS}

    @rule(weights=st.booleans(), is_asked=st.booleans(), calls=st.none() | st.integers(0, 8))
    def collect(self, weights, is_asked, calls):
        process = self.machines.start(PLACES[1])
        asked = set(KEYS) - (set() if is_asked else {OTHER})
        with self.machines.at_work(process, calls=calls):
            for one in list(leftovers_of(Store(self.root), asked, weights=weights)):
                discard(one)
        process.is_alive = False
        if not self.folder(OTHER).is_dir():
            self.finished.discard(OTHER)
            self.failed.discard(OTHER)

    @rule(key=st.sampled_from(list(KEYS)))
    def retry(self, key):
        with self.machines.at_work(self.operator):
            folder = Store(self.root).find(key)
            if folder is not None and folder.failure() is not None:
                folder.forget_failure()
                self.failed.discard(key)

    @rule(calls=st.none() | st.integers(0, 2))
    def remember(self, calls):
        process = self.machines.start(PLACES[0])
        with self.machines.at_work(process, calls=calls):
            store = Store(self.root)
            for folder in store.index().values():
                folder.state([probe_file(PROBE)])
            store.remember()
        process.is_alive = False

    def folder(self, key):
        return self.root / key[:2] / f"run--{key[:12]}"

    def _note(self):
        """Which runs are finished now."""
        self.finished |= {key for key in KEYS if self._is_whole(key)}

    def _is_whole(self, key):
        folder = self.folder(key)
        return all(read(folder / name) == content for name, content in EXPECTED[key].items() if name != WEIGHTS)

    @invariant()
    def what_is_finished_stays_as_it_is(self):
        assert {key for key in self.finished if not self._is_whole(key)} == set()
        with self.machines.at_work(self.operator):
            index = Store(self.root).index()
            states = {key: index[key].state([probe_file(PROBE)]).name for key in index}
        assert {states[key] for key in self.finished} <= {"done"}
        assert {states.get(key) for key in self.failed - self.finished} <= {"failed", None}

    def _bring_to_an_end(self):
        """Everybody dies; what is damaged is mended, what failed is tried again, and one worker does what is left."""
        for worker in self.workers:
            worker.process.is_alive = False
        last = Worker(self.machines.start(PLACES[2]), Store(self.root))
        self.workers.append(last)
        self.failed.clear()
        with self.machines.at_work(last.process):
            for key in list(KEYS) * 8:  # until who was at work elsewhere has been silent for long enough
                self.machines.seconds += 20 / len(KEYS)
                if (lease := last.open(key).acquire()) is not None:
                    lease.give_back()
            for _ in range(2):  # what rests on what was mended
                mend([fault for _, found in verify(Store(self.root)) for fault in found])
                for folder in Store(self.root).index().values():
                    if folder.failure() is not None:
                        folder.forget_failure()
                for _ in KEYS:
                    last.step(self._check_taking)
                    while last.lease is not None:
                        last.step(self._check_taking)
            for one in leftovers_of(Store(self.root), set(KEYS)):
                discard(one)
        found = self._left_behind()
        assert {(key[:2], name) for key in KEYS for name in differing(found[key], EXPECTED[key])} == set()

    def _left_behind(self):
        """The files of every run as `EXPECTED` has them, as if weights were there, which may have been collected."""
        found = {}
        for key in KEYS:
            folder = self.folder(key)
            paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (ATTEMPTS, LOCK)]
            own = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
            found[key] = {WEIGHTS: EXPECTED[key][WEIGHTS]} | own
        return found


def nonce_in(folder):
    """The number of the lease of a run, which no other has; None where nobody holds it."""
    content = read(folder.path / LEASE)
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


TestStoreThroughCrashes = StoreThroughCrashes.TestCase
TestStoreThroughCrashes.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)


@pytest.mark.slow
class TestStoreThroughManyCrashes(StoreThroughCrashes.TestCase):
    settings = settings(max_examples=1000, stateful_step_count=50, deadline=None)
