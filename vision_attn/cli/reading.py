"""Verbs about results: the report of an experiment, exports, figures of a table of one's own. Needs no torch."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from vision_attn.cli import paths
from vision_attn.cli.output import print_path, screen
from vision_attn.sources import shown
from vision_attn.spec import InputError
from vision_attn.store import RUNS


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            callback=paths.usable,
            help="An experiment's folder, as results/quickstart; with --all that of all results.",
        ),
    ] = Path("results"),
    runs: Annotated[
        Path | None,
        typer.Option(callback=paths.kept_folder, help="The pool of runs; default: the folder `runs` beside it."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="The pages of all experiments in FOLDER, and index.html with all verdicts.")
    ] = False,
    index: Annotated[bool, typer.Option("--index", help="Only index.html, from the tables that are there.")] = False,
    readme: Annotated[
        Path | None,
        typer.Option(
            callback=paths.file, help="With --all or --index: a README whose table of claims is written anew."
        ),
    ] = None,
) -> None:
    """Rebuild tables, figures and report.html from the records. Needs no torch and no GPU."""
    from vision_attn.plan import with_name
    from vision_attn.report import build, build_all, write_table

    if whole and index:
        raise InputError("--index must be left out with --all, which writes index.html, too.")
    if index and runs is not None:
        raise InputError(f"--runs must be left out with --index, which reads tables alone. Got '{runs}'.")
    if not (whole or index):
        if readme is not None:
            raise InputError("--readme needs --all or --index.")
        print_path(build(folder, runs or with_name(folder).parent / RUNS))
        return
    build_all(folder, store=runs, pages=whole, tell=print_path)
    if readme is not None:
        write_table(readme, folder, store=runs)
        print_path(readme)


def export(
    folder: Annotated[Path, typer.Argument(callback=paths.usable, help="An experiment's folder in results/.")],
    to: Annotated[str, typer.Option(help="csv, parquet, latex, pdf or tensorboard.")],
    out: Annotated[
        Path | None, typer.Option(callback=paths.folder, help="The folder to write to. [default: NAME-FORMAT, here]")
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(callback=paths.kept_folder, help="The pool of runs; default: the folder `runs` beside it."),
    ] = None,
    width: Annotated[str | None, typer.Option(help="Of a pdf: column, page or inches.")] = None,
) -> None:
    """Write results for other programs: tables as CSV, Parquet or LaTeX, figures as PDF, histories for TensorBoard."""
    from vision_attn.exporting import export as write
    from vision_attn.records import Records

    records = Records.from_folder(folder, runs=runs)
    target = out or Path(f"{folder.resolve().name}-{to}")
    for file in write(records, target, to=to, width=_width(width)):
        print_path(file)


def plot(
    table: Annotated[
        Path,
        typer.Argument(
            callback=paths.usable,
            help="Results as CSV, a row per trained model; or an experiment's folder in results/.",
        ),
    ],
    figure: Annotated[
        list[str] | None,
        typer.Option(
            "--figure",
            help="A figure, such as LearningCurve or Gap. Repeatable. [default: LearningCurve; of a folder all]",
        ),
    ] = None,
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
    out: Annotated[Path, typer.Option(callback=paths.folder, help="The folder to write to.")] = Path("."),
) -> None:
    """Draw figures of your own results, or of a report: PDF, SVG, PNG and a LaTeX table each. Nothing is trained."""
    from vision_attn.exporting import spared

    fields = {"reference": reference, "x": x, "hue": hue, "over": over}
    given: dict[str, Any] = {name: text for name, text in fields.items() if text is not None}
    lost: list[str] = []
    if table.is_dir():
        about = {"value": value, "factor": factor, "percent": percent, "classes": classes}
        records, made = _of_folder(table, figure, given, about, lost)
    else:
        records, made = _of_table(table, figure, given, value, factor, percent, classes)
    labels = _once([_pair(text, "label") for text in label or ()], "label", "name")
    console, inches = screen(), _width(width)
    for name, one in made:
        with spared(name, lost):
            drawn = one.plot(records, width=inches, title=title, labels=labels)
            if one.is_empty(drawn.table):
                has = ", ".join(map(str, [*records.plan.factors, *records.values["metric"].unique()]))
                none = f"of which the {'report' if table.is_dir() else 'table'} has none ({has})"
                needs = f"{name} draws what the probe {one.measured_by} measures of a network, {none}."
                lost.append(needs if one.measured_by else f"{name} has nothing to draw. {drawn.caption}")
                continue
            files = drawn.save(out / name)
            console.print(escape(drawn.caption), soft_wrap=True)
            console.print("  " + escape(", ".join(map(str, files))), soft_wrap=True)
    if lost:
        raise InputError(" ".join(lost))


def _of_table(
    table: Path,
    figure: list[str] | None,
    given: dict[str, Any],
    value: list[str] | None,
    factor: list[str] | None,
    percent: bool,
    classes: int | None,
) -> tuple[Any, list[tuple[str, Any]]]:
    """The records of a table of one's own, and the figures asked for, each with the name of its files."""
    from vision_attn.metrics import is_share
    from vision_attn.own_results import read
    from vision_attn.plan import folders_in
    from vision_attn.records import Records

    columns = _once([_pair(text, "value", alone=True) for text in value or ["accuracy"]], "value", "column")
    frame = read(table, values=columns)
    if not value and "accuracy" not in frame:
        if folder := next((one for one in table.absolute().parents[:2] if one in folders_in(one.parent)), None):
            raise InputError(f"{table} belongs to a report. Give the report's folder: '{shown(folder)}'.")
        own = ", ".join(map(str, frame.columns))
        if len(levels := [one for one in map(str, frame.columns) if one.replace(".", "", 1).isdigit()]) > 1:
            allowed = "a row per trained model, with its accuracy in one column, such as pandas.melt makes them"
            raise InputError(f"{table} must have {allowed}. Got columns named {', '.join(levels)}.")
        raise InputError(f"No column of the table is called accuracy. Say which is: --value COLUMN=accuracy ({own}).")
    if percent and not any(map(is_share, columns.values())):
        raise InputError(f"--percent is for shares, such as accuracy. {', '.join(columns.values())} is none.")
    records = Records.from_frame(
        frame, value=columns, factors=factor, percent=percent, num_classes=classes, name=table.stem
    )
    kinds, given = figure or ["LearningCurve"], _typed(given, records.plan)
    _check_used(kinds, given)
    return records, [(kind, _asked(kind, given, next(iter(columns.values())), records.plan)) for kind in kinds]


