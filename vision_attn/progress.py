"""Progress of a sweep: a bar with the remaining time on a terminal, plain lines elsewhere."""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import rich.progress
from rich.console import Console
from rich.markup import escape

from vision_attn.executors.base import Event
from vision_attn.plan import Plan
from vision_attn.spec import InputError
from vision_attn.store import FAILURES, LOG, WORKERS_LOG, State, Store
from vision_attn.sweep import updates
from vision_attn.wording import clock

LINE_SECONDS = 30.0


class Progress:
    """Called with every event of the sweep, and with None now and then."""

    def __init__(
        self, console: Console, plan: Plan, states: Mapping[str, State], *, store: Path, quiet: bool = False
    ) -> None:
        self.console, self.plan, self.quiet, self.store = console, plan, quiet, store
        self.cost = {key: max(1, number) for key, number in updates(plan).items()}
        self.ended = {key for key, state in states.items() if state.name == "done"}
        self.before = sum(self.cost[key] for key in self.ended)
        self.partial: dict[str, int] = {}
        self.since: dict[str, float] = {}
        self.begun = self.spoken = time.monotonic()
        live = console.is_terminal and not quiet and "CI" not in os.environ
        self.bar = self._bar() if live else None

    def _bar(self) -> rich.progress.Progress:
        bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("{task.fields[clock]}"),
            console=self.console,
        )
        self.task = bar.add_task("", clock="", total=sum(self.cost.values()) - self.before)
        return bar

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, event: Event | None) -> None:
        if event is not None:
            self._count(event)
        if self.bar:
            measured = sum(update >= self.cost[key] for key, update in self.partial.items())
            text = f"{len(self.ended)}/{len(self.cost)} runs, {len(self.partial)} at work"
            text += f", {measured} of them measured" if measured else ""
            time_text = f"elapsed {clock(time.monotonic() - self.begun)}"
            time_text += f" · about {left} left" if (left := self._left()) else ""
            self.bar.update(self.task, completed=self._done() - self.before, description=text, clock=time_text)
        elif not self.quiet and time.monotonic() - self.spoken > LINE_SECONDS:
            self._line(f"{len(self.partial)} at work")

    def _count(self, event: Event) -> None:
        if event.kind == "note":
            self._line(event.error or "")
            return
        if event.kind == "started":
            self.since[event.run] = time.monotonic()
        if event.kind != "finished":
            self.partial[event.run] = event.update
            return
        self.partial.pop(event.run, None)
        if event.outcome != "interrupted":
            self.ended.add(event.run)
        name = f"{self.plan.runs[event.run].hint}--{event.run[:12]}"
        seconds = time.monotonic() - self.since.get(event.run, self.begun)
        if event.outcome in FAILURES or event.outcome == "diverged":
            self._line(f"{event.outcome.upper()} {name}: {event.error}", always=True)
            folder = None
            with contextlib.suppress(OSError, InputError):  # a pool that cannot be read has been told of already
                folder = Store(self.store).find(event.run)
            log = None if folder is None else folder.path / LOG
            self._line(f"  log: {log if log and log.exists() else self.store / WORKERS_LOG}", always=True)
        elif not self.bar:
            self._line(f"{event.outcome} {name} in {seconds:.1f} s")

    def _done(self) -> int:
        return sum(self.cost[key] for key in self.ended) + sum(self.partial.values())

    def _line(self, text: str, *, always: bool = False) -> None:
        if self.quiet and not always:
            return
        self.spoken = time.monotonic()
        rest = f", about {left} left" if (left := self._left()) else ""
        head = f"[{len(self.ended)}/{len(self.cost)}{rest}] " if not self.bar else ""
        self.console.print(escape(head + text), soft_wrap=True)

    def _left(self) -> str:
        """The time that is left, if the rest takes as long an update as all since the start, probes included."""
        made = self._done() - self.before
        if made <= 0:
            return ""
        left = (sum(self.cost.values()) - self._done()) * (time.monotonic() - self.begun) / made
        return clock(left)
