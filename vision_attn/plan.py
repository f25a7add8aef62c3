"""Plan: an experiment as data: its factors, cells and runs, and what will be measured, drawn and decided of them.

A plan is made from an experiment file and kept as plan.json.gz in the folder of its results. Everything that reads
results reads the plan and not the experiment file. Specs stand in it as their JSON.
"""

import dataclasses
import errno
import functools
import gzip
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from vision_attn import plan_schema
from vision_attn.spec import RENAMED, InputError, canonical
from vision_attn.store import RUNS, DamagedFile, probe_file, read_json, sealed, write_json, write_sealed

Level = str | int | float | bool
Json = dict[str, Any]

SCHEMA = 2
"""The format of a plan. In format 1 skips were keyed by the kind of the probe; preset and path were not kept."""

RESERVED = ("run", "metric", "value", "state", "reason", "estimate", "low", "high", "n", "sd", "planned")
"""Names that no factor may have: records, or the tables of figures, have columns called so."""
LONGEST_LEVEL = 200
"""Characters of a level that is a text."""

FILE = "plan.json.gz"
EARLIER_FILE = "plan.json"
"""What versions before 2026-11-27 have left in its place; it is read where the other is not there."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One combination of levels, and the digest of the run that answers it."""

    factors: Mapping[str, Level]
    run: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A run of the plan: a readable hint for its folder, its spec as JSON, and the probes that do not fit it.

    `skips` gives the reason for each of these, by the name of the probe's file (`store.probe_file`).
    """

    hint: str
    run: Json
    skips: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be run, measured, drawn and decided.

    `factors` maps every factor to its levels; `cells` are their combinations, but for those `omitted` by the
    experiment's own choice; `runs` are the runs of the cells by digest. `defaults` are the fields that the JSON of a
    recipe leaves out. `experiment` is the path of the experiment file, as a person would type it; `preset`,
    `given_levels` and `smoke` say what else was typed. `sources` are the sha256 of the source of kinds that are not the
    package's, by name.
    """

    name: str
    question: str
    factors: Mapping[str, tuple[Level, ...]]
    cells: tuple[Cell, ...]
    runs: Mapping[str, PlannedRun]
    omitted: tuple[Mapping[str, Level], ...] = ()
    defaults: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    probes: tuple[Json, ...] = ()
    figures: tuple[Json, ...] = ()
    verdicts: tuple[Json, ...] = ()
    experiment: str = ""
    preset: str | None = None
    given_levels: Mapping[str, tuple[Level, ...]] = dataclasses.field(default_factory=dict)
    smoke: bool = False
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def levels(self, factor: str) -> list[Any]:
        """The levels of a factor, in the plan's order. Raises `InputError` where there is no such factor."""
        if factor not in self.factors:
            allowed = ", ".join(map(repr, self.factors))
            raise InputError(f"factor of a plan must be one of {allowed}. Got {factor!r} instead.")
        return list(self.factors[factor])

    def labels(self, factor: str) -> list[str]:
        """The levels of a factor as texts; one that stands for all runs where there is no such factor."""
        return [str(level) for level in self.factors.get(factor, ("all runs",))]

    def label(self, cell: Cell, factor: str) -> str:
        """The level of a cell as `labels` has it."""
        return str(cell.factors.get(factor, "all runs"))

    def asked(self, run: str) -> dict[str, Json]:
        """The probes that a run is asked for, as JSON by the name of their file: all that fit it."""
        skips = self.runs[run].skips
        if not skips:
            return self._probe_files
        return {file: probe for file, probe in self._probe_files.items() if file not in skips}

    def may_measure(self, kind: str) -> bool:
        """Whether a probe of that kind is asked of any run; of a plan that has none of them it is not known."""
        files = {file for file, probe in self._probe_files.items() if RENAMED.get(probe["kind"], probe["kind"]) == kind}
        return not files or any(files - entry.skips.keys() for entry in self.runs.values())

    @functools.cached_property
    def alike(self) -> dict[str, str]:
        """By run, the first run of the plan that differs from it by its seeds alone."""
        first: dict[str, str] = {}
        return {key: first.setdefault(repr(without_seeds(entry.run)), key) for key, entry in self.runs.items()}

    @functools.cached_property
    def _probe_files(self) -> dict[str, Json]:
        return {probe_file(probe): probe for probe in self.probes}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> Json:
        """The plan as plain JSON."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "experiment": self.experiment,
            "preset": self.preset,
            "levels": _listed(self.given_levels),
            "smoke": self.smoke,
            "question": self.question,
            "factors": _listed(self.factors),
            "cells": [{"factors": dict(cell.factors), "run": cell.run} for cell in self.cells],
            "omitted": [{"factors": dict(levels)} for levels in self.omitted],
            "runs": {
                key: {"hint": one.hint, "run": one.run, "skips": dict(one.skips)} for key, one in self.runs.items()
            },
            "defaults": dict(self.defaults),
            "probes": list(self.probes),
            "figures": list(self.figures),
            "verdicts": list(self.verdicts),
            "sources": dict(self.sources),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The plan that `to_json` gave, of this or an earlier version. Raises `InputError` where it is neither."""
        schema = data.get("schema", 1) if isinstance(data, dict) else 1
        if type(schema) is int and schema > SCHEMA:
            raise InputError(
                f"schema of a plan must be at most {SCHEMA}: this one is of a later version of vision-attn. "
                f"Got {schema!r} instead."
            )
        plan_schema.check(data)
        probes = tuple(data["probes"])
        keys = {key: key for key in data["runs"]}
        _share(entry["run"] for entry in data["runs"].values())
        return cls(
            name=data["name"],
            question=data["question"],
            factors=_fixed(data["factors"]),
            cells=tuple(Cell(factors=cell["factors"], run=keys[cell["run"]]) for cell in data["cells"]),
            runs={key: _planned_run(entry, probes) for key, entry in data["runs"].items()},
            omitted=tuple(one["factors"] for one in data["omitted"]),
            defaults=data.get("defaults", {}),
            probes=probes,
            figures=tuple(data["figures"]),
            verdicts=tuple(data.get("verdicts", ())),
            experiment=data.get("experiment", f"experiments/{data['name']}.py"),
            preset=data.get("preset"),
            given_levels=_fixed(data.get("levels", {})),
            smoke=data.get("smoke", False),
            sources=data.get("sources", {}),
        )

    @functools.cached_property
    def digest(self) -> str:
        """sha256, in hex, of the plan's canonical JSON."""
        return hashlib.sha256(canonical(self.to_json())).hexdigest()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The plan in a folder of the results. Raises `InputError` where there is none that is intact."""
        file = _file(folder)
        try:
            data = _read(file)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise InputError(f"{file} cannot be read: {error.strerror}.") from None
            raise InputError(
                f"'{folder}' has no {FILE}. Give one experiment's folder, such as results/quickstart."
            ) from None
        made = cls.from_json(data)
        return made if "preset" in data else made.replace(**_typed(folder.name, made.name))

    def write(self, folder: Path) -> None:
        """Write the plan into a folder, atomically. Raises `InputError` where that of another experiment is there."""
        payload = sealed(self.to_json(), by_entry=True)
        if not _holds(folder / FILE, payload):
            self._require_own(folder)
            write_sealed(folder / FILE, payload)
        if (folder / EARLIER_FILE).is_file():
            (folder / EARLIER_FILE).unlink()

    def _require_own(self, folder: Path) -> None:
        try:
            there = _read(_file(folder)).get("name", self.name)
        except (OSError, InputError, AttributeError):
            return
        if there != self.name:
            raise InputError(
                f"'{folder}' has the results of the experiment {there!r}. Give the file of {self.name!r} another name, "
                "or other --results."
            )

    def save(self, file: Path) -> None:
        """Write the plan into a file, atomically."""
        write_json(file, self.to_json(), by_entry=True)

    @classmethod
    def read_kept(cls, file: Path) -> Self:
        """A plan that `keep` or `save` wrote. Raises `InputError` where it is not intact, `FileNotFoundError`."""
        return cls.from_json(_read(file))

    def planned(self) -> dict[str, tuple[str, Json]]:
        """The hint and the JSON of every run, as `store.Folders` takes them."""
        return {key: (entry.hint, entry.run) for key, entry in self.runs.items()}

    def head(self) -> Self:
        """The plan without its cells and runs: what a worker needs of it, whatever the number of runs."""
        return self.replace(cells=(), omitted=(), runs={})

    def keep(self, folder: Path) -> Path:
        """Write the plan into a folder under its own digest, so that no other plan takes its place; the file.

        Where a folder has that name, the file lies beside it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.digest}.json"
        file = file.with_suffix(".2.json") if file.is_dir() else file
        write_json(file, self.to_json(), by_entry=True)
        return file


