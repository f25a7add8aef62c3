"""The pool: where runs lie, how they are found, what its index may and may not do."""

import json
import multiprocessing
import os
import shutil

import pytest
from made_up_runs import PROBE, finish

from vision_attn.store import RunFolder, Store, read_json, write_json

KEYS = [letter * 64 for letter in "abc"]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def opened(root, key=KEYS[0], hint="vit"):
    return Store(root).open(key, hint=hint, run={"kind": "Run"}, index={})


def test_folders_lie_fanned_out_by_digest(root):
    assert opened(root).path == root / "aa" / f"vit--{'a' * 12}"


@pytest.mark.parametrize("name", ["any other name, wïth ünicode", "ab", "aa/renamed", f"vit--{'a' * 12}"])
def test_folders_are_found_by_their_config_whatever_their_name(root, name):
    folder = opened(root)
    finish(folder)
    shutil.move(folder.path, root / name)
    assert Store(root).index()["a" * 64].state([PROBE]).name == "done"
    assert Store(root).find("a" * 64).path == root / name
    assert opened(root).path == root / name


def test_a_pool_may_be_linked_to_moved_and_named_anyhow(root):
    finish(opened(root))
    (root.parent / "link").symlink_to(root)
    assert all_states(root.parent / "link") == {"a" * 64: "done"}
    assert opened(root.parent / "link").state([PROBE]).name == "done"
    moved = root.parent / "another pläce, with spaces" / "-runs"
    moved.parent.mkdir()
    shutil.move(root, moved)
    assert all_states(moved) == {"a" * 64: "done"}


def test_another_run_in_the_place_of_a_run_is_left_alone(root):
    other = opened(root, key="a" * 12 + "b" * 52)
    finish(other)
    folder = opened(root)
    assert folder.path != other.path
    assert Store(root).index().keys() == {"a" * 64, "a" * 12 + "b" * 52}


@pytest.mark.parametrize("name", ["zz", "0"])
def test_an_unfinished_copy_hides_no_finished_run_whichever_name_comes_first(root, name):
    folder = opened(root)
    shutil.copytree(folder.path, root / name)
    finish(folder)
    assert Store(root).index()["a" * 64].path == folder.path
    assert Store(root).find("a" * 64).path == folder.path


def all_states(root):
    store = Store(root)
    found = {key: folder.state([PROBE]).name for key, folder in store.index().items()}
    store.remember()
    return found


def test_what_was_seen_is_not_read_again_and_what_has_changed_is(root, monkeypatch):
    for key in KEYS:
        finish(opened(root, key))
    assert all_states(root) == dict.fromkeys(KEYS, "done")
    opens = []
    monkeypatch.setattr(RunFolder, "_read", lambda folder, name: opens.append(name))  # and finds nothing
    assert all_states(root) == dict.fromkeys(KEYS, "done")
    assert opens == []
    monkeypatch.undo()
    path = Store(root).index()["a" * 64].path / "result.json"
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(bytes(payload))
    assert all_states(root)["a" * 64] == "pending"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone", "another", "a folder"])
def test_a_damaged_index_is_made_again(root, damage):
    for key in KEYS:
        finish(opened(root, key))
    all_states(root)
    path = root / ".index" / "aa.json"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    made = {"flip": bytes(content), "cut": bytes(content[:70]), "empty": b"", "another": b"[]\n[]"}
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(made[damage])
    assert all_states(root) == dict.fromkeys(KEYS, "done")


def test_an_index_that_lies_is_found_out(root):
    finish(opened(root))
    all_states(root)
    shutil.copytree(root / "aa", root / "old" / "aa")
    shutil.rmtree(root / "aa")
    opened(root)
    assert all_states(root) == {"a" * 64: "pending"}


def test_a_pool_that_cannot_be_written_is_read(root, monkeypatch):
    finish(opened(root))

    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("vision_attn.store.pool.write_atomic", refuse)
    assert all_states(root) == {"a" * 64: "done"}


@pytest.mark.parametrize("litter", ["file", "folder", "config folder", "loop", "empty folder"])
def test_what_else_lies_in_the_pool_does_no_harm(root, litter):
    finish(opened(root))
    if litter == "file":
        (root / "ff").write_text("no folder")
    if litter == "folder":
        (root / "config.json").mkdir()
    if litter == "config folder":
        (root / "x" / "config.json").mkdir(parents=True)
    if litter == "loop":
        (root / "loop").symlink_to(root / "loop")
    if litter == "empty folder":
        (root / "00" / "x").mkdir(parents=True)
    assert all_states(root) == {"a" * 64: "done"}


def test_a_folder_that_cannot_be_read_costs_its_run_alone(root):
    store = Store(root)
    first, second = (store.open(letter * 64, hint=letter, run={}, index=store.index()) for letter in "ab")
    (first.path / "config.json").unlink()
    (first.path / "config.json").symlink_to("config.json")  # round in circles: even a look at it is an error
    assert set(store.index()) == {second.digest}
    assert store.damaged_configs() == [first.path.relative_to(root).as_posix()]


def test_folders_of_which_nobody_can_say_which_run_they_hold_are_named(root):
    folder = opened(root)
    (folder.path / "config.json").write_text("{")
    store = Store(root)
    assert store.index() == {}
    assert store.damaged_configs() == [f"aa/vit--{'a' * 12}"]


def _open_and_take(root, key):
    folder = opened(root, key)
    lease = folder.acquire()
    if lease is not None:
        lease.release("done")
    os._exit(0 if folder.config()["digest"] == key else 1)


def test_many_processes_open_one_store_in_the_same_moment(root):
    """None crashes, and none finds the folder half made."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_open_and_take, args=(root, KEYS[number % 2])) for number in range(24)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}
    assert Store(root).index().keys() == set(KEYS[:2])
    assert not list(root.rglob(".*.tmp"))


def test_attempts_of_many_processes_are_all_on_record(root):
    folder = opened(root)
    for number in range(1, 4):
        folder.acquire().release("interrupted")
        assert [row["attempt"] for row in folder.attempts()] == list(range(1, number + 1))
    rows = [json.loads(line) for line in (folder.path / "attempts.jsonl").read_text().splitlines()]
    assert all(len(row["sha256"]) == 64 for row in rows)


def test_the_config_names_the_run(root):
    folder = opened(root)
    content = read_json(folder.path / "config.json")
    assert content == {"schema": 1, "digest": "a" * 64, "hint": "vit", "run": {"kind": "Run"}}
    write_json(folder.path / "config.json", {**content, "digest": 7})
    assert Store(root).index() == {}
