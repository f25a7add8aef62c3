"""Verbs to begin with: init writes an experiment file, list shows those that are there, docs writes what to read."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from vision_attn.cli import paths
from vision_attn.cli.chosen import chosen_plan
from vision_attn.cli.options import Json, Results
from vision_attn.cli.output import DONE, FAILED, complain, new_table, print_json, print_path, screen
from vision_attn.cli.running import known_states
from vision_attn.spec import InputError
from vision_attn.store import RUNS, write_atomic

TEMPLATE = '''"""Does attention need more digits than convolution?

The first line is the question; it becomes the title of the report. What follows explains it.
"""

from vision_attn import Accuracy, DepthwiseConv, Experiment, Gap, LearningCurve, Mnist5k, Recipe, Run, ViT

# The models to compare, by the names they have in figures. The two differ in the mixer, which adds vectors about as
# large in both at the start: attention does so with the init "mimetic". A network of your own goes here too: write
# @as_model (from vision_attn.models) over the class or function that builds it, and call that here.
MODELS = {
    "attention": ViT(dim=48, depth=2, patch_size=7, init="mimetic"),
    "convolution": ViT(dim=48, depth=2, patch_size=7, mixer=DepthwiseConv(kernel_size=3)),
}


def run(model, train_size, seed):
    """One combination of the levels below is one run. Return None to leave a combination out."""
    return Run(
        model=MODELS[model],
        data=Mnist5k(train_size=train_size, subset_seed=seed),  # 5,000 digits that come with a package
        # Digits are not cropped: with random crops a vision transformer hardly learns in so few updates.
        recipe=Recipe(updates=400, batch_size=32, learning_rate=3e-3, crop_padding=0),
        seed=seed,
    )


experiment = Experiment(
    question=__doc__,
    factors={"model": tuple(MODELS), "train_size": (100, 400, 1600), "seed": range(5)},
    run=run,
    presets={"quick": {"train_size": (100,), "seed": range(2)}},  # vision-attn run FILE --preset quick
    probes=(Accuracy(),),  # what is measured of every trained model
    figures=(LearningCurve(), Gap(reference="convolution")),
)
'''


def init(
    file: Annotated[Path, typer.Argument(callback=paths.usable, help="The file to write.")] = Path("my_question.py"),
) -> None:
    """Write a commented experiment file to begin with: a question, two models, a learning curve."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}\.py", file.name) or file.stem == RUNS:
        letters = "1 to 64 lower-case letters, digits, - and _, the first a letter or digit"
        allowed = f"{letters}, then .py, and not {RUNS}.py"
        raise InputError(f"name of an experiment file must be {allowed}. Got '{file.name}' instead.")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        raise InputError(f"file must be a new one. '{file}' is there already.") from None
    try:
        write_atomic(file, TEMPLATE.encode())
    except OSError:  # as on a full disk: an empty file would be in the way of the next try
        file.unlink()
        raise
    screen().print(escape(f"{file} is written. Next: vision-attn plan {file}"), soft_wrap=True)


def list_experiments(
    folder: Annotated[Path, typer.Argument(callback=paths.folder, help="The folder with experiment files.")] = Path(
        "experiments"
    ),
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """List the experiment files of a folder: question, presets, number of runs, how many are done."""
    files = sorted(file for file in folder.glob("*.py") if not file.name.startswith("_"))
    if not files:
        raise InputError(f"folder must hold experiment files. '{folder}' has none; `vision-attn init` writes one.")
    rows = [_row(file, results) for file in files]
    if as_json:
        print_json(rows)
        return
    table = new_table("experiment", "runs", "done", "presets", "question")
    for row in rows:
        table.add_row(*(escape(str(row[name])) for name in ("experiment", "runs", "done", "presets", "question")))
    screen().print(table)


def _row(file: Path, results: Path) -> dict[str, Any]:
    """An experiment file in a line; one that is none says so in the place of its question, and is not run."""
    from vision_attn import sources
    from vision_attn.experiment import load, none_in
    from vision_attn.states import look

    try:
        if not sources.may_define(file, "experiment"):
            raise none_in(file)
        planned, name = chosen_plan(file, None, None, False)
        presets = ", ".join(load(file)[1].presets)
    except InputError as error:
        return {"experiment": str(file), "runs": "", "done": "", "presets": "", "question": str(error)}
    try:
        states = known_states(planned, results / RUNS, results / name)
    except InputError:  # `report` and `status` say what is wrong with the tables
        states = look(planned, results / RUNS).states
    return {
        "experiment": str(file),
        "runs": len(planned.runs),
        "done": sum(state.name == "done" for state in states.values()),
        "presets": presets,
        "question": planned.question.splitlines()[0],
    }


def docs(
    output: Annotated[
        Path, typer.Option(callback=paths.folder, help="The folder to write to; its index.html is the front page.")
    ] = Path("build/docs"),
) -> None:
    """Build the documentation as a site: pages, gallery of figures, reference. Needs the extra `docs`."""
    from vision_attn.site import build

    paths.require_writable("output", output)
    warnings = build(output)
    for text in warnings:
        complain(text)
    print_path(output / "index.html")
    raise typer.Exit(FAILED if warnings else DONE)
