"""Renewal: a report is built again where what it rests on has changed, and only there."""

import json
import shutil

import made_up
import pytest

from vision_attn.report import renewal
from vision_attn.report.page import PAGE
from vision_attn.states import look


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A pool, a plan, a builder that writes a page of its own each time, and code that has a name."""
    plan = made_up.make_plan(models=("ViT",), sizes=(50,), seeds=(0, 1), figures=())
    made_up.write_store(tmp_path / "runs", plan)
    folder = tmp_path / "quickstart"
    folder.mkdir()
    plan.write(folder)

    def write(records, folder):
        (folder / renewal.SUMS).write_text("sums")
        (folder / PAGE).write_text("page")
        return folder / PAGE

    monkeypatch.setattr(renewal, "gather", lambda *found, committed: None)
    monkeypatch.setattr(renewal, "write", write)
    monkeypatch.setattr(renewal, "environment", lambda *names: {"commit": "abc"})
    return tmp_path, plan


def renewed(place):
    root, plan = place
    plan.write(root / "quickstart")
    page, is_new = renewal.renew(plan, root / "quickstart", look(plan, root / "runs"))
    assert page == root / "quickstart" / PAGE
    return is_new


def test_what_has_not_changed_is_not_built_again(place):
    assert [renewed(place), renewed(place), renewed(place)] == [True, False, False]


@pytest.mark.parametrize("name", ["result.json", "probes/*.json", "history.jsonl"])
def test_a_file_of_a_run_that_changes_has_it_built_again(place, name):
    renewed(place)
    path = next(place[0].glob(f"runs/*/{name}"))
    content = path.read_bytes()
    path.unlink()
    assert renewed(place)
    assert not renewed(place)
    path.write_bytes(content)
    assert renewed(place)


@pytest.mark.parametrize("name", [PAGE, renewal.SUMS])
def test_a_page_or_its_tables_that_were_touched_are_built_again(place, name):
    renewed(place)
    (place[0] / "quickstart" / name).write_text("by another hand")
    assert renewed(place)


def test_another_plan_another_log_and_a_changed_checkout_have_it_built_again(place, monkeypatch):
    root, plan = place
    renewed(place)
    assert renewed((root, plan.replace(question="Another?")))
    (root / renewal.LOG).write_text("withdrawn")
    assert renewed((root, plan.replace(question="Another?")))
    monkeypatch.setattr(renewal, "environment", lambda *names: {"commit": "abc-dirty"})
    assert [renewed(place), renewed(place)] == [True, True]


def test_the_note_may_be_lost_or_damaged_at_any_time(place):
    renewed(place)
    note = place[0] / "runs" / ".index" / "quickstart.report"
    note.write_text(json.dumps("?"))
    assert renewed(place)
    shutil.rmtree(note.parent)
    assert renewed(place)
