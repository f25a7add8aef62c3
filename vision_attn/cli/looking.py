"""The verbs show and compare: what a run is, what was measured, and in what two differ. Nothing here needs torch."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from vision_attn.cli.options import Json, Results
from vision_attn.cli.output import new_table, print_json, screen
from vision_attn.spec import InputError, canonical
from vision_attn.store import RUNS, RunFolder, Store

MOST_ROWS = 12
"""Numbers of one probe that are printed; --json has them all."""


def show(
    run: Annotated[str, typer.Argument(help="A run: its folder, or the beginning of its key, as after the -- there.")],
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Show one run: model, data, recipe, its attempts, and what was measured."""
    found = _found(run_folder(run, results / RUNS))
    if as_json:
        print_json(found)
        return
    console = screen()
    console.print(f"[bold]{escape(found['folder'])}[/]  {found['state']}", soft_wrap=True)
    for part in (found["run"], found["measured"]):
        for name, value in part.items():
            console.print(f"  {escape(name)}: {escape(str(value))}", soft_wrap=True)
    console.print(f"  attempts: {escape(', '.join(found['attempts']) or 'none')}", soft_wrap=True)
    for probe, rows in found["probes"].items():
        console.print(f"[bold]{escape(probe)}[/]")
        for row in rows[:MOST_ROWS]:
            console.print("  " + escape(", ".join(f"{name} {value}" for name, value in row.items())), soft_wrap=True)
        if len(rows) > MOST_ROWS:
            console.print(f"  and {len(rows) - MOST_ROWS:,} more: --json shows all")


Two = Annotated[str, typer.Argument(help="A run: its folder, or the beginning of its key.")]


def compare(a: Two, b: Two, results: Results = Path("results"), as_json: Json = False) -> None:
    """Compare two runs: in what their model, data and recipe differ, and what was measured of both.

    With --json every number stands in full; otherwise the first of every probe.
    """
    pair = [_found(run_folder(text, results / RUNS)) for text in (a, b)]
    settings = [flat(one["run"]) for one in pair]
    spec = {name: values for name, values in _beside(settings).items() if values[0] != values[1]}
    measured = _beside([flat({"state": one["state"], **one["measured"]}) for one in pair])
    numbers = {
        probe: paired(pair[0]["probes"][probe], pair[1]["probes"][probe])
        for probe in pair[0]["probes"]
        if probe in pair[1]["probes"]
    }
    if as_json:
        folders = [one["folder"] for one in pair]
        print_json({"runs": folders, "differ in": spec, "outcome": measured, "measured of both": numbers})
        return
    console = screen()
    for letter, one in zip("AB", pair, strict=True):
        console.print(f"[bold]{letter}[/] {escape(one['folder'])}", soft_wrap=True)
    console.print("They differ in:" if spec else "Both are the same run.")
    table = new_table("", "A", "B", "B − A")
    for name, values in {**spec, **measured}.items():
        table.add_row(escape(name), *(escape("–" if value is None else str(value)) for value in values), "")
    for probe, rows in numbers.items():
        for name, first, second in rows[:MOST_ROWS]:
            less = (
                f"{second - first:+.4g}" if isinstance(first, int | float) and isinstance(second, int | float) else ""
            )
            table.add_row(escape(name), *(escape(_shown(value)) for value in (first, second)), less)
        if len(rows) > MOST_ROWS:
            table.add_row(f"and {len(rows) - MOST_ROWS:,} more of {escape(probe)}: --json shows all")
    console.print(table)
    if only := sorted(set(pair[0]["probes"]) ^ set(pair[1]["probes"])):
        console.print(escape(f"Measured of one alone: {', '.join(only)}"), soft_wrap=True)


def flat(content: Any, before: str = "") -> dict[str, Any]:
    """The plain values of nested mappings and lists by their place, such as model.mixer.num_heads."""
    if not isinstance(content, dict | list) or not content:
        return {before: content}
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    return {
        place: value
        for name, one in inner
        for place, value in flat(one, f"{before}.{name}" if before else str(name)).items()
    }


def paired(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    """The rows of two lists of records that tell of the same thing: what it is, and the value in each."""

    def by_place(rows: list[dict[str, Any]]) -> dict[bytes, dict[str, Any]]:
        return {canonical({name: one for name, one in row.items() if name != "value"}): row for row in rows}

    others = by_place(second)
    return [
        (", ".join([str(row["metric"]), *_places(row)]), row["value"], others[place]["value"])
        for place, row in by_place(first).items()
        if place in others
    ]


def _places(row: dict[str, Any]) -> list[str]:
    return [f"{name} {value}" for name, value in row.items() if name not in ("metric", "value")]


def _beside(pair: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """By name what each of two mappings has of it, None where it has nothing."""
    return {name: [one.get(name) for one in pair] for name in {**pair[0], **pair[1]}}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _found(folder: RunFolder) -> dict[str, Any]:
    """What the files of a run say."""
    result = folder.result()
    probes = {}
    for file in folder.probe_files():
        if (content := folder.probe(file)) is not None:
            probes[file.removesuffix(".json")] = content["records"]
    return {
        "folder": str(folder.path),
        "run": folder.config()["run"],
        "state": result["state"] if result else "not finished",
        "measured": result["measured"] if result else {},
        "attempts": [row["outcome"] for row in folder.attempts()],
        "probes": probes,
    }


def run_folder(text: str, pool: Path) -> RunFolder:
    """The folder of the run that a text means."""
    if os.path.isfile(os.path.join(text, "config.json")):  # false as well where the text can be no path
        folder = RunFolder(Path(text))
        if folder.read_config() is None:
            raise InputError(f"{folder.path / 'config.json'} is damaged: nobody can say which run this is.")
        return folder
    if os.path.isdir(text):
        RunFolder(Path(text)).read_config()  # raises where it may be one and cannot be read
    store = Store(pool)
    index = store.index()
    found = [folder for key, folder in index.items() if key.startswith(text) or folder.path.name == text]
    if not found and (unread := [error for name, error in store.unread.items() if _may_be(name, text)]):
        raise unread[0]
    if len(found) != 1:
        several = f"{len(found)} runs" if found else "none"
        allowed = f"the folder of one run, or the beginning of one's key, among the {len(index)} in '{pool}'"
        raise InputError(
            f"run must be {allowed}. Got {text!r}, which means {several}. "
            "`vision-attn status FILE --all` names the keys of an experiment's runs; --results names another folder."
        )
    return found[0]


def _may_be(name: str, text: str) -> bool:
    """Whether a folder of the pool that cannot be read, or lists none, may be or hold the run that a text means."""
    own = name.rpartition("/")[2]
    return own == text or own.rpartition("--")[2].startswith(text) or text.rpartition("--")[2].startswith(own)
