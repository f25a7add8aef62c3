"""Run folders as tidy frames."""

import dataclasses
import errno
import json
import lzma
import shutil

import made_up
import pandas as pd
import pytest

from vision_attn.plan import Plan
from vision_attn.records import Records, chance, column, load, pick
from vision_attn.report import build
from vision_attn.spec import InputError
from vision_attn.store import RunFolder
from vision_attn.tables import read_csv, to_csv, write_tables

SMALL = {"sizes": (50, 200), "seeds": (0, 1)}


@pytest.fixture
def swept(tmp_path):
    plan = made_up.make_plan(**SMALL)
    made_up.write_store(tmp_path / "runs", plan)
    return plan, tmp_path / "runs"


def same(first: Records, second: Records):
    for name in ("values", "history", "runs"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


def folder_of(root, plan, **factors):
    key = next(cell.run for cell in plan.cells if cell.factors == factors)
    (path,) = root.glob(f"*--{key[:12]}")
    return path


def test_every_number_of_every_probe_file_is_one_row(swept):
    plan, root = swept
    records = load(plan, root)
    expected = sorted(
        (content["run"], row["metric"], row.get("split", ""), float(f"{row['value']:.9g}"))
        for path in root.glob("*/probes/*.json")
        for content in [json.loads(path.read_text())]
        for row in content["records"]
    )
    values = records.values
    found = zip(values["run"], values["metric"], values["split"].fillna(""), values["value"], strict=True)
    assert sorted(found) == expected
    assert len(records.runs) == len(plan.cells)
    assert len(records.history) == 20 * len(plan.cells)


def test_factors_stand_in_front_texts_in_the_order_of_the_plan_numbers_as_numbers(swept):
    plan, root = swept
    values = load(plan, root).values
    assert list(values.columns[:6]) == ["model", "train_size", "seed", "run", "metric", "value"]
    assert list(values["model"].cat.categories) == list(made_up.MODELS)
    assert values["model"].cat.ordered
    assert values["train_size"].dtype == int


def test_renaming_run_folders_changes_nothing(swept):
    plan, root = swept
    before = load(plan, root)
    for i, path in enumerate(sorted(root.iterdir())):
        path.rename(root / f"renamed {i}")
    same(before, load(plan, root))


def test_renaming_a_level_renames_it_in_the_records(swept):
    plan, root = swept
    data = json.loads(json.dumps(plan.to_json()).replace('"ResNet"', '"Residual network"'))
    renamed = plan.replace(factors=data["factors"], cells=Plan.from_json(data).cells)
    assert set(load(renamed, root).values["model"]) == {"ViT", "ViT, 3x3 convolution", "Residual network"}


def test_a_diverged_run_is_a_row_with_its_state_and_no_records(tmp_path):
    plan = made_up.make_plan(**SMALL)

    def change(cell, result):
        if cell == {"model": "ViT", "train_size": 50, "seed": 1}:
            result.update(state="diverged", diverged_at=120)

    made_up.write_store(tmp_path, plan, change=change)
    records = load(plan, tmp_path)
    (row,) = records.runs[records.runs["state"] == "diverged"].to_dict("records")
    assert (row["model"], row["train_size"], row["seed"], row["diverged_at"]) == ("ViT", 50, 1, 120)
    assert row["reason"] == "loss or gradient not finite at update 120"
    assert row["run"] not in set(records.values["run"])
    assert row["run"] in set(records.history["run"])


def test_what_is_not_there_is_pending_and_what_failed_says_why(tmp_path):
    plan = made_up.make_plan(**SMALL)
    made_up.write_store(tmp_path, plan, write=lambda cell: cell["seed"] == 0)
    path = folder_of(tmp_path, plan, model="ViT", train_size=50, seed=0)
    (path / "result.json").unlink()
    made_up.write_attempt(path, "oom", "OutOfMemoryError: no more")
    records = load(plan, tmp_path)
    counts = records.runs["state"].value_counts()
    assert dict(counts) == {"pending": 6, "done": 5, "oom": 1}
    assert records.runs.set_index("state").loc["oom", "reason"] == "OutOfMemoryError: no more"


@pytest.mark.parametrize("name", ["result.json", "probes", "history.jsonl", "config.json"])
def test_a_damaged_file_is_named_and_costs_only_itself(swept, name):
    plan, root = swept
    path = folder_of(root, plan, model="ViT", train_size=50, seed=0)
    file = next(path.glob("probes/Accuracy*")) if name == "probes" else path / name
    file.write_bytes(file.read_bytes().replace(b"0", b"1", 1))
    records = load(plan, root)
    assert records.damaged == (f"{path.name}/{file.relative_to(path)}",)
    assert (records.runs["state"] == "done").sum() == len(plan.cells) - (name != "history.jsonl")


def test_a_measured_column_gives_way_to_a_factor_of_its_name(tmp_path):
    plan = made_up.make_plan(**SMALL, factors={"updates": [400], "layer": [7]})

    def rows(probe, factors, index):
        return [{"metric": "distance", "layer": 2, "value": 3.5}]

    made_up.write_store(tmp_path, plan, probe_rows=rows)
    records = load(plan, tmp_path)
    assert set(records.values["layer"]) == {7}
    assert set(records.values["measured_layer"]) == {2}
    assert column(records, "updates") == "measured_updates"
    assert set(records.runs["measured_updates"]) == {400}


def test_cells_that_share_a_run_share_its_records(swept):
    plan, root = swept
    first, second, *rest = plan.cells
    shared = first.run
    runs = {key: entry for key, entry in plan.runs.items() if key != second.run}
    cells = (first, dataclasses.replace(second, run=shared), *rest)
    values = load(plan.replace(cells=cells, runs=runs), root).values
    assert len(values[values["run"] == shared]) == 2 * 6


def test_picking_takes_exactly_the_coordinates_asked_for(tmp_path):
    plan = made_up.make_plan(**SMALL)

    def rows(probe, factors, index):
        clean = {"metric": "accuracy", "split": "test", "value": 0.9}
        return [clean, {**clean, "severity": 3, "value": 0.4}, {**clean, "split": "train", "value": 1.0}]

    def alone(probe, *cell):
        return rows(probe, *cell) if probe["kind"] == "Accuracy" else []

    made_up.write_store(tmp_path / "twice", plan, probe_rows=rows)
    twice = load(plan, tmp_path / "twice")
    with pytest.raises(InputError, match="accuracy of split test must be measured by one probe a run"):
        pick(twice, "accuracy", at={"split": "test"})
    made_up.write_store(tmp_path, plan, probe_rows=alone)
    records = load(plan, tmp_path)
    assert set(pick(records, "accuracy", at={"split": "test"})["value"]) == {0.9}
    assert set(pick(records, "accuracy", at={"split": "test", "severity": 3})["value"]) == {0.4}
    assert pick(records, "accuracy", at={}).empty
    assert pick(records, "accuracy", at={"nothing": 1}).empty


def test_chance_is_known_from_the_classes(swept):
    plan, root = swept
    assert chance(load(plan, root)) == 0.1
    assert chance(load(plan, root / "nowhere")) is None


def test_an_empty_store_gives_empty_frames_with_their_columns(tmp_path):
    plan = made_up.make_plan(**SMALL)
    records = load(plan, tmp_path / "nowhere")
    assert {"model", "run", "metric", "value"} <= set(records.values.columns)
    assert records.values.empty
    assert set(records.runs["state"]) == {"pending"}


def test_the_committed_tables_stand_in_for_runs_that_the_pool_does_not_have(swept, tmp_path):
    plan, root = swept
    folder = tmp_path / "quickstart"
    folder.mkdir()
    plan.write(folder)
    build(folder, root)
    before = load(plan, root)
    for path in list(root.iterdir())[:-1]:
        shutil.rmtree(path)
    after = load(plan, root, committed=folder)
    same(before, after)
    assert len(after.committed) == len(plan.cells) - 1
    assert before.committed == ()


def test_committed_tables_stand_in_only_for_what_the_probes_now_asked_have_measured(swept, tmp_path):
    plan, root = swept
    folder = tmp_path / "quickstart"
    folder.mkdir()
    plan.write(folder)
    build(folder, root)

    def states(*probes):
        return set(load(plan.replace(probes=probes), tmp_path / "nowhere", committed=folder).runs["state"])

    first, *others = plan.probes
    assert states(*plan.probes) == states(first) == {"done"}
    assert states(*plan.probes, {"kind": "Zoom"}) == {"pending"}
    assert states({**first, "version": 2}, *others) == {"pending"}
    runs = read_csv(folder / "runs.csv.xz").drop(columns="probes")  # as reports of earlier versions have left it
    tables = {name: (folder / name).read_bytes() for name in ("records.csv.xz", "history.csv.xz")}
    tables = {name: lzma.decompress(content) for name, content in tables.items()}
    (folder / "runs.csv.xz").unlink()
    write_tables(folder, {**tables, "runs.csv": to_csv(runs)}, experiment=plan.name)
    assert states(*plan.probes) == {"done"}
    assert states({**first, "version": 2}, *others) == {"pending"}


def test_committed_tables_keep_what_some_of_the_probes_have_measured_of_a_run(swept, tmp_path):
    plan, root = swept
    folder = tmp_path / "quickstart"
    folder.mkdir()
    plan = plan.replace(probes=(*plan.probes, {"kind": "Zoom"}))
    plan.write(folder)
    build(folder, root)
    before = load(plan, root)
    assert set(before.runs["state"]) == {"pending"}
    assert len(before.values) > 0
    same(before, load(plan, tmp_path / "nowhere", committed=folder))
    first, *others = plan.probes
    changed = plan.replace(probes=({**first, "version": 2}, *others))
    assert load(changed, tmp_path / "nowhere", committed=folder).values.empty


def in_tables(swept, tmp_path):
    """A sweep whose results are in tables, too: its plan and pool, the folder of tables, and that of one run."""
    plan, root = swept
    folder = tmp_path / "quickstart"
    folder.mkdir()
    plan.write(folder)
    build(folder, root)
    return plan, root, folder, folder_of(root, plan, model="ViT", train_size=50, seed=0)


def test_a_failure_in_the_pool_is_not_covered_by_the_committed_tables(swept, tmp_path):
    plan, root, folder, path = in_tables(swept, tmp_path)
    (path / "result.json").unlink()
    made_up.write_attempt(path, "failed", "ValueError: wrong")
    assert "failed" in set(load(plan, root, committed=folder).runs["state"])


def test_committed_tables_know_more_of_a_run_than_a_folder_that_cannot_be_read(swept, tmp_path, monkeypatch):
    plan, root, folder, path = in_tables(swept, tmp_path)
    result = RunFolder.result

    def refused(self):
        if self.path == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path / "result.json"))
        return result(self)

    before = load(plan, root)
    monkeypatch.setattr(RunFolder, "result", refused)
    after = load(plan, root, committed=folder)
    same(before, after)
    assert after.damaged == (path.name,)
    alone = load(plan, root)
    assert len(alone.values) < len(before.values)
    assert "failed" in set(alone.runs["state"])


