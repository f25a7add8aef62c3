"""Protocol: how every model was trained, and what of the plan is not there, in rows to be printed."""

import contextlib
import dataclasses
import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd

from vision_attn import wording
from vision_attn.plan import Plan
from vision_attn.records import BASELINES, Records, column
from vision_attn.report.provenance import ended
from vision_attn.spec import RENAMED, RENAMED_FIELDS
from vision_attn.store import LOG, probe_file

Specs = dict[str, Any]
NONE = "–"
"""What stands where a model has no such setting."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field of the recipe and its value for every model; `common` where all models share it."""

    name: str
    values: tuple[str, ...]
    common: bool


@dataclasses.dataclass(frozen=True)
class Missing:
    """A cell of the plan that is not done: its levels, the seeds, what became of it, and where the log lies."""

    cell: str
    seeds: str
    state: str
    reason: str
    log: str


def settings(records: Records) -> list[Setting]:
    """Model, data and every field of the recipe, a value a model; a range where it changes within a model.

    What is fitted instead of trained has no recipe.
    """
    plan = records.plan
    by_model: dict[str, list[str]] = {name: [] for name in plan.labels("model")}
    for cell in plan.cells:
        by_model[plan.label(cell, "model")].append(cell.run)
    firsts = [list(dict.fromkeys(plan.alike[key] for key in keys)) for keys in by_model.values()]
    runs, varied = [[plan.runs[key].run for key in keys] for keys in firsts], _varied(plan)
    built = [[call(run["model"]) for run in own] for own in runs]
    data = [[call({**dict.fromkeys(varied), **run["data"]}, without=varied) for run in own] for own in runs]
    rows = [_setting("built as", built), _setting("data", data), *_recipe_settings(records, firsts)]
    if any(run["recipe"].get("patience") is not None for own in runs for run in own):
        capped = [[_capped(records, keys)] for keys in by_model.values()]
        rows.append(_setting("runs ended by the cap, not by a stall", capped))
    asked = [call(probe) for probe in plan.probes if len(probe) > 1]
    if asked:
        rows.append(_setting("probes not as by default", [[", ".join(asked)]] * len(runs)))
    return [*rows, *_devices(records, list(by_model.values()))]


def _devices(records: Records, by_model: Sequence[Sequence[str]]) -> list[Setting]:
    """On which devices the runs of every model were made; nothing where all were made on one kind."""
    device, gpu = (column(records, name) for name in ("device", "gpu"))
    runs = ended(records)
    if device not in runs:
        return []
    known = runs[runs[device].notna()]
    names = known[gpu] if gpu in known else pd.Series(index=known.index, dtype=object)
    texts = known[device].astype(str) + names.map(lambda name: "" if pd.isna(name) else f" ({name})")
    found = dict(zip(known["run"], texts, strict=True))
    if len(set(found.values())) < 2:
        return []
    counts = [Counter(found[key] for key in dict.fromkeys(keys) if key in found) for keys in by_model]
    return [Setting("device", tuple(_counted(own) or NONE for own in counts), common=False)]


def _counted(found: Counter[str]) -> str:
    """Texts with the number of runs of each, where there are several: cpu, 5 runs; cuda (NVIDIA H200), 60 runs."""
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{text}, {wording.counted(count, 'run')}" for text, count in sorted(found.items()))


def _recipe_settings(records: Records, by_model: Sequence[Sequence[str]]) -> list[Setting]:
    """Every field of the recipe, for the runs of each model."""
    plan, flips = records.plan, _flips(records)
    defaults = plan.defaults.get("Recipe", {})
    recipes = {key: plan.runs[key].run["recipe"] for keys in by_model for key in keys}
    trained = {key for key in recipes if plan.runs[key].run["model"].get("kind") not in BASELINES}
    rows = []
    for field in dict.fromkeys([*defaults, *(name for recipe in recipes.values() for name in recipe)]):
        if field == "kind":
            continue
        asked = {key: recipe.get(field, defaults.get(field, "default")) for key, recipe in recipes.items()}
        if field == "flip":
            asked = {key: _flip(value, flips.get(key)) for key, value in asked.items()}
        values = [[plain(asked[key]) for key in keys if key in trained] for keys in by_model]
        rows.append(_setting(field.replace("_", " "), values))
    return rows


