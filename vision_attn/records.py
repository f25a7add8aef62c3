"""Records: run folders as tidy frames, one row per measured number, one per logged update, one per planned cell.

What was measured is joined to the plan by the run's digest alone, so labels and levels are the plan's, and folder
names mean nothing. A measured column that has the name of a factor is called `measured_<name>`. Values and histories
have nine digits, as many as the 32-bit numbers they are made from can tell apart; coordinates have all of theirs.
"""

import dataclasses
import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from vision_attn import own_results
from vision_attn.plan import Json, Plan, with_name
from vision_attn.rows import Packed, columns, packed
from vision_attn.spec import InputError, among
from vision_attn.store import OPEN, RUNS, RunFolder, State, Store, read_bytes, refusal, rows_of
from vision_attn.tables import read_tables, to_digits, typed, with_digits

Row = dict[str, Any]

TABLES = {"runs": ("run", "state", "reason"), "records": ("run", "metric", "value"), "history": ("run", "update")}
"""The tables that hold all there is to know of the runs, each with columns that it always has."""


@dataclasses.dataclass(frozen=True)
class Records:
    """All that a figure may draw from.

    `values`: one row per measured number (the factors, `run`, `metric`, `value`, coordinates);
    `history`: one row per run and logged update; `runs`: one row per cell of the plan, whatever became of it;
    `plan`: the plan, as read from its folder; `folders`: where the runs lie, by run; `damaged`: files that do not
    match their checksum; `committed`: runs taken from the committed tables, as the pool knows nothing of them.
    """

    values: pd.DataFrame
    history: pd.DataFrame
    runs: pd.DataFrame
    plan: Plan
    folders: Mapping[str, str] = dataclasses.field(default_factory=dict)
    damaged: tuple[str, ...] = ()
    committed: tuple[str, ...] = ()

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        value: str | Sequence[str] | Mapping[str, str] = "accuracy",
        factors: Sequence[str] | None = None,
        split: str = "test",
        percent: bool = False,
        num_classes: int | None = None,
        name: str = "own results",
    ) -> Self:
        """The records of a tidy frame: one row per trained model, with factors (model, train_size, seed) and results.

        `value` names the columns with results, which are metrics of their name, or of another: {"top1": "accuracy"}.
        `factors` tell the rows apart, no two of which may share them all: every other column, unless they are named.
        A column `split` ("train", "test") says of which images a row is, else all are of `split`. Shares such as an
        accuracy are in [0, 1], or all in `percent`; `num_classes` gives the line of guessing.

        Levels stand in the order of their first row, or of a categorical; numbers by size. A row without a value is a
        run that was planned and not measured. Raises `InputError`: what is wrong, in which column or row.
        """
        options = {"value": value, "factors": factors, "split": split, "percent": percent}
        return cls(**own_results.parts(frame, **options, num_classes=num_classes, name=name))  # type: ignore[arg-type]

    @classmethod
    def from_folder(cls, folder: str | Path, *, runs: str | Path | None = None) -> "Records":
        """The records of an experiment's folder, such as "results/quickstart". Needs no torch.

        They are those of the pool `runs`, by default the folder `runs` beside it, and of the committed tables where the
        pool knows nothing. Raises `InputError` where the folder is none that a run has written, a pool that is named is
        not there, or a table is damaged.
        """
        place = with_name(Path(folder))
        if runs is not None and not Path(runs).is_dir():
            raise InputError(f"runs must be a folder that is there, or left out. Got '{runs}' instead.")
        return load(Plan.read(place), place.parent / RUNS if runs is None else Path(runs), committed=place)

    @classmethod
    def from_measured(cls, measured: Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]]) -> "Records":
        """The records of models that `measure` was asked about, by label: a frame each, or several, one per seed.

        They are the levels of the factor `model`, and `seed` counts from 0. Raises `InputError` where a frame is none
        that `measure` gave.
        """
        plan, rows = own_results.measured(measured)
        return joined(
            plan,
            {
                key: RunRecords("done", packed({"state": "done", "reason": ""}), [packed(row) for row in own])
                for key, own in rows.items()
            },
        )


@dataclasses.dataclass(slots=True)
class RunRecords:
    """What is known of one run: its state, a row of its provenance, its records, its history, its damaged files.

    `is_unread` says that its folder could not be read, so that tables written earlier may know more.
    """

    state: str
    provenance: Packed
    values: list[Packed] = dataclasses.field(default_factory=list)
    history: list[Packed] = dataclasses.field(default_factory=list)
    damaged: list[str] = dataclasses.field(default_factory=list)
    is_unread: bool = False


