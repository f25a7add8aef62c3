"""Engines: where the runs of a plan are executed: on this machine, or on a cluster of Slurm or Ray."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

from vision_attn.executors import queue, ray
from vision_attn.executors.base import Engine, Executor
from vision_attn.executors.local import NO_PROGRESS_SECONDS, Local
from vision_attn.executors.sizing import expected_seconds
from vision_attn.executors.slurm import Slurm
from vision_attn.plan import Plan
from vision_attn.spec import InputError
from vision_attn.store import PLANS, WORKERS_LOG, Folders, RunFolder, Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workers:
    """Where the runs of a plan are executed, and by how many workers with what each.

    `jobs` are workers on this machine (0: as many as fit) or tasks at once on a cluster (0: as many as it lets).
    `timeout` are the seconds after which a run is killed, `no_progress` those without any progress (0: never).
    Further options of `sbatch` and the `address` of a Ray cluster are said to that engine alone. Raises `InputError`
    where the engine is unknown or something is said that it does not hear.
    """

    engine: Engine = "local"
    sbatch: tuple[str, ...] = ()
    address: str | None = None
    jobs: int = 0
    threads: int = 1
    device: str = "auto"
    timeout: float | None = None
    no_progress: float = NO_PROGRESS_SECONDS

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            allowed = ", ".join(map(repr, get_args(Engine)))
            raise InputError(f"engine must be one of {allowed}. Got {self.engine!r} instead.")
        if self.sbatch and self.engine != "slurm":
            raise InputError(f"sbatch options need --engine slurm. Got {self.sbatch[0]!r} with {self.engine!r}.")
        if self.address is not None and self.engine != "ray":
            raise InputError(f"address needs --engine ray. Got {self.address!r} with {self.engine!r}.")
        if wrong := [option for option in self.sbatch if not option.startswith("-")]:
            raise InputError(f"sbatch option must begin with a dash, as '--partition=gpu'. Got {wrong[0]!r} instead.")


def require(workers: Workers) -> None:
    """Raise `InputError` where the engine is not installed here."""
    if workers.engine == "slurm":
        queue.require()
    elif workers.engine == "ray":
        ray.require()


def make(
    workers: Workers, plan: Plan, *, store: Path, index: dict[str, RunFolder], experiment: Path | None
) -> Executor:
    """The executor of the runs of a plan; `index` is what a look at the pool has found.

    `experiment` is the file of the plan, which workers load where kinds of the plan are not the package's.
    """
    experiment = experiment if plan.sources else None
    folders = Folders(Store(store), plan.planned(), index)
    if workers.engine == "local":
        return Local(
            plan.head().keep(store / PLANS),
            store=store,
            folders=folders,
            log=store / WORKERS_LOG,
            jobs=workers.jobs,
            threads=workers.threads,
            device=workers.device,
            timeout=workers.timeout,
            no_progress=workers.no_progress,
            experiment=experiment,
        )
    asked = {key: tuple(plan.asked(key)) for key in plan.runs}
    paths = {"plan": plan.keep(store / PLANS), "store": store, "experiment": experiment}
    words: dict[str, Any] = {name: path.resolve() for name, path in paths.items() if path is not None}
    numbers = {name: getattr(workers, name) for name in ("threads", "device", "timeout", "no_progress")}
    words |= {name.replace("_", "-"): number for name, number in numbers.items() if number is not None}
    known: dict[str, Any] = {
        "store": store,
        "folders": folders,
        "asked": asked,
        "seconds": expected_seconds({key: entry.run for key, entry in plan.runs.items()}, index, asked),
        "arguments": [f"--{name}={word}" for name, word in words.items()],
        "jobs": workers.jobs,
        "threads": workers.threads,
    }
    if workers.engine == "slurm":
        return Slurm(**known, options=workers.sbatch)
    return ray.Ray(**known, device=workers.device, address=workers.address)
