"""The plan: what it says of runs and probes, and that it comes back from its file."""

import dataclasses
import json
from pathlib import Path

import made_up
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_attn import Experiment, Mnist5k, Recipe, Run, ViT
from vision_attn.data import Quadrants
from vision_attn.experiment import plan as plan_of
from vision_attn.figures import QuadrantAccuracy
from vision_attn.plan import Plan, folders_in
from vision_attn.probes import SubgroupAccuracy
from vision_attn.report.protocol import skips
from vision_attn.spec import InputError
from vision_attn.store import Store, probe_file, read_json, verify, write_json

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = folders_in(ROOT / "results")
SMALL = {"sizes": (50, 200), "seeds": (0, 1)}
BY_ROW, BY_COLUMN = {"kind": "AccuracyBy", "fact": "row"}, {"kind": "AccuracyBy", "fact": "column"}


def test_a_plan_comes_back_from_its_file(tmp_path):
    plan = made_up.make_plan(**SMALL, skips={"ResNet": {"Size": "no size"}}).replace(
        preset="small", given_levels={"seed": (0, 1)}, smoke=True, omitted=({"model": "ViT"},), experiment="mine.py"
    )
    plan.write(tmp_path)
    assert Plan.read(tmp_path) == plan


def test_a_folder_keeps_the_plan_of_its_experiment(tmp_path):
    (tmp_path / "a-b").mkdir()
    made_up.make_plan(**SMALL).replace(name="a", preset="b").write(tmp_path / "a-b")
    made_up.make_plan(**SMALL).replace(name="a", preset="b", smoke=True).write(tmp_path / "a-b")
    with pytest.raises(
        InputError, match=r"has the results of the experiment 'a'\. Give the file of 'a-b' another name"
    ):
        made_up.make_plan(**SMALL).replace(name="a-b").write(tmp_path / "a-b")
    assert Plan.read(tmp_path / "a-b").name == "a"


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_plan_is_read_whatever_version_wrote_it(folder):
    data, plan = read_json(folder / "plan.json.gz"), Plan.read(folder)
    assert list(plan.factors) == list(data["factors"])
    assert [(cell.factors, cell.run) for cell in plan.cells] == [(c["factors"], c["run"]) for c in data["cells"]]
    for key, entry in data["runs"].items():
        asked = [probe for probe in data["probes"] if not {probe["kind"], probe_file(probe)} & set(entry["skips"])]
        assert list(plan.asked(key).values()) == asked
        assert plan.runs[key].run == entry["run"]
    assert "-".join([plan.name, *filter(None, [plan.preset]), *["smoke"] * plan.smoke]) == folder.name
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("folder", "preset", "smoke"),
    [
        ("quickstart", None, False),
        ("quickstart-small", "small", False),
        ("quickstart-very-small-smoke", "very-small", True),
        ("elsewhere", None, False),
    ],
)
def test_the_folder_of_a_plan_of_format_1_says_which_preset_it_was(tmp_path, folder, preset, smoke):
    (tmp_path / folder).mkdir()
    data = made_up.make_plan(**SMALL).to_json()
    earlier = {name: value for name, value in data.items() if name not in ("preset", "smoke", "levels", "experiment")}
    write_json(tmp_path / folder / "plan.json", earlier | {"schema": 1})
    found = Plan.read(tmp_path / folder)
    assert (found.preset, found.smoke, found.experiment) == (preset, smoke, "experiments/quickstart.py")


def test_a_plan_that_an_earlier_version_left_is_read_until_a_new_one_takes_its_place(tmp_path):
    plan, folder = made_up.make_plan(**SMALL), tmp_path / "quickstart"
    folder.mkdir()
    write_json(folder / "plan.json", plan.to_json())
    assert (Plan.read(folder), folders_in(tmp_path)) == (plan, [folder])
    plan.replace(question="Another?").write(folder)
    assert Plan.read(folder).question == "Another?"
    assert [path.name for path in folder.iterdir()] == ["plan.json.gz"]
    earlier = (folder / "plan.json.gz").read_bytes()
    Plan.read(folder).write(folder)
    assert (folder / "plan.json.gz").read_bytes() == earlier  # no time of day in it


def test_a_folder_in_the_place_of_a_kept_plan_has_it_kept_beside(tmp_path):
    plan = made_up.make_plan(**SMALL)
    kept = plan.keep(tmp_path / "plans")
    kept.unlink()
    kept.mkdir()
    beside = plan.keep(tmp_path / "plans")
    assert (beside, Plan.read_kept(beside)) == (plan.keep(tmp_path / "plans"), plan)
    faults = {fault.file: fault.remedy for _, found in verify(Store(tmp_path)) for fault in found}
    assert faults == {f"plans/{kept.name}": "move it away or rename it"}


def test_probes_of_one_kind_are_skipped_each_by_itself():
    plan = made_up.make_plan(**SMALL, probes=(BY_ROW, BY_COLUMN))
    key = next(iter(plan.runs))
    data = plan.to_json()
    data["runs"][key]["skips"] = {probe_file(BY_ROW): "the data do not say the row"}
    assert list(Plan.from_json(data).asked(key).values()) == [BY_COLUMN]


