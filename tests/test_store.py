"""The run store: atomic writes, seals, leases, states."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from vision_attn import store as stores
from vision_attn.store import DamagedFile, LeaseLost, RunFolder, Store, read_json, read_rows, write_atomic, write_json

PROBE = "Accuracy-0123456789ab.json"


@pytest.fixture
def folder(tmp_path):
    return Store(tmp_path).open("a" * 64, hint="vit", run={"kind": "Run"}, index={})


def finish(folder, state="done"):
    lease = folder.acquire()
    lease.write_json("result.json", {"state": state, "diverged_at": None if state == "done" else 7})
    if state == "done":
        lease.write_json(f"probes/{PROBE}", {"records": []})
    lease.release(state)


@pytest.mark.parametrize("cut", [0, 0.5, -1])
def test_a_truncated_file_is_damaged_and_never_used(tmp_path, cut):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: int(len(whole) * cut)] if cut >= 0 else whole[:cut])
    with pytest.raises(DamagedFile):
        read_json(path)


def test_every_flipped_bit_in_a_sealed_file_is_noticed_or_changes_nothing(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 12, "b": "text"})
    whole = path.read_bytes()
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(bytes(flipped))
        try:
            assert read_json(path) == {"a": 12, "b": "text"}
        except DamagedFile:
            continue


def test_non_finite_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stores.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_torn_last_line_is_dropped_and_the_next_row_does_not_glue_to_it(folder):
    folder.acquire().release("failed", "first")
    path = folder.path / "attempts.jsonl"
    path.write_bytes(path.read_bytes() + b'{"attempt": 2, "outc')
    folder.acquire().release("done")
    assert [row["outcome"] for row in read_rows(path)] == ["failed", "done"]


def test_a_run_is_done_only_with_a_result_and_all_its_probes(folder):
    assert folder.state([PROBE]).name == "pending"
    finish(folder)
    assert folder.state([PROBE]).name == "done"
    assert folder.state([PROBE, "Other-0.json"]).name == "pending"
    (folder.path / "result.json").write_text("{}")
    assert folder.state([PROBE]).name == "pending"
    assert folder.damaged() == ["result.json"]


def test_failures_stay_until_they_are_forgotten_and_attempts_stay_on_record(folder):
    folder.acquire().release("failed", "ValueError: no")
    assert folder.state([PROBE]) == stores.State("failed", "ValueError: no")
    folder.forget_failure()
    assert folder.state([PROBE]).name == "pending"
    assert folder.attempts()[0]["error"] == "ValueError: no"


def test_a_diverged_run_has_a_state_of_its_own_and_can_be_tried_again(folder):
    finish(folder, "diverged")
    assert folder.state([PROBE]).name == "diverged"
    folder.forget_failure()
    assert folder.state([PROBE]).name == "pending"


def test_only_one_of_many_gets_the_lease(folder):
    taken = []
    threads = [threading.Thread(target=lambda: taken.append(folder.acquire())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in taken) == 1
    assert folder.state([]).name == "running"


def test_the_lease_of_a_dead_process_is_taken_over_and_its_attempt_written_down(folder):
    code = "import sys, os, signal; from pathlib import Path; from vision_attn.store import RunFolder\n"
    code += "RunFolder(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    dead = subprocess.run([sys.executable, "-c", code, str(folder.path)], check=False)
    assert dead.returncode == -signal.SIGKILL
    assert folder.state([]).name == "pending"
    lease = folder.acquire()
    assert lease is not None
    assert lease.token == 2
    assert folder.attempts()[0]["outcome"] == "killed"


def test_a_reused_pid_does_not_make_a_dead_run_look_alive(folder):
    folder.acquire()
    content = read_json(folder.path / "lease.json")
    write_json(folder.path / "lease.json", {**content, "pid_started": "1"})
    assert folder.state([]).name == "pending"
    assert folder.acquire() is not None


def test_a_paused_worker_that_wakes_up_cannot_overwrite_the_new_owner(folder):
    paused = folder.acquire()
    old = time.time() - stores.LEASE_SECONDS - 1
    os.utime(folder.path / "lease.json", (old, old))
    owner = folder.acquire()
    assert owner is not None
    owner.write("weights", b"new")
    for write in (lambda: paused.write("weights", b"old"), lambda: paused.release("done"), paused.renew):
        with pytest.raises(LeaseLost):
            write()
    assert (folder.path / "weights").read_bytes() == b"new"
    owner.release("done")


def test_a_lease_of_another_host_counts_by_its_sign_of_life(folder):
    folder.acquire()
    content = read_json(folder.path / "lease.json")
    write_json(folder.path / "lease.json", {**content, "host": "elsewhere", "boot": "x", "pid": 1})
    assert folder.acquire() is None
    old = time.time() - stores.LEASE_SECONDS - 1
    os.utime(folder.path / "lease.json", (old, old))
    assert folder.acquire() is not None


def test_leftover_temporary_files_neither_block_nor_stay(folder):
    (folder.path / ".result.json.1-abcd.tmp").write_bytes(b"half")
    finish(folder)
    assert folder.state([PROBE]).name == "done"
    assert not list(folder.path.glob(".*.tmp"))


def test_folders_are_found_by_their_config_whatever_their_name(tmp_path, folder):
    finish(folder)
    folder.path.rename(tmp_path / "any other name, wïth ünicode")
    found = Store(tmp_path).index()
    assert found["a" * 64].state([PROBE]).name == "done"


def test_a_folder_with_a_damaged_config_is_made_again(tmp_path, folder):
    (folder.path / "config.json").write_text("{")
    assert Store(tmp_path).index() == {}
    again = Store(tmp_path).open("a" * 64, hint="vit", run={"kind": "Run"}, index={})
    assert again.path == folder.path
    assert again.config()["digest"] == "a" * 64


def test_a_lease_cut_in_half_belongs_to_nobody(folder):
    folder.acquire()
    whole = (folder.path / "lease.json").read_bytes()
    (folder.path / "lease.json").write_bytes(whole[: len(whole) // 2])
    assert folder.acquire() is not None


def test_sealed_files_are_readable_json(tmp_path):
    write_json(tmp_path / "x.json", {"text": "ü"})
    assert json.loads((tmp_path / "x.json").read_text())["text"] == "ü"


def test_a_store_that_is_not_there_is_empty(tmp_path):
    assert Store(tmp_path / "none").index() == {}
    assert RunFolder(tmp_path / "none").state([PROBE]).name == "pending"
