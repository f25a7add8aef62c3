"""The verbs that look at runs side by side, and at what a pool holds in vain."""

import builtins
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from made_up import make_plan, write_store

from vision_attn.cli.command import execute
from vision_attn.cli.looking import flat, paired
from vision_attn.cli.running import tabled
from vision_attn.plan import Plan
from vision_attn.records import load
from vision_attn.store import RunFolder, State, Store, discard, leftovers_of, locks, read_json


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    plan = make_plan(models=("ViT", "ResNet"), sizes=(50,), seeds=(0, 1))
    write_store(tmp_path / "results" / "runs", plan)
    (tmp_path / "results" / "quickstart").mkdir()
    plan.write(tmp_path / "results" / "quickstart")
    return tmp_path


def said(capsys, *arguments):
    code = execute([str(one) for one in arguments])
    out, err = capsys.readouterr()
    return code, out + err


def keys(place):
    plan = Plan.read(place / "results" / "quickstart")
    return {(cell.factors["model"], cell.factors["seed"]): cell.run for cell in plan.cells}


def accuracy(place, key):
    folder = Store(place / "results" / "runs").find(key)
    (file,) = folder.path.glob("probes/Accuracy-*.json")
    rows = read_json(file)["records"]
    return next(row["value"] for row in rows if row["metric"] == "accuracy" and row.get("split") == "test")


def test_two_runs_are_compared_in_what_differs_and_in_every_number_of_both(place, capsys):
    a, b = keys(place)["ViT", 0], keys(place)["ResNet", 0]
    code, text = said(capsys, "compare", a[:10], b[:10], "--json")
    found = json.loads(text)
    assert code == 0
    assert found["differ in"] == {"model.name": ["ViT", "ResNet"]}
    numbers = {name: values for rows in found["measured of both"].values() for name, *values in rows}
    assert numbers["accuracy, split test"] == [accuracy(place, a), accuracy(place, b)]
    code, text = said(capsys, "compare", a[:10], b[:10])
    assert (code, "model.name" in text, "B − A" in text) == (0, True, True)
    assert f"{accuracy(place, b) - accuracy(place, a):+.4g}" in text


def test_a_run_does_not_differ_from_itself(place, capsys):
    key = keys(place)["ViT", 0]
    code, text = said(capsys, "compare", key, key)
    assert (code, "Both are the same run." in text) == (0, True)


def test_a_run_that_is_not_there_is_one_sentence(place, capsys):
    code, text = said(capsys, "compare", keys(place)["ViT", 0], "nothing")
    assert (code, "Traceback" in text, "Got 'nothing', which means none." in text) == (2, False, True)


@pytest.fixture
def refused(monkeypatch):
    """A set of paths that this user may neither read nor list."""
    paths = set()

    def refusing(function):
        def refuse(path, *arguments, **options):
            if isinstance(path, str | Path) and any(Path(path).absolute().is_relative_to(one) for one in paths):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return refuse

    monkeypatch.setattr(builtins, "open", refusing(open))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    return paths


@pytest.mark.parametrize("whole", [False, True], ids=["one run", "a folder of several"])
def test_what_cannot_be_read_costs_only_the_runs_in_it_and_is_named(place, capsys, refused, whole):
    (key, other, *_) = keys(place).values()
    pool = place / "results" / "runs"
    (pool / key[:2]).mkdir(exist_ok=True)
    folder = pool / key[:2] / Store(pool).find(key).path.name
    Store(pool).find(key).path.replace(folder)
    gone = folder.parent if whole else folder
    refused.add(gone)
    named = f"Permission denied: '{gone if whole else gone / 'config.json'}'"
    code, text = said(capsys, "status", place / "results" / "quickstart", "--json")
    states = json.loads(text)
    assert {one for one, state in states.items() if state["state"] != "done"} == {key}
    assert (code, states[key]["reason"]) == (1, named)
    for run in (key[:10], folder.name, str(folder)):
        code, text = said(capsys, "show", run)
        assert (code, "means none" in text, "Permission denied" in text, gone.name in text) == (1, False, True, True)
    assert said(capsys, "show", other[:10])[0] == 0
    code, text = said(capsys, "verify", pool)
    assert (code, text.count("cannot be read: Permission denied")) == (1, 1)
    found = load(Plan.read(place / "results" / "quickstart"), pool)
    assert found.damaged == (gone.relative_to(pool).as_posix() + ("" if whole else "/config.json"),)
    assert set(found.runs.loc[found.runs["state"] == "failed", "reason"]) == {named}


def test_a_folder_without_its_pool_is_as_far_as_its_tables_say(place, capsys):
    folder = place / "results" / "quickstart"
    assert said(capsys, "report", folder)[0] == 0
    key, *others = keys(place).values()
    shutil.rmtree(Store(place / "results" / "runs").find(key).path)
    code, text = said(capsys, "status", folder)
    assert (code, "1 of them by the tables in" in text) == (0, True)
    states = json.loads(said(capsys, "status", folder, "--json")[1])
    assert states[key] == {"state": "done", "reason": f"by the tables in '{folder}'"}
    assert states[others[0]] == {"state": "done", "reason": ""}
    pending = {one: State("pending" if one == key else "done") for one in states}
    stands = f". 1 of them stands in the tables of '{folder}', without what was trained: `run` trains them anew"
    assert tabled(Plan.read(folder), pending, folder) == stands
    (folder / "runs.csv.xz").write_bytes(b"")
    assert tabled(Plan.read(folder), pending, folder) == ""
    code, text = said(capsys, "status", folder)
    assert (code, "runs.csv.xz and SHA256SUMS do not agree" in text) == (2, True)


