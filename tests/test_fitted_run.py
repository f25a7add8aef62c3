"""Runs of models that are fitted at once: trained, kept, measured and refused like any other."""

import hashlib
import importlib.metadata

import pytest
import torch

from vision_attn import Accuracy, Mnist5k, Recipe, Run
from vision_attn.data import Parity
from vision_attn.execution import execute
from vision_attn.models import KMeansFeatures, LogisticRegression, NearestNeighbours
from vision_attn.probes import (
    AttentionDistance,
    BranchScale,
    Influence,
    Intervention,
    ReceptiveField,
    ShiftConsistency,
    Size,
)
from vision_attn.run import CHECKPOINT
from vision_attn.spec import InputError, digest, to_json
from vision_attn.store import WEIGHTS, Store, probe_file
from vision_attn.training.stacked import stackable

CPU = torch.device("cpu")
MODELS = {
    "LogisticRegression": LogisticRegression(strengths=(1e-3, 1e-2)),
    "NearestNeighbours": NearestNeighbours(),
    "KMeansFeatures": KMeansFeatures(centroids=8, strengths=(1e-2,)),
}


@pytest.fixture(autouse=True)
def few_patches(monkeypatch):
    monkeypatch.setattr("vision_attn.models.baselines.PATCHES", 500)


def run_of(model, **recipe):
    return Run(model=model, data=Mnist5k(train_size=50), recipe=Recipe(**{"updates": 0, **recipe}), seed=0)


def opened(root, run):
    return Store(root).open(digest(run), hint=run.hint, run=to_json(run), index={})


def go(folder, run, *probes, **options):
    return execute(folder, run, probes or (Accuracy(), Size()), device=CPU, threads=1, **options)


def values(folder):
    """The records of every probe of the folder, by file."""
    return {path.name: folder.probe(path.name)["records"] for path in folder.path.glob("probes/*")}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_run_is_fitted_kept_and_measured(model, tmp_path):
    run = run_of(model)
    folder = opened(tmp_path, run)
    assert go(folder, run, Accuracy(), Size(), ShiftConsistency(images=20)).name == "done"
    result = folder.result()
    assert (result["updates"], result["images_seen"], result["ended"]) == (0, 0, "budget")
    assert result["measured"]["train_seconds"] > 0
    assert result["environment"]["scikit-learn"] == importlib.metadata.version("scikit-learn")
    measured = {probe: values(folder)[probe_file(to_json(probe))] for probe in (Accuracy(), Size())}
    accuracy = {row["split"]: row["value"] for row in measured[Accuracy()] if row["metric"] == "accuracy"}
    assert accuracy["test"] > 0.4
    assert all(row["value"] > 0 for row in measured[Size()])
    assert (folder.path / WEIGHTS).stat().st_size < 300_000


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_another_probe_is_taken_from_the_stored_weights(model, tmp_path, monkeypatch):
    run = run_of(model)
    folder = opened(tmp_path, run)
    go(folder, run, Size())
    again = opened(tmp_path / "again", run)
    go(again, run, Accuracy())
    monkeypatch.setattr("vision_attn.training.loop._fit", lambda *args, **options: pytest.fail("fitted again"))
    assert go(folder, run, Size(), Accuracy()).name == "done"
    assert values(again).items() <= values(folder).items()


def test_a_run_that_is_stopped_ends_in_the_same_weights(tmp_path):
    run, weights = run_of(MODELS["NearestNeighbours"]), []
    for name in ("whole", "stopped"):
        folder = opened(tmp_path / name, run)
        if name == "stopped":
            assert go(folder, run, stopping=lambda: True).name == "interrupted"
            assert (folder.path / CHECKPOINT).exists()
            assert folder.result() is None
        assert go(folder, run).name == "done"
        assert not (folder.path / CHECKPOINT).exists()
        weights.append(hashlib.sha256((folder.path / WEIGHTS).read_bytes()).hexdigest())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"updates": 5}, "updates of Recipe must be 0 for NearestNeighbours, which is fitted at once. Got 5 instead."),
        (
            {"updates": None, "epochs": 2},
            "epochs of Recipe must be None, and updates 0, for NearestNeighbours, which is fitted at once. "
            "Got 2.0 instead.",
        ),
        (
            {"compile": "on"},
            "compile of Recipe must be 'auto' or 'off' for NearestNeighbours, which is fitted at once. "
            "Got 'on' instead.",
        ),
    ],
)
def test_a_recipe_that_trains_is_refused_when_the_run_is_written_down(recipe, sentence):
    with pytest.raises(InputError) as error:
        run_of(NearestNeighbours(), **recipe)
    assert str(error.value) == sentence


def test_images_that_are_drawn_anew_are_refused(tmp_path):
    data = Parity(distance=1)
    run = Run(model=LogisticRegression(), data=data, recipe=Recipe(updates=0, crop_padding=0), seed=0)
    outcome = go(opened(tmp_path, run), run)
    assert outcome.name == "failed"
    assert "Got LogisticRegression instead." in outcome.error


def test_they_are_not_stacked():
    model = LogisticRegression().build(image_size=8, in_chans=1, num_classes=2)
    assert stackable(Recipe(updates=0), model) == "the model is fitted at once"


@pytest.mark.parametrize("probe", [Influence(), ReceptiveField(), Intervention()], ids=str)
def test_probes_of_layers_say_that_there_are_none(probe):
    assert probe.skip(LogisticRegression(), Mnist5k()) == "LogisticRegression is no network of layers"


@pytest.mark.parametrize("probe", [BranchScale(), AttentionDistance()], ids=str)
def test_probes_of_mixers_and_of_attention_say_that_there_are_none(probe):
    assert probe.skip(KMeansFeatures(), Mnist5k()).startswith("KMeansFeatures has no ")
