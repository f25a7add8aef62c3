"""Verbs about an experiment: plan, run, retry, status, models."""

import shlex
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich import filesize
from rich.markup import escape

from vision_attn.cli import paths
from vision_attn.cli.chosen import chosen_plan, use_data_dirs
from vision_attn.cli.options import (
    DataDir,
    Device,
    ExperimentFile,
    Json,
    Levels,
    NoProgress,
    Preset,
    Results,
    Smoke,
    StopAfter,
    Threads,
    Timeout,
)
from vision_attn.cli.output import (
    FAILED,
    INTERRUPTED,
    complain,
    count_line,
    exit_code,
    left_line,
    new_table,
    print_json,
    screen,
)
from vision_attn.driving import FINAL
from vision_attn.engines import Workers
from vision_attn.executors.local import NO_PROGRESS_SECONDS
from vision_attn.plan import Plan
from vision_attn.spec import InputError, counted
from vision_attn.states import Look, changed_sources, look
from vision_attn.store import OPEN, RUNS, State


def plan(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    results: Results = Path("results"),
    data_dir: DataDir = None,
    smoke: Smoke = False,
    as_json: Json = False,
    save: Annotated[
        Path | None,
        typer.Option(callback=paths.file, help="A file to write the plan to, for run-one; .json or .json.gz."),
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Print the keys of the runs to do, a line each.")] = False,
) -> None:
    """Show what a run would do: cells, runs, what is done already. Nothing is trained."""
    use_data_dirs(data_dir)
    if save is not None and not save.name.endswith((".json", ".json.gz")):
        raise InputError(f"save must be a file that ends in .json or .json.gz. Got '{save}' instead.")
    if as_json and not keys and results != Path("results"):
        raise InputError("results must be left out with --json, which prints the plan alone, unless --keys is given.")
    if data_dir and (as_json or keys):
        raise InputError("data-dir must be left out with --json and --keys, which read no data.")
    planned, name = chosen_plan(experiment, preset, levels, smoke)
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        planned.save(save)
    if keys:
        todo = [key for key, state in look(planned, results / RUNS).states.items() if state.name not in FINAL]
        if as_json:
            print_json(todo)
        else:
            sys.stdout.writelines(f"{key}\n" for key in todo)
        return
    if as_json:
        print_json(planned.to_json())
        return
    from vision_attn import sweep
    from vision_attn.report import protocol

    unchecked = sweep.check(planned, list(planned.runs), needs_data=False)
    found = look(planned, results / RUNS)
    _tell_changed(planned, found)
    console = screen()
    console.print(f"[bold]{escape(planned.name)}[/]  {escape(planned.question.splitlines()[0])}")
    for factor, values in planned.factors.items():
        console.print(f"  {escape(factor)}: {escape(' | '.join(map(str, values)))}")
    runs = planned.runs
    updates = sum(sweep.updates(planned).values())
    numbers = ((len(planned.cells), "cell"), (len(runs), "run"), (updates, "update"))
    console.print(f"  {', '.join(counted(number, what) for number, what in numbers)} in all")
    for sentence in undrawn(planned):
        console.print(f"  not drawn: {escape(sentence)}", soft_wrap=True)
    if planned.omitted:
        whole = len(planned.cells) + len(planned.omitted)
        console.print(f"  {len(planned.omitted)} of {whole} combinations are excluded by the experiment file")
    if len(runs) < len(planned.cells):
        sharing = len(planned.cells) - len(runs)
        console.print(f"  {counted(sharing, 'cell')} {'shares' if sharing == 1 else 'share'} a run with another cell")
    for probe, names, reason in protocol.skips(planned):
        console.print(f"  {escape(probe)} is skipped for {escape(names)}: {escape(reason)}")
    for sentence in unchecked:
        console.print(f"  Not tried, as data are missing: {escape(sentence)}", soft_wrap=True)
    console.print("  " + count_line(found.states) + tabled(planned, found.states, results / name), soft_wrap=True)
    if any(state.name in OPEN for state in found.states.values()):
        console.print("  " + _expected(planned, found), soft_wrap=True)


def run(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    results: Results = Path("results"),
    data_dir: DataDir = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, help="Worker processes, or tasks at once on a cluster; 0: as many as fit."),
    ] = 0,
    threads: Threads = 1,
    device: Device = "auto",
    stack: Annotated[
        str, typer.Option(help="How many similar runs to train at once: auto (16 on a GPU, or as fit), off, N.")
    ] = "auto",
    timeout: Timeout = None,
    no_progress: NoProgress = NO_PROGRESS_SECONDS,
    stop_after: StopAfter = None,
    max_consecutive_failures: Annotated[
        int, typer.Option(min=1, help="Stop after that many failures in a row: they probably share a cause.")
    ] = 5,
    engine: Annotated[str, typer.Option(help="Where runs are executed: local, slurm or ray.")] = "local",
    sbatch: Annotated[
        list[str] | None, typer.Option("--sbatch", help="An option of sbatch, as --sbatch=--partition=gpu. Repeatable.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster. [default: RAY_ADDRESS, or a Ray of its own]")
    ] = None,
    smoke: Smoke = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only failures and the last line.")] = False,
) -> None:
    """Run an experiment, or continue it: finished runs are skipped. Ends with its report."""
    until = None if stop_after is None else time.monotonic() + stop_after
    use_data_dirs(data_dir)
    paths.require_writable("results", results)
    workers = Workers(
        engine=engine,  # type: ignore[arg-type]
        sbatch=tuple(sbatch or ()),
        address=address,
        jobs=jobs,
        threads=threads,
        device=device,
        timeout=timeout,
        no_progress=no_progress,
    )
    planned, name = chosen_plan(experiment, preset, levels, smoke)
    for folder in (results / RUNS, results / name, results / name / "tables", results / name / "figures"):
        paths.require_writable("results", folder)
    from vision_attn import sweep
    from vision_attn.progress import Progress
    from vision_attn.records import only_in_tables
    from vision_attn.report import renew

    console = screen()
    before = look(planned, results / RUNS)
    if lost := only_in_tables(results / name, planned, before.index):
        raise InputError(
            f"results must not have numbers that the report would drop: '{results / name}' has "
            f"{counted(len(lost), 'run')} that the experiment does not ask for and the pool does not have. Give "
            "another --results, or move the folder away."
        )
    _tell_changed(planned, before)
    with Progress(console, planned, before.states, store=results / RUNS, quiet=quiet) as progress:
        ended = sweep.run(
            planned,
            results=results,
            name=name,
            workers=workers,
            stack=stack,
            max_failures=max_consecutive_failures,
            tell=progress,
            before=before,
            experiment=experiment,
            until=until,
        )
    console.print(count_line(ended.states))
    if ended.refusal:
        complain(ended.refusal)
    elif ended.why:
        command = shlex.join(["vision-attn", *sys.argv[1:]])
        why: str = ended.why
        if why == "time is up":
            why = f"{stop_after:g} seconds are over; {left_line(ended.states)}"
        elif why == "runs are left":
            why = f"{left_line(ended.states)}, as said above"
        console.print(f"Stopped: {why}. The same command continues: {escape(command)}", soft_wrap=True)
    if ended.why != "disk full":
        now = before if ended.states is before.states else look(planned, results / RUNS)
        page, is_new = renew(planned, results / name, now)
        console.print(f"report: {escape(str(page))}{'' if is_new else ' (nothing has changed)'}", soft_wrap=True)
    is_cut = bool(ended.refusal) or ended.why in ("disk full", "failures in a row")
    raise typer.Exit(FAILED if is_cut else exit_code(ended.states))


