"""Apart: calls in a process of their own, so that what breaks or outlasts them ends one call and not the others."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self

LONGEST_REASON = 300
PATIENCE = 10
"""Seconds in which a process is to end by itself."""


class Failed(RuntimeError):
    """A call has failed, or has ended its process; the message is the reason."""


class TookLong(Failed):
    """A call was ended because it took too long."""


class Apart:
    """A process that makes one call after another, and is replaced after one that failed.

    An error of a GPU stays with the process that met it, and a call that hangs can be ended only with its process.
    """

    def __init__(self) -> None:
        self._process: SpawnProcess | None = None
        self._calls: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._process is not None and self._calls is not None:
            self._calls.close()  # at which it ends by itself
            self._process.join(PATIENCE)
        self._end()

    @property
    def is_fresh(self) -> bool:
        """Whether the next call has a process in which no other was made."""
        return self._calls is None

    def call(self, function: Callable[..., Any], *args: Any, seconds: float) -> Any:
        """What `function` gives, a function of a module. Raises `Failed` with the reason where it gives nothing."""
        if self._calls is None:
            self._begin()
        assert self._process is not None
        assert self._calls is not None
        try:
            self._calls.send((function, args))
            if not self._calls.poll(seconds):
                raise TookLong(f"ended after {seconds:.0f} s")
            found, reason = self._calls.recv()
        except (EOFError, ConnectionError):
            self._process.join(PATIENCE)
            reason = f"its process ended with exit code {self._process.exitcode}"
        except BaseException:
            self._end()
            raise
        if reason is not None:
            self._end()
            raise Failed(reason)
        return found

    def _begin(self) -> None:
        # A fork of a process that has asked for its GPUs cannot use them.
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs,))
        self._process.start()
        theirs.close()

    def _end(self) -> None:
        """End the process and those that it has started."""
        if self._process is None or self._calls is None:
            return
        pid = self._process.pid
        assert pid is not None
        with contextlib.suppress(ProcessLookupError):
            own = os.getpgid(pid) == pid
            os.killpg(pid, signal.SIGKILL) if own else self._process.kill()
        self._process.join()
        self._calls.close()
        self._process = self._calls = None


def _answer(calls: Connection) -> None:
    """Make the calls that come in, until no more can."""
    os.setpgid(0, 0)  # a signal of the keyboard goes to the process that asks, which ends this one
    os.dup2(2, 1)  # what libraries print is no output of the command
    while True:
        try:
            function, args = calls.recv()
        except EOFError:
            return
        answer: tuple[Any, str | None]
        try:
            answer = function(*args), None
        except Exception as error:  # whatever a kernel, a compiler or a worker of a loader may raise
            answer = None, _reason(error)
        sys.stdout.flush()
        calls.send(answer)


def _reason(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"[:LONGEST_REASON]
