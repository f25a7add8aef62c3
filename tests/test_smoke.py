"""Every file in experiments/, from its plan to its report: two levels of each factor, two updates a run."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from image_trees import image_files, write_folder

from vision_attn.experiment import load
from vision_attn.plan import Plan
from vision_attn.spec import kind_of

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "experiments").glob("*.py"))
QUICK = {"quickstart", "two_sources"}
"""Those that gate every change: networks, facts without training, and fresh images; all others take minutes."""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Made-up images under the names that experiments ask for."""
    folder = tmp_path_factory.mktemp("data")
    files = image_files(classes=tuple("abcdefghij"), train=400, test=10, side=32)
    write_folder(folder / "cifar10-jpeg", files)
    return folder


def smoke_run(path, *options, data_dir, results):
    """Run an experiment as a smoke test; the folder of its results."""
    command = [sys.executable, "-m", "vision_attn.cli", "run", str(path), "--smoke", *options, "-j", "2"]
    command += ["--results", str(results), "--data-dir", str(data_dir)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true", "VISION_ATTN_OFFLINE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (folder,) = (page.parent for page in results.glob("*/report.html"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data_size", "priors", "variation"])
def test_the_preset_for_a_gpu_holds_too(name, data_dir, tmp_path):
    """At its first two levels, of images that are at hand."""
    levels = ["--levels", "data=cifar10-jpeg", "--levels", "train_size=500,1000"]
    path = ROOT / "experiments" / f"{name}.py"
    folder = smoke_run(path, "--preset", "full", *levels, data_dir=data_dir, results=tmp_path)
    assert "could not be drawn" not in (folder / "report.html").read_text()
    assert set(pd.read_csv(folder / "runs.csv.xz")["state"]) == {"done"}


@pytest.mark.parametrize(
    "path",
    [path if path.stem in QUICK else pytest.param(path, marks=pytest.mark.slow) for path in FILES],
    ids=lambda path: path.stem,
)
def test_a_smoke_run_ends_in_a_report_that_uses_every_record(path, data_dir, tmp_path):
    _, experiment = load(path)
    preset = ["--preset", "small"] if "small" in experiment.presets else []
    folder = smoke_run(path, *preset, data_dir=data_dir, results=tmp_path)
    assert "<h1" in (folder / "report.html").read_text()
    assert "could not be drawn" not in (folder / "report.html").read_text()
    records = pd.read_csv(folder / "records.csv.xz", dtype={"direction": str})
    coordinates = set(records) - {*experiment.factors, "run", "metric", "value", "split"}
    for name in {kind_of(figure) for figure in experiment.figures} & {"LearningCurve", "RecallByDistance"}:
        accuracies = records[(records["metric"] == "accuracy") & (records["split"] == "test")]
        accuracies = accuracies[accuracies[sorted(coordinates)].isna().all(axis=1)]  # those of the probe Accuracy
        if name == "LearningCurve" and "images_seen" in experiment.factors:
            accuracies = accuracies[accuracies["images_seen"] == accuracies["images_seen"].max()]  # the largest budget
        assert pd.read_csv(folder / "tables" / f"{name}.csv")["n"].sum() == len(accuracies) > 0
    plan = Plan.read(folder)
    for figure in (figure for figure in experiment.figures if figure.applies(plan)):
        for suffix in ("svg", "png"):
            assert (folder / "figures" / f"{kind_of(figure)}.{suffix}").stat().st_size > 1000
