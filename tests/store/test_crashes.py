"""The store through crashes: whatever ends when, no finished run is lost and the same command ends in the same bytes.

Hypothesis plays processes on three places against one store: they take runs, train, die at any call of the file system,
fall asleep, wake up; files are damaged, mended and collected; clocks jump.
"""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from chained_runs import (
    ATTEMPTS,
    CHECKPOINT,
    CONFIG,
    EXPECTED,
    GONE,
    HISTORY,
    KEYS,
    LOCK,
    MEASURED,
    OTHER,
    PROBE,
    Worker,
    differing,
    files_of,
    is_row,
    nonce_in,
    read,
    rows_in,
)
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pretended_crashes import Machines

from vision_attn.store import (
    LEASE,
    LEASE_SECONDS,
    RESULT,
    WEIGHTS,
    Store,
    discard,
    leftovers_of,
    mend,
    probe_file,
    verify,
)

PLACES = (("node", "boot 1", "1"), ("node", "boot 1", "2"), ("another", "boot 2", "1"))
"""Two containers of one name, and another host."""


def may_die(calls):
    """Usually a process goes on; at times it dies at the call after so many."""
    return st.one_of(st.none(), st.none(), st.integers(0, calls))


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

    @initialize(places=st.lists(st.sampled_from(PLACES), min_size=2, max_size=4))
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
    @rule(number=st.integers(0, 3), steps=st.integers(1, 12), calls=may_die(25))
    def work(self, number, steps, calls):
        """A worker goes on; with `calls` it dies at the call after so many, or once it is at rest."""
        worker = self.one(number)
        with self.machines.at_work(worker.process, calls=calls):
            for _ in range(steps):
                worker.step(self._check_taking)
        worker.process.is_alive &= calls is None
        self._note()

    def _check_taking(self, taker, key, before):
        """A run is taken from the dead of the same place, and from those who were silent for the lease time."""
        assert key not in self.failed
        for process in [other.process for other in self.workers if before is not None and other.nonce == before]:
            is_seen_dead = not process.is_alive and process.place == taker.process.place
            assert is_seen_dead or process.silent >= LEASE_SECONDS, "taken from the living"

    @precondition(lambda self: any(worker.lease for worker in self.alive()))
    @rule(number=st.integers(0, 3), calls=may_die(3))
    def fail(self, number, calls):
        at_work = [worker for worker in self.alive() if worker.lease is not None]
        worker = at_work[number % len(at_work)]
        with self.machines.at_work(worker.process, calls=calls), contextlib.suppress(*GONE):
            worker.lease.release("failed", "why")
        key = worker.key
        if worker.process.is_alive:
            worker.drop()
        with self.machines.at_work(self.operator):
            folder = Store(self.root).find(key)
            if folder is not None and folder.failure() is not None and key not in self.finished:
                self.failed.add(key)

    @rule(asleep=st.sets(st.integers(0, 3)), seconds=st.sampled_from([20, 60, 140]))
    def time_passes(self, asleep, seconds):
        self._pass(seconds, asleep=[worker for number, worker in enumerate(self.workers) if number % 4 in asleep])

    def _pass(self, seconds, *, asleep):
        """Every twenty seconds those awake renew their leases, and look at the runs."""
        for _ in range(seconds // 20):
            self.machines.seconds += 20
            for worker in self.workers:
                worker.process.silent += 20
                if worker.process.is_alive and worker not in asleep:
                    with self.machines.at_work(worker.process):
                        worker.look()
                        self._renew(worker)

    @precondition(lambda self: len(self.alive()) > 1 and any(worker.lease for worker in self.alive()))
    @rule(number=st.integers(0, 3), seconds=st.sampled_from([60, 140]))
    def one_oversleeps(self, number, seconds):
        """The others go on meanwhile, and then it does: whether or not its run was taken from it."""
        at_work = [worker for worker in self.alive() if worker.lease is not None]
        sleeper = at_work[number % len(at_work)]
        others = [worker for worker in self.alive() if worker is not sleeper]
        self._go(others, steps=1)
        self._pass(seconds, asleep=[sleeper])
        self._go(others, steps=14)
        self._go([sleeper], steps=3)
        self._note()

    def _go(self, workers, *, steps):
        for worker in workers:
            with self.machines.at_work(worker.process):
                for _ in range(steps):
                    worker.step(self._check_taking)

    def _renew(self, worker):
        try:
            if worker.lease is not None:
                worker.lease.renew()
        except GONE:
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
        has_result = read(self.folder(key) / RESULT) == EXPECTED[key][RESULT]
        if name == ATTEMPTS and not has_result and not (self.folder(key) / LEASE).exists():
            self.failed |= {key} if not is_row(rows_in(path)[-1]) else set()
        if name in EXPECTED[key]:
            self.finished.discard(key)

    @rule(calls=may_die(4))
    def verify_and_mend(self, calls):
        process = self.machines.start(PLACES[2])
        with self.machines.at_work(process):
            faults = [fault for _, found in verify(Store(self.root)) for fault in found]
        damages = [(key, name) for key in KEYS for name in self._damages(key)]
        named = {str(self.root / fault.file) for fault in faults}
        assert named == {str(self.folder(key) / name) for key, name in damages}
        holders = [(self.folder(one.key), one.nonce) for one in self.alive() if one.lease is not None]
        held = {folder: files_of(folder) for folder, nonce in holders if nonce_in(folder) == nonce}
        with self.machines.at_work(process, calls=calls):
            mend(faults)
            assert held == {folder: files_of(folder) for folder in held}
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

    @rule(weights=st.booleans(), is_asked=st.booleans(), calls=may_die(8))
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

    @rule(calls=may_die(2))
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
        """Which runs are finished now; one whose weights are damaged is to be made again."""
        sound = {key for key in KEYS if read(self.folder(key) / WEIGHTS) in (None, EXPECTED[key][WEIGHTS])}
        self.finished |= {key for key in sound if self._is_whole(key)}

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
        for key in [key for key, state in states.items() if state == "done"]:
            files = EXPECTED[key]
            assert {name for name in (RESULT, MEASURED) if read(self.folder(key) / name) != files[name]} == set()
        assert {states.get(key) for key in self.failed - self.finished} <= {"failed", None}

    @invariant()
    def every_attempt_is_on_record_once(self):
        for key in KEYS:
            rows = [json.loads(row) for row in rows_in(self.folder(key) / ATTEMPTS) if is_row(row)]
            ended = [row["attempt"] for row in rows if row["outcome"] != "retried"]
            assert len(ended) == len(set(ended)), rows

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
                    lease.release_unused()
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
        wrong = {(key[:2], name) for key in KEYS for name in differing(found[key], EXPECTED[key])}
        assert wrong == set(), wrong

    def _left_behind(self):
        """The files of every run as `EXPECTED` has them, as if weights were there, which may have been collected."""
        found = {}
        for key in KEYS:
            folder = self.folder(key)
            paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (ATTEMPTS, LOCK)]
            own = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
            found[key] = {WEIGHTS: EXPECTED[key][WEIGHTS]} | own
        return found


TestStoreThroughCrashes = StoreThroughCrashes.TestCase
TestStoreThroughCrashes.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, derandomize=True, phases=[Phase.generate]
)


@pytest.mark.slow
class TestStoreThroughManyCrashes(StoreThroughCrashes.TestCase):
    settings = settings(max_examples=1000, stateful_step_count=50, deadline=None)
