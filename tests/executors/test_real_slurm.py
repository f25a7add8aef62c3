"""A real Slurm of one node: whatever befalls a task, the controller or the driver, the bits are those of a local run.

pytest -m slow tests/executors/test_real_slurm.py      # needs root and Debian's slurmctld, slurmd and munge
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import slurm_node
from sweeping import EXPERIMENT, facts, finish, folders, has_history, outcomes, start, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(800),
    pytest.mark.skipif(bool(slurm_node.missing()), reason=f"not here: {', '.join(slurm_node.missing())}"),
]
LONG = ("--levels", "updates=4000", "--levels", "train_size=50", "--levels", "model=attention")
SHORTER = ("--levels", "updates=1000", *LONG[2:])
ENGINE = ("--engine", "slurm")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    made = slurm_node.Node(tmp_path_factory.mktemp("slurm"))
    with pytest.MonkeyPatch.context() as patch:
        try:
            made.start()
            for name in ("SLURM_CONF", "PATH"):
                patch.setenv(name, made.environment[name])
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same runs by the local engine."""
    place = tmp_path_factory.mktemp("local")
    (place / "question.py").write_text(EXPERIMENT)
    assert finish(place)[0] == 0
    assert finish(place, *LONG)[0] == 0
    return facts(place)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "question.py").write_text(EXPERIMENT)
    return tmp_path


def like(found, local):
    return found == {key: local[key] for key in found}


def is_resumed(place):
    return any("continuing from update" in path.read_text() for path in place.glob("results/runs/**/log.txt"))


def signal_task(place, *parts, number=signal.SIGKILL):
    """Signal the processes of a task for this place at once: `run-one`, its `vision_attn.worker`, or both."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().decode(errors="replace").split("\0") if path.exists() else []
        if any(str(place) in word for word in words):
            found += [(parts.index(part), int(path.parent.name)) for part in parts if part in words]
    for _, pid in sorted(found):
        os.kill(pid, number)


def ended(process, seconds=400):
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def test_an_array_of_short_runs_gives_the_bits_of_the_local_engine(node, place, local):
    code, output = finish(place, *ENGINE)
    assert code == 0, output
    assert "4 runs: 4 done" in output
    assert like(facts(place), local)
    assert outcomes(place) == [("done",)] * 4
    assert list(place.glob("results/runs/slurm/*")) == [], "records of ended arrays are removed"


def test_a_killed_task_costs_its_run_which_the_same_command_continues(node, place, local):
    process = start(place, *LONG, *ENGINE)
    wait_for(lambda: has_history(place), 200)
    signal_task(place, "run-one", "vision_attn.worker")
    code, output = ended(process)
    assert code == 1, output
    assert "KILLED" in output
    assert "of Slurm ended: FAILED" in output
    code, output = finish(place, *LONG, *ENGINE)
    assert code == 0, output
    assert like(facts(place), local)


def test_where_the_parent_of_a_worker_is_killed_the_worker_saves_its_run_which_is_submitted_again(node, place, local):
    process = start(place, *LONG, *ENGINE)
    wait_for(lambda: has_history(place), 200)
    signal_task(place, "run-one")
    code, output = ended(process)
    assert code == 0, output
    assert outcomes(place) == [("interrupted", "done")]
    assert is_resumed(place)
    assert like(facts(place), local)


def test_a_task_that_the_user_cancels_is_not_submitted_again_by_this_driver(node, place, local):
    process = start(place, *LONG, *ENGINE)
    wait_for(lambda: has_history(place), 200)
    node.ask("scancel", "--user=root")
    code, output = ended(process)
    assert code == 75, output
    assert "interrupted" in output
    assert outcomes(place) == [("interrupted",)], "a cancelled task has the time to write its checkpoint"
    code, output = finish(place, *LONG, *ENGINE)
    assert code == 0, output
    assert is_resumed(place)
    assert like(facts(place), local)


def test_a_preempted_task_is_queued_again_by_slurm_and_resumes(node, place, local):
    process = start(place, *LONG, *ENGINE)
    wait_for(lambda: has_history(place), 200)
    node.ask("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    code, output = ended(process)
    assert code == 0, output
    assert is_resumed(place)
    assert outcomes(place) == [("interrupted", "done")]
    assert like(facts(place), local)


def test_a_task_near_its_time_limit_queues_itself_again_and_resumes_without_the_driver(node, place):
    """Slurm signals up to a minute early; until then the worker stands still, lest it be done before."""
    process = start(place, *SHORTER, *ENGINE, "--sbatch=--time=1", "--sbatch=--signal=B:USR1@15")
    wait_for(lambda: has_history(place), 200)
    signal_task(place, "vision_attn.worker", number=signal.SIGSTOP)
    process.kill()
    process.wait()
    key = next(iter(folders(place)))
    wait_for(lambda: folders(place)[key].result() is not None, 400)
    assert is_resumed(place)
    assert "interrupted" in outcomes(place)[0]
    code, output = finish(place, *SHORTER, *ENGINE)
    assert code == 0, output
    assert outcomes(place)[0][-1] == "done"
    assert len({row["job"] for row in folders(place)[key].attempts()}) == 1, "it was the same job all the time"
    assert finish(place, *SHORTER, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")


def test_the_controller_restarts_and_the_driver_is_killed_and_comes_back(node, place):
    first = start(place, *SHORTER, *ENGINE)
    wait_for(lambda: has_history(place), 200)
    first.kill()
    first.wait()
    signal_task(place, "vision_attn.worker", number=signal.SIGSTOP)
    node.kill_controller()
    second = start(place, *SHORTER, *ENGINE)
    assert any("Slurm does not answer" in line for line in second.stdout)
    node.start_controller()
    signal_task(place, "vision_attn.worker", number=signal.SIGCONT)
    code, output = ended(second)
    assert code == 0, output
    (rows,) = (folder.attempts() for folder in folders(place).values())
    assert len({row["job"] for row in rows}) == 1, "the run was not submitted a second time"
    assert [row["outcome"] for row in rows] in (["done"], ["killed", "done"]), "a controller may forget what it started"
    assert finish(place, *SHORTER, results="undisturbed")[0] == 0
    assert facts(place) == facts(place, "undisturbed")


def test_a_driver_that_leaves_lets_its_tasks_go_on(node, place, local):
    process = start(place, *LONG, *ENGINE)
    wait_for(lambda: has_history(place), 200)
    process.send_signal(signal.SIGINT)
    code, output = ended(process)
    assert code == 75, output
    assert "1 tasks stay in the queue of Slurm. To cancel them: scancel" in output
    code, output = finish(place, *LONG, *ENGINE)
    assert code == 0, output
    assert outcomes(place) == [("done",)]
    assert like(facts(place), local)


def test_a_task_that_cannot_start_is_told_in_its_own_words(node, place):
    code, output = finish(place, *LONG, *ENGINE, "--device", "cuda:7")
    assert code == 1, output
    assert "a task of Slurm could not start" in output
    assert "device must be" in output
    assert outcomes(place) == [()]


def test_what_sbatch_refuses_is_told_in_its_own_words(node, place):
    code, output = finish(place, *LONG, *ENGINE, "--sbatch=--partition=nowhere")
    assert code == 1, output
    assert "invalid partition" in output
    assert outcomes(place) == []
    assert subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True).stdout == ""
