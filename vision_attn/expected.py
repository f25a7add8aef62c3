"""Expected: the time and the disk that the runs to do will take, judged by the finished runs of the pool."""

import dataclasses
import functools
import itertools
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Self

from vision_attn.data import Dataset
from vision_attn.models import Model, count_flops
from vision_attn.models.size import count_bytes
from vision_attn.plan import Json, Plan, of_any_subset
from vision_attn.spec import InputError, canonical, from_json
from vision_attn.states import Look
from vision_attn.store import OPEN
from vision_attn.sweep import updates
from vision_attn.training import Recipe
from vision_attn.trial import shape_of
from vision_attn.worker import pick_device

LEAST = 1.0
"""Seconds of training that tell how long an update takes."""
MOST_READ = 400
"""Finished runs that are looked at; those of the plan come first."""
TEXTS_BYTES = 36 * 1024
"""What the texts of a run take on a disk in blocks of 4 KiB; its weights come on top."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the runs to do will take.

    `seconds` of one worker, None where no finished run tells, such as one that trained under a second; `alike` runs are
    judged by finished ones of the same model, batch and data set, the `scaled` by others and the FLOPs of an update.
    `bytes` of disk, None where the data are missing that say how large a model gets.
    """

    seconds: float | None
    alike: int
    scaled: int
    bytes: int | None


@dataclasses.dataclass(frozen=True)
class Pace:
    """Median seconds of runs that are alike: of an update, and beside training; the updates of the longest.

    Of one that trains under a second most is what the first updates alone cost: then it is not `is_long`.
    """

    update: float
    beside: float
    updates: int
    is_long: bool

    @classmethod
    def of(cls, runs: Sequence[tuple[float, int, float]]) -> Self:
        """Of the seconds in training, the updates and the seconds beside of every run."""
        training = [seconds / updates for seconds, updates, _ in runs]
        most, longest = max(updates for _, updates, _ in runs), max(seconds for seconds, _, _ in runs)
        return cls(statistics.median(training), statistics.median(rest for *_, rest in runs), most, longest >= LEAST)


def expected(plan: Plan, look: Look) -> Expected:
    """What the runs that are still to do will take, as far as the pool tells."""
    keys, numbers = [key for key, state in look.states.items() if state.name in OPEN], updates(plan)
    todo = [plan.runs[key].run for key in keys]
    paces, likenesses = _paces(plan, look), list(map(_likeness, todo))
    rates = _rates(paces) if any(one not in paces for one in likenesses) else {}
    beside = statistics.median(pace.beside for pace in paces.values()) if paces else 0.0
    seconds, alike, scaled = 0.0, 0, 0
    for key, run, likeness in zip(keys, todo, likenesses, strict=True):
        number = max(1, numbers[key])
        if (known := paces.get(likeness)) is not None and (known.is_long or number <= known.updates):
            alike += 1
            seconds += known.beside + known.update * number
        elif (rate := _rate(run, rates)) is not None:
            scaled += 1
            seconds += beside + rate * _work(run) * number
    sizes = [_counted(count_bytes, _subject(run)) for run in todo]
    disk = None if None in sizes else sum(TEXTS_BYTES + (weights or 0) for weights in sizes)
    return Expected(seconds if alike + scaled == len(todo) else None, alike, scaled, disk)


def _paces(plan: Plan, look: Look) -> dict[bytes, Pace]:
    """Median seconds of finished runs on a device such as this machine's, by likeness."""
    device, found = pick_device("auto").type, defaultdict(list)
    own = (key for key in plan.runs if key in look.index)
    others = (key for key in look.index if key not in plan.runs)
    for key in itertools.islice(itertools.chain(own, others), MOST_READ):
        try:
            result, config = look.index[key].result(), look.index[key].read_config()
        except OSError:  # another user's
            continue
        if result is None or config is None or result["choices"].get("device") != device:
            continue
        measured, stacked = result["measured"], result["choices"].get("stacked", 1)
        training = measured.get("train_seconds", 0) / stacked
        beside = measured.get("total_seconds", 0) / stacked - training
        found[_likeness(config["run"])].append((training, max(1, result["updates"]), beside))
    return {alike: Pace.of(values) for alike, values in found.items()}


def _rates(paces: dict[bytes, Pace]) -> dict[str, list[float]]:
    """Seconds a FLOP of an update, by the kind of the model; a fit without updates tells nothing of them."""
    rates = defaultdict(list)
    for alike, pace in paces.items():
        run = json.loads(alike)
        if run["is_trained"] and pace.is_long and (work := _work(run)):
            rates[run["model"]["kind"]].append(pace.update / work)
    return rates


def _rate(run: Json, rates: dict[str, list[float]]) -> float | None:
    """The rate of models of the same kind or else of any; None where there is none, or no work is known of the run."""
    near = rates.get(run["model"]["kind"]) or list(itertools.chain.from_iterable(rates.values()))
    return statistics.median(near) if near and _work(run) else None


def _likeness(run: Json) -> bytes:
    """What two runs must share to take as long an update: as much of a run's JSON."""
    recipe = {"batch_size": run["recipe"].get("batch_size", Recipe.batch_size)}
    return canonical({**json.loads(_subject(run)), "recipe": recipe, "is_trained": run["recipe"].get("updates") != 0})


def _subject(run: Json) -> bytes:
    """Model and data set of a run, whatever the subset."""
    return canonical({"model": run["model"], "data": of_any_subset(run["data"])})


def _work(run: Json) -> int:
    """Forward FLOPs of an update; 0 where they are not known."""
    flops = _counted(count_flops, _subject(run)) or 0
    return flops * run["recipe"].get("batch_size", Recipe.batch_size)


def _counted(count: Callable[..., int], subject: bytes) -> int | None:
    """What `count` says of the model; None where the data, or an own kind, are not here."""
    parts = json.loads(subject)
    shape = _shape(canonical(parts["data"]))
    return None if shape is None else _count(count, canonical(parts["model"]), tuple(shape.items()))


@functools.lru_cache(maxsize=1024)
def _shape(data: bytes) -> dict[str, int] | None:
    """The shape that models are built for; a cache of its own, as data may have to be drawn to be known."""
    try:
        return shape_of(from_json(json.loads(data), Dataset).load())
    except InputError:
        return None


@functools.lru_cache(maxsize=1024)
def _count(count: Callable[..., int], model: bytes, shape: tuple[tuple[str, int], ...]) -> int | None:
    try:
        return count(from_json(json.loads(model), Model), **dict(shape))
    except InputError:
        return None
