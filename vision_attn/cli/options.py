"""Arguments and options that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

ExperimentFile = Annotated[Path, typer.Argument(help="An experiment file, such as experiments/quickstart.py.")]
Preset = Annotated[str | None, typer.Option(help="A preset of the experiment: other levels of some factors.")]
Levels = Annotated[
    list[str] | None, typer.Option("--levels", help="Other levels of a factor, FACTOR=a,b or seed=0-4. Repeatable.")
]
Results = Annotated[Path, typer.Option(help="Folder of the results: the pool of runs, and one folder an experiment.")]
DataDir = Annotated[
    list[Path] | None, typer.Option("--data-dir", help="Where data sets and their archives lie. Repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of a worker. Other numbers give other bits.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Timeout = Annotated[float | None, typer.Option(min=1, help="Seconds after which a run is killed.")]
NoProgress = Annotated[
    float,
    typer.Option("--no-progress", min=0, help="Seconds without any progress after which a run is killed; 0: never."),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="First two levels of each factor, two updates a run.")]
