"""Output of the command line: text for people, JSON for programs, sentences for mistakes, and the exit codes."""

import itertools
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vision_attn.store import OPEN

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 75
"""Exit codes: all is done; some runs failed; the user got something wrong; some runs are still to do."""

PIPE_COLUMNS = 160
PACKAGE = Path(__file__).parents[1]


def complain(sentence: str) -> None:
    Console(stderr=True, highlight=False).print(f"[bold red]Error:[/] {escape(sentence)}", soft_wrap=True)


def note(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any, **named: Any) -> None:
    """Print a warning of this package as a sentence, others as Python does (`warnings.showwarning`)."""
    if issubclass(category, UserWarning) and Path(filename).is_relative_to(PACKAGE):
        Console(stderr=True, highlight=False).print(f"[bold]Note:[/] {escape(str(message))}", soft_wrap=True)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def screen() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def new_table(*headers: str) -> Table:
    """A table that folds what is too wide for its column, such as a path, and cuts nothing off."""
    table = Table(box=None, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def print_path(path: Path) -> None:
    """Print a path on a line of its own, whatever stands in it."""
    screen().print(escape(str(path)), soft_wrap=True)


def print_json(value: Any) -> None:
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf8")
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=not is_utf8) + "\n")


def count_line(states: Mapping[str, Any]) -> str:
    """How many runs there are, and in what states: 3 runs: 2 done, 1 failed."""
    names = sorted(state.name for state in states.values())
    if len(names) == 1:
        return f"1 run: {names[0]}"
    counts = {name: len(list(group)) for name, group in itertools.groupby(names)}
    return f"{len(states)} runs: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def left_line(states: Mapping[str, Any]) -> str:
    """How many runs are still to do: 3 of 16 runs are left."""
    left = sum(state.name in OPEN for state in states.values())
    return f"{left} of {len(states)} runs {'is' if left == 1 else 'are'} left"


def exit_code(states: Mapping[str, Any]) -> int:
    names = {state.name for state in states.values()}
    if names & set(OPEN):
        return INTERRUPTED
    return FAILED if names - {"done"} else DONE