def _of_folder(
    folder: Path, figure: list[str] | None, given: dict[str, Any], about: dict[str, Any], lost: list[str]
) -> tuple[Any, list[tuple[str, Any]]]:
    """The records of an experiment's folder, and the figures asked for: as its report has them, or as `given` says.

    What is `about` a table in CSV is refused. Why a figure of the report could not be made is `lost`.
    """
    from vision_attn import plan
    from vision_attn.exporting import planned_figures
    from vision_attn.figures import Figure
    from vision_attn.records import Records
    from vision_attn.spec import RENAMED, kinds

    if not (folder / plan.FILE).is_file():
        allowed = "a file in CSV, or an experiment's folder, such as results/quickstart"
        raise InputError(f"table must be {allowed}. '{folder}' is neither, as it has no {plan.FILE}.")
    for option, typed in about.items():
        if typed:
            raise InputError(f"{option} must be left out: it is about a table in CSV. '{folder}' is a folder.")
    records = Records.from_folder(folder)
    failed: list[str] = []
    own = list(planned_figures(records.plan, failed))
    if figure is None and not given:
        lost += failed
        return records, own
    asked, given = figure or ["LearningCurve"], _typed(given, records.plan)
    if failed and set(asked) - {*kinds(Figure), *RENAMED}:
        raise InputError(" ".join(failed))
    _check_used(asked, given)
    made: list[tuple[str, Any]] = []
    for kind in asked:
        same = [] if given else [(name, one) for name, one in own if type(one).__name__ == kind]
        made += same or [(kind, _asked(kind, given, "accuracy", records.plan))]
    return records, made


def _typed(given: dict[str, Any], plan: Any) -> dict[str, Any]:
    """The given fields, with the reference as the level that is meant, as typed all are texts."""
    from vision_attn.own_results import composed

    if "reference" not in given:
        return given
    known, text = plan.factors.get(given.get("hue", "model"), ()), given["reference"]
    return {**given, "reference": next((level for level in known if composed(level) == composed(text)), text)}


