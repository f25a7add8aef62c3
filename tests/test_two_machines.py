"""Two drivers that cannot see each other's processes, on one folder: no run is taken from the living, none is lost."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from sweeping import EXPERIMENT, ROOT, command, facts, finish, folders, has_history, outcomes, wait_for

from vision_attn.store import LEASE_SECONDS

APART = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child"]
SHIFTED = """import time
for name, unit in (("time", 1), ("time_ns", 10**9)):
    setattr(time, name, lambda now=getattr(time, name), unit=unit: now() + 200 * unit)
"""
LONG = ("--levels", "updates=600", "--levels", "seed=0-1")


def can_be_apart():
    there = shutil.which("unshare")
    return there and subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not can_be_apart(), reason="no PID name spaces of one's own here"),
]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "question.py").write_text(EXPERIMENT)
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SHIFTED)
    return tmp_path


def start(place, *options, clock="right", levels=LONG):
    """A driver in a PID name space of its own, with its own /proc, whose clock is right or 200 seconds ahead."""
    path = os.pathsep.join([str(place / "clock")] * (clock == "ahead") + [str(ROOT)])
    return subprocess.Popen(
        [*APART, "--mount-proc", *command(place, *levels, "-j", "1", *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "CI": "true"},
        cwd=place,
        start_new_session=True,
    )


def test_two_containers_with_clocks_200_seconds_apart_do_every_run_once_and_bit_for_bit(place):
    processes = [start(place), start(place, clock="ahead")]
    said = [process.communicate(timeout=800)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert outcomes(place) == [("done",)] * 8
    hosts = {row["pid"] for folder in folders(place).values() for row in folder.attempts()}
    assert hosts
    assert finish(place, *LONG, results="alone")[0] == 0
    assert facts(place) == facts(place, "alone")


def test_what_a_killed_container_had_is_taken_over_by_another_after_the_lease_time_to_the_same_bits(place):
    levels = ("--levels", "updates=2000", "--levels", "train_size=50", "--levels", "model=attention")
    killed = start(place, levels=levels)
    wait_for(lambda: has_history(place), seconds=200)
    other = start(place, levels=levels)
    os.killpg(killed.pid, signal.SIGKILL)
    begun = time.monotonic()
    killed.communicate()
    said, _ = other.communicate(timeout=800)
    assert other.returncode == 0, said
    assert time.monotonic() - begun > LEASE_SECONDS, "what cannot be seen from here may be alive until then"
    assert outcomes(place) == [("killed", "done")]
    assert finish(place, *levels, results="alone")[0] == 0
    assert facts(place) == facts(place, "alone")
