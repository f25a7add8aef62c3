"""Run: one model trained once. `execute` trains it where there are no weights, then takes the missing probes."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from vision_attn.data import Data, Dataset
from vision_attn.environment import environment
from vision_attn.models import Model
from vision_attn.probes.base import Probe, Row
from vision_attn.spec import InputError, Spec, canonical, digest, spec, to_json
from vision_attn.store import PROBES, RESULT, SCHEMA, Lease, LeaseLost, RunFolder, probe_file
from vision_attn.training import Recipe, train
from vision_attn.training.checkpoint import DamagedCheckpoint, TrainState, from_bytes, to_bytes
from vision_attn.training.choices import Choices, choose, deterministic
from vision_attn.training.fitting import require_fit
from vision_attn.training.loop import Diverged
from vision_attn.training.seeding import Streams

CHECKPOINT_SECONDS = 30.0
HEARTBEAT_SECONDS = 15.0
PROGRESS_SECONDS = 0.5
WEIGHTS, HISTORY, CHECKPOINT = "weights.safetensors", "history.jsonl", "checkpoint.pt"

logger = logging.getLogger("vision_attn")


@spec
class Run(Spec):
    """One model, one data set, one recipe, one seed: what is trained once and identified by its digest."""

    model: Model
    data: Dataset
    recipe: Recipe
    seed: int

    @property
    def hint(self) -> str:
        """A readable name for folders; never parsed."""
        mixer = getattr(self.model, "mixer", None)
        parts = [type(part).__name__ for part in (self.model, mixer) if part is not None]
        text = f"{'-'.join(parts)}--{self.data.label}-{self.data.train_size or 'all'}--s{self.seed}"
        return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip(".-")[:80]


class Stopped(Exception):
    """The run was asked to stop and has written its checkpoint."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How an attempt ended: done, diverged, interrupted, busy, failed, oom or disk full."""

    name: str
    error: str | None = None


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
    lease = folder.acquire()
    if lease is None:
        return Outcome("busy")
    wanted = [probe_file(to_json(probe)) for probe in probes if probe.skip(run.model, run.data) is None]
    state = folder.state(wanted).name
    if state in ("done", "diverged"):
        lease.give_back()
        return Outcome(state)
    try:
        with _heartbeat(lease):
            outcome = _train_and_measure(lease, run, probes, device, threads, stopping, progress)
    except Stopped:
        outcome = Outcome("interrupted")
    except LeaseLost as error:
        logger.error("%s", error)
        return Outcome("busy", str(error))
    except Exception as error:
        logger.exception("The run failed.")
        outcome = _classified(error)
    logger.info("attempt %d: %s", lease.token, outcome.name)
    try:
        lease.release(outcome.name, outcome.error)
    except LeaseLost as error:
        return Outcome("busy", str(error))
    except OSError as error:
        return _classified(error)
    return outcome


def _train_and_measure(
    lease: Lease,
    run: Run,
    probes: Sequence[Probe],
    device: torch.device,
    threads: int,
    stopping: Callable[[], bool],
    progress: Callable[[int], None],
) -> Outcome:
    started = time.monotonic()
    deterministic(threads)
    data = run.data.load()
    result = lease.folder.result()
    if result is not None and (before := result["data"]["fingerprint"]) != data.fingerprint:
        raise InputError(
            f"fingerprint of {data.name} must be {before}, as when the run was trained. Got {data.fingerprint} instead."
        )
    data = data.to(device)
    streams = Streams(run.seed, device)
    with streams.initialising():
        model = run.model.build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)
    model.to(device)
    require_fit(run.recipe, model, data=data)
    choices = choose(run.recipe, model, data=data, device=device, threads=threads)
    if result is None or not _load_weights(model, lease.folder.path / WEIGHTS, result["files"][WEIGHTS]):
        attempt = _Attempt(lease, run, data, choices, started)
        outcome = attempt.train(model, streams, stopping, progress)
        if outcome.name != "done":
            return outcome
    model.eval()
    for probe in probes:
        if probe.skip(run.model, run.data) is None and lease.folder.probe(probe_file(to_json(probe))) is None:
            if stopping():
                raise Stopped
            _measure(lease, run, probe, model, data, choices)
    return Outcome("done")


