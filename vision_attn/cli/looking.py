"""The verb show: one run, what it is, what became of it and what was measured. Needs no torch."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from vision_attn.cli.options import Json, Results
from vision_attn.cli.output import print_json, screen
from vision_attn.spec import InputError
from vision_attn.store import PROBES, RUNS, RunFolder, Store

MOST_ROWS = 12
"""Numbers of one probe that are printed; --json has them all."""


def show(
    run: Annotated[str, typer.Argument(help="A run: its folder, or the beginning of its key, as after the -- there.")],
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Show one run: model, data, recipe, its attempts, and what was measured."""
    folder = _folder(run, results / RUNS)
    result = folder.result()
    found: dict[str, Any] = {
        "folder": str(folder.path),
        "run": folder.config()["run"],
        "state": result["state"] if result else "not finished",
        "measured": result["measured"] if result else {},
        "attempts": [row["outcome"] for row in folder.attempts()],
        "probes": {},
    }
    for file in sorted((folder.path / PROBES).glob("*.json")):
        if (content := folder.probe(file.name)) is not None:
            found["probes"][file.stem] = content["records"]
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


def _folder(text: str, pool: Path) -> RunFolder:
    """The folder of the run that a text means."""
    if (Path(text) / "config.json").is_file():
        folder = RunFolder(Path(text))
        if folder.read_config() is None:
            raise InputError(f"{folder.path / 'config.json'} is damaged: nobody can say which run this is.")
        return folder
    index = Store(pool).index()
    found = [folder for key, folder in index.items() if key.startswith(text) or folder.path.name == text]
    if len(found) != 1:
        several = f"{len(found)} runs" if found else "none"
        allowed = f"the folder of one run, or the beginning of one's key, among the {len(index)} in '{pool}'"
        raise InputError(f"run must be {allowed}. Got {text!r}, which means {several}.")
    return found[0]
