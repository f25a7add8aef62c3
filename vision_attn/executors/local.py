"""Runs on this machine: long-lived worker processes with pinned threads, one run or group of runs at a time each."""

import contextlib
import errno
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_attn.executors.base import Event
from vision_attn.signals import held_back
from vision_attn.spec import InputError
from vision_attn.store import Folders, LeaseLost, refusal

BUSY_SECONDS = 2.0
TICK_SECONDS = 0.25
NO_PROGRESS_SECONDS = 3600.0
"""A worker that has said nothing for so long is paused or hangs. Training speaks twice a second, a probe at its end."""

STOP_SECONDS = 120.0
"""A worker that was asked to stop is ended after so long; its run goes on from the last checkpoint."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SAYS = ("started", "progress", "finished")
START = Path(__file__).resolve().parents[1] / "start.py"


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs the `main` of a module of this package, whatever lies in the current directory."""
    return [sys.executable, "-P", str(START), f"vision_attn.{module}", *arguments]


def pinned(environment: Mapping[str, str], *, threads: int) -> dict[str, str]:
    """The environment of a process that computes: so many threads, no chance in hashes, no code from where it starts.

    An empty entry of PYTHONPATH means the current directory and is left out.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    made = {**environment, **dict.fromkeys(names, str(threads)), "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"}
    made["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if "PYTHONPATH" in made:
        made["PYTHONPATH"] = os.pathsep.join(filter(None, made["PYTHONPATH"].split(os.pathsep)))
    return made


class Worker:
    """A process that executes the runs it is given, until its input ends."""

    def __init__(self, command: Sequence[str], *, threads: int, log: Path) -> None:
        self.log = log
        with open(log, "ab") as stderr, held_back():
            self.log_start = stderr.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=pinned(os.environ, threads=threads),
                start_new_session=True,
            )
        self.given: tuple[str, ...] = ()
        self.left: list[str] = []
        self.begun: set[str] = set()
        self.since = self.heard = 0.0
        self.has_spoken = False
        self.overdue = ""
        self._half = b""

    def give(self, group: tuple[str, ...]) -> None:
        assert self.process.stdin is not None
        self.given, self.left, self.overdue = group, list(group), ""
        self.begun.clear()
        self.since = self.heard = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(" ".join(group).encode() + b"\n")
            self.process.stdin.flush()

    def read(self) -> list[dict[str, Any]] | None:
        """The messages that have come, or None at the end of the process."""
        assert self.process.stdout is not None
        chunk = os.read(self.process.stdout.fileno(), 1 << 16)
        if not chunk:
            return None
        *lines, self._half = (self._half + chunk).split(b"\n")
        messages = [message for line in lines if (message := self._message(line)) is not None]
        if messages:
            self.has_spoken, self.heard = True, time.monotonic()
        return messages

    def _message(self, line: bytes) -> dict[str, Any] | None:
        """What the worker says of a run it has; None where something else was printed, as sites do at the start."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
        is_own = isinstance(message, dict) and message.get("kind") in SAYS and message.get("run") in self.left
        return message if is_own else None

    def last_words(self) -> str:
        """The last line that the process has left in the log."""
        with open(self.log, "rb") as file:
            file.seek(self.log_start)
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def ask_to_stop(self) -> None:
        """Also where it is paused, in which it would not hear."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Local:
    """Executor with `jobs` worker processes of `threads` threads each.

    `folders` are the folders of the runs by id, in the pool `store`; what workers say outside a run goes to `log`.
    A run that takes longer than `timeout` seconds is killed, a group after that many times its number of runs, and
    either where nothing was heard of it for `no_progress` seconds. A failure that another driver has put on record
    since the runs were submitted holds for this one too. Where a worker dies with a group, each of its unfinished runs
    is tried again alone: only the culprit fails. Where a worker ends before it says anything, no other would start
    either: `refusal` says why, and the execution stops. Workers read the probes from `plan`, a file of `Plan.keep`;
    `experiment` is the file that defines the kinds of the plan that are not the package's.
    """

    def __init__(
        self,
        plan: Path,
        *,
        store: Path,
        folders: Folders,
        log: Path,
        jobs: int,
        threads: int,
        device: str = "auto",
        timeout: float | None = None,
        no_progress: float = NO_PROGRESS_SECONDS,
        experiment: Path | None = None,
    ) -> None:
        self.folders, self.jobs, self.threads, self.log = folders, jobs, threads, log
        self.timeout, self.no_progress = timeout, no_progress
        self.command = python("worker", str(plan.resolve()), str(store.resolve()))
        self.command += ["--device", device, "--threads", str(threads)]
        self.command += ["--experiment", str(experiment.resolve())] if experiment is not None else []
        self.refusal = ""
        self.workers: list[Worker] = []
        self.cancelled = False
        self.kill_after = float("inf")
        self.known: dict[str, int] = {}
        self.waiting: deque[tuple[str, ...]] = deque()
        self.put_off: deque[tuple[float, str]] = deque()
        self.selector = selectors.DefaultSelector()

    def submit(self, groups: Sequence[tuple[str, ...]]) -> None:
        self.waiting.extend(groups)
        self.known |= {run: self.folders.attempts(run) for group in groups for run in group}

    @property
    def is_busy(self) -> bool:
        is_left = bool(self.waiting or self.put_off) and not self.cancelled
        return is_left or any(worker.left for worker in self.workers)

    def poll(self) -> list[Event]:
        while self.put_off and self.put_off[0][0] < time.monotonic():
            self.waiting.append((self.put_off.popleft()[1],))
        events = self._feed()
        events += [event for key, _ in self.selector.select(TICK_SECONDS) for event in self._listen(key.data)]
        self._kill_overdue()
        busy = [event.run for event in events if event.outcome == "busy"]
        self.put_off.extend((time.monotonic() + BUSY_SECONDS, run) for run in busy)
        return [event for event in events if event.outcome != "busy"]

    def cancel(self, *, hard: bool) -> None:
        self.cancelled = True
        self.kill_after = min(self.kill_after, time.monotonic() + STOP_SECONDS)
        for worker in self.workers:
            if hard:
                worker.kill()
            elif worker.left:
                worker.ask_to_stop()

    def leave(self) -> None:
        self.cancel(hard=False)

    def close(self) -> None:
        for worker in self.workers:
            assert worker.process.stdin is not None
            if worker.left:
                worker.kill()
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.close()
        for worker in self.workers:
            try:
                worker.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.process.wait()
        self.workers.clear()
        self.selector.close()

    def _feed(self) -> list[Event]:
        """Give groups to workers that have none; what need not or cannot be given has an end already."""
        idle = [worker for worker in self.workers if not worker.left]
        events: list[Event] = []
        while self.waiting and not self.cancelled and (idle or len(self.workers) < self.jobs):
            group = []
            for run in self.waiting.popleft():
                if (failed := self._failed(run)) is None:
                    group.append(run)
                else:
                    events.append(failed)
            if group:
                (idle.pop() if idle else self._started()).give(tuple(group))
        return events

    def _started(self) -> Worker:
        worker = Worker(self.command, threads=self.threads, log=self.log)
        self.workers.append(worker)
        self.selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
        return worker

    def _failed(self, run: str) -> Event | None:
        """How the run has failed for another driver meanwhile, or why it has no folder."""
        try:
            failure = self.folders[run].failure(after=self.known[run])
        except (LeaseLost, InputError, OSError) as error:
            is_full = isinstance(error, OSError) and error.errno in FULL
            said = refusal(error) if isinstance(error, OSError) else str(error)
            return Event("finished", run, outcome="disk full" if is_full else "failed", error=said)
        return None if failure is None else Event("finished", run, outcome=failure.name, error=failure.reason)

    def _listen(self, worker: Worker) -> Iterator[Event]:
        messages = worker.read()
        if messages is None:
            self.selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
            self.workers.remove(worker)
            yield from self._record_exit(worker)
            return
        for message in messages:
            worker.begun.add(message["run"])
            if message["kind"] == "finished":
                worker.left.remove(message["run"])
            yield Event(**message)

    def _record_exit(self, worker: Worker) -> Iterator[Event]:
        """Say why a worker has ended, and record it for each run that it left."""
        code = worker.process.wait()
        if not worker.has_spoken and code >= 0 and worker.left and not self.cancelled:
            said = worker.last_words() or f"it exited with status {code}"
            self.refusal = f"a worker could not start: {said} (see {self.log})"
            self.cancel(hard=False)
            return
        if self.refusal and not worker.has_spoken:
            return
        outcome, error = "killed", f"the worker exited with status {code}; see {self.log}"
        if self.cancelled:
            outcome, error = "interrupted", "stopped at once"
        elif worker.overdue:
            outcome, error = "timeout", worker.overdue
        elif code < 0:
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            error = f"the worker was killed by {_signal_name(-code)}{hint}"
        for run in worker.left:
            if code == 0 and not self.cancelled and run not in worker.begun:
                self.waiting.append((run,))  # it was asked to stop when it was given the run: another one takes it
                continue
            try:
                self.folders[run].record_death(pid=worker.process.pid, outcome=outcome, error=error)
            except (LeaseLost, InputError, OSError) as problem:
                error = f"{error}; that is not on record: {problem}"
            if len(worker.given) > 1 and not self.cancelled:
                self.known[run] = self.folders.attempts(run)
                self.waiting.append((run,))
            else:
                yield Event("finished", run, outcome=outcome, error=error)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            limit = (self.timeout or float("inf")) * len(worker.given)
            if not worker.left or worker.overdue:
                continue
            if now - worker.since > limit:
                worker.overdue = f"not finished after {self.timeout:g} seconds"
            elif now - worker.heard > (self.no_progress or float("inf")):
                worker.overdue = f"no progress in {self.no_progress:g} seconds"
            elif now > self.kill_after:
                worker.overdue = f"not stopped in {STOP_SECONDS:g} seconds"
            if worker.overdue:
                worker.kill()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
