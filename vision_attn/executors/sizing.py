"""Sizing: how long runs take, from those that are done, and how many of them make a task for a cluster."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from vision_attn.spec import canonical
from vision_attn.store import RunFolder

ASSUMED_SECONDS = 300.0
"""What a run is taken to last as long as none is done."""

TASKS_WANTED = 32
SAMPLES = 3

Group = tuple[str, ...]


def expected_seconds(
    runs: Mapping[str, Mapping[str, Any]], folders: Mapping[str, RunFolder], asked: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """The seconds that each run is expected to last, by its id.

    `runs` are the specs as JSON. That is the median of a few runs done that differ only in their seeds; else of those
    of the same model; else of all; else `ASSUMED_SECONDS`.
    """
    alike: dict[bytes, list[float]] = {}
    for key, run in runs.items():
        found = alike.setdefault(_but_for_seeds(run), [])
        if key in folders and len(found) < SAMPLES and (seconds := _measured(folders[key], asked[key])) is not None:
            found.append(seconds)
    by_model: dict[bytes, list[float]] = {}
    for run in runs.values():
        by_model.setdefault(canonical(run["model"]), []).extend(alike[_but_for_seeds(run)])
    everything = list(itertools.chain(*alike.values()))

    def expected(run: Mapping[str, Any]) -> float:
        samples = alike[_but_for_seeds(run)] or by_model[canonical(run["model"])] or everything
        return statistics.median(samples) if samples else ASSUMED_SECONDS

    return {key: expected(run) for key, run in runs.items()}


def tasks(
    groups: Sequence[Group], seconds: Mapping[str, float], *, shortest: float, longest: float
) -> list[list[Group]]:
    """The groups in their order, so many to a task that it lasts `shortest` to `longest` seconds.

    The more there is to do, the longer they are. A group is never cut; one that lasts longer is a task by itself.
    """
    lengths = [sum(seconds[key] for key in group) for group in groups]
    target = min(max(sum(lengths) / TASKS_WANTED, shortest), longest)
    made: list[list[Group]] = []
    filled = target
    for group, length in zip(groups, lengths, strict=True):
        if filled + length > target:
            made.append([])
            filled = 0.0
        made[-1].append(group)
        filled += length
    return made


def _measured(folder: RunFolder, asked: Sequence[str]) -> float | None:
    """The seconds that a run took with its probes; None where it is not done."""
    result = folder.result()
    if result is None or result["state"] != "done":
        return None
    probes = [folder.probe(file) for file in asked]
    return result["measured"]["total_seconds"] + sum(probe["seconds"] for probe in probes if probe is not None)


def _but_for_seeds(run: Mapping[str, Any]) -> bytes:
    data = {name: value for name, value in run["data"].items() if name != "subset_seed"}
    return canonical({"model": run["model"], "recipe": run["recipe"], "data": data})