def load(plan: Plan, store_root: Path, *, committed: Path | None = None) -> Records:
    """The records of a plan from the pool of runs, and from tables written earlier where the pool knows nothing.

    `committed` is a folder with records.csv.xz, history.csv.xz, runs.csv.xz and their checksums, as a report leaves it.
    Raises `InputError` where it is needed and one of them is missing, damaged or of another experiment.
    """
    store = Store(store_root)
    return gather(plan, store, store.index(), committed=committed)


def gather(plan: Plan, store: Store, index: Mapping[str, RunFolder], *, committed: Path | None = None) -> Records:
    """The same of a pool that was looked through already: `index` is what the store has found."""
    folders = {key: index[key] for key in plan.runs if key in index}
    found = {key: _readable(plan, key, folder) for key, folder in folders.items()}
    store.remember()
    unknown = [key for key in plan.runs if key not in found or found[key].is_unread or found[key].state in OPEN]
    earlier = _from_tables(committed, unknown, plan) if committed is not None and unknown else {}
    measured = {key for key, one in found.items() if one.values}
    earlier = {key: one for key, one in earlier.items() if one.state not in OPEN or key not in measured}
    damaged = [text for one in found.values() for text in one.damaged] + [
        f"{name}/config.json" for name in store.damaged_configs()
    ]
    damaged += store.unlisted()
    absent = {key: _absent(store.absent(key)) for key in plan.runs if key not in found}
    found = {key: absent[key] if key in absent else found[key] for key in plan.runs} | earlier
    return joined(
        plan,
        found,
        folders={key: folder.place for key, folder in folders.items()},
        damaged=tuple(sorted(damaged)),
        committed=tuple(earlier),
    )


def joined(plan: Plan, found: Mapping[str, RunRecords], **known: Any) -> Records:
    """What was found of every run, joined to the plan; `known` are the further fields of the records."""
    cells = _cells(plan)
    return Records(
        values=_joined(cells, _each(found, "values"), ("metric", "value")),
        history=_joined(cells, _each(found, "history"), ("update",)),
        runs=_joined(cells, ((key, one.provenance) for key, one in found.items()), ("state", "reason")),
        plan=plan,
        **known,
    )


def pick(records: Records, metric: str, *, at: Mapping[str, Any], along: Sequence[str] = ()) -> pd.DataFrame:
    """The records of a metric that have exactly the coordinates `at`: {"split": "test"} leaves out corrupted images.

    `along` names further coordinates that they have, at any value. Raises `InputError` where a run has several of
    one place, as where two probes measure the same: a mean would count them as runs.
    """
    values = records.values
    coordinates = list(values.columns[list(values.columns).index("value") + 1 :])
    fixed = {column(records, name): level for name, level in at.items()}
    free = {column(records, name) for name in along}
    if any(name not in coordinates for name in [*fixed, *free]):
        return values.iloc[:0]
    chosen = values["metric"] == metric
    for name in coordinates:
        chosen &= (
            values[name] == fixed[name]
            if name in fixed
            else values[name].notna()
            if name in free
            else values[name].isna()
        )
    found = values[chosen.fillna(False).astype(bool)]
    twice = found.duplicated([*records.plan.factors, *free])
    if twice.any():
        what = " of ".join([metric, *(f"{name} {level}" for name, level in at.items())])
        cell = found.loc[twice.idxmax(), list(records.plan.factors)].to_dict()
        raise InputError(f"{what} must be measured by one probe a run. Several have measured it for {cell}.")
    return found


def rows_at(frame: pd.DataFrame, levels: Mapping[Any, Any]) -> pd.DataFrame:
    """The rows of a frame at some levels of its columns."""
    if not levels:
        return frame
    same = [(frame[name] == level).to_numpy(bool, na_value=False) for name, level in levels.items()]
    return frame[np.logical_and.reduce(same)]


def planned(records: Records, by: Sequence[str]) -> pd.DataFrame:
    """How many cells were planned at every combination of the factors `by`, in the plan's order."""
    return records.runs.groupby(list(by), observed=True, dropna=False).size().rename("planned").reset_index()


def facets(plan: Plan, *, used: Iterable[str]) -> list[str]:
    """The factors of more than one level that a figure has not used: it has to draw a panel for each combination."""
    taken = set(used)
    return [name for name, levels in plan.factors.items() if name not in taken and len(levels) > 1]


BASELINES = ("LogisticRegression", "NearestNeighbours", "KMeansFeatures")
"""Kinds of models that are fitted to the training images, without a network."""


def fitted_levels(plan: Plan, factor: str, kinds: Sequence[str] = BASELINES) -> set[Any]:
    """The levels of a factor all of whose runs have a model of those kinds, fitted instead of trained."""
    found = {(cell.factors[factor], plan.runs[cell.run].run.get("model", {}).get("kind", "")) for cell in plan.cells}
    return {level for level, _ in found} - {level for level, kind in found if kind not in kinds}


