"""Verify: every damage is named and can be mended; what is whole is not complained of."""

import builtins
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from made_up_runs import finish

from vision_attn.cli.command import app
from vision_attn.store import Store, leftovers_of, mend, read_json, verify, write_json

SCHEMA_1 = Path(__file__).parent / "schema-1" / "runs"


@pytest.fixture
def store(tmp_path):
    return Store(Path(shutil.copytree(SCHEMA_1, tmp_path / "runs")))


def faults(store):
    return [fault for _, found in verify(store) for fault in found]


def done(store):
    return next(store.root.glob("*3a88*"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "name", ["result.json", "history.jsonl", "weights.safetensors", "probes/Size-3109a4754d1b.json"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "a folder"])
def test_a_damaged_file_of_a_finished_run_is_named_and_mending_has_it_made_again(store, name, damage):
    path = done(store) / name
    if damage == "flip":
        flip(path)
    elif damage == "a folder":
        path.unlink()
        (path / "inner").mkdir(parents=True)
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "cut" and name.endswith("l") else b"")
    (fault,) = faults(store)
    assert fault.file == f"{done(store).name}/{name}"
    mend([fault])
    assert faults(store) == []
    folder = store.index()[next(key for key in store.index() if key.startswith("3a88"))]
    assert folder.state(["Size-3109a4754d1b.json"]).name == "pending"


def test_missing_weights_are_no_fault_as_archives_leave_them_out_and_a_missing_history_is_one(store):
    (done(store) / "weights.safetensors").unlink()
    assert faults(store) == []
    (done(store) / "history.jsonl").unlink()
    assert [fault.wrong for fault in faults(store)] == ["is missing"]


def test_a_result_of_another_run_and_a_config_that_does_not_fit_are_named(store):
    diverged = next(store.root.glob("*be92*"))
    (diverged / "result.json").write_bytes((done(store) / "result.json").read_bytes())
    assert [fault.file for fault in faults(store)] == [f"{diverged.name}/result.json"]
    flip(diverged / "config.json")
    assert [fault.file for fault in faults(store)] == [f"{diverged.name}/config.json"]


def test_a_run_that_lies_there_twice_is_named_with_the_folder_that_counts(store):
    shutil.copytree(done(store), store.root / "zz")
    (store.root / "zz" / "result.json").unlink()
    (fault,) = faults(store)
    assert (fault.file, fault.wrong) == ("zz", f"holds the run of {done(store).name} again, which got further")


def test_the_files_of_a_run_at_work_are_not_taken_from_it(store):
    folder = store.index()[next(key for key in store.index() if key.startswith("3a88"))]
    lease = folder.acquire()
    flip(folder.path / "result.json")
    assert mend(faults(store)) == []
    lease.release_unused()
    assert len(mend(faults(store))) == 3


def test_a_finished_run_that_is_being_measured_is_at_work_too(store):
    folder = store.index()[next(key for key in store.index() if key.startswith("3a88"))]
    lease = folder.acquire()
    flip(folder.path / "weights.safetensors")
    assert mend(faults(store)) == []
    lease.release_unused()
    assert mend(faults(store)) != []


