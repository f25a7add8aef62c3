"""Made-up records as frames, without a run store: every cell of the factors with the rows a function gives it."""

import hashlib
import itertools
import random

import pandas as pd

from vision_attn.plan import Cell, Plan, PlannedRun
from vision_attn.records import Records

RUN = {"kind": "Run", "model": {"kind": "Made"}, "data": {"kind": "Mnist5k"}, "recipe": {"kind": "Recipe"}, "seed": 0}


def column_of(cells, levels):
    is_number = all(isinstance(level, int | float) for level in levels)
    return cells if is_number else pd.Categorical(cells, categories=levels, ordered=True)


def frame_of(factors, rows, always):
    """Rows (dicts with the factors) as a frame; a measured column with the name of a factor is `measured_<name>`."""
    names = dict.fromkeys([*factors, "run", *always, *(name for row in rows for name in row)])
    frame = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
    frame = frame.infer_objects()
    for name, levels in factors.items():
        frame[name] = column_of(list(frame[name]), levels)
    return frame


def make_records(factors, rows, *, history=lambda cell: [], state=lambda cell: "done", classes=8, **plan):
    """Records of every cell: `rows` and `history` give dicts, `state` says what became of the run."""
    factors = {name: list(levels) for name, levels in factors.items()}
    values, updates, runs, cells, entries = [], [], [], [], {}
    for levels in itertools.product(*factors.values()):
        cell = dict(zip(factors, levels, strict=True))
        run = hashlib.sha256(repr(cell).encode()).hexdigest()
        head = {**cell, "run": run}
        cells.append(Cell(factors=cell, run=run))
        entries[run] = PlannedRun(hint="run", run=RUN)
        became = state(cell)
        facts = {"num_classes": classes, "dataset": "cued-recall"} if became in ("done", "diverged") else {}
        runs.append({**head, "state": became, "reason": "", **facts})
        if became in ("done", "diverged"):
            updates += [head | renamed(row, factors) for row in history(cell)]
        if became == "done":
            values += [head | renamed(row, factors) for row in rows(cell)]
    table = {name: tuple(levels) for name, levels in factors.items()}
    question = "How far? So far."
    whole = Plan(name="distance", question=question, factors=table, cells=tuple(cells), runs=entries).replace(**plan)
    return Records(
        values=frame_of(factors, values, ("metric", "value")).astype({"value": float}),
        history=frame_of(factors, updates, ("update",)),
        runs=frame_of(factors, runs, ("state", "reason")),
        plan=whole,
    )


def renamed(row, factors):
    return {(f"measured_{name}" if name in factors else name): value for name, value in row.items()}


def noise(*key):
    """A standard normal number that depends on the key alone."""
    return random.Random(repr(key)).gauss(0, 1)
