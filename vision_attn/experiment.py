"""Experiment: a question, the factors crossed to answer it, and the run of every cell."""

import dataclasses
import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vision_attn import experiment_fields, sources
from vision_attn.figures.base import Figure
from vision_attn.plan import Cell, Level, Plan, PlannedRun
from vision_attn.probes.base import Probe
from vision_attn.records import require_level
from vision_attn.run import Run
from vision_attn.spec import InputError, Spec, by_name, canonical, json_sha256, kinds, short, to_json
from vision_attn.store import RUNS, probe_file
from vision_attn.training import Recipe
from vision_attn.verdicts import Verdict, on_seeds

MOST_CELLS = 1_000_000
SMOKE_UPDATES = 2
SEED = "seed"
"""The factor over whose levels means are taken: each has to be a run of its own."""


@by_name
@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question put to the suite.

    `factors` maps each factor to its levels; `run` takes one level of each, by name, and returns the Run of that
    cell, or None for a cell that makes no sense. `presets` name other levels of some factors, for a smaller or
    larger sweep of the same question; one that asks another has it in `questions`, by the name of the preset.
    `verdicts` are the rules that decide its claims; they stand in the plan before any run does.
    """

    question: str
    factors: Mapping[str, Iterable[Level]]
    run: Callable[..., Run | None]
    probes: tuple[Probe, ...]
    figures: tuple[Figure, ...] = ()
    presets: Mapping[str, Mapping[str, Iterable[Level]]] = dataclasses.field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    questions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        questions = experiment_fields.mapping("questions of Experiment", self.questions)
        for what, question in (
            ("", self.question),
            *((f" of the preset {name!r}", q) for name, q in questions.items()),
        ):
            if not isinstance(question, str) or not question.strip():
                found = short(question) if question else "none"
                allowed = "a text, such as the file's docstring"
                raise InputError(f"question of Experiment{what} must be {allowed}. Got {found} instead.")
            canonical(question)
        object.__setattr__(self, "factors", experiment_fields.factors("factors of Experiment", self.factors))
        presets = experiment_fields.mapping("presets of Experiment", self.presets)
        checked = {
            name: experiment_fields.factors(f"preset {name!r}", own, known=self.factors)
            for name, own in presets.items()
        }
        object.__setattr__(self, "presets", checked)
        for name in checked:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) or name == "smoke":
                allowed = "letters, digits, _ and -, and not smoke: it is a part of the name of a folder"
                raise InputError(f"name of a preset must be {allowed}. Got {name!r} instead.")
        if others := [name for name in questions if name not in checked]:
            allowed = f"presets ({', '.join(checked)})" if checked else "presets, of which there are none"
            raise InputError(f"questions of Experiment must be those of {allowed}. Got {others[0]!r} instead.")
        for field, kind in (("probes", Probe), ("figures", Figure), ("verdicts", Verdict)):
            object.__setattr__(self, field, experiment_fields.specs(field, getattr(self, field), kind))
        experiment_fields.check_run(self.run, list(self.factors))

    def with_levels(self, levels: Mapping[str, Iterable[Level]]) -> "Experiment":
        """The same question over other levels of some factors."""
        for name in levels:
            if name not in self.factors:
                raise InputError(f"factor must be one of {', '.join(map(repr, self.factors))}. Got {name!r} instead.")
        return dataclasses.replace(self, factors={**self.factors, **levels})

    def levels(self, factor: str) -> list[Level]:
        """The levels of a factor, with those that presets give it instead."""
        presets = [preset.get(factor, ()) for preset in self.presets.values()]
        return list(dict.fromkeys(itertools.chain(self.factors[factor], *presets)))

    def preset(self, name: str) -> "Experiment":
        """The experiment at one of its presets, with the question that the preset asks."""
        if name not in self.presets:
            if not self.presets:
                raise InputError(f"preset must be left out: this experiment has no presets. Got {name!r} instead.")
            allowed = ", ".join(map(repr, self.presets))
            raise InputError(f"preset must be one of {allowed}. Got {name!r} instead.")
        question = self.questions.get(name, self.question)
        return dataclasses.replace(self.with_levels(self.presets[name]), question=question)


def smoke(experiment: Experiment) -> Experiment:
    """The experiment at the first two levels of each factor and two updates a run: does the whole chain hold?"""

    def run(**cell: Level) -> Run | None:
        whole = experiment.run(**cell)
        if whole is None:
            return None
        updates = 0 if whole.recipe.updates == 0 else SMOKE_UPDATES
        return whole.replace(recipe=whole.recipe.replace(updates=updates, epochs=None, compile="off"))

    arguments = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in experiment.factors]
    run.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    factors = {name: tuple(levels)[:2] for name, levels in experiment.factors.items()}
    return dataclasses.replace(experiment, factors=factors, run=run)


def load(path: Path) -> tuple[str, Experiment]:
    """The name and the `experiment` of an experiment file, which may import files beside it.

    Raises `InputError`, with file and line where the file itself is at fault.
    """
    if path.is_dir():
        raise InputError(f"experiment must be a Python file, such as experiments/quickstart.py. '{path}' is a folder.")
    if not path.is_file():
        raise InputError(f"No such file: {path}. Give an experiment file, such as experiments/quickstart.py.")
    name = path.stem
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise InputError(
            "name of an experiment file must be 1 to 64 lower-case letters, digits, - and _, the first a letter or "
            f"digit. Got '{path.name}' instead."
        )
    if name == RUNS:
        raise InputError(f"name of an experiment file must not be {name}: so is the folder of all runs named.")
    experiment = getattr(sources.load_file(path), "experiment", None)
    if not isinstance(experiment, Experiment):
        raise none_in(path)
    _check_references(experiment)
    _check_rules(experiment)
    return name, experiment


def none_in(path: Path) -> InputError:
    """The sentence about a file that defines no experiment."""
    return InputError(f"{path} must define `experiment = Experiment(...)`. It does not.")


def _check_references(experiment: Experiment) -> None:
    """Raise `InputError` where a figure, or a part of one, asks for a factor, or for a level, that no preset has."""
    parts = [part for figure in experiment.figures for part in (figure, *getattr(figure, "parts", ()))]
    for part in parts:
        hue, reference = getattr(part, "hue", ""), getattr(part, "reference", None)
        if reference is not None and hue in experiment.factors:
            _require_level(experiment, "reference", type(part).__name__, hue, reference)


def _check_rules(experiment: Experiment) -> None:
    """Raise `InputError` where a rule asks for a level that no preset has: the page would leave the rule out."""
    for rule in (rule for verdict in experiment.verdicts for rule in on_seeds(verdict)):
        if sources.is_own(type(rule)):  # it says itself what it asks for
            continue
        for factor, level in (*rule.given, *(pair for _, at in rule.cells for pair in at)):
            if factor in experiment.factors:
                _require_level(experiment, factor, f"a rule of {rule.claim}", factor, level)


def _require_level(experiment: Experiment, field: str, what: str, factor: str, level: Level) -> None:
    """Raise the standard sentence where a level of a factor is asked for that no preset has."""
    whole = Plan(name="", question="", factors={factor: tuple(experiment.levels(factor))}, cells=(), runs={})
    require_level(whole, field, what, factor, level)


def plan(experiment: Experiment, *, name: str) -> Plan:
    """The experiment as data: its cells, their runs, what will be measured and drawn. Same input, same bytes.

    Raises `InputError` where its `run` fails, gives no Run or gives none at all, and where there are too many cells.
    """
    combinations = math.prod(len(tuple(levels)) for levels in experiment.factors.values())
    if combinations > MOST_CELLS:
        raise InputError(
            f"factors of {name} must have at most {MOST_CELLS:,} combinations. Got {combinations:,} instead."
        )
    cells: list[Cell] = []
    omitted: list[dict[str, Level]] = []
    runs: dict[str, PlannedRun] = {}
    own: dict[str, str] = {}
    met: set[tuple[str, Level]] = set()  # levels of factors for which `run` was asked already
    has_own = any(map(sources.is_own, kinds(Spec).values()))
    probes = {probe_file(to_json(probe)): probe for probe in experiment.probes}
    for levels in itertools.product(*experiment.factors.values()):
        cell = dict(zip(experiment.factors, levels, strict=True))
        run = _run_of(experiment, cell, name, is_repeated=not met.issuperset(cell.items()))
        if run is None:
            omitted.append(cell)
            continue
        met.update(cell.items())
        data = to_json(run)
        key = json_sha256(data)
        cells.append(Cell(factors=cell, run=key))
        if key not in runs:
            runs[key] = PlannedRun(hint=_hint(run), run=data, skips=_skips(run, probes))
            own |= sources.digests(run) if has_own else {}
    _check_seeds(cells, name)
    if not cells:
        raise InputError(f"run of {name} must give a Run for some levels. It gives None for all {combinations:,}.")
    for part in (*experiment.probes, *experiment.figures, *experiment.verdicts):
        own |= sources.digests(part)
    return Plan(
        name=name,
        experiment=f"experiments/{name}.py",
        question=inspect.cleandoc(experiment.question),
        factors={factor: tuple(levels) for factor, levels in experiment.factors.items()},
        cells=tuple(cells),
        omitted=tuple(omitted),
        runs=runs,
        defaults={"Recipe": _defaults(Recipe)},
        probes=tuple(to_json(probe) for probe in experiment.probes),
        figures=tuple(to_json(figure) for figure in experiment.figures),
        verdicts=tuple(to_json(verdict) for verdict in experiment.verdicts),
        sources=dict(sorted(own.items())),
    )


def _run_of(experiment: Experiment, cell: dict[str, Level], name: str, *, is_repeated: bool) -> Run | None:
    """The Run of a cell, if it has one; `is_repeated`: asked for twice, as it must be the same whenever it is."""
    run = _called(experiment, cell, name)
    if run is None:
        return None
    if not isinstance(run, Run):
        raise InputError(f"run of {name} must return a Run or None. Got {short(run)} for {cell} instead.")
    if is_repeated and _called(experiment, cell, name) != run:
        allowed = "the same Run whenever it is called, without a clock or random numbers of its own"
        raise InputError(f"run of {name} must give {allowed}. It gives two for {cell}.")
    return run


def _called(experiment: Experiment, cell: dict[str, Level], name: str) -> Any:
    return sources.tried(
        lambda: experiment.run(**cell),
        what=lambda: f"run of {name} for {cell}",
        at=lambda: sources.written(experiment.run),
    )


def _check_seeds(cells: Sequence[Cell], name: str) -> None:
    """Raise `InputError` where two seeds of one cell are one run, which its intervals would count twice."""
    seen: dict[tuple[Any, ...], Any] = {}
    if len({cell.run for cell in cells}) == len(cells):
        return
    for cell in cells:
        others = {factor: level for factor, level in cell.factors.items() if factor != SEED}
        place = (cell.run, *others.values())
        if SEED in cell.factors and seen.setdefault(place, cell.factors[SEED]) != cell.factors[SEED]:
            given = f"one run for the seeds {seen[place]} and {cell.factors[SEED]} at {others}"
            raise InputError(
                f"run of {name} must make another Run of every seed (Run(seed=seed)). Got {given} instead."
            )


def _skips(run: Run, probes: Mapping[str, Probe]) -> dict[str, str]:
    """The probes, given by their file, that do not fit the run, each with the reason."""
    reasons = {file: _skip(probe, run) for file, probe in probes.items()}
    return {file: reason for file, reason in reasons.items() if reason}


def _skip(probe: Probe, run: Run) -> str | None:
    reason = sources.tried(
        lambda: probe.skip(run.model, run.data),
        what=lambda: f"skip of {type(probe).__name__}",
        at=lambda: sources.written_own(probe, "skip"),
    )
    if reason and not isinstance(reason, str):
        allowed = f"the reason as a text, or None{sources.defined(probe, 'skip')}"
        raise InputError(f"skip of {type(probe).__name__} must return {allowed}. Got {short(reason)} instead.")
    return reason


def _hint(run: Run) -> str:
    return sources.tried(
        lambda: run.hint,
        what=lambda: f"label of {type(run.data).__name__}",
        at=lambda: sources.written_own(run.data, "label"),
    )


def _defaults(kind: type[Spec]) -> dict[str, Any]:
    """The fields that a run's JSON leaves out, for readers that do not know the kind."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