def test_a_skip_of_format_1_names_a_kind_and_means_all_of_it():
    data = made_up.make_plan(**SMALL, probes=(BY_ROW, BY_COLUMN, {"kind": "Size"})).to_json()
    key = next(iter(data["runs"]))
    data["runs"][key]["skips"] = {"AccuracyBy": "the data do not say the column"}
    assert list(Plan.from_json(data | {"schema": 1}).asked(key).values()) == [{"kind": "Size"}]


def test_levels_are_the_plans_and_labels_their_texts():
    plan = made_up.make_plan(**SMALL)
    assert plan.levels("train_size") == [50, 200]
    assert plan.labels("train_size") == ["50", "200"]
    assert plan.labels("colour") == ["all runs"]
    assert {plan.label(cell, "train_size") for cell in plan.cells} == {"50", "200"}
    with pytest.raises(InputError, match=r"must be one of 'model', 'train_size', 'seed'\. Got 'colour'"):
        plan.levels("colour")


def test_a_plan_of_a_later_version_is_refused():
    with pytest.raises(InputError, match="of a later version of vision-attn"):
        Plan.from_json(made_up.make_plan(**SMALL).to_json() | {"schema": 99})


@pytest.mark.parametrize("field", ["factors", "cells", "runs", "probes", "name"])
def test_a_plan_that_lacks_a_field_is_refused_by_its_name(field):
    data = made_up.make_plan(**SMALL).to_json()
    del data[field]
    with pytest.raises(InputError, match=f"a plan must have the field '{field}'"):
        Plan.from_json(data)


PLACES = st.lists(st.integers(0, 5), min_size=1, max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.sampled_from(["", "x", "kind"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["kind", "run", "x"]), inner),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(PLACES, VALUES)
def test_with_anything_in_the_place_of_a_part_a_plan_is_read_or_refused_in_one_sentence(places, value):
    data = json.loads(json.dumps(made_up.make_plan(**SMALL).to_json()))
    part = data
    for number in places:
        inner = list(part) if isinstance(part, dict) else range(len(part))
        outer, at = part, inner[number % len(inner)]
        part = part[at]
        if not isinstance(part, dict | list) or not part:
            break
    outer[at] = value
    try:
        plan = Plan.from_json(data)
    except InputError as error:
        assert str(error).startswith(("a plan must have", "plan.", "schema of a plan"))  # noqa: PT017
        return
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert all(plan.asked(cell.run) is not None for cell in plan.cells)
    assert len(plan.head().digest) == 64


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"name": 3}, "plan.name must be a text, as"),
        ({"probes": [{"kind": "Size"}, {}]}, r"plan.probes\[1\].kind must be there"),
        ({"factors": {"seed": [None]}}, r"plan.factors.seed\[0\] must be a text or a whole number or a number or true"),
        ({"cells": [{"factors": {}, "run": "x"}]}, r"plan.cells\[0\] must be of the factors and of a run of the plan"),
    ],
)
def test_a_part_of_another_form_is_named_with_its_place(part, sentence):
    with pytest.raises(InputError, match=sentence):
        Plan.from_json(made_up.make_plan(**SMALL).to_json() | part)


def test_the_digest_follows_the_content():
    plan = made_up.make_plan(**SMALL)
    assert plan.digest == made_up.make_plan(**SMALL).digest
    assert plan.digest != plan.replace(smoke=True).digest


def test_of_two_probes_of_one_kind_the_one_that_applies_is_asked_for():
    """`SubgroupAccuracy` two attributes, of which the data say one."""
    experiment = Experiment(
        question="Why?",
        factors={"seed": (0,)},
        run=lambda seed: Run(
            model=ViT(dim=16, depth=1), data=Quadrants(of=Mnist5k(), train_size=50), recipe=Recipe(updates=1), seed=seed
        ),
        probes=(SubgroupAccuracy(attribute="quadrant"), SubgroupAccuracy(attribute="colour")),
    )
    plan = plan_of(experiment, name="why")
    (key,) = plan.runs
    assert [probe["fact"] for probe in plan.asked(key).values()] == ["quadrant"]
    assert list(plan.runs[key].skips) == [probe_file({"kind": "AccuracyBy", "fact": "colour"})]
    ((probe, models, _),) = skips(plan)
    assert (probe, models) == ("SubgroupAccuracy(attribute='colour')", "all runs (1)")
    for probes, may_measure in ((plan.probes, True), (plan.probes[1:], False), ((), True)):
        asked = plan.replace(probes=probes)
        assert asked.may_measure("SubgroupAccuracy") == may_measure == QuadrantAccuracy().applies(asked)
    other = dataclasses.replace(plan.runs[key], skips={})
    assert skips(plan.replace(runs={**plan.runs, "other": other}))[0][1] == "1 of 2 runs"
