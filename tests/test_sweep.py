"""The sweep: nothing finished is lost, nothing runs twice, whatever is killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweeping import (
    EXPERIMENT,
    ROOT,
    command,
    facts,
    finish,
    folders,
    has_history,
    outcomes,
    start,
    wait_for,
    workers_of,
)

from vision_attn.plan import Plan, folders_in


@pytest.fixture
def place(tmp_path):
    (tmp_path / "question.py").write_text(EXPERIMENT)
    return tmp_path


def page_of(place):
    """The page of the levels that were asked for."""
    (page,) = place.glob("results/question-*/report.html")
    return page.read_text()


LONG = ("--levels", "updates=1500", "--levels", "train_size=50")


def test_a_sweep_is_planned_ends_in_a_report_and_the_same_command_does_nothing_more(place):
    code, output = finish(place, verb="plan")
    assert code == 0
    assert "4 cells, 4 runs, 20 updates in all" in output
    assert not (place / "results").exists()
    assert finish(place, verb="status")[0] == 75
    code, output = finish(place, "-j", "2")
    assert code == 0, output
    assert "4 runs: 4 done" in output
    assert "\r" not in output
    before = facts(place)
    assert len(before) == 4
    page = (place / "results/question/report.html").read_text()
    assert "A made-up question?" in page
    code, output = finish(place, "--json", verb="status")
    assert code == 0
    assert {entry["state"] for entry in json.loads(output).values()} == {"done"}
    assert finish(place)[0] == 0
    assert outcomes(place) == [("done",)] * 4
    assert facts(place) == before


def test_numbers_that_stand_in_the_tables_alone_are_not_dropped_by_a_run_of_a_smaller_experiment(place):
    assert finish(place, "-j", "1", "--smoke")[0] == 0
    (folder,) = place.glob("results/question-*")
    shutil.rmtree(place / "results" / "runs")
    before = {path: path.read_bytes() for path in folder.glob("*.xz")}
    file = place / "question.py"
    file.write_text(file.read_text().replace('"train_size": (50, 100)', '"train_size": (50,)'))
    code, output = finish(place, "-j", "1", "--smoke")
    assert code == 2
    assert "has 2 runs that the experiment does not ask for and the pool does not have. Give another" in output
    assert {path: path.read_bytes() for path in folder.glob("*.xz")} == before


@pytest.mark.slow
def test_one_worker_and_two_workers_give_the_same_bits(place):
    assert finish(place, "-j", "1", results="one")[0] == 0
    assert finish(place, "-j", "2", results="two")[0] == 0
    assert facts(place, "one") == facts(place, "two")


@pytest.mark.slow
def test_more_levels_run_only_the_new_cells(place):
    finish(place, "--levels", "train_size=50")
    finish(place, "--levels", "train_size=50,100")
    assert outcomes(place) == [("done",)] * 4


@pytest.mark.slow
def test_killing_the_driver_loses_nothing_finished_and_leaves_no_orphan(place):
    process = start(place, *LONG, "-j", "1")
    wait_for(lambda: has_history(place))
    workers = workers_of(process)
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)
    code, output = finish(place, *LONG, "-j", "1")
    assert code == 0, output
    assert all(rows[-1] == "done" and rows.count("done") == 1 for rows in outcomes(place))
    assert finish(place, *LONG, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")


def test_killing_a_worker_costs_only_its_run_and_the_same_command_continues(place):
    process = start(place, *LONG, "-j", "1")
    wait_for(lambda: has_history(place))
    os.kill(workers_of(process)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    assert "KILLED" in output
    assert "SIGKILL" in output
    assert "log.txt" in output
    assert outcomes(place) == [("done",), ("killed",)]
    code, output = finish(place, *LONG, "-j", "1")
    assert code == 0, output
    assert outcomes(place) == [("done",), ("killed", "done")]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        ),
    ],
)
def test_a_polite_signal_writes_a_checkpoint_and_the_same_command_continues_from_it(place, number):
    one = (*LONG, "--levels", "model=attention")
    process = start(place, *one, "-j", "1")
    wait_for(lambda: has_history(place))
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    assert "The same command continues: vision-attn run" in output
    (interrupted,) = folders(place).values()
    assert (interrupted.path / "checkpoint.pt").exists()
    assert finish(place, *one)[0] == 0
    assert "continuing from update" in (interrupted.path / "log.txt").read_text()
    assert not (interrupted.path / "checkpoint.pt").exists()
    assert finish(place, *one, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")


@pytest.mark.slow
def test_a_sweep_whose_time_is_up_keeps_a_checkpoint_and_writes_its_report(place):
    """From the checkpoint it goes on as after a signal, which is tested above."""
    code, output = finish(place, "--levels", "updates=1000000", "-j", "1", "--stop-after", "40")
    assert code == 75, output
    assert "Stopped: 40 seconds are over; 4 of 4 runs are left. The same command continues: vision-attn run" in output
    assert "report:" in output
    assert outcomes(place) == [("interrupted",)]
    assert all((folder.path / "checkpoint.pt").exists() for folder in folders(place).values())


@pytest.mark.slow
def test_two_sweeps_at_once_run_every_run_once(place):
    processes = [start(place, "-j", "1") for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=250)
        assert process.returncode == 0, output
    assert outcomes(place) == [("done",)] * 4


@pytest.mark.slow
def test_a_crashing_run_is_shown_at_once_costs_only_itself_and_is_retried_on_demand(place):
    models = "--levels", "model=attention,too deep for 28 pixels", "--levels", "train_size=50"
    code, output = finish(place, *models)
    assert code == 1
    assert "FAILED timm" in output
    assert "log.txt" in output
    assert outcomes(place) == [("done",), ("failed",)]
    log = next(path for path in (place / "results/runs").glob("*/timm*/log.txt")).read_text()
    assert "Traceback" in log
    assert finish(place, *models)[0] == 1
    assert outcomes(place) == [("done",), ("failed",)]
    code, output = finish(place, *models, verb="retry")
    assert "1 run will be tried again" in output
    assert finish(place, *models)[0] == 1
    assert outcomes(place) == [("done",), ("failed", "retried", "failed")]
    page = page_of(place)
    assert "failed" in page


@pytest.mark.slow
def test_failures_in_a_row_stop_the_sweep(place):
    code, output = finish(place, "--preset", "broken", "-j", "1", "--max-consecutive-failures", "2")
    assert code == 1
    assert "failures in a row" in output
    assert outcomes(place).count(("failed",)) == 2


@pytest.mark.slow
def test_a_diverging_run_is_a_state_and_never_a_number(place):
    code, output = finish(place, "--levels", "learning_rate=1e30", "--levels", "model=attention")
    assert code == 1
    assert "DIVERGED" in output
    for folder in folders(place).values():
        assert folder.result()["state"] == "diverged"
        assert not (folder.path / "weights.safetensors").exists()
        assert not list(folder.path.glob("probes/*"))
    assert "diverged" in page_of(place)


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_killed(place):
    code, output = finish(place, "--levels", "updates=1000000", *LONG[2:], "--timeout", "8", "-j", "2")
    assert code == 1, output
    assert outcomes(place) == [("timeout",), ("timeout",)]


@pytest.mark.slow
def test_a_full_disk_stops_the_sweep_and_freeing_it_continues(place):
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000)); "
    limit += "sys.argv = sys.argv[1:]; runpy.run_module('vision_attn.cli', run_name='__main__')"
    arguments = command(place, "-j", "1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "true"}
    full = subprocess.run(
        [sys.executable, "-c", limit, *arguments[2:]], capture_output=True, text=True, env=environment, check=False
    )
    assert full.returncode == 1, full.stdout + full.stderr
    assert "DISK FULL" in full.stdout
    assert outcomes(place).count(("disk full",)) == 1
    code, output = finish(place)
    assert code == 0, output
    assert sorted(rows[-1] for rows in outcomes(place)) == ["done"] * 4


@pytest.mark.slow
def test_a_damaged_result_is_noticed_and_the_run_repeated_with_the_same_bits(place):
    finish(place)
    before = facts(place)
    folder = next(iter(folders(place).values()))
    payload = bytearray((folder.path / "result.json").read_bytes())
    payload[len(payload) // 2] ^= 1
    (folder.path / "result.json").write_bytes(bytes(payload))
    assert finish(place)[0] == 0
    assert facts(place) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--levels", "train_size=55"), "train_size"),
        (("--levels", "seeds=3"), "levels must be FACTOR=level,level with a factor among model, train_size"),
        (
            ("--levels", "model=vit"),
            "level of model must be one of 'attention', 'convolution', 'too deep for 28 pixels'",
        ),
        (("--preset", "huge"), "preset must be one of 'broken'. Got 'huge' instead."),
        (("--device", "tpu"), "device must be 'auto', 'cpu'"),
        (("--data-dir", "/nowhere"), "data-dir must be a folder that is there. Got '/nowhere' instead."),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(place, arguments, sentence):
    code, output = finish(place, *arguments)
    assert code == 2, output
    assert output.startswith("Error: ")
    assert sentence in output
    assert "Traceback" not in output
    assert outcomes(place) == []


@pytest.mark.slow
def test_levels_leave_the_report_of_the_whole_as_it_is_and_status_looks_where_report_does(place):
    assert finish(place)[0] == 0
    whole = {path: path.read_bytes() for path in (place / "results/question").rglob("*") if path.is_file()}
    assert finish(place, "--levels", "train_size=50")[0] == 0
    assert {path: path.read_bytes() for path in whole} == whole
    (part,) = place.glob("results/question-train_size-50-*")
    assert Plan.read(part).levels("train_size") == [50]
    moved = (place / "results").rename(place / "moved")
    looked = [sys.executable, "-m", "vision_attn.cli", "status", str(moved / part.name)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(looked, capture_output=True, text=True, env=environment, cwd=place, check=False)
    assert (said.returncode, said.stdout.strip()) == (0, "2 runs: 2 done")


@pytest.mark.slow
def test_two_sweeps_with_different_levels_in_one_folder_do_not_take_each_others_plan(place):
    """The folder's plan is another's by the time a worker starts: each reads the plan that was kept for it."""
    first, second = start(place, "--levels", "train_size=50"), start(place, "--levels", "train_size=100")
    assert [first.wait(250), second.wait(250)] == [0, 0]
    kept = {path.stem for path in (place / "results/runs/plans").glob("*.json")}
    assert kept == {Plan.read(folder).head().digest for folder in folders_in(place / "results")}
    assert len(kept) == 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kills_at_random_moments_never_change_the_result(place):
    moments = random.Random(7)
    long = "--levels", "updates=4000", "--levels", "train_size=50"
    for _ in range(12):
        process = start(place, *long, "-j", "2")
        time.sleep(moments.uniform(3, 9))
        victims = [process.pid, *workers_of(process)] if process.poll() is None else []
        for victim in victims[: moments.choice((1, 3))] or victims:
            os.kill(victim, signal.SIGKILL)
        process.communicate(timeout=250)
    assert finish(place, *long)[0] == 0
    assert finish(place, *long, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")
    assert all(rows.count("done") == 1 for rows in outcomes(place))