def test_the_keys_of_all_runs_are_named_with_their_levels_when_asked(place, capsys):
    code, text = said(capsys, "status", place / "results" / "quickstart")
    assert (code, "seed=" in text) == (0, False)
    code, text = said(capsys, "status", place / "results" / "quickstart", "--all")
    for (model, seed), key in keys(place).items():
        (line,) = (line for line in text.splitlines() if key[:12] in line)
        assert f"model={model}" in line
        assert f"seed={seed}" in line
        assert line.rstrip().endswith("done")


def test_places_name_what_is_nested_and_rows_pair_by_all_but_their_value():
    assert flat({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}) == {"a.b.0": 1, "a.b.1.c": 2, "a.d": {}, "e": None}
    first = [{"metric": "m", "at": 1, "value": 0.5}, {"metric": "m", "at": 2, "value": 0.6}]
    second = [{"value": 0.9, "at": 2, "metric": "m"}]
    assert paired(first, second) == [("m, at 2", 0.6, 0.9)]


def test_runs_that_no_plan_asks_for_are_shown_and_go_only_when_told(place, capsys):
    plan = Plan.read(place / "results" / "quickstart")
    smaller = make_plan(models=("ViT",), sizes=(50,), seeds=(0, 1))
    smaller.write(place / "results" / "quickstart")
    in_vain = sorted(set(plan.runs) - set(smaller.runs))
    assert len(in_vain) == 2
    code, text = said(capsys, "gc", "--json")
    assert code == 0
    assert [(one["why"], one["deleted"]) for one in json.loads(text)] == [("no plan asks for it", False)] * 2
    store = Store(place / "results" / "runs")
    assert set(plan.runs) <= set(store.index())
    code, text = said(capsys, "gc", "--delete")
    assert (code, "2 things" in text, "deleted" in text) == (0, True, True)
    assert set(Store(place / "results" / "runs").index()) == set(smaller.runs)
    assert said(capsys, "gc")[1].startswith("0 things")


def test_a_run_at_work_stays(place):
    (key, *_) = keys(place).values()
    folder = Store(place / "results" / "runs").find(key)
    lease = folder.acquire()
    found = list(leftovers_of(Store(place / "results" / "runs"), asked=set()))
    assert folder.path not in {one.path for one in found}
    assert len(found) == 3
    lease.release_unused()
    (mine,) = (one for one in leftovers_of(Store(place / "results" / "runs"), asked=set()) if one.path == folder.path)
    other = RunFolder(folder.path).acquire()  # taken between the look and the removal
    assert not discard(mine)
    assert folder.path.is_dir()
    other.release_unused()
    assert discard(mine)
    assert not folder.path.exists()


def test_a_run_whose_folder_another_process_keeps_locked_stays(place, capsys, monkeypatch):
    (key, *_) = keys(place).values()
    make_plan(models=("ResNet",), sizes=(50,), seeds=(0, 1)).write(place / "results" / "quickstart")
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.0)
    folder = Store(place / "results" / "runs").find(key)
    with locks.locked(folder.path):
        code, text = said(capsys, "gc", "--delete")
    assert (code, "1 thing" in text) == (0, True), text
    assert folder.ended() is not None


def test_weights_of_finished_runs_go_alone_when_asked_for(place, capsys):
    (key, *_) = keys(place).values()
    folder = Store(place / "results" / "runs").find(key)
    (folder.path / "weights.safetensors").write_bytes(b"0" * 1000)
    assert said(capsys, "gc")[1].startswith("0 things")
    code, text = said(capsys, "gc", "--weights", "--delete")
    assert (code, "1 thing, 1.0 kB, deleted" in text) == (0, True), text
    assert not (folder.path / "weights.safetensors").exists()
    assert folder.result()["state"] == "done"


def test_a_checkpoint_that_a_crash_has_left_in_a_finished_run_goes(place, capsys):
    (key, *_) = keys(place).values()
    folder = Store(place / "results" / "runs").find(key)
    (folder.path / "checkpoint.pt").write_bytes(b"0" * 1000)
    code, text = said(capsys, "gc", "--delete")
    assert (code, "checkpoint of a finished run, 1.0 kB" in text) == (0, True), text
    assert not (folder.path / "checkpoint.pt").exists()
    assert folder.result()["state"] == "done"


def test_results_without_an_experiment_are_left_alone(place, capsys):
    (place / "empty").mkdir()
    code, text = said(capsys, "gc", "empty", "--delete")
    assert (code, "every run would go" in text) == (2, True)


def test_tables_whose_plan_is_gone_keep_their_runs(place, capsys):
    (place / "results" / "other").mkdir()
    (place / "results" / "other" / "SHA256SUMS").write_text("")
    (key, *_) = keys(place).values()
    code, text = said(capsys, "gc", "--weights", "--delete")
    assert (code, "must hold a plan beside all tables. 'results/other' has none: its runs would go." in text) == (
        2,
        True,
    )
    assert Store(place / "results" / "runs").find(key).result()["state"] == "done"
