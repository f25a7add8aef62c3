"""Arguments and options that several verbs take."""

import re
from pathlib import Path
from typing import Annotated

import typer

from vision_attn.cli import paths
from vision_attn.spec import InputError

ExperimentFile = Annotated[
    Path, typer.Argument(callback=paths.usable, help="An experiment file, such as experiments/quickstart.py.")
]
Preset = Annotated[str | None, typer.Option(help="A preset of the experiment: other levels of some factors.")]
Levels = Annotated[
    list[str] | None, typer.Option("--levels", help="Other levels of a factor, FACTOR=a,b or seed=0-4. Repeatable.")
]
Results = Annotated[
    Path,
    typer.Option(callback=paths.folder, help="Folder of results: runs/ with all trained runs, and one an experiment."),
]
DataDir = Annotated[
    list[Path] | None,
    typer.Option("--data-dir", callback=paths.usable, help="Folder with data sets or archives. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[
    int, typer.Option(min=1, help="Threads of a worker. Results are bit-identical only for the same number.")
]


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", value):
        allowed = "'auto', 'cpu', 'cuda', or one GPU of several, such as 'cuda:1'"
        raise InputError(f"device must be {allowed}. Got {value!r} instead.")
    return value


Device = Annotated[str, typer.Option(callback=_device, help="auto, cpu, cuda, cuda:1, ...")]
Timeout = Annotated[float | None, typer.Option(min=1, help="Seconds after which a run is killed.")]
StopAfter = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Seconds after which the sweep ends by itself, as at Ctrl-C: the runs at work keep a checkpoint, the "
        "report is written, and the same command continues.",
    ),
]
NoProgress = Annotated[
    float,
    typer.Option("--no-progress", min=0, help="Seconds without any progress after which a run is killed; 0: never."),
]
Smoke = Annotated[
    bool,
    typer.Option("--smoke", help="Quick test: two levels of each factor, two updates a run; the numbers mean nothing."),
]
