"""How long the verbs take beside a pool of many runs: fabricates a sweep with valid seals and measures each verb.

    python tests/benchmarks/many_runs.py 20000 /tmp/many [--flat]

`--flat` lays the folders as earlier versions did. Numbers are of this machine; what should not grow with the pool is
the start of a worker, and what should grow slowly the verbs.
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUESTION = '''"""What does a pool of many runs cost?"""
from vision_attn import Accuracy, DepthwiseConv, Experiment, LearningCurve, Mnist5k, Recipe, Run, ViT
from vision_attn.probes import Size

MODELS = {"attention": ViT(), "convolution": ViT(mixer=DepthwiseConv(kernel_size=3))}

def run(model, train_size, seed):
    recipe = Recipe(updates=400, batch_size=64)
    return Run(model=MODELS[model], data=Mnist5k(train_size=train_size, subset_seed=seed), recipe=recipe, seed=seed)

experiment = Experiment(
    question=__doc__,
    factors={"model": tuple(MODELS), "train_size": (50, 100, 500, 1000, 2000), "seed": range(SEEDS)},
    presets={"more": {"seed": range(SEEDS + 1)}},
    run=run,
    probes=(Accuracy(), Size()),
    figures=(LearningCurve(),),
)
'''
COUNTED = """
import resource, sys
opens = 0
def hook(event, arguments):
    global opens
    if event == "open" and "results/runs/" in str(arguments[0]):
        opens += 1
sys.addaudithook(hook)
from vision_attn.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("MEASURED", opens, used.ru_maxrss // 1024, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def fabricate(place: Path, count: int, *, flat: bool) -> None:
    """An experiment file and a pool in which all its runs are done."""
    from made_up import make_result, rows_of

    from vision_attn import experiment as experiments
    from vision_attn.spec import canonical
    from vision_attn.store import sealed

    place.mkdir(parents=True, exist_ok=True)
    (place / "question.py").write_text(QUESTION.replace("SEEDS", str(count // 10)))
    name, experiment = experiments.load(place / "question.py")
    plan = experiments.plan(experiment, name=name)
    models = plan.levels("model")
    for cell in plan.cells:
        key, entry = cell.run, plan.runs[cell.run]
        shard = "" if flat else key[:2]
        folder = place / "results" / "runs" / shard / f"{entry.hint}--{key[:12]}"
        (folder / "probes").mkdir(parents=True, exist_ok=True)
        model = models.index(cell.factors["model"])
        rows = [{"update": 200 * step, "train_loss": 2.3 / step, "seconds": 1.5 * step} for step in (1, 2)]
        history = b"".join(canonical(row) + b"\n" for row in rows)
        result = make_result(key, cell.factors, model, hashlib.sha256(history).hexdigest())
        config = {"schema": 1, "digest": key, "hint": entry.hint, "run": entry.run}
        (folder / "config.json").write_bytes(sealed(config))
        (folder / "history.jsonl").write_bytes(history)
        for file, probe in plan.asked(key).items():
            content = {"schema": 1, "run": key, "probe": probe, "records": rows_of(probe, cell.factors, model)}
            (folder / "probes" / file).write_bytes(sealed({**content, "seconds": 0.4}))
        (folder / "result.json").write_bytes(sealed(result))


def measured(place: Path, *arguments: str) -> tuple[float, int, int, int]:
    """CPU seconds, opened files in the pool, MiB at most and exit code of a verb."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *arguments],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": "true"},
        check=False,
    )
    lines = [line.split() for line in done.stderr.splitlines() if line.startswith("MEASURED")]
    if not lines:
        raise RuntimeError(done.stdout + done.stderr)
    return float(lines[-1][3]), int(lines[-1][1]), int(lines[-1][2]), done.returncode


def worker_start(place: Path) -> float:
    """CPU seconds of a worker from its start to the end of its first run, which it finds done."""
    from vision_attn.executors.local import Local, Worker
    from vision_attn.plan import Plan
    from vision_attn.store import PLANS, Folders, Store

    plan, pool = Plan.read(place / "results" / "question"), place / "results" / "runs"
    file, folders = plan.head().keep(pool / PLANS), Folders(Store(pool), plan.planned(), {})
    command = Local(file, store=pool, folders=folders, log=pool / "workers.log", jobs=1, threads=1).command
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    worker = Worker(command, threads=1, log=pool / "workers.log")
    worker.give((next(iter(plan.runs)),))
    while worker.left:
        for message in worker.read() or ():
            if message["kind"] == "finished":
                worker.left.clear()
    worker.kill()
    worker.process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def verbs(place: Path, count: int) -> list[tuple[str, float, int, int]]:
    """Every verb with its CPU seconds, opened files of the pool per run, MiB."""
    table = []
    for name, arguments in (
        ("plan, no index yet", ("plan", "question.py")),
        ("run: nothing to do, no report yet", ("run", "question.py")),
        ("plan", ("plan", "question.py")),
        ("status of the folder", ("status", "results/question")),
        ("status of the file", ("status", "question.py")),
        ("run: nothing to do", ("run", "question.py")),
        ("report", ("report", "results/question")),
    ):
        seconds, opens, mebibytes, code = measured(place, *arguments)
        table.append((name, seconds, opens, mebibytes))
        print(
            f"{name:>36} {seconds:8.1f} s {opens / count:8.2f} opens a run {mebibytes:6d} MiB  exit {code}", flush=True
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("place", type=Path)
    parser.add_argument("--flat", action="store_true")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    if not (arguments.place / "question.py").exists():
        begun = time.monotonic()
        fabricate(arguments.place, arguments.count, flat=arguments.flat)
        print(f"fabricated in {time.monotonic() - begun:.0f} s")
    verbs(arguments.place, arguments.count)
    print(f"{'start of a worker, first run':>36} {worker_start(arguments.place):8.1f} s")


if __name__ == "__main__":
    main()
