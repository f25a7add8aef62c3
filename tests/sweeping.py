"""Sweeps through the command line, on a made-up experiment: started, killed, looked at afterwards."""

import os
import subprocess
import sys
import time
from pathlib import Path

from vision_attn.store import Store, read_json

EXPERIMENT = '''"""A made-up question?

More words.
"""
from vision_attn import Accuracy, DepthwiseConv, Experiment, LearningCurve, Mnist5k, Recipe, Run, ViT
from vision_attn.models import Timm
from vision_attn.probes import Size

MODELS = {
    "attention": ViT(dim=16, depth=1, patch_size=7),
    "convolution": ViT(dim=16, depth=1, patch_size=7, mixer=DepthwiseConv(kernel_size=3)),
    "too deep for 28 pixels": Timm(name="inception_v4"),
}

def run(model, train_size, updates, learning_rate, seed):
    recipe = Recipe(updates=updates, batch_size=16, learning_rate=learning_rate, compile="off")
    return Run(model=MODELS[model], data=Mnist5k(train_size=train_size, subset_seed=seed), recipe=recipe, seed=seed)

experiment = Experiment(
    question=__doc__,
    factors={
        "model": ("attention", "convolution"), "train_size": (50, 100), "updates": (5,), "learning_rate": (1e-3,),
        "seed": range(1),
    },
    presets={"broken": {"model": ("too deep for 28 pixels",), "seed": range(3)}},
    run=run,
    probes=(Accuracy(), Size()),
    figures=(LearningCurve(),),
)
'''
ROOT = Path(__file__).resolve().parents[1]


def command(place, *arguments, verb="run", results="results"):
    options = [] if verb == "report" else ["--results", str(place / results)]
    return [sys.executable, "-m", "vision_attn.cli", verb, str(place / "question.py"), *options, *arguments]


def start(place, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true"}
    return subprocess.Popen(
        command(place, *arguments, **options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=place,
    )


def finish(place, *arguments, **options):
    process = start(place, *arguments, **options)
    output, _ = process.communicate(timeout=500)
    return process.returncode, output


def folders(place, results="results"):
    return Store(place / results / "runs").index()


def outcomes(place):
    return sorted(tuple(row["outcome"] for row in folder.attempts()) for folder in folders(place).values())


def facts(place, results="results"):
    """All that a run leaves behind, without times and attempts."""
    found = {}
    for key, folder in folders(place, results).items():
        result = folder.result()
        result["environment"].pop("commit")
        probes = {path.name: read_json(path)["records"] for path in folder.path.glob("probes/*.json")}
        found[key] = ({name: value for name, value in result.items() if name != "measured"}, probes)
    return found


def wait_for(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.05)


def workers_of(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children]


def has_history(place):
    return any((folder.path / "history.jsonl").exists() for folder in folders(place).values())
