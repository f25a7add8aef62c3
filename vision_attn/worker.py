"""A worker: reads run ids from its input, a line at a time, executes them, says what happens as JSON lines.

The runs of one line are alike and are trained together where that is possible, then measured in turn.

It ends when its input does, so it never outlives the process that started it.
"""

import argparse
import contextlib
import functools
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from vision_attn import sources
from vision_attn.execution import classified, execute
from vision_attn.group import train_group
from vision_attn.plan import Plan
from vision_attn.probes import Probe
from vision_attn.run import Outcome, Run
from vision_attn.signals import STOPPED, Asked, heard
from vision_attn.spec import InputError, from_json, json_sha256
from vision_attn.store import LOG, DamagedFile, RunFolder, Store, refusal
from vision_attn.store.folder import CONFIG

LOG_FORMAT = "%(asctime)s %(message)s"
BROKEN = 70
"""Exit code of a worker whose GPU no longer computes for it."""


def main() -> None:
    """A worker: execute the runs whose ids come in, alike ones in one line, until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m vision_attn.worker", description=main.__doc__)
    parser.add_argument("plan", type=Path, help="a file that Plan.keep wrote; its head is enough")
    parser.add_argument("store", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--experiment", type=Path, help="the file that defines kinds which are not the package's")
    arguments = parser.parse_args()
    events = os.fdopen(os.dup(1), "w", buffering=1)
    events.write("\n")  # what a site has printed before, perhaps without the end of its line, is no part of an event
    os.dup2(2, 1)
    try:
        device = pick_device(arguments.device)
        plan = Plan.read_kept(arguments.plan)
        sources.load_plugins()
        if arguments.experiment is not None:
            sources.load_file(arguments.experiment)
        probes = [from_json(item, Probe) for item in plan.probes]
    except InputError as error:
        sys.exit(str(error))
    except BaseException as error:  # own code raises it: signals wait until they are heard
        sys.exit(f"own code fails: {sources.fault(error)}")
    asked_to_stop = threading.Event()

    def stop(asked: Asked) -> None:
        asked_to_stop.set()
        if asked.times > 1:
            os._exit(STOPPED)

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)

    def tell(kind: str, key: str, **more: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            events.write(json.dumps({"kind": kind, "run": key, **more}) + "\n")

    options: dict[str, Any] = {
        "device": device,
        "threads": arguments.threads,
        "stopping": asked_to_stop.is_set,
    }
    put_off: dict[str, RunFolder] = {}
    with heard(stop):
        for line in _lines_until_end(asked_to_stop):
            _execute(line.split(), Store(arguments.store), put_off, probes, options, tell)
            if asked_to_stop.is_set():
                return


def _execute(
    keys: Sequence[str],
    store: Store,
    put_off: dict[str, RunFolder],
    probes: Sequence[Probe],
    options: dict[str, Any],
    tell: Callable[..., None],
) -> None:
    """Execute runs that are alike, several together where that is possible, and tell how each has ended.

    `put_off` keeps the folders of those that others are at work on, with what was seen of them.
    """
    stopping = options["stopping"]
    members, begun = [], []
    for key in keys:
        if stopping():
            tell("finished", key, outcome="interrupted", error=None)
            continue
        try:
            folder = put_off.pop(key, None) or store.find(key)
            if folder is None:
                raise InputError(f"'{store.root}' has no folder of the run")
            run = _run_of(folder, key)
        except (DamagedFile, InputError, OSError) as error:  # it costs this run, not the worker
            said = refusal(error) if isinstance(error, OSError) else str(error)
            tell("finished", key, outcome="failed", error=said)
            continue
        members.append((folder, run, functools.partial(_tell_progress, tell, key)))
        begun.append(key)
        tell("started", key)
    ended = _together(members, options) if len(members) > 1 else {}
    _end_if_broken(options["device"])
    for place, (key, (folder, run, progress)) in enumerate(zip(begun, members, strict=True)):
        outcome = ended.get(place, Outcome("interrupted") if stopping() and place else None)
        if outcome is None:
            try:
                with _output_to(folder.path / LOG):
                    outcome = execute(folder, run, probes, progress=progress, **options)
            except OSError as error:  # there is no log to write into
                outcome = classified(error)
        if outcome.name == "busy":
            put_off[key] = folder
        tell("finished", key, outcome=outcome.name, error=outcome.error)
        _end_if_broken(options["device"])


def _run_of(folder: RunFolder, key: str) -> Run:
    """The run of the key, from its folder. Raises `InputError`, `DamagedFile`, `OSError` where that has not got it."""
    content = folder.config()["run"]
    if json_sha256(content) != key:
        raise InputError(
            f"'{folder.path / CONFIG}' must hold the run {key[:12]}. It holds another: remove the folder, and the run "
            "is made anew."
        )
    try:
        return from_json(content, Run)
    except InputError:
        raise
    except BaseException as error:  # of the `check` of an own kind, whatever it is
        raise InputError(f"own code fails: {sources.fault(error)}") from error


def _end_if_broken(device: torch.device) -> None:
    """End the process where an error has left its GPU useless to it: the next one has it as new, this one never."""
    if device.type == "cuda" and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize(device)
        except RuntimeError as error:
            logging.getLogger("vision_attn").error("The worker ends, as its GPU is lost to it: %s", error)
            sys.exit(BROKEN)


def _together(
    members: Sequence[tuple[RunFolder, Run, Callable[[int], None]]], options: dict[str, Any]
) -> dict[int, Outcome]:
    """Train runs that are alike; what is logged goes to the log of each, all other output to that of the first."""
    (first, _, _), *others = members
    root = logging.getLogger()
    handlers = [logging.FileHandler(folder.path / LOG) for folder, _, _ in others]
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        root.addHandler(handler)
    try:
        with _output_to(first.path / LOG):
            return train_group(members, **options)
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def pick_device(name: str) -> torch.device:
    """The device of that name; 'auto' is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device must be 'auto', 'cpu', or 'cuda' on a machine with a CUDA GPU. Got {name!r} instead.")
    if device.type == "cuda" and (device.index or 0) >= (number := torch.cuda.device_count()):
        raise InputError(f"device must be 'cuda:{number - 1}' at most, the last GPU here. Got {name!r} instead.")
    return device


def _tell_progress(tell: Callable[..., None], key: str, update: int) -> None:
    tell("progress", key, update=update)


def _lines_until_end(asked_to_stop: threading.Event) -> Iterator[str]:
    """The lines of the input. At its end a run in progress is asked to stop, and ended if it does not."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        lines.put(None)
        asked_to_stop.set()
        time.sleep(10)
        os._exit(STOPPED)

    threading.Thread(target=read, daemon=True).start()
    while (line := lines.get()) is not None:
        yield line


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send all that the process prints, its C libraries included, to the end of a file."""
    kept = os.dup(2)
    with open(path, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # on a full disk the end of the log is lost
            sys.stderr.flush()
        os.dup2(kept, 1)
        os.dup2(kept, 2)
        os.close(kept)


if __name__ == "__main__":
    main()
