"""A made-up sweep in the format of the run store, for whoever reads results."""

import hashlib
import itertools
import json
import math
import random

from vision_attn.plan import Cell, Plan, PlannedRun
from vision_attn.spec import canonical
from vision_attn.store import probe_file, write_json

MODELS = ("ViT", "ViT, 3x3 convolution", "ResNet")
SIZES = (50, 100, 200, 500, 1000, 2000, 4000)
SEEDS = (0, 1, 2)
PROBES = ({"kind": "Accuracy"}, {"kind": "Size"})
FIGURES = (
    {"kind": "LearningCurve"},
    {"kind": "Gap", "reference": "ResNet"},
    {"kind": "Generalisation"},
    {"kind": "Matching", "reference": "ViT"},
)
PARAMS = (121_034, 122_506, 119_870)
FLOPS = (13_200_000, 11_900_000, 48_100_000)
QUESTION = """How does self-attention compare with convolution on a few thousand digits?

Three networks of equal size learn from nested subsets of handwritten digits."""


def make_plan(*, models=MODELS, sizes=SIZES, seeds=SEEDS, probes=PROBES, figures=FIGURES, skips=None, factors=None):
    """A plan of models x sizes x seeds (x more factors); `skips` maps a model to {probe kind: reason}."""
    table = {"model": list(models), "train_size": list(sizes), **(factors or {}), "seed": list(seeds)}
    cells, runs = [], {}
    for levels in itertools.product(*table.values()):
        cell = dict(zip(table, levels, strict=True))
        run = make_run(cell)
        key = hashlib.sha256(canonical(run)).hexdigest()
        cells.append(Cell(factors=cell, run=key))
        reasons = (skips or {}).get(cell["model"], {})
        hint = f"run-{cell['train_size']}-s{cell['seed']}"
        files = {probe_file(probe): reasons[probe["kind"]] for probe in probes if probe["kind"] in reasons}
        runs[key] = PlannedRun(hint=hint, run=run, skips=files)
    return Plan(
        name="quickstart",
        experiment="experiments/quickstart.py",
        question=QUESTION,
        factors={name: tuple(levels) for name, levels in table.items()},
        cells=tuple(cells),
        runs=runs,
        probes=tuple(probes),
        figures=tuple(figures),
    )


def make_run(cell):
    others = {k: v for k, v in cell.items() if k not in ("model", "train_size", "seed")}
    model = {"kind": "Made", "name": cell["model"], **others}
    data = {"kind": "Mnist5k", "train_size": cell["train_size"], "subset_seed": cell["seed"]}
    recipe = {"kind": "Recipe", "updates": 400, "batch_size": 64, "learning_rate": 0.002, "crop_padding": 2}
    return {"kind": "Run", "model": model, "data": data, "recipe": recipe, "seed": cell["seed"]}


def numbers(cell, model_index):
    """Test accuracy, training accuracy: rising with size, different by model, with the noise of the seed."""
    chance = random.Random(f"{cell['train_size']} {cell['seed']}")
    own = random.Random(f"{cell['model']} {cell['train_size']} {cell['seed']}")
    worth = (1.6, 1.25, 1.0)[model_index % 3]
    error = 0.9 * worth * (cell["train_size"] / 10) ** -0.45
    error *= math.exp(0.06 * chance.gauss(0, 1) + 0.05 * own.gauss(0, 1))
    test = round(max(0.1, 1 - min(error, 0.9)), 4)
    train = round(min(1.0, 1 - 0.25 * error * (cell["train_size"] / 4000) ** 0.5 + 0.002 * own.gauss(0, 1)), 4)
    return test, min(train, 1.0)


def write_store(root, plan, *, write=lambda cell: True, probe_rows=None, change=lambda cell, result: None):
    """Write the folder of every run of the plan whose cell satisfies `write`; `change` may alter a result first."""
    done = set()
    models = plan.levels("model")
    for cell in plan.cells:
        if cell.run not in done and write(cell.factors):
            done.add(cell.run)
            write_run(root, plan, cell, models.index(cell.factors["model"]), probe_rows=probe_rows, change=change)


