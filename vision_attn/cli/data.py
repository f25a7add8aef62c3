"""Verbs about data sets: list, download, import, verify."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from vision_attn.cli import paths
from vision_attn.cli.chosen import use_data_dirs
from vision_attn.cli.options import DataDir, Json
from vision_attn.cli.output import DONE, FAILED, new_table, print_json, screen
from vision_attn.spec import InputError

FETCHABLE = ("cifar10", "cifar100")


def data_list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the data sets: where each comes from, and whether it is here."""
    use_data_dirs(data_dir)
    from vision_attn.data.catalog import catalog

    entries = catalog()
    if as_json:
        print_json(entries)
        return
    table = new_table(*entries[0])
    for entry in entries:
        table.add_row(*(escape(str(value)) for value in entry.values()))
    screen().print(table)


def data_import(
    path: Annotated[
        Path,
        typer.Argument(callback=paths.usable, help="A folder or archive with train/<class>/* and test/<class>/*."),
    ],
    name: Annotated[str | None, typer.Option(help="The name of the data set; default: that of the path.")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Pixels a side, 1 to 4,096, that the middle square of each image is brought to; default: as they are.",
        ),
    ] = None,
) -> None:
    """Decode an image folder or archive once and keep it by name, for `ImageFolder(name=...)`."""
    from vision_attn.data.folder import import_folder

    screen().print(escape(str(import_folder(path, name=name, image_size=image_size))))


def data_fetch(name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")], data_dir: DataDir = None) -> None:
    """Download a data set from its official place and verify its checksum."""
    use_data_dirs(data_dir)
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from vision_attn.data.cifar import fetch

    if name not in FETCHABLE:
        raise InputError(f"name must be one of {', '.join(map(repr, FETCHABLE))}. Got {name!r} instead.")
    console = screen()
    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(name, total=None)
        fetch(name, progress=lambda received, total: bar.update(task, completed=received, total=total))
    console.print(f"{name} is here, its checksum is right")


def data_verify(as_json: Json = False) -> None:
    """Check that decoded data sets in the cache still have the fingerprint they were written with."""
    from vision_attn.data.catalog import verify

    rows = verify()
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            screen().print(escape(f"{'ok' if row['ok'] else 'damaged'}  {row['entry']}  {row['found']}"))
    raise typer.Exit(DONE if all(row["ok"] for row in rows) else FAILED)
