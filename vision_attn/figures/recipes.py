"""Recipes: levels that stand for whole recipes, such as the trials of a search, as points along the learning rate."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import pandas as pd

from vision_attn import wording
from vision_attn.plan import Json, Plan, without_seeds

RATE = "learning_rate"
STRENGTHS = (
    "optimizer",
    "weight_decay",
    "crop_padding",
    "rand_augment",
    "mixup",
    "cutmix",
    "patch_drop",
    "label_smoothing",
    "warmup_fraction",
    "batch_size",
)
"""Settings by which recipes of one learning rate may differ, the first to be told apart on a figure first."""
FEWEST = 4
"""Levels that are worth an axis of their learning rates."""
CONSTRUCTION = "construction"
"""The column of what tells the models of one level apart."""
DASHES = ("-", "--", ":", "-.")
MOST = (len(DASHES), 2)
"""Values of the settings that a figure tells apart: of the first by the line, of the second by filled marks."""


@dataclasses.dataclass(frozen=True)
class Recipes:
    """The recipe behind every level of a factor: by group and level the `settings`, and those `told` apart as styles.

    `settings` has a row for every combination of the factors `by` and `choose`: the learning rate and the settings
    told, which together are those of no other level of the group.
    """

    settings: pd.DataFrame
    told: tuple[str, ...]

    @classmethod
    def read(cls, plan: Plan, *, choose: str, by: Sequence[str]) -> Self | None:
        """The recipes of a plan; None where levels are numbers or few, learn at one rate, or need more styles."""
        if len(plan.levels(choose)) < FEWEST or all(map(wording.is_number, plan.levels(choose))):
            return None
        keys = [*by, choose]
        found = planned_settings(plan, keys)
        columns = [name for name in found if name not in keys]
        for name in columns[1:]:
            has = found[name].notna()
            found[name] = found[name].astype(object).where(has, f"no {wording.factor_text(name)}")
        if RATE not in columns or found.duplicated(keys).any() or found[RATE].isna().any():
            return None
        groups = found.groupby(list(by), observed=True, dropna=False)
        if (groups[RATE].nunique() < 2).all():
            return None
        varied = [name for name in columns[1:] if (groups[name].nunique() > 1).any()]
        told: list[str] = []
        while varied and len(told) < len(MOST) and found.duplicated([*by, RATE, *told]).any():
            told.append(varied.pop(0))
        has_styles = all(found[name].nunique() <= most for name, most in zip(told, MOST, strict=False))
        if not has_styles or found.duplicated([*by, RATE, *told]).any():
            return None
        return cls(found[[*keys, RATE, *told]], tuple(told))

    @property
    def rates(self) -> list[float]:
        """The learning rates of all levels, in order."""
        return sorted(set(map(float, self.settings[RATE])))

    def values(self, setting: str) -> list[Any]:
        """The values of a setting told, in order."""
        return sorted(self.settings[setting].unique(), key=lambda value: (isinstance(value, str), value))

    def style(self, settings: Sequence[Any]) -> dict[str, Any]:
        """How the line of some values of the settings told is drawn: arguments of `marks.interval_line`."""
        places = [self.values(name).index(value) for name, value in zip(self.told, settings, strict=True)]
        both = places * 2 if len(places) == 1 and len(self.values(self.told[0])) == 2 else places
        line, mark = (*both, 0, 0)[: len(MOST)]
        return {"line": DASHES[line], "hollow": bool(mark)}


def planned_settings(plan: Plan, keys: Sequence[str]) -> pd.DataFrame:
    """The learning rate and the `STRENGTHS` of the recipes of every combination of the factors `keys`, those there are.

    A combination has one row, or several where its recipes differ.
    """
    defaults = plan.defaults.get("Recipe", {})
    rows = [
        defaults | dict(plan.runs[cell.run].run.get("recipe", {})) | {name: cell.factors[name] for name in keys}
        for cell in plan.cells
    ]
    columns = [name for name in (RATE, *STRENGTHS) if name not in keys and any(name in row for row in rows)]
    return pd.DataFrame(rows, columns=[*keys, *columns]).drop_duplicates().reset_index(drop=True)


def rates_alone(plan: Plan, keys: Sequence[str]) -> dict[tuple[Any, ...], tuple[float, frozenset[str]]]:
    """The learning rate of every combination of the factors `keys`, and all else of its runs but for their seeds.

    Where the latter is the same, two combinations differ in the rate alone. Empty where one has several rates or none.
    """
    default = plan.defaults.get("Recipe", {}).get(RATE)
    rates: dict[tuple[Any, ...], set[Any]] = {}
    others: dict[tuple[Any, ...], set[str]] = {}
    for cell in plan.cells:
        key, run = tuple(cell.factors[name] for name in keys), without_seeds(plan.runs[cell.run].run)
        recipe = dict(run.get("recipe", {}))
        rates.setdefault(key, set()).add(recipe.pop(RATE, default))
        others.setdefault(key, set()).add(repr({**run, "recipe": recipe}))
    if any(len(found) > 1 or not all(map(wording.is_number, found)) for found in rates.values()):
        return {}
    return {key: (float(*found), frozenset(others[key])) for key, found in rates.items()}


def settings_behind(plan: Plan, *, choose: str, hue: str, by: Sequence[str]) -> pd.DataFrame | None:
    """What every combination of the factors sets that not all do: columns of the recipe, and one of the construction.

    None where the levels of `choose` say it themselves: they are numbers, or each is one recipe whatever the others.
    """
    if all(map(wording.is_number, plan.levels(choose))):
        return None
    keys = [*by, hue, choose]
    found = planned_settings(plan, keys)
    names = [name for name in found if name not in keys]
    rows = found.groupby(keys, sort=False)[names].agg(_one_or_several).reset_index()
    if (rows.groupby(choose)[names].nunique(dropna=False) < 2).all(axis=None):
        return None
    rows = rows[[*keys, *(name for name in names if rows[name].nunique(dropna=False) > 1)]]
    if CONSTRUCTION not in keys and (texts := _constructions(plan, keys, hue)):
        rows[CONSTRUCTION] = [texts.get(key) for key in rows[keys].itertuples(index=False, name=None)]
    return rows


def _one_or_several(values: pd.Series) -> Any:
    known = list(dict.fromkeys(values))
    return known[0] if len(known) == 1 else ", ".join(map(wording.level_cell, known))


def _constructions(plan: Plan, keys: Sequence[str], hue: str) -> dict[tuple[Any, ...], str]:
    """By combination of factors, the fields of its models in which those of its level of `hue` differ."""
    models: dict[tuple[Any, ...], list[dict[str, str]]] = {}
    for cell in plan.cells:
        own = models.setdefault(tuple(cell.factors[name] for name in keys), [])
        if (model := _flat(plan.runs[cell.run].run.get("model", {}))) not in own:
            own.append(model)
    of_hue: dict[Any, list[dict[str, str]]] = {}
    for key, own in models.items():
        of_hue.setdefault(key[keys.index(hue)], []).extend(own)
    out = {}
    for key, own in models.items():
        whole = of_hue[key[keys.index(hue)]]
        names = dict.fromkeys(name for model in whole for name in model)
        told = [name for name in names if len({model.get(name) for model in whole}) > 1]
        if told:
            texts = (", ".join(f"{_last(name)} {model.get(name, 'default')}" for name in told) for model in own)
            out[key] = "; ".join(texts)
    return out


def _flat(data: Json, path: str = "") -> dict[str, str]:
    """The fields of a spec's JSON, and of its parts, as texts by their paths. It has none that are at their default."""
    out: dict[str, str] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{path}{name}.")
        else:
            out[f"{path}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return out


def _last(path: str) -> str:
    """A field by its path, in words: of the kind of a part, the part."""
    return path.removesuffix(".kind").rpartition(".")[2].replace("_", " ")
