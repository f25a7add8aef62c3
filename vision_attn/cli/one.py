"""The verb run-one: some runs of a plan, executed here."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from vision_attn import run_one as execution
from vision_attn.cli import paths
from vision_attn.cli.chosen import use_data_dirs
from vision_attn.cli.options import DataDir, Device, NoProgress, Threads, Timeout
from vision_attn.cli.output import FAILED, complain, count_line, exit_code, screen
from vision_attn.executors.base import Event
from vision_attn.executors.local import NO_PROGRESS_SECONDS
from vision_attn.plan import Plan
from vision_attn.spec import InputError


def run_one(
    keys: Annotated[
        list[str], typer.Argument(help="Keys of runs, as `plan --keys` prints them; KEY,KEY are trained together.")
    ],
    plan: Annotated[Path, typer.Option(callback=paths.usable, help="The file that `plan --save` has written.")],
    store: Annotated[Path, typer.Option(callback=paths.folder, help="The pool of runs, such as results/runs.")],
    data_dir: DataDir = None,
    threads: Threads = 1,
    device: Device = "auto",
    timeout: Timeout = None,
    no_progress: NoProgress = NO_PROGRESS_SECONDS,
    experiment: Annotated[
        Path | None,
        typer.Option(
            callback=paths.usable, help="The experiment file, where it defines kinds of its own. [default: the plan's]"
        ),
    ] = None,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", help="Stop when the standard input ends, as when its writer has died.")
    ] = False,
) -> None:
    """Execute some runs of a plan here, one after another: for GNU parallel, clusters and queues of any kind.

    Finished runs are skipped, and no two processes do the same run. Exit codes are those of `run`: 0 done, 1 some
    failed, 2 usage, 75 stopped; the same command continues.
    """
    use_data_dirs(data_dir)
    planned = execution.read_plan(plan)
    if experiment is None and planned.sources:
        experiment = Path(planned.experiment)
    if experiment is not None and not experiment.is_file():
        own = ", ".join(planned.sources) or "kinds of the plan"
        raise InputError(f"experiment must be the file that defines {own}. Got '{experiment}' instead.")
    if until_eof:
        threading.Thread(target=_stop_at_eof, daemon=True).start()
    groups = execution.resolve(planned, keys)
    execution.require_own(planned, groups)
    ended = execution.run(
        planned,
        groups,
        store=store,
        threads=threads,
        device=device,
        timeout=timeout,
        no_progress=no_progress,
        experiment=experiment,
        tell=lambda event: _say(event, planned),
    )
    screen().print(count_line(ended.states))
    if ended.refusal:
        complain(ended.refusal)
    raise typer.Exit(FAILED if ended.refusal or ended.why == "disk full" else exit_code(ended.states))


def _stop_at_eof() -> None:
    while os.read(0, 1 << 16):  # not through sys.stdin, whose lock Python wants at its end
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _say(event: Event | None, plan: Plan) -> None:
    """A line at the start and at the end of every run."""
    if event is not None and event.kind in ("started", "finished"):
        name = f"{plan.runs[event.run].hint}--{event.run[:12]}"
        sys.stdout.write(" ".join(filter(None, (event.outcome or event.kind, name, event.error))) + "\n")
        sys.stdout.flush()
