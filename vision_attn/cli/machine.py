"""Verbs about this machine and its disk: doctor, verify, gc, bench."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import filesize
from rich.markup import escape

from vision_attn.cli import paths
from vision_attn.cli.options import Device, Json
from vision_attn.cli.output import DONE, FAILED, new_table, print_json, screen
from vision_attn.spec import InputError, counted
from vision_attn.store import RUNS, write_atomic


def doctor(
    results: Annotated[
        Path | None,
        typer.Option(callback=paths.folder, help="Folder of results. [default: results]"),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Check for slurm or ray instead, with the store they share.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(callback=paths.folder, help="The pool of runs on the cluster. [default: runs in the results]"),
    ] = None,
    address: Annotated[str | None, typer.Option(help="Address of the Ray cluster. [default: RAY_ADDRESS]")] = None,
    as_json: Json = False,
) -> None:
    """Check the installation, the device, the processor's abilities and the disk under the results."""
    if engine not in (None, "slurm", "ray"):
        raise InputError(f"engine to check must be 'slurm' or 'ray'. Got {engine!r} instead.")
    if engine is None and store is not None:
        raise InputError(f"store needs --engine slurm or --engine ray. Got '{store}' alone.")
    if store is not None and results is not None:
        raise InputError(f"results must be left out with store, which is looked at instead. Got '{results}'.")
    results = results or Path("results")
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
        table = new_table("", "check", "found")
        for check in found:
            table.add_row("[green]ok[/]" if check.ok else "[red]no[/]", check.name, escape(check.found))
        screen().print(table)
    raise typer.Exit(DONE if all(check.ok for check in found) else FAILED)


def verify(
    store: Annotated[
        Path,
        typer.Argument(callback=paths.usable, help="The pool of runs, or the folder of the results that holds it."),
    ],
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
    if not looked_at and any(path.name != stores.PLANS and not path.name.startswith(".") for path in store.iterdir()):
        raise InputError(f"store must be a folder of runs, such as results/runs. '{store}' holds no run.")
    gone = stores.mend(faults) if remove else []
    if as_json:
        print_json([{"file": one.file, "wrong": one.wrong, "remedy": one.remedy} for one in faults])
        raise typer.Exit(FAILED if faults else DONE)
    if not faults:
        console.print(f"{looked_at} folders and plans: all as they were written")
    for name in gone:
        console.print(f"removed {escape(name)}", soft_wrap=True)
    for sentence in stores.left_alone(faults) if remove else ():
        console.print(f"left {escape(sentence)}", soft_wrap=True)
    raise typer.Exit(FAILED if faults else DONE)


def gc(
    results: Annotated[
        Path, typer.Argument(callback=paths.folder, help="Folder of results: the plans in it say what is asked for.")
    ] = Path("results"),
    weights: Annotated[
        bool, typer.Option("--weights", help="Also the weights of finished runs; a new probe then trains anew.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it. Without this it is only shown.")] = False,
    as_json: Json = False,
) -> None:
    """Show, or delete, what the pool of runs holds that no plan in the results asks for any more.

    Runs that a process is at work on are never touched.
    """
    from vision_attn import store as stores
    from vision_attn.plan import Plan, folders_in
    from vision_attn.tables import SUMS

    folders = folders_in(results)
    if not folders:
        raise InputError(f"results must hold the folder of an experiment. '{results}' has none: every run would go.")
    if planless := sorted({sums.parent for sums in results.glob(f"*/{SUMS}")} - {*folders}):
        raise InputError(f"results must hold a plan beside all tables. '{planless[0]}' has none: its runs would go.")
    asked = {key for folder in folders for key in Plan.read(folder).runs}
    found = list(stores.leftovers_of(stores.Store(results / RUNS), asked, weights=weights))
    gone = [one for one in found if delete and stores.discard(one)]
    if as_json:
        print_json([{"path": str(o.path), "why": o.why, "bytes": o.bytes, "deleted": o in gone} for o in found])
        return
    console = screen()
    for one in found:
        console.print(escape(f"{one.path}: {one.why}, {filesize.decimal(one.bytes)}"), soft_wrap=True)
    kept = "" if delete or not found else ". --delete deletes them" + ("" if weights else ", --weights adds weights")
    total = filesize.decimal(sum(one.bytes for one in (gone if delete else found)))
    console.print(f"{counted(len(gone if delete else found), 'thing')}, {total}{', deleted' if delete else kept}")


def bench(
    device: Device = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads on a CPU.")] = 1,
    save: Annotated[
        Path | None,
        typer.Option(callback=paths.file, help="A CSV to put eager and compiled steps into, beside those it has."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(callback=paths.folder, help="A folder for the throughput of training, as CSV, SVG and PNG."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Seconds in which throughput is measured; default: 120.")
    ] = None,
) -> None:
    """Measure training on this machine: with --output, or on a GPU, the throughput of whole updates, else single steps.

    Throughput compares the suite's loop, eager, compiled, as a CUDA graph and with several runs in one program, with
    the usual step (timm's vision transformer, torch.optim.AdamW, autocast) and the usual loop (with a DataLoader). What
    matters most comes first; the table is written after every row; what fails is a row with the reason.

    Single steps, eager and compiled, are those by which `run` decides what to compile; they take some minutes.
    """
    from vision_attn.worker import pick_device

    chosen = pick_device(device)
    if save is not None and output is not None:
        raise InputError("save must be left out with --output: one is for single steps, the other for throughput.")
    if output is not None or (chosen.type == "cuda" and save is None):
        _throughput(chosen, threads, 120 if seconds is None else seconds, output)
        return
    if seconds is not None:
        raise InputError(f"seconds must be left out where single steps are measured. Got {seconds:g} without --output.")
    from vision_attn.bench import gains

    table = new_table("model", "arithmetic", "batch", "eager", "compiled", "gain", "compiling takes")
    found = []
    for name, gain in gains.compile_gains(chosen, threads=threads):
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
            gains.save(found, save)
    screen().print(table)


def _throughput(device: Any, threads: int, seconds: float, output: Path | None) -> None:
    """Print the rows as they are measured, and keep them in the folder, at the end as a figure too."""
    from vision_attn.bench.table import as_csv, as_text
    from vision_attn.bench.throughput import throughput

    console = screen()
    rows: list[dict[str, Any]] = []
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        paths.require_writable("output", output)
    with contextlib.closing(throughput(device, threads=threads, seconds=seconds)) as measured:
        for row in measured:
            if not rows and row["device"]:
                peaks = f"{row['peak_teraflops']:,} TFLOP/s, {row['peak_gigabytes_per_second']:,} GB/s"
                console.print(escape(f"{row['device']}, {row['precision']}, batch {row['batch_size']}: {peaks}"))
            rows.append(row)
            console.print(escape(as_text(row)), soft_wrap=True)
            if output is not None:
                write_atomic(output / "throughput.csv", as_csv(rows))
    if output is not None and any(row["images_per_second"] for row in rows):
        import pandas as pd

        from vision_attn.figures.rendering import rendered
        from vision_attn.figures.throughput import throughput as drawn

        for kind, content in rendered(drawn(pd.DataFrame(rows))).items():
            write_atomic(output / f"throughput.{kind}", content)
        console.print(f"{escape(str(output))}: throughput.csv, throughput.svg, throughput.png", soft_wrap=True)