def require_factor(plan: Plan, field: str, what: str, name: str) -> None:
    """Raise the standard sentence where a figure asks for a factor that the experiment does not have."""
    if name not in plan.factors:
        allowed = f"a factor of the experiment ({', '.join(plan.factors)})"
        raise InputError(f"{field} of {what} must be {allowed}. Got {name!r} instead.")


def may_have(plan: Plan, factor: str, level: Any) -> bool:
    """Whether the plan has that level of the factor, or no such factor, which is another matter."""
    return level in plan.factors.get(factor, (level,))


def require_level(plan: Plan, field: str, what: str, factor: str, level: Any) -> None:
    """Raise the standard sentence where a figure asks for a level that a factor does not have."""
    levels = plan.levels(factor)
    if level not in levels:
        allowed = f"a level of {factor} ({among(levels, level)})"
        raise InputError(f"{field} of {what} must be {allowed}. Got {level!r} instead.")


def column(records: Records, name: str) -> str:
    """The measured column of `runs` that is meant by `name`, where a factor may have taken the name itself."""
    return f"measured_{name}" if name in records.plan.factors else name


def chance(records: Records) -> float | None:
    """The accuracy of guessing, 1 / number of classes, where all runs that have ended agree on the classes."""
    name = column(records, "num_classes")
    classes = set(records.runs[name].dropna()) if name in records.runs else set()
    return 1 / int(classes.pop()) if len(classes) == 1 else None


def _readable(plan: Plan, key: str, folder: RunFolder) -> RunRecords:
    try:
        return _from_pool(plan, key, folder)
    except OSError as error:  # another user's, or on a bad disk: it costs this run alone
        provenance = packed({"state": "failed", "reason": refusal(error)})
        return RunRecords("failed", provenance, damaged=[folder.path.name], is_unread=True)


def _absent(state: State) -> RunRecords:
    return RunRecords(state.name, packed({"state": state.name, "reason": state.reason}))


def _from_pool(plan: Plan, key: str, folder: RunFolder) -> RunRecords:
    files = list(plan.asked(key))
    result = folder.result()
    probes = {file: folder.probe(file) for file in files} if result and result["state"] == "done" else {}
    complete = bool(probes or not files) and all(content is not None for content in probes.values())
    state = State("done") if result and result["state"] == "done" and complete else folder.state(files)
    provenance = {"state": state.name, "reason": (state.reason.strip().splitlines() or [""])[0]}
    damaged = [f"{folder.path.name}/{name}" for name in folder.damaged()] if state.name != "done" else []
    if result is None:
        return RunRecords(state.name, packed(provenance), damaged=damaged)
    provenance |= _provenance(result)
    measured = [file.removesuffix(".json") for file, content in probes.items() if content is not None]
    if complete or measured:
        provenance["probes"] = " ".join(sorted(measured))
    if origin := _sources(result, *probes.values()):
        provenance["sources"] = origin
    values = [packed(row) for content in probes.values() if content is not None for row in content["records"]]
    history = _history(folder, result["files"].get("history.jsonl"))
    if history is None:
        damaged.append(f"{folder.path.name}/history.jsonl")
    return RunRecords(state.name, packed(provenance), values, [packed(row) for row in rows_of(history or b"")], damaged)


def data_columns(data: Mapping[str, Any]) -> Row:
    """What a result says of its data, by the names of the columns of `runs`: the label is the column `dataset`."""
    return {("dataset" if name == "label" else name): value for name, value in data.items()}


def _provenance(result: Row) -> Row:
    """A result as one flat row."""
    data = data_columns(result["data"])
    names = ("diverged_at", "updates", "images_seen", "train_loss")
    environment = {name: value for name, value in result["environment"].items() if name != "sources"}
    parts = (data, result["choices"], environment, result["measured"])
    ended = {"ended": result["ended"]} if "ended" in result else {}
    return {name: result.get(name) for name in names} | ended | {k: v for part in parts for k, v in part.items()}


def _sources(result: Row, *probes: Row | None) -> str:
    """The own kinds that a run was made and measured with, each with the beginning of its source's sha256."""
    parts = [result["environment"].get("sources", {}), *(one.get("sources", {}) for one in probes if one is not None)]
    return ", ".join(sorted({f"{name} {sha256[:12]}" for part in parts for name, sha256 in part.items()}))


def _history(folder: RunFolder, sha256: str | None) -> bytes | None:
    """The history as it lies there; None where it is not that of the result, b"" where the result knows of none."""
    try:
        content = read_bytes(f"{folder.place}/history.jsonl")
    except FileNotFoundError:
        return b"" if sha256 is None else None
    return content if sha256 is None or hashlib.sha256(content).hexdigest() == sha256 else None


