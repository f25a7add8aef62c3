"""The command `vision-attn`: run experiments, read results, look at data and machine. The only module that prints."""

import errno
import hashlib
import itertools
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vision_attn import sources
from vision_attn.plan import Plan
from vision_attn.spec import InputError, canonical
from vision_attn.store import RUNS

if TYPE_CHECKING:
    from vision_attn.experiment import Experiment

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 75
FETCHABLE = ("cifar10", "cifar100")
PIPE_COLUMNS = 160
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)

app = typer.Typer(
    name="vision-attn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Data sets: what is known, what is here, bring one in.", no_args_is_help=True)
app.add_typer(data_app, name="data")

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
Smoke = Annotated[bool, typer.Option("--smoke", help="First two levels of each factor, two updates a run.")]


def main() -> None:
    """Run the command; what the user got wrong ends in one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        _complain(str(error))
        sys.exit(USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in DISK:
            raise
        _complain(f"{error.strerror}: '{error.filename or 'the results'}'. What was finished is kept.")
        sys.exit(FAILED)


def _complain(sentence: str) -> None:
    Console(stderr=True, highlight=False).print(f"[bold red]Error:[/] {escape(sentence)}", soft_wrap=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        from vision_attn.environment import own_version

        _console().print(f"vision-attn {own_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """When is self-attention better than convolution on images, when is it worse, and why?"""


@app.command()
def plan(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    results: Results = Path("results"),
    data_dir: DataDir = None,
    smoke: Smoke = False,
    as_json: Json = False,
) -> None:
    """Show what a run would do: cells, runs, what is done already. Nothing is trained or written."""
    _use_data_dirs(data_dir)
    planned, _ = _planned(experiment, preset, levels, smoke)
    if as_json:
        _print_json(planned.to_json())
        return
    from vision_attn import sweep
    from vision_attn.report import protocol

    unchecked = sweep.check(planned, list(planned.runs), needs_data=False)
    states = sweep.states(planned, results / "runs")
    console = _console()
    console.print(f"[bold]{escape(planned.name)}[/]  {escape(planned.question.splitlines()[0])}")
    for factor, values in planned.factors.items():
        console.print(f"  {escape(factor)}: {escape(' | '.join(map(str, values)))}")
    runs = planned.runs
    updates = sum(sweep.updates(entry.run) or 0 for entry in runs.values())
    console.print(f"  {len(planned.cells)} cells, {len(runs)} runs, {updates:,} updates in all")
    if planned.omitted:
        console.print(f"  {len(planned.omitted)} combinations of levels are left out")
    if len(runs) < len(planned.cells):
        console.print(f"  {len(planned.cells) - len(runs)} cells share a run with another cell")
    for probe, names, reason in protocol.skips(planned):
        console.print(f"  {escape(probe)} is skipped for {escape(names)}: {escape(reason)}")
    for sentence in unchecked:
        console.print(f"  Not tried, as data are missing: {escape(sentence)}", soft_wrap=True)
    console.print("  " + _count_line(states))


@app.command()
def run(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    results: Results = Path("results"),
    data_dir: DataDir = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Worker processes; 0: as many as fit.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a worker. Other numbers give other bits.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    stack: Annotated[
        str, typer.Option(help="Runs of one model, recipe and size trained together: auto (on a GPU 16), off, N.")
    ] = "auto",
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds after which a run is killed.")] = None,
    max_consecutive_failures: Annotated[
        int, typer.Option(min=1, help="Stop after that many failures in a row: the cause is common.")
    ] = 5,
    smoke: Smoke = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only failures and the last line.")] = False,
) -> None:
    """Run an experiment, or continue it: what is done is not done again. Ends with its report."""
    _use_data_dirs(data_dir)
    planned, name = _planned(experiment, preset, levels, smoke)
    from vision_attn import sweep
    from vision_attn.progress import Progress
    from vision_attn.report import build

    console = _console()
    with Progress(console, planned, store=results / "runs", quiet=quiet) as progress:
        ended = sweep.run(
            planned,
            results=results,
            name=name,
            jobs=jobs,
            threads=threads,
            device=device,
            stack=stack,
            timeout=timeout,
            max_failures=max_consecutive_failures,
            tell=progress,
            experiment=experiment,
        )
    console.print(_count_line(ended.states))
    if ended.refusal:
        _complain(ended.refusal)
    elif ended.why:
        command = shlex.join(["vision-attn", *sys.argv[1:]])
        console.print(f"Stopped: {ended.why}. The same command continues: {escape(command)}", soft_wrap=True)
    if ended.why != "disk full":
        console.print(f"report: {escape(str(build(results / name, results / 'runs')))}", soft_wrap=True)
    is_cut = bool(ended.refusal) or ended.why in ("disk full", "failures in a row")
    raise typer.Exit(FAILED if is_cut else _exit_code(ended.states))


@app.command()
def retry(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    results: Results = Path("results"),
    diverged: Annotated[bool, typer.Option("--diverged", help="Also the runs that diverged.")] = False,
) -> None:
    """Make failed runs pending again; `run` then executes them. Their attempts stay on record."""
    planned, _ = _planned(experiment, preset, levels, False)
    from vision_attn import sweep

    again = sweep.forget_failures(planned, results / "runs", diverged=diverged)
    _console().print(f"{len(again)} runs will be tried again by: vision-attn run {escape(str(experiment))}")


@app.command()
def status(
    experiment: Annotated[Path, typer.Argument(help="An experiment file, or its folder in results/.")],
    preset: Preset = None,
    levels: Levels = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of the results; default: results, or that in which FOLDER lies.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what has become of every run. Exit code 0: all done; 1: some failed; 75: some are still to do."""
    from vision_attn import sweep

    if experiment.is_dir():
        planned, beside = Plan.read(experiment), experiment.resolve().parent
    else:
        (planned, _), beside = _planned(experiment, preset, levels, False), Path("results")
    states = sweep.states(planned, (results or beside) / RUNS)
    if as_json:
        _print_json({key: {"state": state.name, "reason": state.reason} for key, state in states.items()})
    else:
        console = _console()
        table = Table("run", "state", "reason", box=None, pad_edge=False)
        for key, state in states.items():
            if state.name not in ("done", "pending") or state.reason:
                table.add_row(escape(f"{planned.runs[key].hint}--{key[:12]}"), state.name, escape(state.reason))
        if table.row_count:
            console.print(table)
        console.print(_count_line(states))
    raise typer.Exit(_exit_code(states))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder with a plan.json, such as results/quickstart.")],
    runs: Annotated[Path | None, typer.Option(help="The pool of runs; default: the folder `runs` beside it.")] = None,
) -> None:
    """Rebuild tables, figures and report.html from the records. Needs no torch and no GPU."""
    from vision_attn.report import build

    _console().print(f"{build(folder, runs or folder.parent / 'runs')}")


