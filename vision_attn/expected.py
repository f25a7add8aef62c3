"""Expected: the time and the disk that the runs to do will take, judged by the finished runs of the pool."""

import dataclasses
import functools
import itertools
import json
import statistics
from collections import defaultdict

from vision_attn.models import count_flops, count_params
from vision_attn.plan import Json, Plan
from vision_attn.run import Run
from vision_attn.spec import InputError, canonical, from_json
from vision_attn.states import Look
from vision_attn.store import OPEN
from vision_attn.sweep import updates
from vision_attn.training import Recipe
from vision_attn.trial import shape_of
from vision_attn.worker import pick_device

MOST_READ = 400
"""Finished runs that are looked at; those of the plan come first."""
TEXTS_BYTES = 36 * 1024
"""What the texts of a run take on a disk in blocks of 4 KiB; its weights come on top, 4 bytes a parameter."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the runs to do will take.

    `seconds` of one worker, None where no finished run tells; `alike` runs are judged by finished ones of the same
    model, batch and data set, the `scaled` by others and the FLOPs of an update. `bytes` of disk, None where the data
    are missing that say how large a model gets.
    """

    seconds: float | None
    alike: int
    scaled: int
    bytes: int | None


def expected(plan: Plan, look: Look) -> Expected:
    """What the runs that are still to do will take, as far as the pool tells."""
    todo = [plan.runs[key].run for key, state in look.states.items() if state.name in OPEN]
    paces = _paces(plan, look)
    seconds, alike, scaled = 0.0, 0, 0
    for run in todo:
        if (found := paces.get(_likeness(run))) is not None:
            alike += 1
            seconds += statistics.median(found.values) * max(1, updates(run))
        elif (pace := _by_flops(run, paces)) is not None:
            scaled += 1
            seconds += pace * updates(run)
    sizes = [_size(canonical(_network(run))) for run in todo]
    disk = sum(TEXTS_BYTES + 4 * size[0] for size in sizes if size is not None) if None not in sizes else None
    return Expected(seconds if alike + scaled == len(todo) else None, alike, scaled, disk)


@dataclasses.dataclass
class _Pace:
    """Seconds an update of finished runs that are alike, and one of them."""

    run: Json
    values: list[float] = dataclasses.field(default_factory=list)


def _paces(plan: Plan, look: Look) -> dict[bytes, _Pace]:
    """By likeness how fast runs went on a device such as this machine's."""
    device = pick_device("auto").type
    found: dict[bytes, _Pace] = {}
    own = (key for key in plan.runs if key in look.index)
    others = (key for key in look.index if key not in plan.runs)
    for key in itertools.islice(itertools.chain(own, others), MOST_READ):
        result, config = look.index[key].result(), look.index[key].read_config()
        if result is None or config is None or result["choices"].get("device") != device:
            continue
        seconds = result["measured"].get("total_seconds", 0) / result["choices"].get("stacked", 1)
        pace = found.setdefault(_likeness(config["run"]), _Pace(config["run"]))
        pace.values.append(seconds / max(1, result["updates"]))
    return found


def _likeness(run: Json) -> bytes:
    """What two runs must share to take as long an update."""
    return canonical([run["model"], {**run["data"], "train_size": 0, "subset_seed": 0}, _batch(run)])


def _batch(run: Json) -> int:
    return int(run["recipe"].get("batch_size", Recipe.batch_size))


def _network(run: Json) -> Json:
    return {**run, "seed": 0, "recipe": {"kind": "Recipe", "updates": 0}}


def _by_flops(run: Json, paces: dict[bytes, _Pace]) -> float | None:
    """Seconds an update, from runs of the same kind of model or else of any, in proportion to the FLOPs."""
    size = _size(canonical(_network(run)))
    if size is None:
        return None
    rates = defaultdict(list)
    for pace in paces.values():
        other = _size(canonical(_network(pace.run)))
        if other is not None and other[1] > 0:
            work = other[1] * _batch(pace.run)
            rates[pace.run["model"]["kind"]].append(statistics.median(pace.values) / work)
    near = rates.get(run["model"]["kind"]) or list(itertools.chain.from_iterable(rates.values()))
    return statistics.median(near) * size[1] * _batch(run) if near else None


@functools.lru_cache(maxsize=1024)
def _size(run: bytes) -> tuple[int, int] | None:
    """Parameters and forward FLOPs of an image; None where the data, or an own kind, are not here."""
    try:
        made = from_json(json.loads(run), Run)
        shape = shape_of(made.data.load())
        return count_params(made.model, **shape), count_flops(made.model, **shape)
    except InputError:
        return None
