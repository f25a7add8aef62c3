"""Verbs about this machine and its disk: doctor, verify, bench."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vision_attn.cli.options import Json, Results
from vision_attn.cli.output import DONE, FAILED, print_json, screen
from vision_attn.spec import InputError
from vision_attn.store import RUNS


def doctor(
    results: Results = Path("results"),
    engine: Annotated[
        str | None, typer.Option(help="Check for slurm or ray instead, with the store they share.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The pool of runs on the cluster. [default: runs in the results]")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Address of the Ray cluster. [default: RAY_ADDRESS]")] = None,
    as_json: Json = False,
) -> None:
    """Check the installation, the device, the processor's abilities and the disk under the results."""
    if engine not in (None, "slurm", "ray"):
        raise InputError(f"engine to check must be 'slurm' or 'ray'. Got {engine!r} instead.")
    if engine is None and store is not None:
        raise InputError(f"store needs --engine slurm or --engine ray. Got '{store}' alone.")
    if engine != "ray" and address is not None:
        raise InputError(f"address needs --engine ray. Got {address!r} without it.")
    if engine is None:
        from vision_attn import doctor as checks

        found = checks.examine(results)
    else:
        from vision_attn import doctor_cluster

        found = doctor_cluster.examine(engine, store or results / RUNS, address=address)
    if as_json:
        print_json([{"check": check.name, "ok": check.ok, "found": check.found} for check in found])
    else:
        table = Table("", "check", "found", box=None, pad_edge=False)
        for check in found:
            table.add_row("[green]ok[/]" if check.ok else "[red]no[/]", check.name, escape(check.found))
        screen().print(table)
    raise typer.Exit(DONE if all(check.ok for check in found) else FAILED)


def verify(
    store: Annotated[Path, typer.Argument(help="The pool of runs, or the folder of the results that holds it.")],
    remove: Annotated[
        bool, typer.Option("--mend", help="Remove what is damaged and what rests on it, so that `run` makes it again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read every file of the pool, weights and histories too, and compare it with its checksum."""
    from vision_attn import store as stores

    if not store.is_dir():
        raise InputError(f"store must be a folder of runs, such as results/runs. Got '{store}' instead.")
    pool = stores.Store(store / stores.RUNS if (store / stores.RUNS).is_dir() else store)
    console = screen()
    looked_at, faults = 0, []
    for _, found in stores.verify(pool):
        looked_at += 1
        faults += found
        for fault in found if not as_json else ():
            console.print(escape(f"{fault.file}: {fault.wrong}; {fault.remedy}"), soft_wrap=True)
    if as_json:
        print_json([{"file": fault.file, "wrong": fault.wrong, "remedy": fault.remedy} for fault in faults])
    elif not faults:
        console.print(f"{looked_at} folders and plans: all as they were written")
    for name in stores.mend(faults) if remove else ():
        console.print(f"removed {escape(name)}", soft_wrap=True)
    raise typer.Exit(FAILED if faults else DONE)


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