def folders_in(results: Path) -> list[Path]:
    """The folders of experiments in a folder of results, those that have a plan, sorted."""
    found = {path.parent for name in (FILE, EARLIER_FILE) for path in results.glob(f"*/{name}")}
    return sorted(folder for folder in found if folder.name != RUNS)


def with_name(folder: Path) -> Path:
    """A folder by a path that ends with its name, also where it is called "." or "..": by its name the log knows it."""
    return folder.resolve() if folder.name in ("", "..") else folder


def of_any_subset(data: Mapping[str, Any]) -> Json:
    """The JSON of a data set without the fields that only choose among its images."""
    return {name: value for name, value in data.items() if name not in ("train_size", "subset_seed")}


def without_seeds(run: Json) -> Json:
    """The JSON of a run that stands for all that differ from it by their seeds alone."""
    data = {name: value for name, value in run.get("data", {}).items() if name != "subset_seed"}
    return {**run, "seed": 0, "data": data}


def _holds(file: Path, payload: bytes) -> bool:
    try:
        return gzip.decompress(file.read_bytes()) == payload
    except (OSError, EOFError, zlib.error):
        return False


def _file(folder: Path) -> Path:
    return folder / (EARLIER_FILE if (folder / EARLIER_FILE).exists() and not (folder / FILE).exists() else FILE)


