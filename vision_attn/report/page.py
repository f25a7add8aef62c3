"""Report: the plan and its records as tables, figures and one self-contained page.

Reads the plan and the run store, writes records.csv.xz, history.csv.xz, runs.csv.xz, tables/, figures/, report.html
and, where the experiment has verdicts, verdicts.csv; SHA256SUMS holds the checksums of the tables.
No clock is read: the same records give the same bytes.
"""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vision_attn import wording
from vision_attn.figures import Figure
from vision_attn.plan import Plan, with_name
from vision_attn.records import Records, column, load
from vision_attn.report import answer, controls, decisions, doubts, evidence, protocol, provenance, withdrawals
from vision_attn.report.drawn import Drawn, draw, named
from vision_attn.report.html import render
from vision_attn.spec import RENAMED, kinds
from vision_attn.store import write_atomic
from vision_attn.tables import ENDS, to_csv, write_tables
from vision_attn.verdicts import Finding, findings
from vision_attn.verdicts import table as verdict_table

PAGE = "report.html"


def build(results_dir: Path, store_root: Path) -> Path:
    """Rebuild everything derived in a folder of the results from its plan and the run store; returns the page.

    Runs that are not in the store are taken from the tables an earlier report left in the folder. Raises
    `InputError` where there is no plan that is intact, and where those tables are damaged.
    """
    folder = with_name(results_dir)
    return write(load(Plan.read(folder), store_root, committed=folder), folder)


def write(records: Records, folder: Path) -> Path:
    """Write tables, figures and page of the records into `folder`, each file atomically; returns the page."""
    for part in (folder, folder / "tables", folder / "figures"):
        part.mkdir(parents=True, exist_ok=True)
    made = {name: draw(name, figure, records, folder) for name, figure in named(records.plan.figures)}
    drawn = [figure for figure in made.values() if figure is not None]
    found = findings(records)
    tables = {"records.csv.xz": to_csv(records.values), "history.csv.xz": to_csv(records.history)}
    tables |= {"runs.csv.xz": to_csv(records.runs)}
    tables |= {figure.file: figure.table for figure in drawn if figure.table}
    tables |= {"verdicts.csv": to_csv(verdict_table(found))} if found else {}
    write_tables(folder, tables, experiment=records.plan.name)
    _delete_others(folder, {figure.name for figure in drawn if figure.has_files}, set(tables))
    left_out = [name for name, figure in made.items() if figure is None]
    told = evidence.of_rows(
        verdict_table(found).to_dict("records"),
        folder=folder.name,
        experiment=records.plan.experiment,
        log=withdrawals.read(folder.parent),
    )
    write_atomic(folder / PAGE, _page(records, folder, drawn, found, told, left_out).encode())
    for figure in drawn:
        if figure.problem:
            warnings.warn(f"{figure.name} of {folder.name} is not drawn: {figure.problem}", stacklevel=2)
    return folder / PAGE


def _delete_others(folder: Path, figures: set[str], tables: set[str]) -> None:
    """Delete what an earlier report wrote and this one does not have; nothing else that lies there."""
    known = {*kinds(Figure), *RENAMED}
    others = [path for path in folder.glob("tables/*.csv*") if f"tables/{path.name}" not in tables]
    others += [path for path in folder.glob("figures/*.*") if path.stem not in figures]
    for path in others:
        if re.split("[-.]", path.name)[0] in known:
            path.unlink()
    for name in {*(f"{name}{end}" for name in ("records", "history", "runs") for end in ENDS), "verdicts.csv"} - tables:
        (folder / name).unlink(missing_ok=True)


def _page(
    records: Records,
    folder: Path,
    drawn: list[Drawn],
    found: list[Finding],
    told: list[evidence.Evidence],
    left_out: list[str],
) -> str:
    """The page: the answer first, then notices, verdicts and figures."""
    plan = records.plan
    title, paragraphs = protocol.sentences(plan.question)
    left = records.runs[records.runs["state"] != "done"]
    partly = int(left["run"].isin(set(records.values["run"])).sum())
    return render(
        "report.html.j2",
        title=title,
        paragraphs=paragraphs,
        plan=plan,
        headline=_headline(records, drawn),
        answer=answer.answer(records, told),
        decisions=decisions.decisions(found, withdrawn={one.whole.rule for one in told if one.is_withdrawn}),
        notices=[
            *doubts.doubts(records),
            *doubts.about_entries(told),
            *controls.notices(records),
            *provenance.notices(records),
        ],
        figures=drawn,
        models=plan.labels("model"),
        settings=protocol.settings(records),
        has_defaults=bool(plan.defaults),
        missing=protocol.missing(records, page=folder),
        states=Counter(records.runs["state"]),
        cells=_cells_text(plan),
        undrawn=len(left) - partly,
        partly=partly,
        skips=protocol.skips(plan),
        origins=provenance.origins(records),
        source=provenance.source(records),
        commands=protocol.commands(plan, folder),
        left_out=wording.listing(left_out, most=99),
    )


def _headline(records: Records, drawn: Sequence[Drawn]) -> list[tuple[str, str]]:
    """What one wants to know before looking at any figure."""
    runs, plan = records.runs.drop_duplicates("run"), records.plan
    states = Counter(runs["state"])
    others = ", ".join(f"{count:,} {name}" for name, count in states.items() if name != "done")
    said = [("Runs", f"{states['done']:,} of {len(runs):,} done" + (f" ({others})" if others else ""))]
    said += _data_rows(records, runs)
    for factor, levels in plan.factors.items():
        texts = [wording.level_cell(level) for level in levels]
        said.append((factor.replace("_", " ").capitalize(), wording.listing(texts, most=12)))
    if told := _cells_text(plan):
        said.append(("Cells", f"{len(plan.cells):,}: {told}"))
    if plan.omitted:
        whole = len(plan.omitted) + len(plan.cells)
        said.append(("Left out", f"{len(plan.omitted):,} of {whole:,} combinations, excluded by the experiment file"))
    shares = sorted({level for figure in drawn for level in figure.levels})
    if shares:
        texts = [f"{100 * share:g} %" for share in shares]
        said.append(("Intervals", f"{wording.listing(texts)}, of the kind that each caption and rule names"))
    seconds = float(runs["train_seconds"].sum()) if "train_seconds" in runs else 0
    if seconds > 0:
        said.append(("Training time", f"{_duration(seconds)} in all"))
    return said


def _cells_text(plan: Plan) -> str:
    """What cells are, where there are more of them than runs; "" where every run fills one."""
    if len(plan.cells) == len(plan.runs):
        return ""
    return f"combinations of levels, seeds included; some of the {len(plan.runs):,} runs fill several"


def _data_rows(records: Records, runs: pd.DataFrame) -> list[tuple[str, str]]:
    """The data sets and their fingerprints, where no factor has them."""
    rows = []
    for name, heading, most in (("dataset", "Data", None), ("fingerprint", "Fingerprint", 16)):
        at = column(records, name)
        values = [str(value) for value in dict.fromkeys(runs[at].dropna())] if at in runs else []
        if values and heading.lower() not in records.plan.factors:
            texts = values if most is None else [f"{value[:most]}…" for value in values]
            rows.append((heading, wording.listing(texts, most=5)))
    return rows


def _duration(seconds: float) -> str:
    """Seconds in words: 42 s, 3 min 12 s, 5 h 4 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
