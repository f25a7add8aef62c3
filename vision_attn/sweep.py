"""Sweep: bring the runs of a plan to an end, in worker processes, and say what has become of each."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vision_attn import engines, rehearsal, trial
from vision_attn.data import Dataset
from vision_attn.driving import FINAL, Ended, drive
from vision_attn.executors.base import Event
from vision_attn.models import Model, count_flops, count_params
from vision_attn.models.building import empty
from vision_attn.plan import Plan
from vision_attn.resources import cores
from vision_attn.run import Run
from vision_attn.spec import InputError, from_json
from vision_attn.states import Look, look
from vision_attn.store import FAILURES, RUNS, LeaseLost, refusal
from vision_attn.training import Recipe
from vision_attn.training.stacked import stackable
from vision_attn.trial import shape_of
from vision_attn.worker import pick_device

STACK_ON_GPU = 16
"""Runs that a GPU trains together at most, unless told otherwise: on an H200 a stack of 64 ViTs with 0.21 million
parameters made 1.12 times the images a second of one of 16, in four times the memory. Where memory is too short for
that, a worker halves them."""


def updates(plan: Plan) -> dict[str, int]:
    """The planned updates of every run of a plan; 0 where they depend on data not yet loaded."""
    firsts = {first: _updates(_run(plan, first)) for first in set(plan.alike.values())}
    return {key: firsts[first] for key, first in plan.alike.items()}


def _updates(made: Run) -> int:
    if made.recipe.updates is None and made.data.train_size is None:
        return 0
    return made.recipe.num_updates(made.data.train_size or 0)


def forget_failures(plan: Plan, store: Path, *, diverged: bool) -> list[str]:
    """Make failed (and diverged) runs of the plan pending again."""
    names = (*FAILURES, "diverged") if diverged else FAILURES
    found = look(plan, store)
    again = [key for key, state in found.states.items() if state.name in names]
    stuck = []
    for key in again:
        try:
            if key in found.index:
                found.index[key].forget_failure()
            else:
                stuck.append(found.states[key].reason)
        except LeaseLost as error:
            stuck.append(str(error))
        except OSError as error:
            stuck.append(refusal(error))
    if stuck:
        raise InputError(f"{len(stuck)} of {len(again)} runs cannot be made pending now: {stuck[0]}")
    return again


def check(plan: Plan, keys: Sequence[str], *, needs_data: bool = True) -> list[str]:
    """Raise `InputError` where the runs, or one's own figures and rules, would stumble (`trial`, `rehearsal`).

    With `needs_data` off, data that cannot be loaded are not refused: the sentences that say so are returned.
    """
    said = trial.check(plan, keys, needs_data=needs_data)
    if keys and not said:
        rehearsal.check(plan)
    return said


def sizes(plan: Plan) -> dict[str, dict[str, Any]]:
    """Parameters and forward FLOPs of every model of the plan, by its label where the plan has a factor `model`."""
    found: dict[str, dict[str, Any]] = {}
    for cell in plan.cells:
        made = _run(plan, cell.run)
        label = plan.label(cell, "model") if "model" in plan.factors else type(made.model).__name__
        if label in found:
            continue
        shape, model = _shape(made.data), made.model
        found[label] = {
            "params": count_params(model, **shape),
            "flops": count_flops(model, **shape),
            "spec": repr(model),
        }
    return found


def groups(plan: Plan, todo: Sequence[str], *, at_most: int) -> list[tuple[str, ...]]:
    """The runs to do, those together that can be trained in a stack: of one model, recipe and data set.

    Subsets of several sizes go together where the recipe makes equally many updates of all. Stacks of the same runs
    are as even as they can be.

    A group is made of neighbours in the whole plan, done or not, so that a continued sweep makes the same groups.
    """
    if at_most == 1:
        return [(key,) for key in todo]
    alike: dict[tuple[Model, Recipe, Dataset], list[str]] = {}
    for key in plan.runs:
        made = _run(plan, key)
        size = made.data.train_size if made.recipe.updates is None else None
        data = made.data.replace(subset_seed=0, train_size=size)
        alike.setdefault((made.model, made.recipe, data), []).append(key)
    shapes: dict[Dataset, dict[str, int]] = {}
    left, found = set(todo), []
    for (model, recipe, data), keys in alike.items():
        size = 1
        if len(left.intersection(keys)) > 1:
            if data not in shapes:
                shapes[data] = _shape(data)
            size = 1 if stackable(recipe, empty(model, **shapes[data])) else at_most
        size = -(-len(keys) // -(-len(keys) // size))  # 20 runs in stacks of at most 16 make two of 10
        cuts = [keys[start : start + size] for start in range(0, len(keys), size)]
        found += [tuple(key for key in cut if key in left) for cut in cuts]
    return [group for group in found if group]


def _at_most(stack: str, kind: str) -> int:
    """How many runs are trained together at most."""
    if stack in ("auto", "off"):
        return STACK_ON_GPU if stack == "auto" and kind == "cuda" else 1
    if not stack.isdecimal() or int(stack) < 2:
        raise InputError(f"stack must be 'auto', 'off' or a number of at least 2. Got {stack!r} instead.")
    return int(stack)


def _shape(dataset: Dataset) -> dict[str, int]:
    return shape_of(dataset.load())


def _run(plan: Plan, key: str) -> Run:
    return from_json(plan.runs[key].run, Run)


def run(
    plan: Plan,
    *,
    results: Path,
    name: str,
    workers: engines.Workers,
    stack: str,
    max_failures: int,
    tell: Callable[[Event | None], None],
    before: Look,
    experiment: Path | None = None,
    until: float | None = None,
) -> Ended:
    """Execute what is not done by the `workers`. Ends with the state of every run.

    `before` is what a look at the pool has found.
    `experiment` is the file of the plan, which workers load where kinds of the plan are not the package's. `stack` says
    how many runs are trained together at most: a number, "off" or "auto", which is off but on a GPU. `until` is the
    time on the monotonic clock at which the sweep ends by itself, as at a signal.
    """
    is_here, device = workers.engine == "local", workers.device
    kind = pick_device(device).type if is_here else device.partition(":")[0]
    at_most = _at_most(stack, kind)
    store, folder = results / RUNS, results / name
    todo = [key for key, state in before.states.items() if state.name not in FINAL]
    check(plan, todo)
    if todo:
        engines.require(workers)
    folder.mkdir(parents=True, exist_ok=True)
    plan.write(folder)
    if not todo:
        return Ended(before.states)
    grouped = groups(plan, todo, at_most=at_most)
    if is_here:
        fitting = 1 if kind == "cuda" else max(1, cores() // workers.threads)
        workers = dataclasses.replace(workers, jobs=min(workers.jobs or fitting, len(grouped)))
    executor = engines.make(workers, plan, store=store, index=before.index, experiment=experiment)
    why = drive(executor, grouped, max_failures=max_failures, tell=tell, until=until)
    return Ended.after(look(plan, store).states, why, executor)