def _tell_changed(plan: Plan, found: Look) -> None:
    """Say which own kinds are no longer those that finished runs were made with."""
    for kind, count in changed_sources(plan, found).items():
        which = f"{counted(count, 'finished run')}, which {'is' if count == 1 else 'are'} kept"
        again = "give it another name or a field that differs, or give another --results, to train anew"
        warnings.warn(f"{kind} has changed since {which}: {again}.", stacklevel=2)


def undrawn(plan: Plan) -> list[str]:
    """A sentence for every figure that names a factor which the plan does not have."""
    from vision_attn.figures import Figure
    from vision_attn.figures.base import OverSeeds
    from vision_attn.spec import from_json

    said = []
    for figure in (from_json(data, Figure) for data in plan.figures):
        try:
            if isinstance(figure, OverSeeds) and figure.applies(plan):
                figure.named_factors(plan)
        except InputError as error:
            said.append(str(error))
    return said


def _expected(plan: Plan, found: Look) -> str:
    """What the runs to do will take, in a sentence."""
    from vision_attn.expected import expected
    from vision_attn.wording import clock

    said = expected(plan, found)
    disk = "" if said.bytes is None else f", {filesize.decimal(said.bytes)} of disk with their weights"
    if said.seconds is None:
        seeds = plan.factors.get("seed", ())
        first = f" (--levels seed={seeds[0]} does some of each)" if len(seeds) > 1 else ""
        return f"To do: time unknown until runs like these have finished{first}{disk}"
    by = [f"{counted(said.alike, 'run')} by finished ones of the same model"] if said.alike else []
    by += [f"{counted(said.scaled, 'run')} by FLOPs and finished ones of other models"] if said.scaled else []
    return f"To do: about {clock(said.seconds)} of one worker ({', '.join(by)}){disk}"


