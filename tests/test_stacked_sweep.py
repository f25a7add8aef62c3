"""A sweep that trains runs together: nothing finished is lost, nothing runs twice, whatever is killed."""

import os
import signal
from pathlib import Path

import pytest
from sweeping import EXPERIMENT, facts, finish, folders, has_history, outcomes, start, wait_for, workers_of

from vision_attn.store import read_rows

PAIRS = ("--levels", "train_size=50", "--levels", "seed=0-1", "--stack", "2")
LONG = ("--levels", "updates=600", *PAIRS)
ONE_PAIR = (*LONG, "--levels", "model=attention")
ONE_BY_ONE = (*ONE_PAIR[: ONE_PAIR.index("--stack")], "--stack", "off", *ONE_PAIR[ONE_PAIR.index("--stack") + 2 :])


@pytest.fixture
def place(tmp_path):
    (tmp_path / "question.py").write_text(EXPERIMENT)
    return tmp_path


def logs(place):
    return [(folder.path / "log.txt").read_text() for folder in folders(place).values()]


def stacked(place, results="results"):
    return sorted(folder.result()["choices"].get("stacked", 1) for folder in folders(place, results).values())


def test_runs_trained_together_say_so_and_end_like_those_trained_alone(place):
    code, output = finish(place, *PAIRS, "-j", "1")
    assert code == 0, output
    assert "4 runs: 4 done" in output
    assert stacked(place) == [2, 2, 2, 2]
    assert outcomes(place) == [("done",)] * 4
    assert all("2 runs trained together" in log for log in logs(place))
    finish(place, *PAIRS[:-1], "off", results="alone")
    assert stacked(place, "alone") == [1, 1, 1, 1]
    for key, folder in folders(place).items():
        alone = folders(place, "alone")[key]
        rows = [read_rows(each.path / "history.jsonl") for each in (folder, alone)]
        assert [row["update"] for row in rows[0]] == [1, 2, 3, 4, 5]
        for ours, theirs in zip(*rows, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-2)
        assert not (folder.path / "checkpoint.pt").exists()


@pytest.mark.slow
def test_killing_the_driver_loses_nothing_finished_and_leaves_no_orphan(place):
    process = start(place, *ONE_PAIR, "-j", "1")
    wait_for(lambda: has_history(place))
    workers = workers_of(process)
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)
    code, output = finish(place, *ONE_PAIR, "-j", "1")
    assert code == 0, output
    assert all(rows[-1] == "done" and rows.count("done") == 1 for rows in outcomes(place))
    assert stacked(place) == [2, 2]
    assert finish(place, *ONE_PAIR, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")


@pytest.mark.slow
def test_killing_a_worker_costs_no_run_as_those_it_had_are_trained_alone(place):
    process = start(place, *ONE_PAIR, "-j", "1")
    wait_for(lambda: has_history(place))
    os.kill(workers_of(process)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert outcomes(place) == [("killed", "done"), ("killed", "done")]
    assert stacked(place) == [1, 1]


@pytest.mark.slow
def test_a_polite_signal_writes_checkpoints_from_which_the_same_command_goes_on_to_the_same_bits(place):
    process = start(place, *ONE_PAIR, "-j", "1")
    wait_for(lambda: has_history(place))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    interrupted = [folder for folder in folders(place).values() if folder.attempts()]
    assert len(interrupted) == 2
    assert all((folder.path / "checkpoint.pt").exists() for folder in interrupted)
    assert finish(place, *ONE_PAIR)[0] == 0
    assert outcomes(place) == [("interrupted", "done"), ("interrupted", "done")]
    assert all("continuing from update" in (folder.path / "log.txt").read_text() for folder in interrupted)
    assert finish(place, *ONE_PAIR, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")


@pytest.mark.slow
def test_runs_begun_together_are_continued_alone_where_the_command_says_so_and_tell_it(place):
    process = start(place, *ONE_PAIR, "-j", "1")
    wait_for(lambda: has_history(place))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    interrupted = [folder for folder in folders(place).values() if folder.attempts()]
    assert finish(place, *ONE_BY_ONE)[0] == 0
    assert all("continuing from update" in (folder.path / "log.txt").read_text() for folder in interrupted)
    assert stacked(place) == [2, 2]  # of which their bits are


@pytest.mark.slow
def test_two_sweeps_at_once_run_every_run_once(place):
    processes = [start(place, *PAIRS, "-j", "1") for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=250)
        assert process.returncode == 0, output
    assert outcomes(place) == [("done",)] * 4


def test_runs_that_diverge_together_are_each_on_record(place):
    code, output = finish(place, *PAIRS, "--levels", "learning_rate=1e30", "--levels", "model=attention")
    assert code == 1
    assert output.count("DIVERGED") == 2
    assert "was not finite at update" in output
    assert outcomes(place) == [("diverged",)] * 2
    for folder in folders(place).values():
        assert folder.result()["state"] == "diverged"
        assert not (folder.path / "weights.safetensors").exists()


@pytest.mark.slow
def test_runs_that_fail_together_are_tried_alone_and_fail_with_their_own_words(place):
    code, output = finish(place, *PAIRS, "--levels", "model=too deep for 28 pixels,attention")
    assert code == 1
    assert output.count("FAILED timm") == 2
    assert outcomes(place) == [("done",), ("done",), ("failed",), ("failed",)]
    results = [folder.result() for folder in folders(place).values()]
    assert [result["choices"]["stacked"] for result in results if result is not None] == [2, 2]


@pytest.mark.parametrize("wrong", ["1", "all"])
def test_a_stack_is_auto_off_or_a_number(place, wrong):
    code, output = finish(place, f"--stack={wrong}")
    assert code == 2
    assert output.startswith("Error: stack must be 'auto', 'off' or a number of at least 2. Got")
    assert outcomes(place) == []