def _read(file: Path) -> Json:
    try:
        return read_json(file)
    except DamagedFile:
        again = "Plan the experiment again, with `vision-attn run`, or `vision-attn plan --save` for a file of its own."
        raise InputError(f"{file} is damaged or no plan: its content does not match its checksum. {again}") from None


def _share(runs: Iterable[Json]) -> None:
    """Have equal models and recipes of runs be one object: with 100,000 runs that is a quarter of the plan's memory."""
    known: dict[str, Any] = {}
    last: Json = {}
    for run in runs:
        for name in ("model", "recipe"):
            if (one := run.get(name)) is not None:
                last[name] = run[name] = last[name] if one == last.get(name) else known.setdefault(repr(one), one)


def _planned_run(entry: Mapping[str, Any], probes: Iterable[Json]) -> PlannedRun:
    """A run as a plan has it; where its skips name kinds of probes, they mean every probe of the kind."""
    skips = entry["skips"]
    if not skips:
        return PlannedRun(hint=entry["hint"], run=entry["run"], skips={})
    by_file = {file: skips[file] for probe in probes if (file := probe_file(probe)) in skips}
    by_kind = {probe_file(probe): skips[probe["kind"]] for probe in probes if probe["kind"] in skips}
    return PlannedRun(hint=entry["hint"], run=entry["run"], skips=by_kind | by_file)


def _typed(folder: str, name: str) -> Json:
    """What was typed for a plan of format 1, which only the name of its folder says: NAME-PRESET-smoke."""
    before, _, suffix = folder.partition(name)
    words = [word for word in suffix.split("-") if word] if not before else []
    smoke = bool(words) and words[-1] == "smoke"
    return {"preset": "-".join(words[: len(words) - smoke]) or None, "smoke": smoke}


def _listed(factors: Mapping[str, tuple[Level, ...]]) -> dict[str, list[Level]]:
    return {name: list(levels) for name, levels in factors.items()}


def _fixed(factors: Mapping[str, Iterable[Level]]) -> dict[str, tuple[Level, ...]]:
    return {name: tuple(levels) for name, levels in factors.items()}
