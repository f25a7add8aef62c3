"""A run and a sweep on a GPU: trained, interrupted, continued, loaded on the CPU."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vision_attn import Accuracy, Recipe, ResNet, Run, ViT
from vision_attn.data import CuedRecall
from vision_attn.execution import execute
from vision_attn.loading import load_run
from vision_attn.probes import Size
from vision_attn.run import HISTORY
from vision_attn.spec import digest, to_json
from vision_attn.store import WEIGHTS, Store, read_json
from vision_attn.training.evaluate import logits

DATA = CuedRecall(distance=1, pooled=True, train_size=256, val_size=64, test_size=128)
RECIPE = Recipe(updates=50, batch_size=32, crop_padding=0, flip=False, history_rows=5)
MODELS = {"ViT": ViT(dim=32, depth=2), "ResNet": ResNet(width=8, blocks=1)}
EXPERIMENT = '''"""Does a sweep run on a GPU?"""
from vision_attn import Accuracy, Experiment, LearningCurve, Recipe, ResNet, Run, ViT
from vision_attn.data import CuedRecall
from vision_attn.probes import Size

MODELS = {"ViT": ViT(dim=32, depth=2), "ResNet": ResNet(width=8, blocks=1)}

def run(model, train_size, seed):
    data = CuedRecall(distance=1, pooled=True, train_size=train_size, subset_seed=seed, val_size=0, test_size=64)
    recipe = Recipe(updates=20, batch_size=32, crop_padding=0, flip=False)
    return Run(model=MODELS[model], data=data, recipe=recipe, seed=seed)

experiment = Experiment(
    question=__doc__, factors={"model": tuple(MODELS), "train_size": (64, 128), "seed": (0, 1)}, run=run,
    probes=(Accuracy(), Size()), figures=(LearningCurve(),),
)
'''


def folder_of(run, root):
    return Store(root).open(digest(run), hint=run.hint, run=to_json(run), index={})


def left_behind(folder):
    """Weights and history, as bytes."""
    return [hashlib.sha256((folder.path / name).read_bytes()).hexdigest() for name in (WEIGHTS, HISTORY)]


@pytest.mark.parametrize("model", MODELS)
def test_a_run_is_done_on_a_gpu_and_its_weights_load_on_the_cpu(model, device, tmp_path):
    run = Run(model=MODELS[model], data=DATA, recipe=RECIPE, seed=0)
    folder = folder_of(run, tmp_path)
    assert execute(folder, run, (Accuracy(), Size()), device=device, threads=1).name == "done"
    result = folder.result()
    assert result["choices"]["device"] == device.type
    if device.type == "cuda":
        assert result["environment"]["gpu"] == torch.cuda.get_device_name(device)
        assert result["choices"]["precision"] == "bf16"
    found = load_run(folder.path)
    scores = logits(found.model, found.data.test.images, normalise=found.data.normalise)
    accuracy = (scores.argmax(1) == found.data.test.labels).double().mean().item()
    (probe,) = folder.path.glob("probes/Accuracy*.json")
    rows = {(row["metric"], row["split"]): row["value"] for row in read_json(probe)["records"]}
    assert rows["accuracy", "test"] == pytest.approx(accuracy, abs=0.05)  # in float32 here, there as it was trained


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_was_interrupted_ends_in_the_same_bits(model, device, tmp_path):
    run = Run(model=MODELS[model], data=DATA, recipe=RECIPE, seed=1)
    whole, parts = folder_of(run, tmp_path / "whole"), folder_of(run, tmp_path / "parts")
    assert execute(whole, run, (), device=device, threads=1).name == "done"
    asked = iter(range(10**6))
    stopped = execute(parts, run, (), device=device, threads=1, stopping=lambda: next(asked) > 30)
    assert stopped.name == "interrupted"
    torch.rand(3, device=device)
    assert execute(parts, run, (), device=device, threads=1).name == "done"
    assert left_behind(parts) == left_behind(whole)


def test_a_sweep_by_two_workers_is_done_and_reported(device, tmp_path):
    (tmp_path / "question.py").write_text(EXPERIMENT)
    options = ["--results", "results", "--device", device.type, "-j", "2", "--stack", "off"]
    root = Path(__file__).resolve().parents[2]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path]), "CI": "true"}
    command = [sys.executable, "-m", "vision_attn.cli", "run", "question.py", *options]
    ended = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folders = Store(tmp_path / "results" / "runs").index()
    results = [folder.result() for folder in folders.values()]
    assert [(result["state"], result["choices"]["device"]) for result in results] == [("done", device.type)] * 8
    assert (tmp_path / "results" / "question" / "report.html").exists()
