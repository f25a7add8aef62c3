"""Signals: once means stop cleanly, twice at once; none that people and schedulers send ends anything unsaid."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
STOPPED = 75
"""Exit code of a process that was stopped."""

APART_SECONDS = 1.0
"""What comes within a second counts as one: whoever ends a job signals the process and its parents."""

AGAIN_SECONDS = 0.05


@dataclasses.dataclass
class Asked:
    """How often a process was asked to stop: 0, 1 (cleanly) or 2 (at once), and by which signal first."""

    times: int = 0
    name: str = ""
    _since: float = 0.0

    def hear(self, number: int) -> None:
        now = time.monotonic()
        if self.times == 0:
            self.times, self.name, self._since = 1, signal.Signals(number).name, now
        elif now - self._since > APART_SECONDS:
            self.times = 2


@contextlib.contextmanager
def heard(also: Callable[[Asked], None] = lambda asked: None) -> Iterator[Asked]:
    """Count what asks this process to stop, while the block runs; `also` is called at each. For the main thread.

    SIGHUP stays ignored where it is, as under nohup.
    """
    asked = Asked()

    def on_signal(number: int, frame: FrameType | None) -> None:
        asked.hear(number)
        also(asked)

    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    earlier = {number: signal.signal(number, on_signal) for number in ASKING if number not in ignored}
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
        yield asked
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


class Interrupted(BaseException):
    """A signal that asks to stop has come while nothing could be stopped cleanly; the message is its name."""


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise `Interrupted` at a signal that asks to stop, but where an inner block has `heard`.

    What comes within a second of it breaks into nothing more; a later one ends the process at once. Where the exception
    is lost, as in a destructor or in the C code of a library, the signal is sent again.
    """
    names: list[str] = []
    tell = sys.unraisablehook

    def again(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Interrupted) and names:
            number = signal.Signals[names.pop()]
            threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()
        else:
            tell(lost)

    def stop(asked: Asked) -> None:
        if asked.times > 1:
            os._exit(STOPPED)
        if not names:
            names.append(asked.name)
            raise Interrupted(asked.name)

    sys.unraisablehook = again
    try:
        with heard(stop):
            yield
    finally:
        sys.unraisablehook = tell


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait while the block runs. To a process that it starts they come once that one has `heard`."""
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
