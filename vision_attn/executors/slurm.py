"""Runs on a Slurm cluster: arrays of tasks that each execute many runs by `vision-attn run-one`.

A task that nears its time limit has its run write a checkpoint and is put into the queue again; so are tasks that are
preempted or lose their node. Nothing of this needs the driver, which may leave and come back: what it has submitted
is on record beside the runs, in `slurm/`.
"""

import contextlib
import math
import os
import re
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vision_attn.executors import queue
from vision_attn.executors.base import Event
from vision_attn.executors.local import python
from vision_attn.executors.remote import Group, Task, Watch
from vision_attn.executors.sizing import tasks
from vision_attn.store import DamagedFile, RunFolder, read_json, write_atomic, write_json

FOLDER = "slurm"
MOST_TASKS = 1000
"""Tasks of an array; Slurm allows 1,001 unless told otherwise."""

SHORTEST_TASK, LONGEST_TASK = 600.0, 3600.0
"""Seconds of a task: starting one costs some, and a queue is kind to short ones."""

WARNING_SECONDS = 120
"""How long before its time limit a task is told."""

TICK_SECONDS = 0.25
SHORTEST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
HANDED_ON = re.compile(r"VISION_ATTN_\w+|PYTHONPATH")
SCRIPT = """#!/bin/sh
# Line SLURM_ARRAY_TASK_ID + 1 of the file beside this one names the runs of the task.
{exports}
keys=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {tasks})
child= limit= ended= heard=
trap 'heard=1 limit=1; kill -TERM $child 2>/dev/null' USR1
trap 'heard=1 ended=1; kill -TERM $child 2>/dev/null' TERM
{command} $keys &
child=$!
while :; do
    heard=
    wait $child
    code=$?
    [ -n "$heard" ] || break
done
# Near the time limit: into the queue again. Otherwise Slurm, which ends the job, knows what comes next; it is awaited.
if [ $code = 75 ] && [ -n "$limit" ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt 100 ]; then
    scontrol requeue "$SLURM_JOB_ID" && ended=1
fi
seconds=0
while [ -n "$ended" ] && [ $seconds -lt 300 ]; do
    sleep 1
    seconds=$((seconds + 1))
done
exit $code
"""


