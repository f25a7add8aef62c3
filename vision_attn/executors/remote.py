"""Remote: what executors have in common whose runs are executed elsewhere: the store says what becomes of each."""

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from vision_attn.executors.base import Event
from vision_attn.spec import InputError
from vision_attn.store import FAILURES, LeaseLost, RunFolder

MOST_TRIES = 5
"""Tasks that may end without finishing a run before the run counts as failed."""

UNREADABLE = (LeaseLost, InputError, OSError)
"""What a file system, or another process, can have against a look into a run's folder."""

Group = tuple[str, ...]
End = Literal["cancelled", "again", "died", "oom"]
"""How a task ended: by the user's wish; through no fault of its runs; by itself; for want of memory."""


@dataclasses.dataclass
class Task:
    """Groups of runs that are executed one after another; `name` is what the cluster calls it."""

    groups: list[Group]
    name: str = ""
    begun: bool = False
    counted: bool = False

    @property
    def keys(self) -> list[str]:
        return [key for group in self.groups for key in group]

    def drop(self, keys: set[str]) -> None:
        """Take runs out."""
        left = [tuple(key for key in group if key not in keys) for group in self.groups]
        self.groups = [group for group in left if group]


class Watch:
    """What has become of runs since they were handed over, from their folders alone.

    A folder that cannot be read costs its run alone: once its task has ended, the run counts as failed for now.
    `asked` are the files of the probes that each run is asked for.
    """

    def __init__(self, folders: Mapping[str, RunFolder], asked: Mapping[str, Sequence[str]]) -> None:
        self.folders, self.asked = folders, asked
        self.before: dict[str, int] = {}
        self.started: set[str] = set()
        self.tries: Counter[str] = Counter()
        self.suspects: set[str] = set()

    def hand_over(self, task: Task) -> None:
        """Remember what is on record of the runs: only what comes after it is news."""
        for key in task.keys:
            self.before[key] = sys.maxsize
            with contextlib.suppress(*UNREADABLE):
                self.before[key] = len(self.folders[key].attempts())

    def look(self, task: Task, *, whole: bool = False) -> list[Event]:
        """What is new; runs at their end leave the task. Unless `whole`, no further than to the group at work."""
        events: list[Event] = []
        for group in list(task.groups):
            ended = {key for key in group if self._ended(key, task, events, whole)}
            task.drop(ended)
            if len(ended) < len(group) and not whole:
                break
        return events

    def settle(self, task: Task, end: End, why: str) -> tuple[list[Event], list[Group] | None]:
        """What a task that has ended has left: events, and groups to submit again.

        None for the groups where a run may still be written to: then ask again later.
        """
        events = self.look(task, whole=True)
        if not task.groups:
            return events, []
        if end == "cancelled":
            return events + [Event("finished", key, outcome="interrupted", error=why) for key in task.keys], []
        first = task.keys[0]
        failed = [key for key in task.keys if self.folders[key].holder() is not None] if end in ("died", "oom") else []
        if not failed and not task.counted:
            task.counted = True
            self.tries[first] += 1
        if not failed and self.tries[first] >= MOST_TRIES:
            failed = [first]
        ends = [self._record_failure(key, "oom" if end == "oom" else "killed", why) for key in failed]
        events += [event for event in ends if event is not None]
        task.drop({event.run for event in ends if event is not None})
        return events, task.groups if None not in ends else None

    def _ended(self, key: str, task: Task, events: list[Event], whole: bool) -> bool:
        """Whether a run is at its end. A failure that shows once may be one that a new attempt is just writing down."""
        try:
            state, attempts = self.folders[key].state(self.asked[key]), self.folders[key].attempts()
        except UNREADABLE as error:
            if whole:
                events.append(Event("finished", key, outcome="failed", error=str(error)))
            return whole
        is_new = len(attempts) > self.before[key]
        is_failed = state.name in FAILURES and is_new
        if state.name in ("done", "diverged") or (is_failed and (whole or key in self.suspects)):
            events.append(Event("finished", key, outcome=state.name, error=state.reason or None))
            task.begun = True
            return True
        if is_failed:
            self.suspects.add(key)
        else:
            self.suspects.discard(key)
        if state.name == "running" or is_new:
            task.begun = True
            if key not in self.started:
                self.started.add(key)
                events.append(Event("started", key))
        return False

    def _record_failure(self, key: str, outcome: str, why: str) -> Event | None:
        """Write a failure down, where the run has not ended after all; None where a living process has it."""
        try:
            lease = self.folders[key].acquire()
            if lease is None:
                return None
            state = self.folders[key].state(self.asked[key])
            if state.name in ("done", "diverged"):
                lease.release_unused()
                return Event("finished", key, outcome=state.name, error=state.reason or None)
            lease.release(outcome, why)
        except UNREADABLE as problem:
            why = f"{why}; that is not on record: {problem}"
        return Event("finished", key, outcome=outcome, error=why)
