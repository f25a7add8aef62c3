"""Run: one model trained once; what it is, and an attempt at it: from scratch or a checkpoint to weights and result."""

import dataclasses
import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from vision_attn import sources
from vision_attn.data import Data, Dataset
from vision_attn.environment import environment
from vision_attn.models import FittedModel, Model
from vision_attn.models.building import made
from vision_attn.spec import InputError, Spec, canonical, digest, spec
from vision_attn.store import CHECKPOINT, RESULT, SCHEMA, WEIGHTS, Lease
from vision_attn.training import Recipe, train
from vision_attn.training.checkpoint import DamagedCheckpoint, TrainState, from_bytes, to_bytes, weights_to_bytes
from vision_attn.training.compute import ComputeSettings, choose, deterministic
from vision_attn.training.loop import Diverged, Row
from vision_attn.training.requirements import require_fit
from vision_attn.training.seeding import Streams
from vision_attn.training.stacked import Stack

CHECKPOINT_SECONDS = 30.0
PROGRESS_SECONDS = 0.5
HISTORY = "history.jsonl"

logger = logging.getLogger("vision_attn")


@spec
class Run(Spec):
    """One model, one data set, one recipe, one seed: what is trained once and identified by its digest."""

    model: Model
    data: Dataset
    recipe: Recipe
    seed: int

    def check(self) -> None:
        if isinstance(self.model, FittedModel) and self.recipe.updates != 0:
            field = "updates" if self.recipe.epochs is None else "epochs"
            allowed = "0" if field == "updates" else "None, and updates 0,"
            raise InputError(self._unfit(field, allowed))
        if isinstance(self.model, FittedModel) and self.recipe.compile == "on":
            raise InputError(self._unfit("compile", "'auto' or 'off'"))

    def _unfit(self, field: str, allowed: str) -> str:
        what = f"for {type(self.model).__name__}, which is fitted at once"
        return f"{field} of Recipe must be {allowed} {what}. Got {getattr(self.recipe, field)!r} instead."

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


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What a run is computed with, since `started` on the monotonic clock."""

    data: Data
    model: nn.Module
    streams: Streams
    choices: ComputeSettings
    started: float


def prepare(
    run: Run,
    *,
    result: dict[str, Any] | None = None,
    device: torch.device,
    threads: int,
    choices: ComputeSettings | None = None,
) -> RunContext:
    """Load the data, which must be those of the result, and build the model; `choices`: made already for its like."""
    started = time.monotonic()
    deterministic(threads)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # what draws from the generator of the current device draws from this one's
    data = loaded(run, result).to(device)
    streams = Streams(run.seed, device)
    with streams.initialising():
        model = built(run.model, data)
    model.to(device)
    require_fit(run.recipe, model, data=data)
    choices = choices or choose(run.recipe, model, data=data, device=device, threads=threads)
    return RunContext(data, model, streams, choices, started)


def loaded(run: Run, result: dict[str, Any] | None) -> Data:
    """The data of a run. Raises `InputError` where they are not those that its result, if it has one, was made on."""
    data = run.data.load()
    if result is not None and (before := result["data"]["fingerprint"]) != data.fingerprint:
        raise InputError(
            f"fingerprint of {data.name} must be {before}, as when the run was trained. Got {data.fingerprint} instead."
        )
    return data


def built(model: Model, data: Data) -> nn.Module:
    """The module of a model for the data."""
    return made(model, image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)


def begun(run: Run, data: Data) -> nn.Module:
    """The module of a run as it was before training, also in what it has drawn and does not store."""
    with Streams(run.seed).initialising():
        return built(run.model, data)


def drive(
    attempts: Sequence["Attempt"],
    rounds: Iterable[dict[int, Row | Diverged]],
    *,
    stopping: Callable[[], bool],
    write_back: Callable[[], None] = lambda: None,
) -> None:
    """Keep what training yields, update by update, for one attempt or for those of a stack, until each has an outcome.

    `rounds` says what happened at an update, by place among the attempts; `write_back` brings their states up to date.
    Raises `Stopped`.
    """
    begun = saved = shown = time.monotonic()
    before = [attempt.seconds for attempt in attempts]
    for happened in rounds:
        now = time.monotonic()
        for attempt, earlier in zip(attempts, before, strict=True):
            attempt.seconds = earlier + now - begun
        for place, what in happened.items():
            attempts[place].record(what)
        at_work = [attempt for attempt in attempts if attempt.outcome is None]
        if now - shown > PROGRESS_SECONDS:
            for attempt in at_work:
                attempt.progress(attempt.state.update)
            shown = now
        if stopping() or now - saved > CHECKPOINT_SECONDS:
            write_back()
            for attempt in at_work:
                attempt.save()
            saved = now
        if stopping():
            raise Stopped
    write_back()
    for attempt in attempts:
        if attempt.outcome is None:
            attempt.finish()


def train_stack(attempts: Sequence["Attempt"], *, stopping: Callable[[], bool]) -> None:
    """Train runs of one model and recipe, which have made equally many updates, as one program. Raises `Stopped`."""
    first = attempts[0]
    states, data = [attempt.state for attempt in attempts], [attempt.data for attempt in attempts]
    stack = Stack(states, data=data, recipe=first.run.recipe, choices=first.choices)

    def rounds() -> Iterator[dict[int, Row | Diverged]]:
        for happened in stack.train():
            for attempt in attempts:
                attempt.choices = stack.choices
            yield happened

    drive(attempts, rounds(), stopping=stopping, write_back=stack.write_back)


class Attempt:
    """One attempt at training: from scratch or from its checkpoint, to weights and a result, or to a divergence."""

    def __init__(self, lease: Lease, run: Run, ready: RunContext, progress: Callable[[int], None]) -> None:
        self.lease, self.run, self.data, self.choices = lease, run, ready.data, ready.choices
        self.started, self.progress = ready.started, progress
        self.stacked_before = 1
        self.history: list[Row] = []
        self.seconds = 0.0
        self.outcome: Outcome | None = None
        packages = ["scikit-learn"] if isinstance(run.model, FittedModel) else []
        self.environment = {**environment(*packages), **accelerator(ready.streams.device), **sourced(run)}
        num_updates = run.recipe.num_updates(ready.data.train_size)
        self.state = TrainState(ready.model, recipe=run.recipe, streams=ready.streams, num_updates=num_updates)
        self._resume()

    def train_alone(self) -> Iterator[dict[int, Row | Diverged]]:
        """What happens at each update of the training by itself, as `drive` takes it."""
        data = self.data
        rows = train(
            self.state,
            train=data.train,
            val=data.val,
            normalise=data.normalise,
            flip=data.flip,
            recipe=self.run.recipe,
            choices=self.choices,
            num_classes=data.num_classes,
        )
        try:
            for row in rows:
                yield {} if row is None else {0: row}
        except Diverged as error:
            yield {0: error}

    def record(self, what: Row | Diverged) -> None:
        """Keep a history row; a divergence is the end."""
        if isinstance(what, Diverged):
            self.finish(what)
        else:
            self.history.append(what)
            self.lease.write(HISTORY, _lines(self.history))

    def _premises(self) -> dict[str, Any]:
        return {
            "choices": self._choices(),
            "fingerprint": self.data.fingerprint,
            "environment": self.environment,
        }

    def _choices(self) -> dict[str, Any]:
        """What it is computed with; `stacked` is the largest stack that it has been a part of, also before a resume."""
        return dataclasses.replace(self.choices, stacked=max(self.stacked_before, self.choices.stacked)).as_json()

    def _resume(self) -> None:
        """Continue from the checkpoint where there is one written in the same environment; else start anew."""
        try:
            saved = from_bytes((self.lease.folder.path / CHECKPOINT).read_bytes())
        except FileNotFoundError:
            return
        except DamagedCheckpoint:
            logger.warning("The checkpoint is damaged; the run starts anew.")
            return
        premises = json.loads(saved["premises"])
        if _comparable(premises) != _comparable(self._premises()):
            logger.warning(
                "The checkpoint was written in a different environment (versions, threads, data); starting anew."
            )
            return
        self.state.load_state_dict(saved["state"])
        self.history, self.seconds = json.loads(saved["history"]), saved["seconds"]
        self.stacked_before = premises["choices"].get("stacked", 1)
        logger.info("continuing from update %d", self.state.update)

    def save(self) -> None:
        """Write a checkpoint."""
        content = {
            "premises": json.dumps(self._premises()),
            "history": json.dumps(self.history),
            "seconds": self.seconds,
            "state": self.state.state_dict(),
        }
        self.lease.write(CHECKPOINT, to_bytes(content))

    def finish(self, diverged: Diverged | None = None) -> None:
        """Write the weights, where it has not diverged, the history and, last of all, the result."""
        state, diverged_at = self.state, None if diverged is None else diverged.update
        files = {HISTORY: _lines(self.history)}
        if diverged is None:
            files[WEIGHTS] = weights_to_bytes(state.model)
        for name, payload in files.items():
            self.lease.write(name, payload)
        files["config.json"] = (self.lease.folder.path / "config.json").read_bytes()
        data = self.data
        result = {
            "schema": SCHEMA,
            "run": digest(self.run),
            "state": "done" if diverged_at is None else "diverged",
            "diverged_at": diverged_at,
            "ended": None if diverged_at is not None else "stalled" if state.stalled else "budget",
            "updates": state.update,
            "images_seen": state.update * self.run.recipe.batch_size,
            "train_loss": self.history[-1]["train_loss"] if self.history else None,
            "data": provenance(self.run, data),
            "choices": self._choices(),
            "environment": self.environment,
            "files": {name: hashlib.sha256(payload).hexdigest() for name, payload in files.items()},
            "measured": {
                "attempt": self.lease.token,
                "started": self.lease.started,
                "train_seconds": round(self.seconds, 3),
                "total_seconds": round(time.monotonic() - self.started, 3),
            },
        }
        self.lease.write_json(RESULT, result)
        self.lease.remove(CHECKPOINT)
        self.outcome = Outcome("done") if diverged is None else Outcome("diverged", str(diverged))


def provenance(run: Run, data: Data) -> dict[str, Any]:
    """What a result says of its data."""
    return {
        "label": run.data.label,
        "fingerprint": data.fingerprint,
        "subset_sha256": data.subset_sha256,
        "train_size": data.train_size,
        "val_size": 0 if data.val is None else len(data.val),
        "test_size": len(data.test),
        "num_classes": data.num_classes,
        "image_size": data.image_size,
        "in_chans": data.in_chans,
        "flip": data.flip,
    }


def accelerator(device: torch.device) -> dict[str, Any]:
    """What a result says of the GPU, which decides bits too; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    name = torch.cuda.get_device_name(device)
    return {"gpu": name, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def sourced(*specs: Spec) -> dict[str, dict[str, str]]:
    """What a result says of the source of own kinds; nothing where all are the package's."""
    found = {name: sha256 for each in specs for name, sha256 in sources.digests(each).items()}
    return {"sources": found} if found else {}


def _comparable(premises: dict[str, Any]) -> dict[str, Any]:
    """The premises but for what differs between a run alone and in a stack: either continues what the other began."""
    differing = "stacked", "channels_last", "graph", "graph_reason"
    choices = {name: choice for name, choice in premises["choices"].items() if name not in differing}
    return {**premises, "choices": choices}


def _lines(rows: Sequence[Row]) -> bytes:
    return b"".join(canonical(row) + b"\n" for row in rows)
