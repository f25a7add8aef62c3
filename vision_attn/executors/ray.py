"""Runs on a Ray cluster: tasks that each execute many runs by `vision-attn run-one`; the store says what came of them.

Ray (https://docs.ray.io, Moritz et al. 2018) places the tasks and notices lost nodes. It repeats nothing by itself and
carries no results.
"""

import importlib.util
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_attn.executors.base import Event
from vision_attn.executors.local import python
from vision_attn.executors.remote import End, Group, Task, Watch
from vision_attn.executors.sizing import tasks
from vision_attn.spec import InputError
from vision_attn.store import RunFolder

TICK_SECONDS = 1.0
SHORTEST_TASK, LONGEST_TASK = 60.0, 600.0
"""Seconds of a task: tasks wait in no queue of other people, and a lost node takes little along."""

NOT_INSTALLED = "engine 'ray' needs Ray, which is not installed: pip install 'vision-attn[ray]'."

LOOPBACK_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where this is 0, Ray takes 127.0.0.1 for the node's address on every system, and listens there and nowhere else."""


class Ray:
    """Executor on the cluster at `address`, or that of RAY_ADDRESS, or on a Ray of its own on this machine alone.

    A task takes `threads` CPUs, and a GPU where `device` is one. `folders`, `asked`, `seconds`, `arguments` and `jobs`
    are as for `Slurm`. Raises `InputError` where no cluster answers at the address.
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
        device: str = "auto",
        address: str | None = None,
    ) -> None:
        self.ray = connect(address)
        self.log = store.resolve() / "ray.log"
        self.seconds, self.jobs = seconds, jobs
        self.needs = {"num_cpus": threads, "num_gpus": int(device.startswith("cuda"))}
        self.command = python("cli", "run-one", "--until-eof", *arguments)
        self.watch = Watch(folders, asked)
        self.refusal = ""
        self.planned: list[list[Group]] = []
        self.at_work: dict[Any, Task] = {}
        self.ended: list[tuple[Task, End, str]] = []
        self.cancelled = False
        self.remote = self._remote()

    def submit(self, groups: Sequence[Group]) -> None:
        self.planned += tasks(groups, self.seconds, shortest=SHORTEST_TASK, longest=LONGEST_TASK)

    @property
    def is_busy(self) -> bool:
        return bool(self.at_work or self.ended or (self.planned and not self.cancelled))

    def poll(self) -> list[Event]:
        while self.planned and not self.cancelled and (not self.jobs or len(self.at_work) < self.jobs):
            self._send(self.planned.pop(0))
        events: list[Event] = []
        began = time.monotonic()
        over, _ = self.ray.wait(list(self.at_work), timeout=TICK_SECONDS) if self.at_work else ([], [])
        for reference in over:
            task = self.at_work.pop(reference)
            self.ended.append((task, *self._end(reference, task)))
        for task in self.at_work.values():
            events += self.watch.look(task)
        ended, self.ended = self.ended, []
        for task, end, why in ended:
            events += self._settle(task, end, why)
        time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - began)))
        return events

    def leave(self) -> None:
        self.cancel(hard=False)

    def cancel(self, *, hard: bool) -> None:
        self.cancelled = True
        for reference in self.at_work:
            self.ray.cancel(reference, force=hard)

    def close(self) -> None:
        for reference in self.at_work:
            self.ray.cancel(reference, force=True)
        self.ray.shutdown()

    def _send(self, groups: list[Group]) -> None:
        task = Task(groups, "of Ray")
        self.watch.hand_over(task)
        keys = [",".join(group) for group in groups]
        self.at_work[self.remote.remote([*self.command, *keys], str(self.log))] = task

    def _end(self, reference: Any, task: Task) -> tuple[End, str]:
        """How a task has ended, from what Ray says of it."""
        if self.cancelled:
            return "cancelled", "stopped"
        try:
            code = self.ray.get(reference)
        except self.ray.exceptions.OutOfMemoryError:
            return "oom", "Ray ended the task: its node was out of memory"
        except self.ray.exceptions.TaskCancelledError:
            return "cancelled", "the task was cancelled in Ray"
        except self.ray.exceptions.RayError as error:
            return "again", f"the task was lost: {type(error).__name__}"
        return ("again" if code in (0, 75) else "died"), f"run-one ended with status {code}; see {self.log}"

    def _settle(self, task: Task, end: End, why: str) -> list[Event]:
        events, again = self.watch.settle(task, end, why)
        if again is None:
            self.ended.append((task, end, why))
        elif again and end == "died" and not task.begun:
            self.refusal = f"a task could not start: {why}"
            self.cancel(hard=False)
        elif again:
            self.submit(again)
        return events

    def _remote(self) -> Any:
        """The task as Ray takes it: made here, it is sent as it is, and a node need not import this module."""

        def run(command: list[str], log: str) -> int:
            import signal
            import subprocess

            with open(log, "ab") as file:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file)
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGTERM)
                return process.wait()

        return self.ray.remote(max_retries=0, **self.needs)(run)


def require() -> None:
    """Raise `InputError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(NOT_INSTALLED)


def connect(address: str | None) -> Any:
    """The module ray, connected. Without a cluster one is started that asks for a token and listens on loopback alone.

    Raises `InputError` where Ray is not installed or no cluster answers at the address.
    """
    where = address or os.environ.get("RAY_ADDRESS") or None
    if where is None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), LOOPBACK_ALONE: "0"}
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise InputError(NOT_INSTALLED) from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if where is None:
        ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **options)
        return ray
    try:
        ray.init(address=where, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"address must be that of a running Ray cluster. Got {where!r} instead: {said}") from None
    return ray