class Slurm:
    """Executor that submits arrays of at most `MOST_TASKS` tasks, of which `jobs` run at once (0: as many as can).

    `folders` are the folders of the runs by id, in the pool `store`; `asked` the probe files and `seconds` the expected
    seconds of each; `arguments` go to run-one, `options` to sbatch, after those that are made here.
    """

    def __init__(
        self,
        *,
        store: Path,
        folders: Mapping[str, RunFolder],
        asked: Mapping[str, Sequence[str]],
        seconds: Mapping[str, float],
        arguments: Sequence[str],
        jobs: int = 0,
        threads: int = 1,
        options: Sequence[str] = (),
    ) -> None:
        self.place = store.resolve() / FOLDER
        self.seconds, self.jobs, self.threads, self.options = seconds, jobs, threads, tuple(options)
        self.command = python("cli", "run-one", *arguments)
        self.watch = Watch(folders, asked)
        self.refusal = ""
        self.waiting: list[Group] = []
        self.at_work: dict[tuple[str, int], Task] = {}
        self.ended: list[tuple[Task, str]] = []
        self.jobs_of: dict[str, str] = {}
        self.recorded: set[str] | None = None
        self.doubtful: dict[str, list[list[Group]]] = {}
        self.alive: set[str] = set()
        self.cancelled = self.left = False
        self.notes: list[Event] = []
        self.told = ""
        self.begun = time.monotonic()
        self.due = 0.0

    def submit(self, groups: Sequence[Group]) -> None:
        self.waiting.extend(groups)

    @property
    def is_busy(self) -> bool:
        is_open = bool(self.at_work or self.ended or self.doubtful or (self.waiting and not self.cancelled))
        return bool(self.notes) or (is_open and not self.left)

    def poll(self) -> list[Event]:
        events: list[Event] = []
        if not self.left and time.monotonic() >= self.due:
            events = self._ask()
            pause = min(max((time.monotonic() - self.begun) / 10, SHORTEST_PAUSE), LONGEST_PAUSE)
            self.due = time.monotonic() + pause
        elif not self.notes:
            time.sleep(TICK_SECONDS)
        events += self.notes
        self.notes.clear()
        return events

    def _ask(self) -> list[Event]:
        """Ask Slurm once for all tasks, look into the folders of those at work, submit what waits."""
        events: list[Event] = []
        try:
            known = self._adopt()
            lines = {(line.array, line.index): line for line in (queue.listed(known) if known else ())}
            self.alive = {line.array for line in lines.values() if line.state not in queue.ENDS}
            events = self._follow(lines)
            self._tell(_counted([lines[place] for place in self.at_work if place in lines]))
            if self.waiting and not self.cancelled:
                self._send()
        except queue.Unreachable as error:
            self._tell(f"Slurm does not answer ({error}); trying again.")
        except queue.Refused as error:
            self._refuse(f"Slurm refuses: {error}")
        return events

    def leave(self) -> None:
        self.left = True
        if self.at_work:
            jobs = " ".join(self._jobs())
            self._tell(f"{len(self.at_work)} tasks stay in the queue of Slurm. To cancel them: scancel {jobs}")

    def cancel(self, *, hard: bool) -> None:
        self.cancelled = True
        self.left |= hard
        try:
            queue.cancel(self._jobs())
        except (queue.Unreachable, queue.Refused) as error:
            self._tell(f"The jobs could not be cancelled: {error}")

    def close(self) -> None:
        """Remove the records of arrays of which no task is left, be they this driver's or another's."""
        if self.recorded is None or self.left:
            return
        for name in self.recorded - self.alive - {array for array, _ in self.at_work}:
            for path in self.place.glob(f"{name}.*"):
                path.unlink(missing_ok=True)

    def _jobs(self) -> list[str]:
        return sorted({self.jobs_of[array] for array, _ in self.at_work})

    def _adopt(self) -> set[str]:
        """The names of all arrays on record. At the first call what an earlier driver has submitted is taken up again.

        Its runs are not submitted a second time.
        """
        if self.recorded is not None:
            return self.recorded
        records = {}
        for path in self.place.glob("*.json"):
            with contextlib.suppress(DamagedFile, FileNotFoundError):
                records[path.stem] = read_json(path)["tasks"]
        lines = queue.listed(records) if records else []
        self.recorded = set(records)
        left = {key for group in self.waiting for key in group}
        for line in lines:
            own = [tuple(key for key in group if key in left) for group in records[line.array][line.index]]
            task = Task([group for group in own if group], f"{line.job}_{line.index}")
            if line.state not in queue.ENDS and task.groups:
                self._take(line.array, line.index, task, line.job)
                left.difference_update(task.keys)
        rest = [tuple(key for key in group if key in left) for group in self.waiting]
        self.waiting = [group for group in rest if group]
        return self.recorded

    def _take(self, array: str, index: int, task: Task, job: str) -> None:
        self.watch.hand_over(task)
        self.at_work[array, index] = task
        self.jobs_of[array] = job

    def _follow(self, lines: Mapping[tuple[str, int], queue.Line]) -> list[Event]:
        for name, made in self.doubtful.items():
            jobs = {line.job for (array, _), line in lines.items() if array == name}
            for index, groups in enumerate(made):
                if jobs:
                    self._take(name, index, Task(groups, f"{min(jobs)}_{index}"), min(jobs))
                else:
                    self.waiting += groups
        self.doubtful.clear()
        events: list[Event] = []
        for place, task in list(self.at_work.items()):
            line = lines.get(place)
            if line is None or line.state in queue.ENDS:
                self.ended.append((self.at_work.pop(place), "GONE" if line is None else line.state))
            elif line.state != "PENDING":
                events += self.watch.look(task)
        ended, self.ended = self.ended, []
        for task, state in ended:
            events += self._settle(task, state)
        return events

    def _settle(self, task: Task, state: str) -> list[Event]:
        """The events at the end of a task; it is kept where it is too early to say what becomes of its runs."""
        end = "cancelled" if self.cancelled else queue.ENDS.get(state, "again")
        events, again = self.watch.settle(task, end, f"task {task.name} of Slurm ended: {state}")
        if again is None:
            self.ended.append((task, state))
        elif again and end == "died" and not task.begun:
            self._refuse(f"a task of Slurm could not start: {self._last_words(task)}")
        else:
            self.waiting += again
        return events

    def _refuse(self, why: str) -> None:
        if not self.refusal:
            self.refusal = why
            self.cancel(hard=False)

    def _send(self) -> None:
        """Submit what waits, an array at a time. The record is written first: a driver that dies here loses nothing."""
        made = tasks(self.waiting, self.seconds, shortest=SHORTEST_TASK, longest=LONGEST_TASK)[:MOST_TASKS]
        name = f"vision-attn-{secrets.token_hex(4)}"
        self.place.mkdir(parents=True, exist_ok=True)
        write_json(self.place / f"{name}.json", {"tasks": made})
        lines = [" ".join(",".join(group) for group in groups) for groups in made]
        write_atomic(self.place / f"{name}.tasks", "".join(f"{line}\n" for line in lines).encode())
        write_atomic(self.place / f"{name}.sh", self._script(name).encode())
        assert self.recorded is not None
        self.recorded.add(name)
        self.waiting, rest = self.waiting[sum(map(len, made)) :], self.waiting
        try:
            job = queue.submit(self._arguments(name, made))
        except queue.Unreachable:
            self.doubtful[name] = made
            raise
        except queue.Refused as error:
            self.waiting = rest
            if not self.at_work:
                raise
            self._tell(f"Slurm takes no more tasks now: {error}")
            return
        for index, groups in enumerate(made):
            self._take(name, index, Task(list(groups), f"{job}_{index}"), job)

    def _arguments(self, name: str, made: Sequence[Sequence[Group]]) -> list[str]:
        longest = max(sum(self.seconds[key] for group in groups for key in group) for groups in made)
        minutes = math.ceil(max(longest * 1.5 + 300, 900) / 60)
        limit = f"%{self.jobs}" if self.jobs else ""
        own = {
            "job-name": name,
            "array": f"0-{len(made) - 1}{limit}",
            "output": str(self.place / name).replace("%", "%%") + ".%a.log",
            "open-mode": "append",
            "signal": f"B:USR1@{WARNING_SECONDS}",
            "time": str(minutes),
            "cpus-per-task": str(self.threads),
        }
        mine = [f"--{option}={value}" for option, value in own.items()]
        return [*mine, "--requeue", *self.options, str(self.place / f"{name}.sh")]

    def _script(self, name: str) -> str:
        names = sorted(filter(HANDED_ON.fullmatch, os.environ))
        return SCRIPT.format(
            exports="\n".join(f"export {one}={shlex.quote(os.environ[one])}" for one in names),
            tasks=shlex.quote(str(self.place / f"{name}.tasks")),
            command=shlex.join(self.command),
        )

    def _last_words(self, task: Task) -> str:
        job, _, index = task.name.partition("_")
        array = next(name for name, number in self.jobs_of.items() if number == job)
        log = self.place / f"{array}.{index}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return f"{next((line for line in reversed(lines) if line.strip()), 'it left no word')} (see {log})"

    def _tell(self, text: str) -> None:
        """Note what has not just been said."""
        if text and text != self.told:
            self.notes.append(Event("note", error=text))
            self.told = text


def _counted(lines: Sequence[queue.Line]) -> str:
    """How many tasks are in which state, and why those that wait do."""
    shown = Counter(
        f"{line.state.lower()} ({line.reason})" if line.state == "PENDING" else line.state.lower() for line in lines
    )
    return "Slurm: " + ", ".join(f"{number} {what}" for what, number in sorted(shown.items())) if shown else ""