def write_run(root, plan, cell, model_index, *, probe_rows=None, change=lambda cell, result: None):
    """One run folder, done: config, history, result and probe files."""
    key, factors = cell.run, cell.factors
    entry = plan.runs[key]
    folder = root / f"{entry.hint}--{key[:12]}"
    (folder / "probes").mkdir(parents=True, exist_ok=True)
    config = {"schema": 1, "digest": key, "hint": entry.hint, "run": entry.run}
    write_json(folder / "config.json", config)
    rows = [history_row(step, factors) for step in range(20, 401, 20)]
    history = b"".join(canonical(row) + b"\n" for row in rows)
    (folder / "history.jsonl").write_bytes(history)
    result = make_result(key, factors, model_index, hashlib.sha256(history).hexdigest())
    change(factors, result)
    write_json(folder / "result.json", result)
    (folder / "log.txt").write_text("attempt 1: done\n")
    if result["state"] == "done":
        for file, probe in plan.asked(key).items():
            records = (probe_rows or rows_of)(probe, factors, model_index)
            content = {"schema": 1, "run": key, "probe": probe, "records": records, "seconds": 0.4}
            write_json(folder / "probes" / file, content)
    return folder


def rows_of(probe, factors, model_index):
    if probe["kind"] == "Size":
        return [
            {"metric": "params", "value": PARAMS[model_index % 3]},
            {"metric": "flops", "value": FLOPS[model_index % 3]},
        ]
    if probe["kind"] != "Accuracy":
        return [{"metric": probe["kind"].lower(), "value": 1.0}]
    test, train = numbers(factors, model_index)
    return [
        {"metric": "accuracy", "split": "train", "value": train},
        {"metric": "accuracy", "split": "test", "value": test},
        {"metric": "loss", "split": "train", "value": round(2.3 * (1 - train), 4)},
        {"metric": "loss", "split": "test", "value": round(2.3 * (1 - test), 4)},
    ]


def history_row(step, factors):
    return {
        "update": step,
        "epoch": step * 64 / factors["train_size"],
        "images_seen": step * 64,
        "learning_rate": 0.002 * (400 - step + 1) / 400,
        "train_loss": round(2.3 * math.exp(-step / 120), 4),
        "seconds": step * 0.007,
    }


def make_result(key, factors, model_index, history_sha256):
    is_convnet = model_index % 3 == 2
    subset = hashlib.sha256(f"{factors['train_size']} {factors['seed']}".encode()).hexdigest()
    return {
        "schema": 1,
        "run": key,
        "state": "done",
        "diverged_at": None,
        "updates": 400,
        "images_seen": 25600,
        "train_loss": 0.0821,
        "data": {
            "label": "mnist5k",
            "fingerprint": hashlib.sha256(b"mnist5k").hexdigest(),
            "subset_sha256": subset,
            "train_size": factors["train_size"],
            "val_size": 0,
            "test_size": 1000,
            "num_classes": 10,
            "image_size": 28,
            "in_chans": 1,
        },
        "choices": {
            "device": "cpu",
            "precision": "bf16",
            "compile": False,
            "channels_last": is_convnet,
            "threads": 1,
            "compile_reason": "compiling would take longer than it saves",
        },
        "environment": {
            "python": "3.11.7",
            "torch": "2.13.0+cpu",
            "torchvision": "0.28.0",
            "timm": "1.0.20",
            "numpy": "2.3.1",
            "vision_attn": "0.1.0",
            "platform": "Linux x86_64",
            "cpu": "Made-up processor",
            "commit": "5c24f77a1b2c",
        },
        "files": {"history.jsonl": history_sha256},
        "measured": {
            "attempt": 1,
            "token": 1,
            "started": "2026-01-01T00:00:00+00:00",
            "train_seconds": 2.8,
            "total_seconds": 3.6,
        },
    }


def write_attempt(folder, outcome, error):
    """Write down a failed attempt in a run folder that has no result."""
    row = {"attempt": 1, "started": "2026-01-01T00:00:00+00:00", "outcome": outcome, "error": error}
    (folder / "attempts.jsonl").write_text(json.dumps(row) + "\n")