def _asked(kind: str, given: dict[str, Any], metric: str, plan: Any) -> Any:
    """A figure by its name, once it is sure that it finds its columns."""
    made = _figure(kind, given, metric, plan.factors.get(given.get("hue", "model"), ()))
    _check_columns(made, kind, tuple(plan.factors), given)
    return made


def _figure(kind: str, given: dict[str, Any], metric: str, levels: Sequence[Any]) -> Any:
    """A figure by its name, with those of the given fields that it has; `levels` may be its reference."""
    import dataclasses

    from vision_attn import figures
    from vision_attn.spec import RENAMED, among, from_json, kinds

    known = kinds(figures.Figure)
    kind = RENAMED.get(kind, kind)
    if kind not in known:
        raise InputError(
            f"figure must be one of {among(sorted(known), kind)}. Got {kind!r} instead. All are named in "
            "vision_attn.figures and drawn in the gallery of `vision-attn docs`."
        )
    fields = dataclasses.fields(known[kind])
    names = {field.name for field in fields}
    if asked := [one.name for one in fields if one.default is dataclasses.MISSING and one.name != "reference"]:
        raise InputError(
            f"{kind} must be drawn in Python, by its method plot: its field {asked[0]!r} is no option here."
        )
    if "reference" in names and "reference" not in given and known[kind].__name__ != "DotPlot":
        raise InputError(f"{kind} compares models with one of them. Name it: --reference MODEL ({among(levels, '')}).")
    own = {"metric": metric, **given} if metric != "accuracy" else given
    return from_json({"kind": kind, **{name: level for name, level in own.items() if name in names}}, figures.Figure)


def _check_columns(made: Any, kind: str, columns: tuple[str, ...], given: dict[str, Any]) -> None:
    """Raise `InputError` where a figure would use one column for two ends, or looks for columns the table lacks.

    Those that it looks for by names of its own are told at once.
    """
    used = {name: column for name in ("x", "hue", "over") if isinstance(column := getattr(made, name, None), str)}
    for (other, one), (name, same) in itertools.combinations(used.items(), 2):
        if one == same:
            raise InputError(f"{name} of {kind} must be another column than {other}. Both are {same!r}.")
    if missing := {name: column for name, column in used.items() if name not in given and column not in columns}:
        options = " ".join(f"--{name} COLUMN" for name in missing)
        once = ", or add a column seed of zeros where nothing was repeated" if missing.get("over") == "seed" else ""
        raise InputError(
            f"{kind} looks for {', '.join(missing.values())}, which the table does not have ({', '.join(columns)}). "
            f"Say which columns are meant: {options}{once}."
        )


def _check_used(names: list[str], given: dict[str, Any]) -> None:
    """Raise `InputError` where no figure asked for has a field of that name: it would be ignored."""
    import dataclasses

    from vision_attn import figures
    from vision_attn.spec import kinds

    known = [kind for name, kind in kinds(figures.Figure).items() if name in names]
    fields = {field.name for kind in known for field in dataclasses.fields(kind)}
    if known and (ignored := [name for name in given if name not in fields]):
        raise InputError(f"{ignored[0]} must be left out: {', '.join(names)} has no such setting.")


def _pair(text: str, field: str, *, alone: bool = False) -> tuple[str, str]:
    """NAME=TEXT, or NAME alone where that is enough; a name may have a sign of equality then, and a text otherwise."""
    name, equals, rest = text.rpartition("=") if alone and "=" in text else text.partition("=")
    if not name or (equals and not rest) or not (equals or alone):
        raise InputError(f"{field} must be NAME=TEXT. Got {text!r} instead.")
    return name, rest or name


def _once(pairs: list[tuple[str, str]], field: str, what: str) -> dict[str, str]:
    """The texts by their names. Raises `InputError` where a name has two."""
    found = dict(pairs)
    if twice := next((pair for pair in pairs if found[pair[0]] != pair[1]), None):
        raise InputError(f"{field} must give a {what} once. Got {twice[0]!r} as {twice[1]} and as {found[twice[0]]}.")
    return found


def _width(text: str | None) -> Any:
    from vision_attn.figures.plot import inches

    if text is None:
        return None
    try:
        width: Any = float(text)
    except ValueError:
        width = text
    inches(width)
    return width
