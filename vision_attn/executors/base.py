"""Executor: takes runs by id and sees that they are executed somewhere. Results never travel through it."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

Engine = Literal["local", "slurm", "ray"]
Kind = Literal["started", "progress", "finished", "note"]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a run. `update` counts for progress; `outcome` and `error` for finished.

    The outcome is what the worker said, or what its death says; what became of the run is in the store. A note is
    about no run: `error` is a sentence for the user.
    """

    kind: Kind
    run: str = ""
    update: int = 0
    outcome: str = ""
    error: str | None = None


class Executor(Protocol):
    """Executes runs of a plan, each once; which are alive or done is read from the store alone."""

    refusal: str
    """Why nothing can be executed; empty as long as nothing is known against it."""

    def submit(self, groups: Sequence[tuple[str, ...]]) -> None:
        """Take runs to execute. Those of a group are alike and are given to one worker together."""

    def poll(self) -> list[Event]:
        """What has happened since the last call; waits a moment where nothing has."""

    @property
    def is_busy(self) -> bool:
        """Whether runs are left that were neither tried nor cancelled."""

    def cancel(self, *, hard: bool) -> None:
        """Let running runs write a checkpoint and end, and begin no other; `hard`: end them at once."""

    def leave(self) -> None:
        """The driver goes. What cannot go on without it writes a checkpoint and ends."""

    def close(self) -> None:
        """Leave nothing behind on this machine; called once, at the end."""


def execute(executor: Executor, groups: Sequence[tuple[str, ...]]) -> Iterator[Event | None]:
    """Yield events as they come, and None now and then, until every run was tried or the executor was cancelled."""
    try:
        executor.submit(groups)
        while executor.is_busy:
            yield from executor.poll() or (None,)
    finally:
        executor.close()
