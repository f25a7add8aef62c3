"""Doubts: where the labels of the runs do not say what the runs are."""

import contextlib
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import pandas as pd

from vision_attn import wording
from vision_attn.records import Records, column, pick
from vision_attn.report.evidence import Evidence
from vision_attn.report.provenance import Notice
from vision_attn.report.scope import limited_cells
from vision_attn.spec import InputError

EARLY = ("updates", "images_seen")
"""What a run that ended early has less of than planned."""
MATCHED = 0.02
"""By how much what a probe measures, such as params, may be off the level that it was matched to."""


def doubts(records: Records) -> list[Notice]:
    """What the reader has to know before any number: smoke runs, underfitting, levels and sources that do not hold."""
    kinds = (_about_smoke, _about_budget, _about_subsets, _about_levels, _about_sources)
    return [notice for about in kinds for notice in about(records)]


def about_entries(evidence: Sequence[Evidence]) -> list[Notice]:
    """What the log of results says of the verdicts of the page."""
    said = []
    for one in evidence:
        if one.entry is not None and one.entry.word in ("Withdrawn", "Qualified"):
            word = f"{one.whole.rule} is {one.entry.word.lower()} ({one.entry.date})"
            said.append(Notice(f"{word}: {one.entry.reason}" if one.entry.reason else f"{word}.", one.is_withdrawn))
    return said


def _about_smoke(records: Records) -> list[Notice]:
    if not records.plan.smoke:
        return []
    text = "A smoke run: at most two levels of each factor and two updates a run. Its numbers say nothing."
    return [Notice(text, loud=True)]


def _about_budget(records: Records) -> list[Notice]:
    """Networks that were trained for too short to be limited by their data."""
    if records.plan.smoke:
        return []
    found = limited_cells(records)
    short = found[found["limited_by"] == "budget"]
    if short.empty:
        return []
    which = wording.listing(list(dict.fromkeys(str(name) for name in short["model"]))) if "model" in short else ""
    text = (
        f"In {len(short)} of {len(found)} cells training ended before the data were used up"
        f"{f' ({which})' if which else ''}: their networks do not fit their training images and may gain from longer "
        "training. Differences there are in speed of learning, too."
    )
    return [Notice(text)]


def _about_subsets(records: Records) -> list[Notice]:
    """Cells whose seeds all have one training set, as where it is all that there is."""
    sha = column(records, "subset_sha256")
    factors = [name for name in records.plan.factors if name != "seed"]
    runs = records.runs[records.runs["state"] == "done"]
    if records.plan.smoke or not {sha, "seed"} <= set(runs) or not factors:
        return []
    cells = runs.groupby(factors, observed=True).agg(runs=("run", "nunique"), sets=(sha, "nunique"))
    several = cells[cells["runs"] > 1]
    alike = several[several["sets"] == 1]
    if alike.empty:
        return []
    where = "" if len(alike) == len(several) else f"in {len(alike)} of {len(several)} cells "
    text = (
        f"{where}all seeds learn from the same training images: intervals are over initial weights and the order of "
        "images, and leave out what another training set would change."
    )
    return [Notice(wording.headed(text))]


def _about_levels(records: Records) -> list[Notice]:
    """A factor that has the name of a measured number says how much it was; what was measured decides."""
    said = []
    for name in records.plan.factors:
        runs = _measured(records, name)
        if runs is None or (name in EARLY and records.plan.smoke):
            continue
        if name in EARLY:
            runs = runs[runs[f"measured_{name}"] != 0]  # models that are not to be trained
            runs = runs[runs["ended"] != "stalled"] if "ended" in runs else runs
        pairs = zip(runs[name], runs[f"measured_{name}"], strict=True)
        nearly = 0.0 if f"measured_{name}" in records.runs else MATCHED
        wrong = [
            pair for pair in pairs if all(map(_is_number, pair)) and not math.isclose(*pair, rel_tol=nearly, abs_tol=0)
        ]
        if wrong:
            which = ", ".join(f"{found:,.12g} where it says {level:,.12g}" for level, found in dict.fromkeys(wrong))
            count = wording.counted(len(wrong), "cell")
            text = f"The factor {name} is not the {name.replace('_', ' ')} that was measured in {count}: {which}."
            said.append(Notice(text, loud=True))
    return said


def _measured(records: Records, name: str) -> pd.DataFrame | None:
    """The cells that are done with what was measured under the name of a factor, by the runs themselves or a probe."""
    if f"measured_{name}" in records.runs:
        return records.runs[records.runs["state"] == "done"]
    with contextlib.suppress(InputError):  # measured by several probes, as the figures say
        if len(found := pick(records, name, at={})):
            return found.rename(columns={"value": f"measured_{name}"})
    return None


def _about_sources(records: Records) -> list[Notice]:
    """Labels whose runs were made with different sources of an own kind, or with another one than the plan's."""
    said, plan = [], records.plan
    for (label, kind), counts in _counted(records).items():
        now = plan.sources.get(kind, "")[:12]
        if len(counts) > 1:
            which = ", ".join(f"{source} ({wording.counted(count, 'run')})" for source, count in counts.items())
            text = f"Runs of {label} come from different sources of {kind}: {which}. They must not be taken together."
            said.append(Notice(text, loud=True))
        elif now and now not in counts:
            (source,) = counts
            text = f"{kind} has changed since the runs of {label}: they come from its source {source}, now it is {now}."
            said.append(Notice(text, loud=True))
    return said


def _counted(records: Records) -> dict[tuple[str, str], dict[str, int]]:
    """How many runs of every label were made with every source of every own kind."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    if "sources" not in records.runs:
        return found
    labelled = ["model", "run"] if "model" in records.plan.factors else ["run"]
    for row in records.runs.dropna(subset=["sources"]).drop_duplicates(labelled).to_dict("records"):
        for part in row["sources"].split(", "):
            kind, _, source = part.rpartition(" ")
            counts = found.setdefault((str(row.get("model", "all models")), kind), {})
            counts[source] = counts.get(source, 0) + 1
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not pd.isna(value)
