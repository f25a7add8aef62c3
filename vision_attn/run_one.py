"""Run-one: some runs of a plan, each named by its key, executed here and now. What every engine has executed."""

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vision_attn.driving import FINAL, Ended, drive
from vision_attn.executors.base import Event
from vision_attn.executors.local import Local
from vision_attn.plan import Plan
from vision_attn.spec import InputError, json_sha256
from vision_attn.states import state_of
from vision_attn.store import PLANS, WORKERS_LOG, Folders, RunFolder, State, Store

SHORTEST = 6
"""Letters that the beginning of a key must have at least."""


def read_plan(file: Path) -> Plan:
    """The plan in a file. Raises `InputError` where there is none that is intact."""
    is_experiment = file.suffix == ".py"
    if is_experiment or not file.is_file():
        name = shlex.quote(str(file)) if is_experiment else "EXPERIMENT"
        writes = f"`vision-attn plan {name} --save plan.json` writes one"
        raise InputError(f"plan must be a file that `plan --save` has written: {writes}. Got '{file}' instead.")
    return Plan.read_kept(file)


def resolve(plan: Plan, texts: Sequence[str]) -> list[tuple[str, ...]]:
    """The groups of runs that texts name: a text is a key, or several joined by commas; a key may be cut short.

    A run that is named twice is taken once. Raises `InputError` where a key means no run of the plan, or several.
    """
    seen: set[str] = set()
    groups = []
    for text in texts:
        keys = [_key(plan, part) for part in text.split(",")]
        if group := tuple(key for key in dict.fromkeys(keys) if key not in seen):
            groups.append(group)
            seen.update(group)
    return groups


def _key(plan: Plan, text: str) -> str:
    if text in plan.runs:
        return text
    found = [key for key in plan.runs if key.startswith(text)] if len(text) >= SHORTEST else []
    if len(found) != 1:
        several = f"means {len(found)} runs" if found else "means none of them"
        raise InputError(
            f"key must be that of one of the {len(plan.runs)} runs of the plan, or its first letters, at least "
            f"{SHORTEST}. Got {text!r} instead, which {several}."
        )
    return found[0]


def require_own(plan: Plan, groups: Sequence[tuple[str, ...]]) -> None:
    """Raise `InputError` where a key of the groups is not that of the run that the plan has for it.

    A pool that is shared would have that run as the one that the key stands for.
    """
    for key in (key for group in groups for key in group):
        if json_sha256(plan.runs[key].run) != key:
            raise InputError(
                f"key of a run must be its digest. The plan has another run for {key[:12]}: plan it again."
            )


def folders(store: Path, groups: Sequence[tuple[str, ...]]) -> dict[str, RunFolder]:
    """The folders of the runs that have one that can be read, by their keys."""
    pool, found = Store(store), {}
    for key in (key for group in groups for key in group):
        with contextlib.suppress(OSError):  # another user's: it costs this run alone, once its turn has come
            if (folder := pool.find(key)) is not None:
                found[key] = folder
    return found


def states(plan: Plan, index: Mapping[str, RunFolder], groups: Sequence[tuple[str, ...]]) -> dict[str, State]:
    """The state of every run of the groups, from the files of its folder."""
    keys = [key for group in groups for key in group]
    return {key: state_of(plan, key, index) for key in keys}


def run(
    plan: Plan,
    groups: Sequence[tuple[str, ...]],
    *,
    store: Path,
    threads: int,
    device: str,
    timeout: float | None,
    no_progress: float,
    experiment: Path | None,
    tell: Callable[[Event | None], None],
) -> Ended:
    """Execute what is not at its end of the groups, one after another in one worker; the runs of a group together.

    `experiment` is the file that defines the kinds of the plan that are not the package's. A run that another process
    is at work on is waited for.
    """
    index = folders(store, groups)
    found = states(plan, index, groups)
    left = [tuple(key for key in group if found[key].name not in FINAL) for group in groups]
    left = [group for group in left if group]
    if not left:
        return Ended(found)
    executor = Local(
        plan.head().keep(store / PLANS),
        store=store,
        folders=Folders(Store(store), plan.planned(), index),
        log=store / WORKERS_LOG,
        jobs=1,
        threads=threads,
        device=device,
        timeout=timeout,
        no_progress=no_progress,
        experiment=experiment,
    )
    why = drive(executor, left, max_failures=len(found), tell=tell)
    return Ended.after(states(plan, index, groups), why, executor)