def verb(*arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        app(["verify", *map(str, arguments)])
    return ended.value.code, capsys.readouterr().out


def test_the_verb_says_what_is_wrong_and_how_to_mend_it(store, capsys):
    assert verb(store.root.parent, capsys=capsys) == (0, "3 folders and plans: all as they were written\n")
    flip(done(store) / "weights.safetensors")
    shutil.copytree(store.root, store.root.with_name("copy"))
    code, said = verb(store.root, capsys=capsys)
    assert code == 1
    assert f"{done(store).name}/weights.safetensors: does not match the checksum in the result" in said
    assert "vision-attn verify STORE --mend" in said
    code, said = verb(store.root, "--json", capsys=capsys)
    assert [row["file"] for row in json.loads(said)] == [f"{done(store).name}/weights.safetensors"]
    code, said = verb(store.root.with_name("copy"), "--mend", "--json", capsys=capsys)
    assert [row["file"] for row in json.loads(said)] == [f"{done(store).name}/weights.safetensors"]
    code, said = verb(store.root, "--mend", capsys=capsys)
    assert (code, ("\n" + said).count("\nremoved ")) == (1, 3)
    assert verb(store.root, capsys=capsys)[0] == 0


def test_what_is_not_mended_as_a_process_elsewhere_may_have_the_run_is_said(store, capsys):
    folder = store.index()[next(key for key in store.index() if key.startswith("3a88"))]
    folder.acquire()
    content = read_json(folder.path / "lease.json")
    write_json(folder.path / "lease.json", {**content, "host": "elsewhere", "pid": 7})
    flip(folder.path / "weights.safetensors")
    code, said = verb(store.root, "--mend", capsys=capsys)
    assert (code, "removed" in said.replace("has removed", "")) == (1, False)
    assert f"left {done(store).name}/weights.safetensors: process 7 on elsewhere has the run; where that has" in said


def test_a_made_up_run_of_another_kind_of_name_is_whole(tmp_path):
    store = Store(tmp_path)
    finish(store.open("a" * 64, hint="x", run={"kind": "Run"}, index={}))
    assert [fault.file.rpartition("/")[2] for fault in faults(store)] == ["config.json"]


@pytest.fixture
def refused(monkeypatch):
    """A set of paths that this user may not read."""
    paths = set()

    def refusing(function):
        def refuse(path, *arguments, **options):
            if str(path) in paths:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return refuse

    monkeypatch.setattr(builtins, "open", refusing(open))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    return paths


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "result.json", "history.jsonl", "weights.safetensors"),
        "probes",
        "probes/Size-3109a4754d1b.json",
    ],
)
def test_what_this_user_may_not_read_is_to_be_made_readable_and_never_removed(store, refused, name):
    path = done(store) / name
    refused.add(str(path))
    (fault,) = faults(store)
    assert (fault.file, fault.wrong) == (str(path), "cannot be read: Permission denied")
    assert "make it readable" in fault.remedy
    assert mend([fault]) == []
    refused.clear()
    assert faults(store) == []


def test_a_plan_that_this_user_may_not_read_ends_no_verification(store, refused):
    (store.root / "plans").mkdir()
    path = store.root / "plans" / f"{'a' * 64}.json"
    path.write_text("{}")
    refused.add(str(path))
    assert [fault.file for fault in faults(store)] == [str(path)]


@pytest.mark.parametrize(
    ("is_folder", "remedy"), [(False, "`vision-attn run` writes it again"), (True, "move it away")]
)
def test_a_plan_that_is_none_is_named_with_the_way_to_mend_it(store, is_folder, remedy):
    path = store.root / "plans" / f"{'a' * 64}.json"
    (path if is_folder else path.parent).mkdir(parents=True)
    if not is_folder:
        path.write_text("{}")
    (fault,) = faults(store)
    assert fault.file == f"plans/{path.name}"
    assert fault.remedy.startswith(remedy)


def test_a_folder_in_the_place_of_the_attempts_is_to_be_moved_away(store):
    attempts = done(store) / "attempts.jsonl"
    attempts.unlink()
    attempts.mkdir()
    (fault,) = faults(store)
    assert (fault.file, fault.remedy) == (str(attempts), "move it away or rename it")


def test_of_two_folders_of_one_run_the_one_that_can_be_read_counts(store, refused):
    shutil.copytree(done(store), store.root / "zz")
    refused.add(str(store.root / "zz" / "result.json"))
    key = next(key for key in store.index() if key.startswith("3a88"))
    assert store.index()[key].path == done(store)
    assert [fault.wrong for fault in faults(store)] == ["cannot be read: Permission denied"]  # it may have got further


def test_what_cannot_be_read_is_no_leftover(store, refused):
    key = next(key for key in store.index() if key.startswith("3a88"))
    refused.add(str(done(store) / "result.json"))
    (done(store) / "checkpoint.pt").write_bytes(b"left")
    found = leftovers_of(store, {key}, weights=True)
    assert done(store).name not in {one.path.parent.name for one in found}
