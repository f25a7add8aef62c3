"""Pretended crashes: processes on several hosts that work on one store, and may end at any call of the file system.

A process is what `Machines` says is at work now: the store sees its PID, host, boot, PID name space and clocks. Where
one dies, nothing it does afterwards reaches the disk, as after SIGKILL: what it was writing is cut in half.
"""

import contextlib
import dataclasses
import os
import stat
import types

from vision_attn.store import files, holder, lease

PLACE = ("host", "boot", "pid_namespace")
CALLS = ("replace", "unlink", "rmdir", "mkdir", "utime", "fsync")
"""Calls of the file system at which a process may end."""


class Crash(BaseException):
    """The process is dead."""


@dataclasses.dataclass(eq=False)
class Process:
    """A process, alive or dead, and for how long it has not renewed any lease."""

    place: tuple[str, str, str]
    pid: int
    started: str
    is_alive: bool = True
    silent: float = 0.0

    @property
    def host(self):
        return self.place[0]


class Machines:
    """Where processes run: which is at work now, how many calls it has left, what clocks say."""

    def __init__(self, monkeypatch):
        self.processes = []
        self.now = None
        self.left = None
        self.seconds = 1000.0
        self.ahead = {}
        monkeypatch.setattr(holder, "place", lambda: dict(zip(PLACE, self.now.place, strict=True)))
        monkeypatch.setattr(holder, "_is_proc_ours", lambda: True)
        monkeypatch.setattr(holder, "_started", self._started)
        seen = types.SimpleNamespace(environ={}, getpid=lambda: self.now.pid, kill=self._kill)
        monkeypatch.setattr(holder, "os", seen)
        clock = types.SimpleNamespace(monotonic=self._monotonic, time_ns=self._time_ns)
        clock.gmtime, clock.strftime = lambda: None, lambda form, at: self.now.started
        for module in (holder, lease):
            monkeypatch.setattr(module, "time", clock)
        for name in CALLS:
            monkeypatch.setattr(os, name, self._mortal(name, getattr(os, name)))
        monkeypatch.setattr(files, "sync_folder", lambda folder: None)

    def start(self, place):
        """A process with the lowest PID that is free there: PIDs are used again."""
        taken = {one.pid for one in self.processes if one.is_alive and one.place == place}
        pid = next(number for number in range(1, 99) if number not in taken)
        self.processes.append(Process(place, pid, f"start {len(self.processes)}"))
        return self.processes[-1]

    @contextlib.contextmanager
    def at_work(self, process, *, calls=None):
        """The block is done by the process, which ends at the call after so many."""
        self.now, self.left = process, calls
        try:
            yield
        except Crash:
            process.is_alive = False
        finally:
            self.now = self.left = None

    def _mortal(self, name, call):
        def called(*arguments, **options):
            if self.left == 0:
                if name == "fsync" and stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                raise Crash
            if self.left is not None:
                self.left -= 1
            return call(*arguments, **options) if name != "fsync" else None

        return called

    def _alive(self, pid):
        here = [one for one in self.processes if one.is_alive and one.place == self.now.place]
        return next((one for one in here if one.pid == pid), None)

    def _kill(self, pid, number):
        if self._alive(pid) is None:
            raise ProcessLookupError

    def _started(self, pid):
        found = self.now if pid == "self" else self._alive(int(pid))
        return found and found.started

    def _monotonic(self):
        return self.seconds + 5000 * len(self.now.host)  # every host counts from another moment

    def _time_ns(self):
        return int((self.seconds + self.ahead.get(self.now.host, 0) + 10**7) * 10**9)