class _Attempt:
    """One attempt at training: from scratch or from its checkpoint, to weights and a result."""

    def __init__(self, lease: Lease, run: Run, data: Data, choices: Choices, started: float) -> None:
        self.lease, self.run, self.data, self.choices, self.started = lease, run, data, choices, started
        self.history: list[Row] = []
        self.seconds = 0.0
        self.premises = {
            "choices": choices.as_json(),
            "fingerprint": data.fingerprint,
            "environment": environment(),
        }

    def train(
        self, model: nn.Module, streams: Streams, stopping: Callable[[], bool], progress: Callable[[int], None]
    ) -> Outcome:
        recipe, data = self.run.recipe, self.data
        state = TrainState(model, recipe=recipe, streams=streams, num_updates=recipe.num_updates(data.train_size))
        self._resume(state)
        begun = saved = shown = time.monotonic()
        before = self.seconds
        rows = train(
            state,
            train=data.train,
            val=data.val,
            normalise=data.normalise,
            flip=data.flip,
            recipe=recipe,
            choices=self.choices,
        )
        try:
            for row in rows:
                now = time.monotonic()
                self.seconds = before + now - begun
                if row is not None:
                    self.history.append(row)
                    self.lease.write(HISTORY, _lines(self.history))
                if now - shown > PROGRESS_SECONDS:
                    progress(state.update)
                    shown = now
                if stopping() or now - saved > CHECKPOINT_SECONDS:
                    self._save(state)
                    saved = now
                if stopping():
                    raise Stopped
        except Diverged as error:
            self._finish(state, diverged_at=error.update)
            return Outcome("diverged", str(error))
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        self.lease.write(WEIGHTS, safetensors.torch.save(weights))
        self._finish(state, diverged_at=None)
        return Outcome("done")

    def _resume(self, state: TrainState) -> None:
        """Continue from the checkpoint where there is one made under the same premises; else start anew."""
        try:
            saved = from_bytes((self.lease.folder.path / CHECKPOINT).read_bytes())
        except FileNotFoundError:
            return
        except DamagedCheckpoint:
            logger.warning("The checkpoint is damaged; the run starts anew.")
            return
        if json.loads(saved["premises"]) != self.premises:
            logger.warning("The checkpoint was made under other premises (versions, threads, data); starting anew.")
            return
        state.load_state_dict(saved["state"])
        self.history, self.seconds = json.loads(saved["history"]), saved["seconds"]
        logger.info("continuing from update %d", state.update)

    def _save(self, state: TrainState) -> None:
        content = {
            "premises": json.dumps(self.premises),
            "history": json.dumps(self.history),
            "seconds": self.seconds,
            "state": state.state_dict(),
        }
        self.lease.write(CHECKPOINT, to_bytes(content))

    def _finish(self, state: TrainState, *, diverged_at: int | None) -> None:
        """Write the history and, last of all, the result."""
        self.lease.write(HISTORY, _lines(self.history))
        path, data = self.lease.folder.path, self.data
        names = ["config.json", HISTORY] + ([WEIGHTS] if diverged_at is None else [])
        facts = {
            "label": self.run.data.label,
            "fingerprint": data.fingerprint,
            "subset_sha256": data.subset_sha256,
            "train_size": data.train_size,
            "val_size": 0 if data.val is None else len(data.val),
            "test_size": len(data.test),
            "num_classes": data.num_classes,
            "image_size": data.image_size,
            "in_chans": data.in_chans,
        }
        result = {
            "schema": SCHEMA,
            "run": digest(self.run),
            "state": "done" if diverged_at is None else "diverged",
            "diverged_at": diverged_at,
            "ended": None if diverged_at is not None else "stalled" if state.stalled else "budget",
            "updates": state.update,
            "images_seen": state.update * self.run.recipe.batch_size,
            "train_loss": self.history[-1]["train_loss"] if self.history else None,
            "data": facts,
            "choices": self.premises["choices"],
            "environment": self.premises["environment"],
            "files": {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names},
            "measured": {
                "attempt": self.lease.token,
                "started": self.lease.started,
                "train_seconds": round(self.seconds, 3),
                "total_seconds": round(time.monotonic() - self.started, 3),
            },
        }
        self.lease.write_json(RESULT, result)
        self.lease.remove(CHECKPOINT)


def _measure(lease: Lease, run: Run, probe: Probe, model: nn.Module, data: Data, choices: Choices) -> None:
    begun = time.monotonic()
    with choices.autocast():
        records = [_checked(probe, row) for row in probe(model, data)]
    content = {
        "schema": SCHEMA,
        "run": digest(run),
        "probe": to_json(probe),
        "records": records,
        "seconds": round(time.monotonic() - begun, 3),
    }
    lease.write_json(f"{PROBES}/{probe_file(to_json(probe))}", content)


def _checked(probe: Probe, row: Row) -> Row:
    """The row, if it is flat and finite; a probe that yields anything else is at fault."""
    flat = all(isinstance(item, str | int | float) for item in row.values())
    if not flat or "metric" not in row or "value" not in row:
        raise TypeError(f"{type(probe).__name__} must yield flat rows with metric and value. Got {row!r} instead.")
    canonical(row)
    return row


def _load_weights(model: nn.Module, path: Path, sha256: str) -> bool:
    """Load the weights, if they are there and are those of the result."""
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        return False
    if hashlib.sha256(payload).hexdigest() != sha256:
        logger.warning("%s does not match its checksum; the run is trained again.", path)
        return False
    model.load_state_dict(safetensors.torch.load(payload))
    return True


def _lines(rows: Sequence[Row]) -> bytes:
    return b"".join(canonical(row) + b"\n" for row in rows)


def _classified(error: Exception) -> Outcome:
    """What kind of failure an exception is, in one line."""
    text = (str(error).strip().splitlines() or [""])[0]
    first = text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Outcome("disk full", first)
    starved = "can't allocate memory" in text or "out of memory" in text
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and starved):
        return Outcome("oom", first)
    return Outcome("failed", first)


@contextlib.contextmanager
def _heartbeat(lease: Lease) -> Iterator[None]:
    """Renew the lease from a thread for as long as the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(LeaseLost, OSError):
                lease.renew()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
