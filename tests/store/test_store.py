"""The run store: atomic writes, seals, leases, states."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from made_up_runs import PROBE, finish

from vision_attn import store as stores
from vision_attn.spec import InputError
from vision_attn.store import (
    DamagedFile,
    LeaseLost,
    RunFolder,
    Store,
    files,
    locks,
    read_json,
    read_rows,
    write_atomic,
    write_json,
)
from vision_attn.store import holder as holders


@pytest.fixture
def folder(tmp_path):
    return Store(tmp_path).open("a" * 64, hint="vit", run={"kind": "Run"}, index={})


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that goes on only as told; looks at a lease in between are made every ten seconds."""
    now = [1000.0]
    monkeypatch.setattr(holders.time, "monotonic", lambda: now[0])

    def wait(folder, seconds):
        for _ in range(int(seconds // 10)):
            folder.state([])
            now[0] += 10

    return wait


def elsewhere(folder, **changes):
    """Make the holder of the lease one of another host."""
    content = {**read_json(folder.path / "lease.json"), "host": "elsewhere", "boot": "x", "pid": 1, **changes}
    write_json(folder.path / "lease.json", content)


@pytest.mark.parametrize("cut", [0, 0.5, -1])
def test_a_truncated_file_is_damaged_and_never_used(tmp_path, cut):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: int(len(whole) * cut)] if cut >= 0 else whole[:cut])
    with pytest.raises(DamagedFile):
        read_json(path)


@pytest.mark.parametrize("by_entry", [False, True])
def test_every_flipped_bit_in_a_sealed_file_is_noticed_or_changes_nothing(tmp_path, by_entry):
    path = tmp_path / "x.json"
    write_json(path, {"a": 12, "b": "text"}, by_entry=by_entry)
    whole = path.read_bytes()
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(bytes(flipped))
        try:
            assert read_json(path) == {"a": 12, "b": "text"}
        except DamagedFile:
            continue


def test_a_long_file_is_checked_by_its_text_and_where_that_was_laid_out_anew_by_its_content(tmp_path, monkeypatch):
    path, content = tmp_path / "x.json", {"a": [1, {"b": "c"}], "d": {"e": 2.5}}
    write_json(path, content, by_entry=True)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert read_json(path) == content
    for place in range(1, len(lines)):
        path.write_text("".join([*lines[:place], ' "z": 3,\n', *lines[place:]]))
        with pytest.raises(DamagedFile):
            read_json(path)
    path.write_text("".join(lines))
    monkeypatch.setattr(files, "json_sha256", None)
    assert read_json(path) == content


def test_non_finite_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as error:
        write_atomic(path, b"new")
    assert stores.refusal(error.value) == f"No space left on device: '{path}'"
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


def test_a_result_of_another_run_and_a_probe_of_another_are_none_of_this_folder(tmp_path, folder):
    other = Store(tmp_path).open("b" * 64, hint="vit", run={"kind": "Run"}, index={})
    finish(other)
    finish(folder)
    for name in ("result.json", f"probes/{PROBE}"):
        own = (folder.path / name).read_bytes()
        (folder.path / name).write_bytes((other.path / name).read_bytes())
        assert folder.state([PROBE]).name == "pending"
        assert folder.damaged() == [name]
        (folder.path / name).write_bytes(own)
    renamed = folder.path / "probes" / "Size-000000000000.json"
    (folder.path / "probes" / PROBE).rename(renamed)
    assert folder.state([renamed.name]).name == "pending"


def test_what_a_later_version_has_written_is_refused_with_a_sentence(folder):
    finish(folder)
    result = folder.result()
    for name, content in (("result.json", result), ("config.json", folder.config())):
        write_json(folder.path / name, {**content, "schema": 2})
        with pytest.raises(InputError, match=f"{name}' must be at most 1: it was written by a later version"):
            RunFolder(folder.path).state([PROBE])
        write_json(folder.path / name, content)


