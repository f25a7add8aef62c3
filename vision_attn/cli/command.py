"""The command `vision-attn` as a whole: its verbs, and how what goes wrong is told."""

import contextlib
import errno
import gc
import math
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from vision_attn import sources
from vision_attn.cli import beginning, data, explaining, looking, machine, one, reading, running
from vision_attn.cli.output import FAILED, INTERRUPTED, USAGE, complain, note, screen
from vision_attn.signals import Interrupted, raised
from vision_attn.spec import InputError
from vision_attn.store import refusal

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


class Verb(TyperCommand):
    """A command that refuses an option given twice where one of them would be ignored, and numbers that are none.

    A KeyboardInterrupt is raised by own code, as signals raise `Interrupted`: it must not pass for one of them.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = Counter(order)
        for option, times in given.items():
            if times > 1 and not getattr(option, "multiple", False) and not getattr(option, "is_flag", False):
                ctx.fail(f"{option.opts[0]} must be given once. It is given {times} times.")
        try:
            left = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            text = values.get(error.param.name) if error.param and error.param.name else None
            if isinstance(text, str) and repr(text) not in error.message:
                error.message = f"{error.message.rstrip('.')}. Got {text!r} instead."
            raise
        for name, value in ctx.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                ctx.fail(f"{name.replace('_', '-')} must be a finite number. Got {value} instead.")
        return left

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (*sources.FAULTS, Interrupted):
            raise
        except BaseException as error:
            raise InputError(f"Own code ends the command: {sources.fault(error)}") from error


app = typer.Typer(
    name="vision-attn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
VERBS: tuple[Callable[..., None], ...] = (
    beginning.init,
    running.plan,
    running.run,
    one.run_one,
    running.retry,
    running.status,
    looking.show,
    looking.compare,
    explaining.saliency,
    reading.report,
    reading.export,
    reading.plot,
    running.models,
    machine.doctor,
    machine.verify,
    machine.gc,
    machine.bench,
    beginning.docs,
)
"""In the order of the help text."""

for verb in VERBS:
    app.command(cls=Verb)(verb)

app.command("list", cls=Verb)(beginning.list_experiments)

data_app = typer.Typer(help="List, download, import and verify data sets.", no_args_is_help=True)
for name in ("list", "import", "fetch", "verify"):
    data_app.command(name, cls=Verb)(getattr(data, f"data_{name}"))
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command; what the user got wrong ends in one sentence and exit code 2."""
    _open_streams()
    warnings.showwarning = note
    _spare_what_stays(sys.argv[1:])
    code = execute(sys.argv[1:])
    if code == INTERRUPTED:  # perhaps in the middle of importing a library, which then bears no orderly end
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _spare_what_stays(arguments: Sequence[str]) -> None:
    """Keep the garbage collector from what a plan and a pool are made of: looking through it often is half the time.

    Verbs that look once and end need none at all.
    """
    gc.set_threshold(100_000)
    is_repeated = any(text.startswith(("--watch", "--all")) for text in arguments)
    if arguments[:1] in (["plan"], ["status"], ["report"]) and not is_repeated:
        gc.disable()


def execute(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; its exit code. Signals are heard until all is said."""
    try:
        with raised():
            return _execute(arguments)
    except Interrupted:  # while another end was being told
        return INTERRUPTED


def _execute(arguments: Sequence[str]) -> int:
    try:
        _check(arguments)
        try:
            app(args=list(arguments), prog_name="vision-attn")
        finally:
            sys.stdout.flush()
    except Interrupted as error:
        complain(f"Stopped by {error}. What was finished is kept; the same command continues.")
        return INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else FAILED if ended.code else 0
    except InputError as error:
        _show_own(error)
        complain(str(error))
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except MemoryError:
        complain("There is not enough memory for this on the machine as it is. What was finished is kept.")
        return FAILED
    except OSError as error:
        if error.errno is None:
            raise
        is_disk = error.errno in DISK
        complain(f"{refusal(error)}." + (" What was finished is kept." if is_disk else ""))
        return FAILED if is_disk else USAGE
    return 0


def _check(arguments: Sequence[str]) -> None:
    """Raise `InputError` where an argument cannot be written down, or is empty, or where the current folder is gone."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise InputError("The current folder must be there. It is not any more: change to another one.") from None
    for place, text in enumerate(arguments, start=1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"Argument {place} must be text in UTF-8. Got {text!r} instead.") from None
        if not text or "\0" in text:
            raise InputError(f"Argument {place} must not be empty or hold NUL. Got {text!r}.")


def _show_own(error: InputError) -> None:
    """The lines of the user's own code that led to an exception of that code."""
    if (cause := error.__cause__) is not None and not isinstance(cause, InputError):
        sys.stderr.write("".join(traceback.format_list(sources.own_frames(cause))))


def _open_streams() -> None:
    """Give a process that was started without them its input and outputs, and any text a form that they can write."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


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
