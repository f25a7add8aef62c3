"""The Slurm executor with stand-ins for sbatch, squeue and scancel: what it asks, and what it makes of each answer."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from vision_attn.executors import queue, slurm
from vision_attn.executors.slurm import Slurm
from vision_attn.spec import InputError
from vision_attn.store import LeaseLost, RunFolder, Store, probe_file, write_json

COMMAND = """#!/bin/sh
cd {folder}
printf '%s\\n' "$*" >> {name}.asked
if [ -e {name}.error ]; then cat {name}.error >&2; exit 1; fi
if [ -e {name}.answer ]; then cat {name}.answer; fi
"""
PROBE = {"kind": "x"}
ASKED = (probe_file(PROBE),)


class Cluster:
    """What the stand-ins were asked, and what they answer."""

    def __init__(self, folder):
        self.folder = folder
        for name in queue.COMMANDS:
            file = folder / name
            file.write_text(COMMAND.format(folder=folder, name=name))
            file.chmod(0o755)
        self.answer("sbatch", "7\n")

    def answer(self, name, text):
        (self.folder / f"{name}.answer").write_text(text)

    def fail(self, name, text):
        (self.folder / f"{name}.error").write_text(text)

    def mend(self, name):
        (self.folder / f"{name}.error").unlink()

    def asked(self, name):
        file = self.folder / f"{name}.asked"
        return file.read_text().splitlines() if file.exists() else []

    def show(self, made, state, *, reason="None"):
        """Let squeue say that all tasks of the executor are in that state."""
        rows = [f"{array}|7|{index}|{state}|{reason}" for array, index in made.at_work]
        self.answer("squeue", "".join(f"{row}\n" for row in rows))


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "SHORTEST_PAUSE", 0.0)
    monkeypatch.setattr(slurm, "LONGEST_PAUSE", 0.0)
    return Cluster(folder)


@pytest.fixture
def pool(tmp_path):
    store = Store(tmp_path / "runs")
    folders = {}
    for letter in "abc":
        store.open(letter * 64, hint=letter, run={}, index=folders)
    return store, folders


def executor(pool, *, seconds=700.0, **options):
    store, folders = pool
    return Slurm(
        store=store.root,
        folders=folders,
        asked=dict.fromkeys(folders, ASKED),
        seconds=dict.fromkeys(folders, seconds),
        arguments=("--plan=p",),
        **options,
    )


def submitted(cluster, pool, **options):
    made = executor(pool, **options)
    made.submit([(key,) for key in pool[1]])
    made.poll()
    cluster.show(made, "RUNNING")
    return made


def finish(folder, state="done"):
    """What a worker leaves in a run's folder."""
    lease = folder.acquire()
    facts = {"data": {}, "choices": {}, "environment": {}, "files": {}, "measured": {}}
    result = {"schema": 1, "run": folder.config()["digest"], "state": state, "diverged_at": None, **facts}
    lease.write_json("result.json", result)
    probe = {"schema": 1, "run": result["run"], "probe": PROBE, "records": []}
    lease.write_json(f"probes/{ASKED[0]}", probe)
    lease.release(state)


def fail(folder, outcome="failed", error="why"):
    folder.acquire().release(outcome, error)


def polled(made, times=2):
    events = [event for _ in range(times) for event in made.poll()]
    return [(event.run[:1], event.outcome or event.kind) for event in events if event.kind != "note"]


def notes(made, times=2):
    return [event.error for _ in range(times) for event in made.poll() if event.kind == "note"]


def test_tasks_are_submitted_as_one_array_with_what_lets_them_resume(cluster, pool):
    submitted(cluster, pool, jobs=2, threads=3, options=("--partition=gpu",))
    (asked,) = cluster.asked("sbatch")
    words = asked.split()
    assert {"--parsable", "--array=0-2%2", "--requeue", "--signal=B:USR1@120", "--cpus-per-task=3"} <= set(words)
    assert words[-2] == "--partition=gpu", "options of the user come last, so that they hold"
    assert "--time=23" in words, "half as much again as expected, and five minutes"
    assert subprocess.run(["sh", "-n", words[-1]], check=False).returncode == 0
    assert Path(words[-1]).with_suffix(".tasks").read_text().split() == list(pool[1])


def test_short_runs_share_a_task(cluster, pool):
    made = submitted(cluster, pool, seconds=200.0)
    assert [len(task.keys) for task in made.at_work.values()] == [3]


def test_one_squeue_is_asked_for_all_arrays_and_no_accounting(cluster, pool):
    made = submitted(cluster, pool)
    made.poll()
    made.poll()
    (array, _), *_ = made.at_work
    assert len(cluster.asked("squeue")) == 2
    assert all(asked.endswith(f"--name={array}") for asked in cluster.asked("squeue"))