def _capped(records: Records, keys: Sequence[str]) -> str:
    """How many of the runs with patience that have ended were still learning when the updates ran out, and where.

    3 of 12: distance 4 (2 of 5), distance 7 (1 of 5).
    """
    name = column(records, "ended")
    waiting = [key for key in keys if records.plan.runs[key].run["recipe"].get("patience") is not None]
    if name not in records.runs:
        return "none has ended"
    runs = records.runs[records.runs["run"].isin(waiting)].drop_duplicates("run").dropna(subset=[name])
    if runs.empty:
        return "none has ended"
    factors = [factor for factor in records.plan.factors if factor not in ("seed", "model")]
    told = [factor for factor in factors if runs[factor].nunique() > 1]
    is_capped = runs[name] == "budget"
    said = f"{is_capped.sum()} of {len(runs)}"
    if not told or not is_capped.any():
        return said
    where = []
    for levels, own in is_capped.groupby([runs[factor] for factor in told], observed=True):
        if own.any():
            cell = ", ".join(wording.level_text(*one) for one in zip(told, levels, strict=True))
            where.append(f"{cell} ({own.sum()} of {len(own)})")
    return f"{said}: {', '.join(where)}"


def _flips(records: Records) -> dict[str, bool]:
    """Whether the data of a run allow flips, as far as it is known of any run on data of that kind and name."""
    name, plan = column(records, "flip"), records.plan
    if name not in records.runs:
        return {}
    known = records.runs[records.runs[name].notna()]
    measured = dict(zip(known["run"], known[name].astype(bool), strict=True))
    varied = _varied(plan)
    kinds = {
        key: str({field: value for field, value in entry.run["data"].items() if field not in varied})
        for key, entry in plan.runs.items()
    }
    alike = {kinds[key]: allowed for key, allowed in measured.items()}
    return {key: alike[kind] for key, kind in kinds.items() if kind in alike}


def _flip(asked: Any, allowed: bool | None) -> Any:
    """What became of the flips that a recipe asks for, which are left out where the data forbid them."""
    if asked is not True or allowed:
        return asked
    return "yes, where the data allow it" if allowed is None else "no, as the data forbid it"


def missing(records: Records, *, page: Path) -> list[Missing]:
    """Every cell that is not done, in the order of the plan, seeds that say the same in one.

    A log is told by its path from the page on, where it lies in the folder that holds the page's folder and the pool:
    a link to one elsewhere leads nowhere for whoever else has the page.
    """
    plan = records.plan
    factors = [name for name in plan.factors if name != "seed" and len(plan.levels(name)) > 1]
    found: dict[tuple[str, str, str, str], list[Any]] = {}
    for row in records.runs[records.runs["state"] != "done"].to_dict("records"):
        folder = records.folders.get(row["run"])
        log = "" if folder is None else f"{folder}/{LOG}"
        is_near = os.path.exists(log) and Path(os.path.abspath(log)).is_relative_to(os.path.abspath(page.parent))
        path = Path(os.path.relpath(log, page)).as_posix() if is_near else ""
        cell = ", ".join(_level(name, row[name]) for name in factors) or "the only cell"
        key = (cell, row["state"], row["reason"], path)
        found.setdefault(key, []).append(row.get("seed"))
    return [
        Missing(cell, ", ".join(plain(seed) for seed in seeds if seed is not None), *rest)
        for (cell, *rest), seeds in found.items()
    ]


def skips(plan: Plan) -> list[tuple[str, str, str]]:
    """Probes that do not fit some models: the probe, the models with the number of runs, the reason."""
    names = _probe_names(plan)
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for cell in plan.cells:
        for file, reason in plan.runs[cell.run].skips.items():
            keys = found.setdefault((names[file], reason), {}).setdefault(plan.label(cell, "model"), set())
            keys.add(cell.run)
    return [
        (probe, ", ".join(_some(plan, label, len(keys)) for label, keys in by_label.items()), reason)
        for (probe, reason), by_label in found.items()
    ]


