"""Queue: Slurm's commands, asked and read: sbatch, squeue, scancel. Nothing is asked of its accounting."""

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from vision_attn.executors.remote import End
from vision_attn.spec import InputError

COMMANDS = ("sbatch", "squeue", "scancel")
SECONDS = 120
ENDS: dict[str, End] = {
    "BOOT_FAIL": "again",
    "CANCELLED": "cancelled",
    "COMPLETED": "again",
    "DEADLINE": "again",
    "FAILED": "died",
    "NODE_FAIL": "again",
    "OUT_OF_MEMORY": "oom",
    "PREEMPTED": "again",
    "REVOKED": "again",
    "TIMEOUT": "again",
}
"""States that a task does not leave, and what they say of it; all others are on the way."""

PASSING = re.compile(r"contact|timed? ?out|zero bytes|connect|temporar|try again|transport|socket", re.IGNORECASE)


class Unreachable(Exception):
    """Slurm's controller does not answer now; it may later."""


class Refused(Exception):
    """Slurm does not do what it was asked to, and says why."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A task of an array as squeue lists it: the array's name and number, its own number in it, state and reason."""

    array: str
    job: str
    index: int
    state: str
    reason: str


def require() -> None:
    """Raise `InputError` where Slurm's commands are not here."""
    if missing := [name for name in COMMANDS if shutil.which(name) is None]:
        raise InputError(f"engine 'slurm' needs {', '.join(COMMANDS)} on the PATH. Not there: {', '.join(missing)}.")


def listed(arrays: Iterable[str]) -> list[Line]:
    """Every task of the arrays of these names that Slurm still knows. Raises `Unreachable` and `Refused`."""
    names = ",".join(arrays)
    said = _ask("squeue", "--noheader", "--array", "--states=all", "--format=%j|%F|%K|%T|%r", f"--name={names}")
    rows = [line.strip().split("|", 4) for line in said.splitlines()]
    return [
        Line(name, job, int(index), state, reason)
        for name, job, index, state, reason in (row for row in rows if len(row) == 5)
        if index.isdecimal()
    ]


def submit(arguments: Sequence[str]) -> str:
    """The number of the job that sbatch has made. Raises `Unreachable` and `Refused`."""
    said = _ask("sbatch", "--parsable", *arguments).strip().splitlines()
    return said[-1].partition(";")[0] if said else ""


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs. Raises `Unreachable` and `Refused`."""
    if numbers := list(jobs):
        _ask("scancel", *numbers)


def _ask(*command: str) -> str:
    try:
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]} has not answered in {SECONDS} seconds") from None
    except FileNotFoundError:
        raise Refused(f"{command[0]} is not on the PATH") from None
    if asked.returncode == 0:
        return asked.stdout
    said = " ".join((asked.stderr or asked.stdout).split()) or f"{command[0]} ended with status {asked.returncode}"
    raise Unreachable(said) if PASSING.search(said) else Refused(said)