@app.command()
def plot(
    table: Annotated[Path, typer.Argument(help="Results as CSV, a row per trained model.")],
    figure: Annotated[list[str], typer.Option("--figure", help="A figure, such as LearningCurve or Gap. Repeatable.")],
    reference: Annotated[str | None, typer.Option(help="The model that the others are compared with.")] = None,
    value: Annotated[
        list[str] | None, typer.Option(help="A column with results, or COLUMN=METRIC. Repeatable. [default: accuracy]")
    ] = None,
    factor: Annotated[list[str] | None, typer.Option(help="A column of settings. [default: all others]")] = None,
    x: Annotated[str | None, typer.Option(help="The column along x. [default: the figure's, as train_size]")] = None,
    hue: Annotated[str | None, typer.Option(help="The column that tells lines apart. [default: model]")] = None,
    over: Annotated[str | None, typer.Option(help="The column that means are taken over. [default: seed]")] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Shares, such as accuracy, are given in percent.")] = False,
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes, for the line of guessing.")] = None,
    width: Annotated[str | None, typer.Option(help="column, page or inches. [default: as wide as it needs]")] = None,
    title: Annotated[str, typer.Option(help="A title.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="NAME=TEXT, another text for a name.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("."),
) -> None:
    """Draw figures of your own results: PDF, SVG, PNG and a LaTeX table each. Nothing is trained."""
    from vision_attn.own_results import read
    from vision_attn.records import Records

    columns = dict(_pair(text, "value", alone=True) for text in value or ["accuracy"])
    records = Records.from_frame(
        read(table), value=columns, factors=factor, percent=percent, num_classes=classes, name=table.stem
    )
    labels = dict(_pair(text, "label") for text in label or ())
    fields = {"reference": reference, "x": x, "hue": hue, "over": over}
    given = {name: text for name, text in fields.items() if text is not None}
    metric = next(iter(columns.values()))
    for kind in figure:
        made = _figure(kind, given, metric)
        drawn = made.plot(records, width=_width(width), title=title, labels=labels)
        files = drawn.save(out / kind)
        console = _console()
        console.print(escape(drawn.caption), soft_wrap=True)
        console.print("  " + escape(", ".join(map(str, files))), soft_wrap=True)


@app.command()
def models(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show the models of an experiment with their parameters and forward FLOPs."""
    _use_data_dirs(data_dir)
    planned, _ = _planned(experiment, preset, levels, False)
    from vision_attn import sweep

    sizes = sweep.sizes(planned)
    if as_json:
        _print_json(sizes)
        return
    first = next(iter(sizes.values()))
    table = Table("model", "parameters", "ratio", "FLOPs an image", "ratio", "spec", box=None, pad_edge=False)
    for label, size in sizes.items():
        ratios = [f"{size[key] / first[key]:.3f}" for key in ("params", "flops")]
        table.add_row(
            escape(label), f"{size['params']:,}", ratios[0], f"{size['flops']:,}", ratios[1], escape(size["spec"])
        )
    _console().print(table)


@app.command()
def doctor(
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Check the installation, the device, the processor's abilities and the disk under the results."""
    from vision_attn import doctor as checks

    found = checks.examine(results)
    if as_json:
        _print_json([{"check": check.name, "ok": check.ok, "found": check.found} for check in found])
    else:
        table = Table("", "check", "found", box=None, pad_edge=False)
        for check in found:
            table.add_row("[green]ok[/]" if check.ok else "[red]no[/]", check.name, escape(check.found))
        _console().print(table)
    raise typer.Exit(DONE if all(check.ok for check in found) else FAILED)


@app.command()
def bench(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads on a CPU.")] = 1,
    save: Annotated[Path | None, typer.Option(help="A CSV to put the numbers into, beside those it has.")] = None,
) -> None:
    """Measure a training step of the suite's models on this machine, eager and compiled. Takes some minutes."""
    from vision_attn import bench as benchmark
    from vision_attn.worker import pick_device

    table = Table(
        "model", "arithmetic", "batch", "eager", "compiled", "gain", "compiling takes", box=None, pad_edge=False
    )
    found = []
    for name, gain in benchmark.compile_gains(pick_device(device), threads=threads):
        found.append(gain)
        table.add_row(
            name,
            gain.units,
            str(gain.batch_size),
            f"{gain.eager_ms:.1f} ms",
            f"{gain.compiled_ms:.1f} ms",
            f"{gain.eager_ms / gain.compiled_ms:.2f}",
            f"{gain.warmup_s:.0f} s",
        )
        if save is not None:
            benchmark.save(found, save)
    _console().print(table)


@data_app.command("list")
def data_list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the data sets: where each comes from, and whether it is here."""
    _use_data_dirs(data_dir)
    from vision_attn.data.catalog import catalog

    entries = catalog()
    if as_json:
        _print_json(entries)
        return
    table = Table(*entries[0], box=None, pad_edge=False)
    for entry in entries:
        table.add_row(*(escape(str(value)) for value in entry.values()))
    _console().print(table)


@data_app.command("import")
def data_import(
    path: Annotated[Path, typer.Argument(help="A folder or archive with train/<class>/* and test/<class>/*.")],
    name: Annotated[str | None, typer.Option(help="The name of the data set; default: that of the path.")] = None,
) -> None:
    """Decode an image folder or archive once and keep it by name, for `ImageFolder(name=...)`."""
    from vision_attn.data.folder import import_folder

    _console().print(escape(str(import_folder(path, name=name))))


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(help="cifar10 or cifar100.")], data_dir: DataDir = None) -> None:
    """Download a data set from its official place and verify its checksum."""
    _use_data_dirs(data_dir)
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from vision_attn.data.cifar import fetch

    if name not in FETCHABLE:
        raise InputError(f"name must be one of {', '.join(map(repr, FETCHABLE))}. Got {name!r} instead.")
    console = _console()
    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(name, total=None)
        fetch(name, progress=lambda received, total: bar.update(task, completed=received, total=total))
    console.print(f"{name} is here, its checksum is right")


@data_app.command("verify")
def data_verify(as_json: Json = False) -> None:
    """Check that decoded data sets in the cache still have the fingerprint they were written with."""
    from vision_attn.data.catalog import verify

    rows = verify()
    if as_json:
        _print_json(rows)
    else:
        for row in rows:
            _console().print(escape(f"{'ok' if row['ok'] else 'damaged'}  {row['entry']}  {row['found']}"))
    raise typer.Exit(DONE if all(row["ok"] for row in rows) else FAILED)


def _figure(kind: str, given: dict[str, str], metric: str) -> Any:
    """A figure by its name, with those of the given fields that it has."""
    import dataclasses

    from vision_attn import figures
    from vision_attn.spec import from_json, kinds

    known = kinds(figures.Figure)
    if kind not in known:
        raise InputError(f"figure must be one of {', '.join(sorted(known))}. Got {kind!r} instead.")
    names = {field.name for field in dataclasses.fields(known[kind])}
    if "reference" in names and "reference" not in given and known[kind].__name__ != "DotPlot":
        raise InputError(f"{kind} compares models with one of them. Name it: --reference MODEL.")
    own = {"metric": metric, **given} if metric != "accuracy" else given
    return from_json({"kind": kind, **{name: level for name, level in own.items() if name in names}}, figures.Figure)


def _pair(text: str, field: str, *, alone: bool = False) -> tuple[str, str]:
    """NAME=TEXT, or NAME alone where that is enough."""
    name, equals, rest = text.partition("=")
    if not name or (equals and not rest) or not (equals or alone):
        raise InputError(f"{field} must be NAME=TEXT. Got {text!r} instead.")
    return name, rest or name


def _width(text: str | None) -> Any:
    if text is None or text in ("column", "page"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"width must be 'column', 'page' or a number of inches. Got {text!r} instead.") from None


def _planned(path: Path, preset: str | None, levels: list[str] | None, smoke: bool) -> tuple[Plan, str]:
    """The plan of an experiment file, and the name of its folder in the results."""
    from vision_attn import experiment as experiments

    name, whole = experiments.load(path)
    found, parts = whole, [name]
    if preset is not None:
        found = whole.preset(preset)
        parts.append(preset)
    chosen = dict(_parse_levels(text, whole) for text in levels or ())
    others = {factor: own for factor, own in chosen.items() if own != tuple(found.factors[factor])}
    found = found.with_levels(chosen)
    if others:
        parts.append(_folder_of(others))
    if smoke:
        found = experiments.smoke(found)
        parts.append("smoke")
    typed = {"preset": preset, "given_levels": chosen, "smoke": smoke, "experiment": sources.shown(path)}
    return experiments.plan(found, name=name).replace(**typed), "-".join(parts)


def _folder_of(levels: dict[str, tuple[Any, ...]]) -> str:
    """A part of a folder's name for a choice of levels, to be read, with a digest that tells like ones apart."""
    text = "-".join(f"{factor}-{'-'.join(map(str, own))}" for factor, own in levels.items())
    short = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:60].strip("_.-")
    return f"{short}-{hashlib.sha256(canonical({name: list(own) for name, own in levels.items()})).hexdigest()[:6]}"


def _parse_levels(text: str, experiment: "Experiment") -> tuple[str, tuple[Any, ...]]:
    """`seed=0-4` or `model=ViT,ResNet`: the factor and its levels; numbers where the factor's own are."""
    factor, equals, values = text.partition("=")
    if not equals or factor not in experiment.factors:
        allowed = f"FACTOR=level,level with a factor among {', '.join(experiment.factors)}"
        raise InputError(f"levels must be {allowed}. Got {text!r} instead.")
    known = experiment.levels(factor)
    if not all(isinstance(level, int | float) and not isinstance(level, bool) for level in known):
        return factor, tuple(_text_level(factor, known, value) for value in _split(values, known))
    levels: list[Any] = []
    for value in values.split(","):
        if span := re.fullmatch(r"(\d+)-(\d+)", value):
            levels.extend(range(int(span[1]), int(span[2]) + 1))
        else:
            levels.append(_number(factor, value))
    return factor, tuple(levels)


def _split(values: str, known: list[Any]) -> list[str]:
    """The values between commas, where a comma may also belong to a known level ("ViT, 3x3 convolution")."""
    found = []
    while values:
        whole = [str(level) for level in known if values == str(level) or values.startswith(f"{level},")]
        value = max(whole, key=len, default=values.partition(",")[0])
        found.append(value)
        values = values[len(value) + 1 :]
    return found


def _text_level(factor: str, known: list[Any], value: str) -> Any:
    for level in known:
        if str(level) == value:
            return level
    raise InputError(f"level of {factor} must be one of {', '.join(map(repr, known))}. Got {value!r} instead.")


def _number(factor: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise InputError(f"level of {factor} must be a number. Got {text!r} instead.")


def _use_data_dirs(data_dir: list[Path] | None) -> None:
    """Hand --data-dir on to the worker processes."""
    for folder in data_dir or ():
        if not folder.is_dir():
            raise InputError(f"data-dir must be a folder that is there. Got '{folder}' instead.")
    if data_dir:
        earlier = filter(None, [os.environ.get("VISION_ATTN_DATA")])
        os.environ["VISION_ATTN_DATA"] = os.pathsep.join([*(str(f.resolve()) for f in data_dir), *earlier])


def _count_line(states: dict[str, Any]) -> str:
    names = sorted(state.name for state in states.values())
    counts = {name: len(list(group)) for name, group in itertools.groupby(names)}
    return f"{len(states)} runs: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def _exit_code(states: dict[str, Any]) -> int:
    names = {state.name for state in states.values()}
    if names & {"pending", "running"}:
        return INTERRUPTED
    return FAILED if names - {"done"} else DONE


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def _print_json(value: Any) -> None:
    import json

    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