def _some(plan: Plan, label: str, number: int) -> str:
    """How many runs of a model; where no factor names models, how many of all."""
    is_part = "model" not in plan.factors and number < len(plan.runs)
    return f"{number} of {len(plan.runs)} runs" if is_part else f"{label} ({number})"


def commands(plan: Plan, folder: Path) -> list[str]:
    """What to type to make these results again, and to rebuild this page from them."""
    preset = ["--preset", shlex.quote(plan.preset)] if plan.preset else []
    words = ["vision-attn", "run", shlex.quote(plan.experiment), *preset]
    for factor, levels in plan.given_levels.items():
        words += ["--levels", shlex.quote(f"{factor}={','.join(map(str, levels))}")]
    words += ["--smoke"] if plan.smoke else []
    kinds = {entry.run["data"]["kind"] for entry in plan.runs.values()}
    if kinds & {"ImageFolder", "Idx"}:
        words += ["--data-dir", "FOLDER_OF_THE_DATA"]
    return [" ".join(words), f"vision-attn report results/{folder.name}"]


def call(spec: Any, *, without: Sequence[str] = ()) -> str:
    """A spec's JSON as one would write it in Python: ViT(dim=64, mixer=SelfAttention())."""
    if isinstance(spec, list):
        return f"({', '.join(call(item) for item in spec)})"
    if not isinstance(spec, dict):
        return repr(spec)
    kind = str(RENAMED.get(spec["kind"], spec["kind"]))
    now: dict[str, str] = RENAMED_FIELDS.get(kind, {})
    named = {now.get(key, key): value for key, value in spec.items() if key != "kind"}
    fields = [f"{key}={'…' if key in without else call(value)}" for key, value in named.items()]
    return f"{kind}({', '.join(fields)})"


def plain(value: Any) -> str:
    """A field of a recipe in a table."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def sentences(question: str) -> tuple[str, list[str]]:
    """The first sentence of a question, and the paragraphs of the rest."""
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", question.strip())
    first = re.match(r"(.+?[.?!])(?=\s|$)", text, re.DOTALL)
    title = first.group(1) if first else text.partition("\n")[0]
    rest = text[len(title) :].strip()
    return " ".join(title.split()), [" ".join(part.split()) for part in re.split(r"\n\s*\n", rest) if part.strip()]


def _probe_names(plan: Plan) -> dict[str, str]:
    """What the page calls every probe, by its file: its kind, with its fields where the plan has several of one."""
    kinds = [probe["kind"] for probe in plan.probes]
    return {
        probe_file(probe): call(probe) if kinds.count(probe["kind"]) > 1 else probe["kind"] for probe in plan.probes
    }


def _varied(plan: Plan) -> list[str]:
    """Fields of data that change from cell to cell within a model, shown by the factors already."""
    fields = ("train_size", "subset_seed")
    data = [entry.run["data"] for entry in plan.runs.values()]
    return [field for field in fields if len({str(one.get(field)) for one in data}) > 1]


def _level(factor: str, level: Any) -> str:
    return level if isinstance(level, str) else f"{factor.replace('_', ' ')} {plain(level)}"


def _setting(name: str, values: list[list[str]]) -> Setting:
    texts = [_several(list(dict.fromkeys(own))) if own else NONE for own in values]
    shared = set(texts) - {NONE} or {NONE}
    common = len(shared) == 1
    return Setting(name, tuple(shared) * len(texts) if common else tuple(texts), common)


def _several(values: list[str]) -> str:
    with contextlib.suppress(ValueError):
        values = sorted(values, key=lambda value: float(value.replace(",", "")))
    return ", ".join(values) if len(values) <= 4 else f"{', '.join(values[:3])}, … ({len(values)} values)"