def test_tables_survive_the_way_through_csv(tmp_path):
    frame = pd.DataFrame(
        {
            "run": ["123456789012", "1e5"],
            "value": [0.1 + 0.2, 1e-17],
            "whole": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
            "text": ["=1+1", None],
        }
    )
    (tmp_path / "t.csv").write_bytes(to_csv(frame))
    back = read_csv(tmp_path / "t.csv")
    assert list(back["run"]) == ["123456789012", "1e5"]
    assert list(back["value"]) == [0.1 + 0.2, 1e-17]
    assert (back["whole"].dtype, back["flag"].dtype) == ("Int64", "boolean")
    assert to_csv(back) == to_csv(frame)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_text_that_a_spreadsheet_would_run_is_neutralised_and_comes_back(tmp_path, start):
    frame = pd.DataFrame({"name": [f"{start}cmd", "harmless", "it's"], "value": [-1.5, 2.0, 3.0]})
    (tmp_path / "t.csv").write_bytes(to_csv(frame))
    assert f"'{start}cmd".encode() in (tmp_path / "t.csv").read_bytes()
    assert b",-1.5" in (tmp_path / "t.csv").read_bytes()
    back = read_csv(tmp_path / "t.csv")
    assert list(back["name"]) == list(frame["name"])
    assert list(back["value"]) == list(frame["value"])