def test_starts_and_ends_come_from_the_store(cluster, pool):
    made = submitted(cluster, pool)
    a, b, c = pool[1].values()
    lease = a.acquire()
    finish(b)
    fail(c)
    assert sorted(polled(made)) == [("a", "started"), ("b", "done"), ("c", "failed"), ("c", "started")]
    lease.release("interrupted")
    finish(a)
    cluster.show(made, "COMPLETED")
    assert polled(made) == [("a", "done")]
    assert not made.is_busy


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "TIMEOUT", "BOOT_FAIL", "DEADLINE", "COMPLETED"])
def test_what_is_no_fault_of_a_run_has_it_submitted_again(cluster, pool, state):
    made = submitted(cluster, pool)
    finish(pool[1]["a" * 64])
    cluster.show(made, state)
    assert polled(made, 1) == [("a", "done")]
    assert len(cluster.asked("sbatch")) == 2
    assert sorted(key[0] for task in made.at_work.values() for key in task.keys) == ["b", "c"]


def test_what_slurm_no_longer_knows_is_submitted_again_but_not_for_ever(cluster, pool):
    made = submitted(cluster, pool)
    seen = []
    for _ in range(20):
        cluster.answer("squeue", "")
        seen += polled(made, 1)
    assert sorted(seen) == [("a", "killed"), ("b", "killed"), ("c", "killed")]
    assert len(cluster.asked("sbatch")) == 5
    assert not made.is_busy
    assert pool[1]["a" * 64].state(ASKED).reason.endswith("of Slurm ended: GONE")


def test_a_cancelled_task_is_not_submitted_again(cluster, pool):
    made = submitted(cluster, pool)
    cluster.show(made, "CANCELLED")
    assert sorted(polled(made)) == [("a", "interrupted"), ("b", "interrupted"), ("c", "interrupted")]
    assert len(cluster.asked("sbatch")) == 1
    assert pool[1]["a" * 64].state(ASKED).name == "pending"


@pytest.mark.parametrize(("state", "outcome"), [("FAILED", "killed"), ("OUT_OF_MEMORY", "oom")])
def test_a_task_that_dies_fails_the_run_it_was_at_and_no_other(cluster, pool, state, outcome, monkeypatch):
    made = submitted(cluster, pool, seconds=200.0)
    folder = pool[1]["b" * 64]
    finish(pool[1]["a" * 64])
    folder.acquire()
    polled(made)
    monkeypatch.setattr(type(folder), "_is_gone", lambda self, holder: True)
    cluster.show(made, state)
    assert polled(made, 1) == [("b", outcome)]
    assert folder.state(ASKED).name == outcome
    assert [task.keys[0][0] for task in made.at_work.values()] == ["c"]


def test_a_dead_task_whose_run_may_still_be_written_to_is_waited_for(cluster, pool):
    made = submitted(cluster, pool, seconds=200.0)
    lease = pool[1]["a" * 64].acquire()
    polled(made)
    cluster.show(made, "FAILED")
    assert polled(made) == []
    assert made.is_busy
    lease.release("interrupted")
    assert polled(made) == []
    assert [task.keys[0][0] for task in made.at_work.values()] == ["a"], "it is submitted again"


def test_a_task_that_cannot_start_ends_it_all_with_its_last_words(cluster, pool):
    made = submitted(cluster, pool)
    (array, index), *_ = made.at_work
    log = pool[0].root / "slurm" / f"{array}.{index}.log"
    log.write_text("Traceback\nno torch here\n")
    cluster.show(made, "FAILED")
    assert {outcome for _, outcome in polled(made)} <= {"interrupted"}
    assert made.refusal == f"a task of Slurm could not start: no torch here (see {log})"
    assert len(cluster.asked("sbatch")) == 1


