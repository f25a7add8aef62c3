"""Rehearsal: one's own figures drawn and own rules applied before any run, on made-up records.

The records are shaped as those to come: every probe measures eight images by every model as it is before training. So
a fault in a figure or a rule is told, with file and line, when the experiment is planned. What a figure says that it
cannot use is left to the page.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch

from vision_attn import sources
from vision_attn.data import Data
from vision_attn.figures import Figure, rendering, theme
from vision_attn.plan import Plan
from vision_attn.probes.asking import answers
from vision_attn.probes.base import Probe
from vision_attn.records import Records, Row, RunRecords, data_columns, joined
from vision_attn.rows import packed
from vision_attn.run import Run, built, provenance
from vision_attn.spec import InputError, from_json, kind_of, short
from vision_attn.trial import small
from vision_attn.verdicts import Finding, Verdict

STEP = 0.01
"""By how much made-up numbers of a run and the next differ, relative to them."""


def check(plan: Plan) -> None:
    """Raise `InputError` where an own figure or an own rule fails, or gives what it must not."""
    figures = [one for one in (from_json(data, Figure) for data in plan.figures) if sources.digests(one)]
    verdicts = [one for one in (from_json(data, Verdict) for data in plan.verdicts) if sources.digests(one)]
    if not figures and not verdicts:
        return
    records = made_up(plan)
    for figure in figures:
        with contextlib.suppress(_LeftToThePage):
            _draw(figure, records)
    for verdict in verdicts:
        with contextlib.suppress(_LeftToThePage):
            _decide(verdict, records)


def made_up(plan: Plan) -> Records:
    """Records of all runs of the plan as if they were done. Values are those of untrained models, and vary by run."""
    measured: dict[Any, list[Row]] = {}
    loaded: dict[Any, Data] = {}
    found = {}
    for place, (key, planned) in enumerate(plan.runs.items()):
        run, asked = from_json(planned.run, Run), plan.asked(key)
        alike = (run.model, run.data.replace(train_size=None, subset_seed=0), *asked)
        of_size = run.data.replace(subset_seed=0)
        if of_size not in loaded:
            loaded[of_size] = run.data.load()
        data = loaded[of_size]
        if alike not in measured:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run.seed)
                model = built(run.model, data).eval()
            few = small(data)
            probes = [from_json(probe, Probe) for probe in asked.values()]
            measured[alike] = [row for probe in probes for row in answers(probe, model, few)]
        values = [{**row, "value": row["value"] * (1 - STEP * (place % 10))} for row in measured[alike]]
        history = _history(run, run.recipe.num_updates(data.train_size))
        rows, logged = ([packed(row) for row in part] for part in (values, history))
        found[key] = RunRecords("done", packed(_provenance(run, data)), rows, logged)
    return joined(plan, found)


def _provenance(run: Run, data: Data) -> Row:
    ended = {"state": "done", "reason": "", "train_loss": 1.0, "train_seconds": 1.0}
    return ended | data_columns(provenance(run, data))


def _history(run: Run, updates: int) -> list[Row]:
    """Rows of a first and of the last update."""
    steps = sorted({min(1, updates), updates} - {0})
    images = {"learning_rate": run.recipe.learning_rate, "train_loss": 1.0, "val_accuracy": 0.5}
    return [{"update": step, "images_seen": step * run.recipe.batch_size, "epoch": 1.0, **images} for step in steps]


class _LeftToThePage(Exception):
    """A figure or a rule says itself what it cannot use."""


def _draw(figure: Figure, records: Records) -> None:
    """All that the page asks of a figure."""
    with _told(figure, "applies"):
        if not figure.applies(records.plan):
            return
    _require(figure, "title", getattr(figure, "title", None), str, "a text")
    with theme.reproducible():
        with _told(figure, "view"):
            view = figure.view(records)
        with _told(figure, "table"):
            table = figure.table(view)
        _require(figure, "table", table, pd.DataFrame, "a DataFrame")
        with _told(figure, "draw"):
            sheet = figure.draw(table, view)
        _require(figure, "draw", sheet, theme.Canvas, "the sheet that it has drawn on")
        with _told(figure, "draw"):
            rendering.rendered(sheet, kinds=figure.files)
    with _told(figure, "caption"):
        caption = figure.caption(table, view)
    _require(figure, "caption", caption, str, "a text")
    with _told(figure, "printed"):
        printed = figure.printed(table, view)
    _require(figure, "printed", printed, pd.DataFrame, "a DataFrame")


def _decide(verdict: Verdict, records: Records) -> None:
    """All that the page asks of a rule."""
    with _told(verdict, "rule"):
        text = verdict.rule
    _require(verdict, "rule", text, str, "a text")
    with _told(verdict, "decide"):
        finding = verdict.decide(records)
    _require(verdict, "decide", finding, Finding, "a Finding")


@contextlib.contextmanager
def _told(own: Figure | Verdict, method: str) -> Iterator[None]:
    """Turn any exception but an `InputError` into one that tells file and line, an attempt to end the process too."""
    try:
        yield
    except InputError as error:
        raise _LeftToThePage from error
    except sources.FAULTS as error:
        at = sources.written_own(own, method)
        raise InputError(
            f"{method} of {kind_of(own)} fails on made-up records: {sources.fault(error, at=at)}"
        ) from error


def _require(own: Any, part: str, given: Any, wanted: Any, words: str) -> None:
    if not isinstance(given, wanted):
        raise InputError(
            f"{part} of {kind_of(own)} must be {words}{sources.defined(own, part)}. Got {short(given)} instead."
        )