def retry(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    results: Results = Path("results"),
    diverged: Annotated[bool, typer.Option("--diverged", help="Also the runs that diverged.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="The runs of the quick test.")] = False,
) -> None:
    """Make failed runs pending again; `run` then executes them. Old logs are kept."""
    planned, _ = chosen_plan(experiment, preset, levels, smoke)
    if not results.is_dir():
        raise InputError(f"results must be a folder that is there, as no run has failed elsewhere. Got '{results}'.")
    from vision_attn import sweep

    again = sweep.forget_failures(planned, results / RUNS, diverged=diverged)
    words = ["vision-attn", "run", str(experiment), *(["--preset", preset] if preset else [])]
    words += [word for text in levels or () for word in ("--levels", text)]
    words += ["--results", str(results)] if results != Path("results") else []
    words += ["--smoke"] if smoke else []
    line = f"{counted(len(again), 'run')} will be tried again by: {shlex.join(words)}"
    names = [state.name for state in look(planned, results / RUNS).states.values()]
    if left := names.count("diverged"):
        line += f"\nDiverged and left as they are: {counted(left, 'run')}; --diverged tries them again, too."
    screen().print(escape(line), soft_wrap=True)


def status(
    experiment: Annotated[
        Path, typer.Argument(callback=paths.usable, help="An experiment file, or its folder in results/.")
    ],
    preset: Preset = None,
    levels: Levels = None,
    results: Annotated[
        Path | None,
        typer.Option(
            callback=paths.folder, help="Folder of the results; default: results, or that in which FOLDER lies."
        ),
    ] = None,
    as_json: Json = False,
    watch: Annotated[
        float | None,
        typer.Option(min=1, max=86_400, help="Look again every so many seconds, until no run is left to do."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Name finished and pending runs, too, all with their keys and levels.")
    ] = False,
) -> None:
    """Show the state of every run. Exit code 0: all done; 1: some failed; 75: some are still to do."""
    if as_json and every:
        raise InputError("--all must be left out with --json, which names all runs anyway.")
    if experiment.is_dir():
        for option, typed in (("preset", preset), ("levels", levels)):
            if typed:
                raise InputError(f"{option} must be left out where a folder is given: it has a plan of its own.")
        planned, name, beside = Plan.read(experiment), "", experiment.resolve().parent
    else:
        (planned, name), beside = chosen_plan(experiment, preset, levels, False), Path("results")
    pool = (results or beside) / RUNS
    folder = experiment if experiment.is_dir() else None
    states = known_states(planned, pool, folder)
    while watch is not None and exit_code(states) == INTERRUPTED:
        if not as_json:
            screen().print(f"{time.strftime('%H:%M:%S')}  {count_line(states)}")
        time.sleep(watch)
        states = known_states(planned, pool, folder)
    if as_json:
        print_json({key: {"state": state.name, "reason": state.reason} for key, state in states.items()})
    else:
        console = screen()
        table = new_table(*(("key", "levels") if every else ("run",)), "state", "reason")
        cells = {cell.run: cell.factors for cell in reversed(planned.cells)} if every else {}
        for key, state in states.items():
            if every:
                levels_of = ", ".join(f"{name}={level}" for name, level in cells[key].items())
                table.add_row(key[:12], escape(levels_of), state.name, escape(state.reason))
            elif state.name not in ("done", "pending") or (state.name == "pending" and state.reason):
                table.add_row(escape(f"{planned.runs[key].hint}--{key[:12]}"), state.name, escape(state.reason))
        if table.row_count:
            console.print(table)
        tables = tabled(planned, states, pool.parent / name) if folder is None else ""
        console.print(count_line(states) + tables, soft_wrap=True)
        if results is not None and not results.is_dir():
            console.print(escape(f"  '{results}' is not there yet: nothing has been run with it."), soft_wrap=True)
        if elsewhere := sum(state.name == "done" and bool(state.reason) for state in states.values()):
            said = f"{elsewhere:,} of them by the tables in '{folder}' alone: the pool does not have them"
            console.print(escape(f"  {said}"), soft_wrap=True)
    raise typer.Exit(exit_code(states))


def known_states(plan: Plan, pool: Path, folder: Path | None) -> dict[str, State]:
    """The states of the runs by the pool and, where it has nothing of them, by the tables of a report's folder."""
    states = look(plan, pool).states
    left = [key for key, state in states.items() if state == State("pending")]
    if folder is None or not left or not any(folder.glob("runs.csv*")):
        return states
    from vision_attn.records import known_by_tables

    return states | known_by_tables(folder, left, plan)


def tabled(plan: Plan, states: Mapping[str, State], folder: Path) -> str:
    """How many of the pending runs stand in the tables of a report's folder, as where a clone has no pool."""
    left = [key for key, state in states.items() if state == State("pending")]
    if not left or not any(folder.glob("runs.csv*")):
        return ""
    from vision_attn.records import known_by_tables

    try:
        known = len(known_by_tables(folder, left, plan))
    except InputError:  # `report` and `status FOLDER` say what is wrong with the tables
        return ""
    stand = "1 of them stands" if known == 1 else f"{known:,} of them stand"
    return f". {stand} in the tables of '{folder}', without what was trained: `run` trains them anew" if known else ""


def models(
    experiment: ExperimentFile,
    preset: Preset = None,
    levels: Levels = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show the models of an experiment with their parameters and forward FLOPs."""
    use_data_dirs(data_dir)
    planned, _ = chosen_plan(experiment, preset, levels, False)
    from vision_attn import sweep

    sizes = sweep.sizes(planned)
    if as_json:
        print_json(sizes)
        return
    first = next(iter(sizes.values()))
    table = new_table("model", "parameters", "ratio", "FLOPs an image", "ratio", "spec")
    for label, size in sizes.items():
        ratios = [f"{size[key] / first[key]:.3f}" if first[key] else "-" for key in ("params", "flops")]
        table.add_row(
            escape(label), f"{size['params']:,}", ratios[0], f"{size['flops']:,}", ratios[1], escape(size["spec"])
        )
    screen().print(table)
