"""Holders: which process has a lease, and whether it can still be at work.

A process is looked up by its PID only where PIDs mean the same: on one host, in one boot, in one PID name space
(containers have their own). Everywhere else, and of a process that is there but paused, only its renewals count: it
has gone silent when none was seen for the lease time on the observer's own monotonic clock. No time of a file is ever
compared with a clock, so hosts and file servers may disagree about the time by any amount.
"""

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

LEASE_SECONDS = 120.0
"""A lease that is not renewed for so long may be taken over."""

GAP_SECONDS = 30.0
"""Of the time between two looks at a lease at most so much counts: an observer that slept has seen nothing."""

JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "HQ_JOB_ID", "RAY_JOB_ID")
"""Where schedulers name the job that a process belongs to."""


class Watch:
    """What one observer has seen of a lease."""

    def __init__(self) -> None:
        self._sign: Any = None
        self._silent = self._looked = 0.0

    def silence(self, sign: Any) -> float:
        """The seconds for which the sign of life, anything that changes with each, has been seen to stay the same."""
        now = time.monotonic()
        self._silent = self._silent + min(now - self._looked, GAP_SECONDS) if sign == self._sign else 0.0
        self._sign, self._looked = sign, now
        return self._silent


def identity() -> dict[str, Any]:
    """Which process this is, so that another one can tell whether it lives: a PID alone is used again."""
    return {
        **place(),
        "pid": os.getpid(),
        "pid_started": _started("self"),
        "job": job(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
    }


def place() -> dict[str, str | None]:
    """Where the PIDs of this process mean what they say; None for what the system does not tell."""
    boot = name_space = None
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        name_space = os.readlink("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "boot": boot, "pid_namespace": name_space}


def job() -> str | None:
    """The job of a scheduler that this process is part of; tasks of a Slurm array as ARRAY_TASK."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if task and (array := os.environ.get("SLURM_ARRAY_JOB_ID")):
        return f"{array}_{task}"
    return next((found for name in JOBS if (found := os.environ.get(name))), None)


def is_here(holder: dict[str, Any]) -> bool:
    """Whether the holder's PID means here what it meant to the holder."""
    here = place()
    return None not in here.values() and all(holder.get(name) == value for name, value in here.items())


def lives(holder: dict[str, Any]) -> bool | None:
    """Whether the process is there; None where that cannot be seen from here."""
    if not is_here(holder):
        return None
    pid = holder["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's: it is there
        pass
    started = _started(str(pid)) if _is_proc_ours() else None
    if started is None or holder["pid_started"] is None:
        return None
    return started == holder["pid_started"]


def _is_proc_ours() -> bool:
    """Whether /proc shows the PIDs of this process's own name space."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _started(pid: str) -> str | None:
    """When a process started, in ticks since the boot, or that it has ended; None where its entry is hidden."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in "ZX" else fields[19]
