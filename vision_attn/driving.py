"""Driving: runs are executed until each was tried, a common cause of failure shows, time is up or a signal comes."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

from vision_attn.executors.base import Event, Executor, execute
from vision_attn.signals import heard
from vision_attn.store import FAILURES, OPEN, State

FINAL = ("done", "diverged", "failed")
"""States in which a run is not executed again unless it is asked for by `retry`."""

Why = Literal["", "interrupted", "time is up", "disk full", "failures in a row", "runs are left"]


@dataclasses.dataclass(frozen=True)
class Ended:
    """The state of every run, and why the runs ended early, if they did; `refusal`: why none could be executed."""

    states: Mapping[str, State]
    why: Why = ""
    refusal: str = ""

    @classmethod
    def after(cls, states: Mapping[str, State], why: Why, executor: Executor) -> Self:
        """The end of what `drive` has driven for that reason."""
        is_open = any(state.name in OPEN for state in states.values())
        if why in ("interrupted", "time is up") and not is_open:
            why = ""
        return cls(states, why or ("runs are left" if is_open else ""), executor.refusal)


def drive(
    executor: Executor,
    groups: Sequence[tuple[str, ...]],
    *,
    max_failures: int,
    tell: Callable[[Event | None], None],
    until: float | None = None,
) -> Why:
    """Have the groups of runs executed; why that ended early, or "".

    `tell` hears every event, and None now and then. After `max_failures` failures in a row no further run is begun.
    At a signal that asks to stop the driver leaves, at a second one all ends at once. At the time `until`, on the
    monotonic clock, it leaves as at a first signal.
    """
    why: Why = ""
    failures = 0
    told = 0
    with heard() as asked:
        for event in execute(executor, groups):
            if asked.times > told:
                told, why = asked.times, why or "interrupted"
                if told > 1:
                    executor.cancel(hard=True)
                else:
                    executor.leave()
            elif until is not None and time.monotonic() >= until:
                until, why = None, why or "time is up"
                executor.leave()
            tell(event)
            if event is None or event.kind != "finished":
                continue
            failures = failures + 1 if event.outcome in FAILURES else 0
            if event.outcome == "disk full" or failures >= max_failures:
                why = "disk full" if event.outcome == "disk full" else "failures in a row"
                executor.cancel(hard=False)
    return why or ("interrupted" if asked.times else "")
