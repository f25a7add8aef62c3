"""Driving: when runs end early, and what is said of it."""

import pytest

from vision_attn import driving, sweep
from vision_attn.cli.command import execute
from vision_attn.driving import Ended, drive
from vision_attn.executors.base import Event
from vision_attn.store import State

FILE = '''"""Why?"""
from vision_attn import Accuracy, Experiment, Mnist5k, Recipe, Run, ViT

def run(seed):
    model, data = ViT(dim=16, depth=1, patch_size=7), Mnist5k(train_size=50)
    return Run(model=model, data=data, recipe=Recipe(updates=1), seed=seed)

experiment = Experiment(question=__doc__, factors={"seed": (0, 1, 2)}, run=run, probes=(Accuracy(),))
'''


class Slow:
    """An executor that finishes a run a second, until it is left."""

    refusal = ""

    def __init__(self, clock, outcomes=()):
        self.clock, self.waiting, self.calls, self.outcomes = clock, [], [], list(outcomes)

    def submit(self, groups):
        self.waiting += [run for group in groups for run in group]

    def poll(self):
        self.clock[0] += 1
        return [Event("finished", self.waiting.pop(0), outcome=self.outcomes.pop(0) if self.outcomes else "done")]

    @property
    def is_busy(self):
        return bool(self.waiting)

    def cancel(self, *, hard):
        self.calls.append("cancel at once" if hard else "cancel")
        self.waiting = []

    def leave(self):
        self.calls.append(f"leave at {self.clock[0]:g}")
        self.waiting = self.waiting[:1]  # what was at work speaks once more

    def close(self):
        self.calls.append("close")


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(driving.time, "monotonic", lambda: now[0])
    return now


def driven(clock, runs="abcdef", outcomes=(), **options):
    executor, heard = Slow(clock, outcomes), []
    why = drive(executor, [(run,) for run in runs], max_failures=2, tell=heard.append, **options)
    return why, executor.calls, "".join(event.run for event in heard)


def test_once_time_is_up_the_driver_leaves_once_and_begins_nothing(clock):
    assert driven(clock, until=3.0) == ("time is up", ["leave at 3", "close"], "abcd")


def test_without_a_time_or_before_it_all_is_done(clock):
    assert driven(clock) == ("", ["close"], "abcdef")
    assert driven(clock, until=100.0) == ("", ["close"], "abcdef")


def test_failures_in_a_row_end_it_as_they_share_a_cause_and_single_ones_do_not(clock):
    why, calls, heard = driven(clock, outcomes=["failed", "done", "oom", "killed", "done"])
    assert (why, heard) == ("failures in a row", "abcd")
    assert calls == ["cancel", "close"]
    assert driven(clock, outcomes=["failed", "done"] * 3)[::2] == ("", "abcdef")


def test_time_that_is_up_before_the_first_run_ends_the_sweep_all_the_same(clock):
    assert driven(clock, until=-1.0) == ("time is up", ["leave at 1", "close"], "ab")


@pytest.mark.parametrize(("states", "why"), [(("done", "pending"), "time is up"), (("done", "failed"), "")])
def test_time_is_up_only_where_something_is_left(states, why, clock):
    found = {str(place): State(name) for place, name in enumerate(states)}
    assert Ended.after(found, "time is up", Slow(clock)).why == why
    assert Ended.after(found, "interrupted", Slow(clock)).why == why.replace("time is up", "interrupted")
    assert Ended.after(found, "", Slow(clock)).why == why.replace("time is up", "runs are left")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize(
    ("left", "sentence"),
    [(2, "Stopped: 90 seconds are over; 2 of 3 runs are left. The same"), (1, "over; 1 of 3 runs is left. The same")],
)
def test_a_sweep_whose_time_is_up_says_what_is_left_and_ends_with_75(left, sentence, place, monkeypatch, capsys):
    asked = []

    def run(plan, *, before, until, **options):
        asked.append(until)
        (folder := options["results"] / "mine").mkdir(parents=True)
        plan.write(folder)
        names = ["pending"] * left + ["done"] * (3 - left)
        return Ended({key: State(name) for key, name in zip(before.states, names, strict=True)}, "time is up")

    monkeypatch.setattr(sweep, "run", run)
    started = driving.time.monotonic()
    assert execute(["run", "mine.py", "--stop-after", "90"]) == 75
    assert sentence in " ".join(capsys.readouterr().out.split())
    assert 90 <= asked[0] - started < 120


@pytest.mark.parametrize("value", ["0", "-5", "nan", "soon", ""])
def test_a_time_that_is_none_is_refused_in_one_sentence(value, place, capsys):
    assert execute(["run", "mine.py", "--stop-after", value]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (place / "results").exists()
