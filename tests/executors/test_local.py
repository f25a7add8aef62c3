"""The local executor, with stand-ins for its workers."""

import sys

import pytest

from vision_attn.executors.local import Local
from vision_attn.store import Store

TALK = """import sys, json
say = lambda **message: print(json.dumps(message), flush=True)
for line in sys.stdin:
    run = line.strip()
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def executor(store, code, *, runs="abc", jobs=2, **options):
    index = {}
    for run in runs:
        store.open(run * 64, hint="run", run={}, index=index)
    made = Local(
        store.root / "plan.json",
        store=store.root,
        folders=index,
        log=store.root / "workers.log",
        jobs=jobs,
        threads=1,
        **options,
    )
    made.command = [sys.executable, "-c", code]
    return made, list(index)


def finished(made, runs):
    return [(event.run[0], event.outcome) for event in made.execute(runs) if event and event.kind == "finished"]


def test_every_run_is_given_to_a_worker_once(store):
    made, runs = executor(store, TALK + "    say(kind='finished', run=run, outcome='done')")
    assert sorted(finished(made, runs)) == [("a", "done"), ("b", "done"), ("c", "done")]


def test_one_worker_serves_many_runs(store):
    made, runs = executor(
        store, TALK + "    say(kind='finished', run=run, outcome=str(__import__('os').getpid()))", jobs=1
    )
    assert len({outcome for _, outcome in finished(made, runs)}) == 1


def test_a_worker_that_cannot_start_is_a_failure_on_record_that_names_the_log(store):
    made, runs = executor(store, "raise SystemExit('no torch here')", jobs=1)
    assert finished(made, runs) == [("a", "killed"), ("b", "killed"), ("c", "killed")]
    for folder in store.index().values():
        state = folder.state(["x"])
        assert state.name == "killed"
        assert state.reason == f"the worker exited with status 1; see {store.root / 'workers.log'}"
    assert "no torch here" in (store.root / "workers.log").read_text()


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(store):
    code = TALK + "    if run[0] == 'a': __import__('os').abort()\n    say(kind='finished', run=run, outcome='done')"
    made, runs = executor(store, code, jobs=1)
    assert sorted(finished(made, runs)) == [("a", "killed"), ("b", "done"), ("c", "done")]
    folder = store.index()["a" * 64]
    assert folder.state(["x"]).reason == "the worker was killed by SIGABRT"


def test_a_busy_run_is_asked_for_again(store, tmp_path):
    flag = tmp_path / "seen"
    code = TALK + f"    seen = __import__('pathlib').Path({str(flag)!r})\n"
    code += "    say(kind='finished', run=run, outcome='done' if seen.exists() else 'busy'); seen.touch()"
    made, runs = executor(store, code, runs="a")
    assert finished(made, runs) == [("a", "done")]


def test_a_run_past_its_time_is_killed_with_its_children(store):
    made, runs = executor(store, TALK + "    __import__('time').sleep(60)", runs="a", timeout=1)
    assert finished(made, runs) == [("a", "timeout")]


def test_threads_are_pinned_in_the_environment_of_a_worker(store):
    code = TALK + "    say(kind='finished', run=run, outcome=__import__('os').environ['OMP_NUM_THREADS'])"
    made, runs = executor(store, code, runs="a")
    assert finished(made, runs) == [("a", "1")]


def test_stop_lets_no_further_run_begin(store):
    made, runs = executor(store, TALK + "    say(kind='finished', run=run, outcome='done')", jobs=1)
    events = made.execute(runs)
    seen = 0
    for event in events:
        if event and event.kind == "finished":
            seen += 1
            made.stop(hard=False)
    assert seen == 1
