"""Execution: a run is trained where it has no weights, then the missing probes are taken."""

import contextlib
import errno
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from vision_attn.data import Data
from vision_attn.probes.asking import answers
from vision_attn.probes.base import Probe
from vision_attn.run import Attempt, Outcome, Run, Stopped, drive, prepare, sourced, train_stack
from vision_attn.sources import own_place
from vision_attn.spec import InputError, digest, to_json
from vision_attn.store import CHECKPOINT, PROBES, SCHEMA, WEIGHTS, Lease, LeaseLost, RunFolder, probe_file, refusal
from vision_attn.training import checkpoint
from vision_attn.training.compute import ComputeSettings

HEARTBEAT_SECONDS = 15.0

UNWRITTEN = (LeaseLost, InputError, OSError)
"""What a file system, or another process, can have against a write into a run folder."""

logger = logging.getLogger("vision_attn")


def execute(
    folder: RunFolder,
    run: Run,
    probes: Sequence[Probe],
    *,
    device: torch.device,
    threads: int,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda update: None,
) -> Outcome:
    """Train the run where its folder has no weights, then measure what is missing. A crash costs only this run."""
    try:
        lease = folder.acquire()
    except LeaseLost as error:
        return Outcome("busy", str(error))
    except (InputError, OSError) as error:
        return classified(error)
    if lease is None:
        return Outcome("busy")
    try:
        asked = {probe_file(to_json(probe)): probe for probe in probes if probe.skip(run.model, run.data) is None}
        state = folder.state(list(asked)).name
        if state in ("done", "diverged"):
            with contextlib.suppress(*UNWRITTEN):
                lease.release_unused()
            return Outcome(state)
        with heartbeat(lease):
            outcome = _train_and_measure(lease, run, asked, device, threads, stopping, progress)
    except Stopped:
        outcome = Outcome("interrupted")
    except LeaseLost as error:
        logger.error("%s", error)
        return Outcome("busy", str(error))
    except BaseException as error:  # own code raises whatever it is: a worker hears signals otherwise
        logger.exception("The run failed.")
        outcome = classified(error)
    logger.info("attempt %d: %s", lease.token, outcome.name)
    try:
        lease.release(outcome.name, outcome.error)
    except LeaseLost as error:
        return Outcome("busy", str(error))
    except (InputError, OSError) as error:
        return classified(error)
    return outcome


def _train_and_measure(
    lease: Lease,
    run: Run,
    asked: dict[str, Probe],
    device: torch.device,
    threads: int,
    stopping: Callable[[], bool],
    progress: Callable[[int], None],
) -> Outcome:
    """Train, where there are no weights, and take what is missing of the probes, which are given by their files."""
    ready = prepare(run, result=(result := lease.folder.result()), device=device, threads=threads)
    if result is None or not load_weights(ready.model, lease.folder.path / WEIGHTS, result["files"][WEIGHTS]):
        attempt = Attempt(lease, run, ready, progress)
        if attempt.choices.graph:
            train_stack([attempt], stopping=stopping)
        else:
            drive([attempt], attempt.train_alone(), stopping=stopping)
        assert attempt.outcome is not None
        if attempt.outcome.name != "done":
            return attempt.outcome
    else:
        lease.remove(CHECKPOINT)  # of an attempt that died once its result was written
    model, data, choices = ready.model, ready.data, ready.choices
    model.eval()
    for file, probe in asked.items():
        if lease.folder.probe(file) is None:
            if stopping():
                raise Stopped
            _measure(lease, file, run, probe, model, data, choices)
            progress(run.recipe.num_updates(data.train_size))
    return Outcome("done")


def _measure(
    lease: Lease, file: str, run: Run, probe: Probe, model: nn.Module, data: Data, choices: ComputeSettings
) -> None:
    begun = time.monotonic()
    with choices.autocast():
        records = answers(probe, model, data)
    content = {
        "schema": SCHEMA,
        "run": digest(run),
        "probe": to_json(probe),
        **sourced(probe),
        "records": records,
        "seconds": round(time.monotonic() - begun, 3),
    }
    lease.write_json(f"{PROBES}/{file}", content)


def load_weights(model: nn.Module, path: Path, sha256: str) -> bool:
    """Load the weights, if they are there and are those of the result."""
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        return False
    if hashlib.sha256(payload).hexdigest() != sha256:
        logger.warning("%s does not match its checksum; the run is trained again.", path)
        return False
    checkpoint.load_weights(model, payload)
    return True


def classified(error: BaseException) -> Outcome:
    """What kind of failure an exception is, in one line, with the last line of own code that led to it."""
    text = (str(error).strip().splitlines() or [""])[0]
    first = text if isinstance(error, InputError) else ": ".join(filter(None, (type(error).__name__, text)))
    if isinstance(error, OSError) and error.filename:
        first = refusal(error)
    if (place := own_place(error)) and place not in first:
        first = f"{first} ({place})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Outcome("disk full", first)
    starved = any(said in text for said in ("can't allocate memory", "out of memory", "ALLOC_FAILED"))
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and starved):
        return Outcome("oom", first)
    return Outcome("failed", first)


@contextlib.contextmanager
def heartbeat(lease: Lease) -> Iterator[None]:
    """Renew the lease from a thread for as long as the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(*UNWRITTEN):
                lease.renew()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
