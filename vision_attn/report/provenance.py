"""Provenance: which data, versions, machine and choices stand behind the records, and where runs differ in them."""

import dataclasses
import re
from collections import Counter
from numbers import Integral
from typing import Any

import pandas as pd

from vision_attn import wording
from vision_attn.plan import of_any_subset
from vision_attn.records import Records, column
from vision_attn.spec import canonical

NAMES = {
    "dataset": "data set",
    "fingerprint": "fingerprint of the data",
    "image_size": "image size",
    "in_chans": "channels",
    "num_classes": "classes",
    "val_size": "validation images",
    "test_size": "test images",
    "device": "device",
    "precision": "precision",
    "threads": "threads",
    "compile": "compiled",
    "channels_last": "channels last",
    "attention": "attention kernel",
    "vision_attn": "vision-attn",
    "commit": "commit",
    "sources": "source of own kinds",
    "python": "Python",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "numpy": "numpy",
    "scikit-learn": "scikit-learn",
    "platform": "platform",
    "cpu": "processor",
}
ABSENT = {
    "attention": "none, as the model has no attention",
    "scikit-learn": "none, as the model is trained by updates",
    "sources": "none, as all kinds are the package's",
}
"""What it means that a run says nothing of one, where that is not that it is unknown."""
DATA = ("dataset", "fingerprint", "image_size", "in_chans", "num_classes", "val_size", "test_size")
BY_MODEL = ("precision", "compile", "channels_last", "attention", "scikit-learn")
"""Choices that follow from the model, so that models may differ in them and runs of one model may not."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """What the runs say of one thing: every value with the number of runs, and whether they ought to agree."""

    name: str
    values: tuple[tuple[str, int], ...]
    differs: bool


@dataclasses.dataclass(frozen=True)
class Notice:
    """Something the reader has to know; `loud` where the comparison itself is in doubt."""

    text: str
    loud: bool = False


def origins(records: Records) -> list[Origin]:
    """The provenance of all runs that have ended."""
    runs = ended(records)
    found = []
    for key, name in NAMES.items():
        at = column(records, key)
        if at not in runs or not len(runs):
            continue
        counts: Counter[str] = Counter()
        for value, count in runs[at].value_counts(sort=False, dropna=False).items():
            counts[ABSENT.get(key, "unknown") if pd.isna(value) else _text(value)] += int(count)
        values = counts.most_common()
        found.append(Origin(name, tuple(values), len(values) > 1 and _ought_to_agree(records, runs, key)))
    return found


def notices(records: Records) -> list[Notice]:
    """Warnings about the data first, then about the machine."""
    runs = ended(records)
    said = [*_about_fingerprints(records, runs), *_about_subsets(records, runs)]
    said += _about_origins([one for one in origins(records) if one.differs and one.name != NAMES["fingerprint"]])
    if "commit" in runs and runs[column(records, "commit")].dropna().astype(str).str.endswith("-dirty").any():
        said.append(Notice("Some runs were made with code that had changes beyond its commit (-dirty)."))
    if records.damaged:
        said.append(
            Notice(f"Files that are damaged or cannot be read, counted as absent: {', '.join(records.damaged)}.")
        )
    return said


def source(records: Records) -> str:
    """Which runs are known from tables alone, as in a clone, which has no folders of runs; nothing where none is."""
    if not (count := len(records.committed)):
        return ""
    return f"{wording.counted(count, 'run')} {'is' if count == 1 else 'are'} taken from the tables beside this page."


def _about_origins(differing: list[Origin]) -> list[Notice]:
    """What runs differ in: the data sets and a single thing with their values, several in one notice without."""
    data = [one for one in differing if one.name == NAMES["dataset"]]
    others = [one for one in differing if one not in data]
    if len(others) > 1:
        names = wording.listing([f"{one.name} ({len(one.values)})" for one in others], most=len(others))
        said = [Notice(f"Runs differ in {names}: see the values under Provenance.")]
    else:
        said = [Notice(_difference(one)) for one in others]
    return [*(Notice(_difference(one)) for one in data), *said]


def _difference(origin: Origin) -> str:
    values = ", ".join(f"{value} ({wording.counted(count, 'run')})" for value, count in origin.values)
    if origin.name == NAMES["commit"]:
        return f"Made with {len(origin.values)} versions of the code: {values}."
    return f"Runs differ in {origin.name}: {values}."


def ended(records: Records) -> pd.DataFrame:
    """One row a run that has a result, also where probes are still to measure: figures draw what the others have."""
    runs = records.runs
    has_ended = runs["state"].isin(["done", "diverged"]) | runs["run"].isin(set(records.values["run"]))
    return runs[has_ended].drop_duplicates("run")


def _ought_to_agree(records: Records, runs: pd.DataFrame, key: str) -> bool:
    """Whether differing values of one are a matter of concern."""
    if key == "fingerprint":
        return bool(_about_fingerprints(records, runs))
    if key in DATA:
        return key == "dataset" and _is_compared_across(records, runs[column(records, key)])
    if key == "sources":
        return False
    if key in BY_MODEL and "model" in records.plan.factors:
        values = runs[column(records, key)].astype(str)
        return bool((values.groupby(runs["model"], observed=True).nunique() > 1).any())
    return True


def _is_compared_across(records: Records, values: pd.Series) -> bool:
    """Whether models or seeds differ in what ought to follow from the other factors."""
    others = [name for name in records.plan.factors if name not in ("model", "seed")]
    cells = records.runs.assign(
        value=records.runs["run"].map(dict(zip(records.runs.loc[values.index, "run"], values, strict=True)))
    )
    if not others:
        return values.nunique() > 1
    return bool((cells.groupby(others, observed=True, dropna=False)["value"].nunique() > 1).any())


def _about_fingerprints(records: Records, runs: pd.DataFrame) -> list[Notice]:
    names = [column(records, name) for name in ("dataset", "fingerprint")]
    if not set(names) <= set(runs):
        return []
    said = []
    drawn = runs["run"].map(lambda key: canonical(of_any_subset(records.plan.runs[key].run.get("data", {}))))
    for (dataset, _), part in runs.groupby([runs[names[0]], drawn], dropna=False):
        counts = part[names[1]].value_counts()
        if len(counts) > 1:
            which = ", ".join(
                f"{value[:12]}… ({wording.counted(int(count), 'run')})" for value, count in counts.items()
            )
            said.append(
                Notice(f"The runs on {dataset} saw different data: {which}. Their numbers must not be compared.", True)
            )
    return said


def _about_subsets(records: Records, runs: pd.DataFrame) -> list[Notice]:
    """Models are compared seed by seed: within a cell of all other factors they should share the training subset."""
    others = [name for name in records.plan.factors if name != "model"]
    if "model" not in records.plan.factors or not others or "subset_sha256" not in runs:
        return []
    groups = records.runs.groupby(others, observed=True, dropna=False)["subset_sha256"].nunique()
    count = int((groups > 1).sum())
    if not count:
        return []
    return [Notice(f"In {count} of {len(groups)} cells the models did not learn from the same training subset.", True)]


def _text(value: Any) -> str:
    if isinstance(value, bool) or re.fullmatch("True|False", str(value)):
        return "yes" if str(value) == "True" else "no"
    return f"{value:,}" if isinstance(value, Integral) else str(value)
