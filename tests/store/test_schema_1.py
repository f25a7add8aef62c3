"""Runs of schema 1 open for ever: `schema-1/` is as an earlier version left it, and nobody writes it anew."""

import shutil
from pathlib import Path

import pytest

from vision_attn.loading import load_run
from vision_attn.measuring import measure
from vision_attn.plan import Plan
from vision_attn.probes import Accuracy
from vision_attn.records import load
from vision_attn.run import Run
from vision_attn.spec import digest, from_json
from vision_attn.store import Store, read_rows, verify

DONE = "3a88b5b4929e7647a26151482bfbcd6b80407acd1641de7d3b1ed1215e5e472e"
FAILED = "5978519c3c634df2d81d61e1ef5371cc7e6a7fd0543d81bd6d1a2af66794573a"


@pytest.fixture
def place(tmp_path):
    return Path(shutil.copytree(Path(__file__).parent / "schema-1", tmp_path / "copy"))


def test_every_run_is_found_with_what_has_become_of_it(place):
    index = Store(place / "runs").index()
    (diverged,) = index.keys() - {DONE, FAILED}
    probes = [path.name for path in index[DONE].path.glob("probes/*.json")]
    assert len(probes) == 2
    assert {key: folder.state(probes).name for key, folder in index.items()} == {
        DONE: "done",
        FAILED: "failed",
        diverged: "diverged",
    }
    assert index[diverged].state(probes).reason == "loss or gradient not finite at update 2"
    assert index[FAILED].state(probes).reason.startswith("RuntimeError: Calculated padded input size per channel")


def test_every_config_still_means_the_run_whose_digest_it_has(place):
    for key, folder in Store(place / "runs").index().items():
        assert digest(from_json(folder.config()["run"], Run)) == key


def test_the_records_are_those_that_were_written(place):
    records = load(Plan.read(place), place / "runs")
    assert records.damaged == ()
    assert list(records.runs["state"]) == ["done"]
    found = records.values.query("metric == 'accuracy'")[["split", "value"]]
    assert dict(found.itertuples(index=False)) == {"train": 0.2, "test": 0.191}
    assert [row["update"] for row in read_rows(next(place.glob("runs/*3a88*/history.jsonl")))] == [1, 2, 3, 4, 5]


def test_the_weights_classify_as_they_did(place):
    run = load_run(next(place.glob("runs/*3a88*")))
    rows = [row for row in measure(run.model, run.data, Accuracy()).itertuples() if row.metric == "accuracy"]
    assert {row.split: row.value for row in rows} == pytest.approx({"train": 0.2, "test": 0.191}, abs=2e-3)


def test_nothing_is_wrong_with_it(place):
    assert [faults for _, faults in verify(Store(place / "runs"))] == [[], [], []]


def test_a_failed_run_can_be_tried_again(place):
    folder = Store(place / "runs").find(FAILED)
    folder.forget_failure()
    assert folder.state([]).name == "pending"
    assert folder.acquire().token == 2
