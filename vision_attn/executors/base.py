"""Executor: takes runs by id and sees that they are executed somewhere. Results never travel through it."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

Kind = Literal["started", "progress", "finished"]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a run. `update` counts for progress; `outcome` and `error` for finished.

    The outcome is what the worker said, or what its death says; what became of the run is in the store.
    """

    kind: Kind
    run: str
    update: int = 0
    outcome: str = ""
    error: str | None = None


class Executor(Protocol):
    """Executes runs of a plan. `execute` yields events until every run was tried once or `stop` was called."""

    def execute(self, groups: Sequence[tuple[str, ...]]) -> Iterator[Event | None]:
        """Yield events as they come, and None now and then while there are none.

        The runs of a group are alike and are given to one worker together.
        """

    def stop(self, *, hard: bool) -> None:
        """Let running runs write a checkpoint and end; `hard`: end them at once."""
