"""The command `vision-attn` as a whole: its verbs, and how what goes wrong is told."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from vision_attn.cli import data, machine, one, reading, running
from vision_attn.cli.output import FAILED, INTERRUPTED, USAGE, complain, screen
from vision_attn.signals import Interrupted, raised
from vision_attn.spec import InputError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)

app = typer.Typer(
    name="vision-attn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
VERBS: tuple[Callable[..., None], ...] = (
    running.plan,
    running.run,
    one.run_one,
    running.retry,
    running.status,
    reading.report,
    reading.plot,
    running.models,
    machine.doctor,
    machine.verify,
    machine.bench,
)
"""In the order of the help text."""

for verb in VERBS:
    app.command()(verb)

data_app = typer.Typer(help="Data sets: what is known, what is here, bring one in.", no_args_is_help=True)
for name in ("list", "import", "fetch", "verify"):
    data_app.command(name)(getattr(data, f"data_{name}"))
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command; what the user got wrong ends in one sentence and exit code 2."""
    try:
        with raised():
            app()
    except Interrupted as error:
        complain(f"Stopped by {error}. What was finished is kept; the same command continues.")
        sys.exit(INTERRUPTED)
    except InputError as error:
        complain(str(error))
        sys.exit(USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in DISK:
            raise
        complain(f"{error.strerror}: '{error.filename or 'the results'}'. What was finished is kept.")
        sys.exit(FAILED)


def _show_version(wanted: bool) -> None:
    if wanted:
        from vision_attn.environment import own_version

        screen().print(f"vision-attn {own_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """When is self-attention better than convolution on images, when is it worse, and why?"""
