"""Verbs about this machine: doctor, bench."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vision_attn.cli.options import Json, Results
from vision_attn.cli.output import DONE, FAILED, print_json, screen


def doctor(
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Check the installation, the device, the processor's abilities and the disk under the results."""
    from vision_attn import doctor as checks

    found = checks.examine(results)
    if as_json:
        print_json([{"check": check.name, "ok": check.ok, "found": check.found} for check in found])
    else:
        table = Table("", "check", "found", box=None, pad_edge=False)
        for check in found:
            table.add_row("[green]ok[/]" if check.ok else "[red]no[/]", check.name, escape(check.found))
        screen().print(table)
    raise typer.Exit(DONE if all(check.ok for check in found) else FAILED)


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
    screen().print(table)