def test_a_controller_that_does_not_answer_is_asked_again(cluster, pool):
    made = submitted(cluster, pool)
    cluster.fail("squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert "Slurm does not answer" in notes(made)[0]
    assert made.is_busy
    assert len(made.at_work) == 3
    cluster.mend("squeue")
    finish(pool[1]["a" * 64])
    assert polled(made) == [("a", "done")]


@pytest.mark.parametrize("is_made", [True, False])
def test_an_sbatch_without_an_answer_has_submitted_or_not(cluster, pool, is_made):
    cluster.fail("sbatch", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    made = submitted(cluster, pool)
    assert made.at_work == {}
    assert made.is_busy
    (array,) = made.doubtful
    if is_made:
        cluster.answer("squeue", "".join(f"{array}|9|{index}|PENDING|Priority\n" for index in range(3)))
    cluster.mend("sbatch")
    made.poll()
    assert len(made.at_work) == 3
    assert len(cluster.asked("sbatch")) == (1 if is_made else 2)


@pytest.mark.parametrize(
    "error", [OSError(116, "Stale file handle"), LeaseLost("has been locked"), InputError("no locks")]
)
@pytest.mark.parametrize("method", ["attempts", "state", "acquire"])
def test_a_folder_that_cannot_be_read_costs_its_run_and_one_sentence(cluster, pool, monkeypatch, method, error):
    bad, whole = pool[1]["a" * 64], getattr(RunFolder, method)
    lease = bad.acquire() if method == "acquire" else None

    def refuse(folder, *arguments):
        if folder.place == bad.place:
            raise error
        return whole(folder, *arguments)

    monkeypatch.setattr(RunFolder, method, refuse)
    made = submitted(cluster, pool)
    assert {what for _, what in polled(made, 1)} <= {"started"}
    for letter in "bc":
        finish(pool[1][letter * 64])
    cluster.show(made, "FAILED")
    ends = dict(polled(made, 1))
    assert (ends["b"], ends["c"]) == ("done", "done")
    assert ends["a"] == ("failed" if lease is None else "killed")


def test_a_percent_sign_in_the_path_of_the_store_is_no_pattern_of_slurm(cluster, pool, tmp_path):
    store = Store(tmp_path / "50%j" / "runs")
    folders = {}
    store.open("a" * 64, hint="a", run={}, index=folders)
    submitted(cluster, (store, folders))
    (asked,) = cluster.asked("sbatch")
    assert f"--output={tmp_path}/50%%j/runs/slurm/vision-attn-" in asked
    assert ".%a.log" in asked


def test_a_submission_that_is_refused_ends_it_and_beside_others_at_work_it_waits(cluster, pool):
    cluster.fail("sbatch", "sbatch: error: invalid partition specified: nowhere")
    made = executor(pool)
    made.submit([(key,) for key in pool[1]])
    made.poll()
    assert made.refusal == "Slurm refuses: sbatch: error: invalid partition specified: nowhere"
    assert not [event for event in made.poll() if event.kind != "note"]
    cluster.mend("sbatch")
    other = submitted(cluster, pool)
    cluster.fail("sbatch", "sbatch: error: QOSMaxSubmitJobPerUserLimit")
    other.waiting = [("a" * 64,)]
    other.poll()
    assert other.refusal == ""
    assert other.waiting == [("a" * 64,)]


def test_a_driver_that_comes_back_takes_up_what_is_in_the_queue_and_submits_the_rest(cluster, pool):
    first = submitted(cluster, pool)
    cluster.show(first, "RUNNING")
    rows = (cluster.folder / "squeue.answer").read_text().splitlines()
    cluster.answer("squeue", "\n".join([rows[0], rows[1].replace("RUNNING", "PREEMPTED")]))
    first.leave()
    assert "3 tasks stay in the queue of Slurm. To cancel them: scancel 7" in notes(first)
    first.close()
    second = executor(pool)
    second.submit([(key,) for key in pool[1]])
    second.poll()
    assert len(cluster.asked("sbatch")) == 2
    assert len(second.at_work) == 3
    assert len({array for array, _ in second.at_work}) == 2


def test_records_of_what_others_have_in_the_queue_stay_and_those_of_the_ended_go(cluster, pool):
    others = submitted(cluster, pool)
    others.leave()
    others.close()
    mine = executor(pool)
    for folder in pool[1].values():
        finish(folder)
    mine.poll()
    mine.close()
    assert len(list((pool[0].root / "slurm").glob("*.json"))) == 1
    cluster.show(others, "COMPLETED")
    mine = executor(pool)
    mine.poll()
    mine.close()
    assert list((pool[0].root / "slurm").iterdir()) == []


def test_a_damaged_record_is_as_none(cluster, pool):
    place = pool[0].root / "slurm"
    place.mkdir()
    write_json(place / "vision-attn-0.json", {"tasks": []})
    (place / "vision-attn-1.json").write_text(json.dumps({"tasks": 1}))
    assert len(submitted(cluster, pool).at_work) == 3


def test_cancelling_names_the_jobs_and_what_they_had_is_interrupted(cluster, pool):
    made = submitted(cluster, pool)
    made.cancel(hard=False)
    assert cluster.asked("scancel") == ["7"]
    cluster.show(made, "CANCELLED")
    assert {outcome for _, outcome in polled(made)} == {"interrupted"}
    assert not made.is_busy


def test_why_tasks_wait_is_told_once(cluster, pool):
    made = submitted(cluster, pool)
    cluster.show(made, "PENDING", reason="Resources")
    assert notes(made, 4) == ["Slurm: 3 pending (Resources)"]


def test_without_slurm_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="engine 'slurm' needs sbatch, squeue, scancel on the PATH"):
        queue.require()


def test_the_script_passes_a_warning_on_and_puts_itself_into_the_queue_again(cluster, pool, tmp_path):
    """The script runs here, with a stand-in for run-one that ends as one does that was asked to stop."""
    submitted(cluster, pool)
    script = next((pool[0].root / "slurm").glob("*.sh"))
    text = script.read_text()
    start = next(line for line in text.splitlines() if line.endswith("$keys &"))
    stand_in = "sh -c 'trap \"exit 75\" TERM; echo begun $0; sleep 20 & wait' $keys &"
    script.write_text(text.replace(start, stand_in).replace("sleep 1\n", "exit 3\n"))
    scontrol = cluster.folder / "scontrol"
    scontrol.write_text(COMMAND.format(folder=cluster.folder, name="scontrol"))
    scontrol.chmod(0o755)
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "42"}
    process = subprocess.Popen(["sh", str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == f"begun {'b' * 64}\n"
    time.sleep(0.1)
    process.send_signal(10)
    assert process.wait(10) == 3, "it waits for Slurm to end it"
    assert cluster.asked("scontrol") == ["requeue 42"]
