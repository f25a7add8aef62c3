"""Rehearsal: one's own figures drawn and own rules applied before any run, on made-up records.

The records are shaped as those to come: every probe measures eight images by every model as it is before training. So
a fault in a figure or a rule is told, with file and line, when the experiment is planned. What a figure says that it
cannot use is left to the page.
"""

import contextlib
from collections.abc import Iterator, Set
from typing import Any, get_args

import numpy as np
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
from vision_attn.verdicts.base import Answer

STEP = 0.01
"""By how much made-up numbers of a run and the next differ, relative to them."""


FIELDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("claim", "statement", "rule", "words", "baseline", "metric"), (str, "a text")),
    **dict.fromkeys(("estimate", "low", "high", "sd", "p", "p_holm", "level"), (int | float | np.number, "a number")),
    "n": (int | np.integer, "a whole number"),
    "parts": (tuple, "a tuple of Findings"),
}
"""What fields of a finding must be."""


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
        applies = figure.applies(records.plan)
    _require(figure, "applies", applies, bool | np.bool_, "True or False")
    if not applies:
        return
    _require(figure, "title", getattr(figure, "title", None), str, "a text")
    if isinstance(figure.files, str) or not set(figure.files) <= set(rendering.UNWRITTEN):
        raise _refused(figure, "files", f"a tuple of {', '.join(map(repr, rendering.UNWRITTEN))}", short(figure.files))
    with theme.reproducible():
        with _told(figure, "view"):
            view = figure.view(records)
        _require(figure, "view", view, Records, "Records")
        before = _frames(view)
        with _told(figure, "table"):
            table = figure.table(view)
        _require(figure, "table", table, pd.DataFrame, "a DataFrame")
        _require_columns(figure, table)
        before["the table"] = table.copy()
        with _told(figure, "draw"):
            sheet = figure.draw(table, view, into=None)
        _require(figure, "draw", sheet, rendering.Sheet, "the sheet that it has drawn on, a Figure of matplotlib")
        with _told(figure, "draw"):
            rendering.rendered(sheet, kinds=figure.files)
    for method, given, wanted, words in (
        ("heading", (), str, "a text"),
        ("instead", (table, view), str, "a text"),
        ("is_empty", (table,), bool | np.bool_, "True or False"),
        ("small_print", (table, view), str, "a text"),
        ("caption", (table, view), str, "a text"),
        ("printed", (table, view), pd.DataFrame, "a DataFrame"),
    ):
        with _told(figure, method):
            found = getattr(figure, method)(*given)
        _require(figure, method, found, wanted, words)
    _require_same(figure, "table", before, _frames(view) | {"the table": table})


def _frames(records: Records) -> dict[str, pd.DataFrame]:
    """Copies of the frames that all figures and rules of a page are given."""
    return {f"records.{name}": getattr(records, name).copy() for name in ("values", "history", "runs")}


def _require_same(
    own: Figure | Verdict, method: str, before: dict[str, pd.DataFrame], after: dict[str, pd.DataFrame]
) -> None:
    """Raise `InputError` where a figure or a rule has changed what others are given, or what its CSV is made of."""
    for name, frame in before.items():
        if not frame.equals(after[name]):
            allowed = f"work on copies, such as records.values.copy(){sources.defined(own, method)}"
            raise InputError(f"{kind_of(own)} must {allowed}. It changes {name}.")


def _require_columns(figure: Figure, table: pd.DataFrame) -> None:
    """Raise `InputError` where a part of the table would be missing from its CSV, or could not be told apart in it."""
    names = [name for name in table.index.names if name is not None]
    if names or table.index.nlevels > 1 or not pd.api.types.is_integer_dtype(table.index):
        index = f"the index {', '.join(map(str, names))}" if names else f"an index of {table.index.dtype}"
        raise _refused(figure, "table", "a DataFrame without an index of its own: add .reset_index()", index)
    columns = list(table.columns)
    if not all(isinstance(name, str) for name in columns) or len(set(columns)) < len(columns):
        raise _refused(figure, "table", "a DataFrame whose columns are named by texts, once each", short(columns))


def _decide(verdict: Verdict, records: Records) -> None:
    """All that the page asks of a rule."""
    with _told(verdict, "rule"):
        text = verdict.rule
    _require(verdict, "rule", text, str, "a text")
    with _told(verdict, "metrics"):
        metrics = verdict.metrics
    if metrics is not None and not (isinstance(metrics, Set) and all(isinstance(one, str) for one in metrics)):
        raise _refused(verdict, "metrics", "a frozenset of texts, or None", short(metrics))
    before = _frames(records)
    with _told(verdict, "decide"):
        finding = verdict.decide(records)
    _require_finding(verdict, finding)
    _require_same(verdict, "decide", before, _frames(records))


def _require_finding(verdict: Verdict, finding: Any) -> None:
    """Raise `InputError` where a rule gives no finding, or one that a page cannot show."""
    place = sources.defined(verdict, "decide")
    if not isinstance(finding, Finding):
        raise InputError(f"decide of {kind_of(verdict)} must be a Finding{place}. Got {short(finding)} instead.")
    for name, (wanted, words) in FIELDS.items():
        if not isinstance(value := getattr(finding, name), wanted):
            given = f"{words}{place}. Got {short(value)} instead."
            raise InputError(f"{name} of the Finding of {kind_of(verdict)} must be {given}")
    if finding.verdict not in (known := get_args(Answer)):
        given = f"one of {', '.join(map(repr, known))}{place}. Got {short(finding.verdict)} instead."
        raise InputError(f"verdict of the Finding of {kind_of(verdict)} must be {given}")
    for part in finding.parts:
        _require_finding(verdict, part)


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
        raise _refused(own, part, words, short(given))


def _refused(own: Any, part: str, words: str, given: str) -> InputError:
    return InputError(f"{part} of {kind_of(own)} must be {words}{sources.defined(own, part)}. Got {given} instead.")