@pytest.mark.parametrize("change", [{"run": "vit"}, {"digest": 3}, {"schema": None}])
def test_a_config_of_another_form_says_no_run(folder, change):
    write_json(folder.path / "config.json", {**folder.config(), **change})
    assert RunFolder(folder.path).read_config() is None
    assert RunFolder(folder.path).damaged() == ["config.json"]


def test_a_flipped_bit_in_the_attempts_is_noticed_and_forgets_no_failure(folder):
    folder.acquire().release("failed", "ValueError: no")
    path = folder.path / "attempts.jsonl"
    whole = path.read_bytes()
    for position in range((len(whole) - 1) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(bytes(flipped))
        assert folder.state([PROBE]).name == "failed", bytes(flipped)
    assert "attempts.jsonl is damaged" in folder.state([PROBE]).reason
    folder.forget_failure()
    assert folder.state([PROBE]).name == "pending"


def test_attempts_say_who_made_them(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    folder.acquire().release("interrupted")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    folder.record_death(pid=123, outcome="killed", error="by hand")
    first, second = folder.attempts()
    assert (first["host"], first["pid"], first["job"]) == (socket.gethostname(), os.getpid(), "77")
    assert (second["attempt"], second["pid"], second["job"]) == (2, 123, "70_4")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(folder, monkeypatch, code):
    def refuse(handle, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match=r"must lie on a file system with locks \(flock\)"):
        folder.acquire()


def test_a_file_system_that_syncs_no_folders_is_good_enough(tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    write_json(tmp_path / "x.json", {"a": 1})
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_a_folder_whose_config_cannot_be_read_hides_no_other(tmp_path, folder, monkeypatch):
    other = Store(tmp_path).open("b" * 64, hint="vit", run={"kind": "Run"}, index={})
    read = RunFolder._read

    def refuse(self, name):
        if self.place == str(other.path):
            raise OSError(errno.EIO, "Input/output error", name)
        return read(self, name)

    monkeypatch.setattr(RunFolder, "_read", refuse)
    store = Store(tmp_path)
    assert store.index().keys() == {"a" * 64}
    assert store.damaged_configs() == [f"bb/{other.path.name}"]


def test_who_dies_between_its_last_row_and_giving_the_lease_back_has_failed_and_that_once(folder, monkeypatch):
    lease = folder.acquire()
    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", lambda path, **options: None)
        lease.release("failed", "ValueError: no")
    left = read_json(folder.path / "lease.json")
    write_json(folder.path / "lease.json", {**left, "pid_started": "1"})
    assert folder.state([PROBE]) == stores.State("failed", "ValueError: no")
    assert folder.acquire().token == 2
    assert [row["outcome"] for row in folder.attempts()] == ["failed"]


def test_a_lock_that_is_held_for_long_is_a_lease_that_is_lost(folder, monkeypatch):
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.1)
    with locks.locked(folder.path), pytest.raises(LeaseLost, match="has been locked by another process"):
        folder.acquire()


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
    code += "assert RunFolder(Path(sys.argv[1])).acquire() is not None; os.kill(os.getpid(), signal.SIGKILL)"
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


def test_a_paused_worker_that_wakes_up_cannot_overwrite_the_new_owner(folder, clock):
    paused = folder.acquire()
    assert folder.acquire() is None
    clock(folder, stores.LEASE_SECONDS + 10)
    owner = folder.acquire()
    assert owner is not None
    owner.write("weights", b"new")
    for write in (lambda: paused.write("weights", b"old"), lambda: paused.release("done"), paused.renew):
        with pytest.raises(LeaseLost):
            write()
    assert (folder.path / "weights").read_bytes() == b"new"
    owner.release("done")
    assert [row["outcome"] for row in folder.attempts()] == ["killed", "done"]


def test_a_lease_of_another_host_is_taken_over_only_after_no_renewal_was_seen_for_the_lease_time(folder, clock):
    folder.acquire()
    elsewhere(folder)
    assert folder.acquire() is None
    clock(folder, stores.LEASE_SECONDS - 10)
    os.utime(folder.path / "lease.json")
    clock(folder, stores.LEASE_SECONDS - 10)
    assert folder.acquire() is None
    clock(folder, 20)
    assert folder.acquire() is not None


@pytest.mark.parametrize("seconds", [-(10**7), -200, 3600, 10**7])
def test_times_of_files_are_compared_with_no_clock(folder, clock, seconds):
    """A file server that is behind or ahead neither loses the living nor keeps the dead."""
    folder.acquire()
    elsewhere(folder)
    stamp = time.time() + seconds
    os.utime(folder.path / "lease.json", (stamp, stamp))
    assert folder.state([]).name == "running"
    clock(folder, stores.LEASE_SECONDS - 10)
    assert folder.acquire() is None
    clock(folder, 20)
    assert folder.acquire() is not None


def test_who_looks_for_the_first_time_takes_nothing_over(folder, clock):
    folder.acquire()
    elsewhere(folder)
    clock(folder, 1000)
    assert RunFolder(folder.path).acquire() is None
    assert folder.acquire() is not None


def test_an_observer_that_slept_itself_has_seen_nothing(folder, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(holders.time, "monotonic", lambda: now[0])
    folder.acquire()
    elsewhere(folder)
    assert folder.acquire() is None
    now[0] = 10_000.0
    assert folder.acquire() is None


def test_every_renewal_shows_also_where_the_clock_stands_or_jumps_back(folder, monkeypatch):
    lease = folder.acquire()
    stamps = []
    for now in (5000 * 10**9, 5000 * 10**9, 10**9):
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        lease.renew()
        stamps.append((folder.path / "lease.json").stat().st_mtime // 2)
    assert len(set(stamps)) == 3


@pytest.mark.parametrize("name", ["host", "boot", "pid_namespace"])
def test_a_pid_means_something_only_on_the_same_host_in_the_same_boot_and_name_space(folder, name):
    """Two containers of one host name: the PID of the one is free, or another process, in the other."""
    folder.acquire()
    content = read_json(folder.path / "lease.json")
    for pid in (content["pid"], 2**22 + 1):
        write_json(folder.path / "lease.json", {**content, name: "another", "pid": pid, "pid_started": "1"})
        assert folder.state([]).name == "running"
        assert folder.acquire() is None


def test_where_processes_of_others_are_hidden_a_holder_counts_by_its_renewals(folder, clock, monkeypatch):
    folder.acquire()
    monkeypatch.setattr(holders, "_started", lambda pid: None)
    assert folder.acquire() is None
    clock(folder, stores.LEASE_SECONDS + 10)
    assert folder.acquire() is not None


def test_leftover_temporary_files_neither_block_nor_stay(folder):
    (folder.path / ".result.json.1-abcd.tmp").write_bytes(b"half")
    finish(folder)
    assert folder.state([PROBE]).name == "done"
    assert not list(folder.path.glob(".*.tmp"))


def test_a_folder_with_a_damaged_config_is_made_again(tmp_path, folder):
    (folder.path / "config.json").write_text("{")
    assert Store(tmp_path).index() == {}
    again = Store(tmp_path).open("a" * 64, hint="vit", run={"kind": "Run"}, index={})
    assert again.path == folder.path
    assert again.config()["digest"] == "a" * 64


def test_where_a_folder_has_the_name_of_its_config_a_run_is_made_beside_it_and_that_is_refused_twice(tmp_path, folder):
    (folder.path / "config.json").unlink()
    (folder.path / "config.json").mkdir()
    again = Store(tmp_path).open("a" * 64, hint="vit", run={"kind": "Run"}, index={})
    assert again.path != folder.path
    assert Store(tmp_path).index()["a" * 64].path == again.path
    (again.path / "config.json").unlink()
    (again.path / "config.json").mkdir()
    with pytest.raises(IsADirectoryError):
        Store(tmp_path).open("a" * 64, hint="vit", run={"kind": "Run"}, index={})


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


def test_an_error_of_writing_names_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(FileNotFoundError) as found:
        write_atomic(tmp_path / "nowhere" / "result.json", b"{}")
    assert found.value.filename == str(tmp_path / "nowhere" / "result.json")