def _from_tables(folder: Path, keys: Iterable[str], plan: Plan) -> dict[str, RunRecords]:
    """What the committed tables say of runs that have diverged, or are measured by probes now asked, all or some."""
    frames = read_tables(folder, TABLES, experiment=plan.name)
    if not frames:
        return {}
    wanted = set(keys)
    rows = {name: _rows_by_run(frame, wanted) for name, frame in frames.items()}
    return {
        key: RunRecords(
            provenance[0]["state"],
            packed(provenance[0]),
            [packed(row) for row in rows["records"].get(key, [])],
            [packed(row) for row in rows["history"].get(key, [])],
        )
        for key, provenance in rows["runs"].items()
        if _has_ended(provenance[0], plan.asked(key))
        or (key in rows["records"] and _is_partly_measured(provenance[0], plan.asked(key)))
    }


def known_by_tables(folder: Path, keys: Iterable[str], plan: Plan) -> dict[str, State]:
    """What has become of runs by the tables that a report has left in `folder`, of those it would take from there."""
    frames = read_tables(folder, {"runs": TABLES["runs"]}, experiment=plan.name)
    rows = _rows_by_run(frames["runs"], set(keys)) if frames else {}
    ended = {key: own[0] for key, own in rows.items() if _has_ended(own[0], plan.asked(key))}
    return {key: State(row["state"], row["reason"] or f"by the tables in '{folder}'") for key, row in ended.items()}


def only_in_tables(folder: Path, plan: Plan, pool: Container[str]) -> list[str]:
    """The runs of which a report in `folder` has results that neither the plan asks for nor the pool has.

    Raises `InputError` where its tables are damaged or of another experiment.
    """
    frames = read_tables(folder, {"runs": TABLES["runs"]}, experiment=plan.name)
    if not frames:
        return []
    runs = frames["runs"]
    ended = runs.loc[runs["state"].isin(("done", "diverged")), "run"]
    return [key for key in dict.fromkeys(ended) if key not in plan.runs and key not in pool]


def _has_ended(provenance: Row, asked: Mapping[str, Json]) -> bool:
    """Whether a run of a table has diverged, or is done and measured by the probes now asked."""
    state = provenance["state"]
    return state == "diverged" or (state == "done" and _is_measured(provenance, asked))


def _is_measured(provenance: Row, asked: Mapping[str, Json]) -> bool:
    """Whether a run of a table was measured by all probes that are asked for, as they are now.

    Tables of earlier versions do not say by which: by those that have not changed since.
    """
    if (measured := provenance.get("probes")) is None:
        return not any("version" in probe for probe in asked.values())
    return {file.removesuffix(".json") for file in asked} <= set(measured.split())


def _is_partly_measured(provenance: Row, asked: Mapping[str, Json]) -> bool:
    """Whether a run of a table still to be measured by some probes was measured by others that are asked for."""
    measured = set((provenance.get("probes") or "").split())
    return provenance["state"] in OPEN and bool(measured) and measured <= {file.removesuffix(".json") for file in asked}


def _rows_by_run(frame: pd.DataFrame, keys: set[str]) -> dict[str, list[Row]]:
    """The measured part of a committed table, once a run, also where several cells shared the run."""
    names = list(frame.columns)
    measured = frame[names[names.index("run") :]].rename(columns=lambda name: str(name).removeprefix("measured_"))
    out: dict[str, list[Row]] = {}
    for row in measured[measured["run"].isin(keys)].drop_duplicates().to_dict("records"):
        cells = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        if "reason" in cells:
            cells["reason"] = cells["reason"] or ""
        out.setdefault(str(cells.pop("run")), []).append(cells)
    return out


def _cells(plan: Plan) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name, levels in plan.factors.items():
        cells = [cell.factors[name] for cell in plan.cells]
        is_number = all(isinstance(level, int | float) for level in levels)
        columns[name] = cells if is_number else pd.Categorical(cells, categories=levels, ordered=True)
    return pd.DataFrame({**columns, "run": pd.Series([cell.run for cell in plan.cells], dtype="str")})


def _each(found: Mapping[str, RunRecords], part: str) -> Iterator[tuple[str, Packed]]:
    return ((key, row) for key, one in found.items() for row in getattr(one, part))


def _joined(cells: pd.DataFrame, rows: Iterable[tuple[str, Packed]], always: Sequence[str]) -> pd.DataFrame:
    """The rows with the factors of their cells in front, in the order of the plan; `always` names columns to have."""
    found = columns(rows, always=always)
    names = list(found)
    frame = pd.DataFrame({name: typed(found.pop(name)) for name in names})
    if "value" in names:
        frame["value"] = to_digits(frame["value"].astype(float))
    elif "update" in names:
        frame = with_digits(frame)
    frame["run"] = frame["run"].astype("str")
    frame = frame.rename(
        columns={name: f"measured_{name}" for name in names if name in cells.columns and name != "run"}
    )
    return cells.merge(frame, on="run", how="inner")
