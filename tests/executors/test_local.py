"""The local executor, with stand-ins for its workers."""

import sys
from pathlib import Path

import pytest

from vision_attn.executors import local
from vision_attn.executors.base import execute
from vision_attn.executors.local import Local
from vision_attn.spec import InputError
from vision_attn.store import Folders, LeaseLost, RunFolder, Store

TALK = """import sys, json
say = lambda **message: print(json.dumps(message), flush=True)
for line in sys.stdin:
    run = line.strip()
"""
TALK_OF_GROUPS = TALK.replace("run = line.strip()", "runs = line.split()")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def executor(store, code, *, runs="abc", jobs=2, **options):
    keys = [run * 64 for run in runs]
    store.root.mkdir(exist_ok=True)
    made = Local(
        store.root,
        store=store.root,
        folders=Folders(store, dict.fromkeys(keys, ("run", {})), {}),
        log=store.root / "workers.log",
        jobs=jobs,
        threads=1,
        **options,
    )
    made.command = [sys.executable, "-c", code]
    return made, keys


def finished(made, runs):
    groups = [run if isinstance(run, tuple) else (run,) for run in runs]
    return [(event.run[0], event.outcome) for event in execute(made, groups) if event and event.kind == "finished"]


def test_every_run_is_given_to_a_worker_once(store):
    made, runs = executor(store, TALK + "    say(kind='finished', run=run, outcome='done')")
    assert sorted(finished(made, runs)) == [("a", "done"), ("b", "done"), ("c", "done")]


def test_one_worker_serves_many_runs(store):
    made, runs = executor(
        store, TALK + "    say(kind='finished', run=run, outcome=str(__import__('os').getpid()))", jobs=1
    )
    assert len({outcome for _, outcome in finished(made, runs)}) == 1


def test_a_worker_that_cannot_start_ends_the_execution_with_its_last_words_and_no_run_is_at_fault(store):
    made, runs = executor(store, "print('hello'); raise SystemExit('no torch here')", jobs=2)
    assert finished(made, runs) == []
    log = store.root / "workers.log"
    assert made.refusal == f"a worker could not start: no torch here (see {log})"
    assert "no torch here" in log.read_text()
    assert {folder.state(["x"]).name for folder in store.index().values()} == {"pending"}


def test_what_libraries_print_when_a_worker_starts_is_passed_over(store):
    greeting = "print('Welcome!'); print('{}'); print('[1]'); print('7'); print('[' * 9999)\n"
    greeting += """print('{"kind": "finished", "run": "x"}'); print('{"kind": "started"}')\n"""
    made, runs = executor(store, greeting + TALK + "    say(kind='finished', run=run, outcome='done')", jobs=1)
    assert finished(made, runs) == [("a", "done"), ("b", "done"), ("c", "done")]


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(store):
    code = TALK + "    if run[0] == 'a': __import__('os').abort()\n    say(kind='finished', run=run, outcome='done')"
    made, runs = executor(store, code, jobs=1)
    assert sorted(finished(made, runs)) == [("a", "killed"), ("b", "done"), ("c", "done")]
    folder = store.index()["a" * 64]
    assert folder.state(["x"]).reason == "the worker was killed by SIGABRT"


def test_what_is_given_to_a_worker_that_has_been_asked_to_stop_is_done_by_another(store):
    code = TALK + "    if 'last' in globals(): sys.exit(0)\n    last = run\n"
    code += "    say(kind='started', run=run)\n    say(kind='finished', run=run, outcome='done')"
    made, runs = executor(store, code, jobs=1)
    assert sorted(finished(made, runs)) == [("a", "done"), ("b", "done"), ("c", "done")]
    assert [folder.attempts() for folder in store.index().values()] == [[]] * 3


def test_a_busy_run_is_asked_for_again(store, tmp_path):
    flag = tmp_path / "seen"
    code = TALK + f"    seen = __import__('pathlib').Path({str(flag)!r})\n"
    code += "    say(kind='finished', run=run, outcome='done' if seen.exists() else 'busy'); seen.touch()"
    made, runs = executor(store, code, runs="a")
    assert finished(made, runs) == [("a", "done")]


def test_a_run_past_its_time_is_killed_with_its_children(store, tmp_path):
    code = (
        TALK + f"    child = __import__('subprocess').Popen(['sleep', '60'])\n    open({str(tmp_path / 'pid')!r}, 'w')"
    )
    code += ".write(str(child.pid))\n    child.wait()"
    made, runs = executor(store, code, runs="a", timeout=1)
    assert finished(made, runs) == [("a", "timeout")]
    state = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_threads_are_pinned_in_the_environment_of_a_worker(store):
    code = TALK + "    say(kind='finished', run=run, outcome=__import__('os').environ['OMP_NUM_THREADS'])"
    made, runs = executor(store, code, runs="a")
    assert finished(made, runs) == [("a", "1")]


def test_stop_lets_no_further_run_begin(store):
    made, runs = executor(store, TALK + "    say(kind='finished', run=run, outcome='done')", jobs=1)
    events = execute(made, [(run,) for run in runs])
    seen = 0
    for event in events:
        if event and event.kind == "finished":
            seen += 1
            made.cancel(hard=False)
    assert seen == 1


def test_a_group_goes_to_one_worker_which_tells_of_each_of_its_runs(store):
    code = TALK_OF_GROUPS + "    [say(kind='finished', run=run, outcome=str(len(runs))) for run in runs]"
    made, runs = executor(store, code)
    assert sorted(finished(made, [(runs[0], runs[2]), (runs[1],)])) == [("a", "2"), ("b", "1"), ("c", "2")]


def test_where_a_group_kills_its_worker_each_unfinished_run_is_tried_alone_and_only_the_culprit_fails(store):
    code = TALK_OF_GROUPS + "    for run in runs:\n        if run[0] == 'b': __import__('os').abort()\n"
    code += "        say(kind='finished', run=run, outcome='done')"
    made, runs = executor(store, code, jobs=1)
    assert sorted(finished(made, [tuple(runs)])) == [("a", "done"), ("b", "killed"), ("c", "done")]
    attempts = {key[0]: [row["outcome"] for row in folder.attempts()] for key, folder in store.index().items()}
    assert attempts == {"a": [], "b": ["killed", "killed"], "c": ["killed"]}


def test_a_group_has_the_time_of_all_its_runs_and_then_each_its_own(store):
    made, runs = executor(store, TALK_OF_GROUPS + "    __import__('time').sleep(60)", runs="ab", jobs=2, timeout=1)
    assert sorted(finished(made, [tuple(runs)])) == [("a", "timeout"), ("b", "timeout")]
    for folder in store.index().values():
        assert [row["outcome"] for row in folder.attempts()] == ["timeout", "timeout"]


def test_stopping_at_once_leaves_a_group_interrupted_and_tries_none_again(store):
    code = TALK_OF_GROUPS + "    [say(kind='started', run=run) for run in runs]; __import__('time').sleep(60)"
    made, runs = executor(store, code, runs="ab")
    seen = []
    for event in execute(made, [tuple(runs)]):
        if event and event.kind == "started":
            made.cancel(hard=True)
        if event and event.kind == "finished":
            seen.append((event.run[0], event.outcome))
    assert seen == [("a", "interrupted"), ("b", "interrupted")]


def test_a_worker_that_says_nothing_for_long_is_ended(store):
    made, runs = executor(store, TALK + "    __import__('time').sleep(60)", runs="a", no_progress=1)
    assert finished(made, runs) == [("a", "timeout")]
    assert store.index()["a" * 64].state(["x"]).reason == "no progress in 1 seconds"


def test_a_paused_worker_is_woken_to_stop_and_ended_where_it_does_not(store, monkeypatch):
    monkeypatch.setattr(local, "STOP_SECONDS", 1.0)
    code = "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + TALK
    code += "    say(kind='started', run=run); os.kill(os.getpid(), signal.SIGSTOP); __import__('time').sleep(60)"
    made, runs = executor(store, code, runs="a")
    seen = []
    for event in execute(made, [(runs[0],)]):
        if event and event.kind == "started":
            made.cancel(hard=False)
        seen += [event.outcome] if event and event.kind == "finished" else []
    assert seen == ["interrupted"]


def test_a_signal_that_comes_while_a_worker_starts_waits_for_it(store):
    """The stand-in listens only after a while, as a worker that imports torch does."""
    code = "import time; time.sleep(0.5)\nfrom vision_attn.signals import heard\n" + TALK.replace(
        "for line", "with heard() as asked:\n  for line"
    )
    code += "    say(kind='finished', run=run, outcome=asked.name or 'not told')"
    made, runs = executor(store, code, runs="a")
    made.submit([(runs[0],)])
    made.poll()
    made.cancel(hard=False)
    events = []
    while made.is_busy:
        events += made.poll()
    made.close()
    assert [event.outcome for event in events] == ["SIGTERM"]


def test_no_worker_is_started_once_a_stop_was_asked_for(store, monkeypatch):
    made, runs = executor(store, TALK, jobs=3)
    started = made._started

    def start():
        made.cancel(hard=False)
        return started()

    monkeypatch.setattr(made, "_started", start)
    made.submit([(run,) for run in runs])
    made._feed()
    assert len(made.workers) == 1
    made.cancel(hard=True)
    while made.is_busy:
        made.poll()
    made.close()


def test_a_failure_that_another_driver_has_recorded_meanwhile_holds(store):
    made, runs = executor(store, TALK + "    say(kind='finished', run=run, outcome='done')", jobs=1)
    other = made.folders[runs[1]]
    other.acquire().release("oom", "earlier")
    made.submit([(run,) for run in runs])
    made.folders[runs[2]].acquire().release("oom", "MemoryError: too much")
    events = []
    while made.is_busy:
        events += made.poll()
    made.close()
    assert {event.run[0]: (event.outcome, event.error) for event in events} == {
        "a": ("done", None),
        "b": ("done", None),
        "c": ("oom", "MemoryError: too much"),
    }


@pytest.mark.parametrize(
    "error", [OSError(116, "Stale file handle"), LeaseLost("has been locked"), InputError("locks")]
)
def test_a_folder_that_cannot_be_written_costs_its_run_and_one_sentence(store, monkeypatch, error):
    made, runs = executor(store, TALK + "    __import__('os').abort()", runs="ab", jobs=1)

    def refuse(*arguments, **how):
        raise error

    monkeypatch.setattr(RunFolder, "record_death", refuse)
    assert finished(made, runs) == [("a", "killed"), ("b", "killed")]
    monkeypatch.setattr(Store, "open", refuse)
    made, runs = executor(store, TALK, runs="ab", jobs=1)
    assert finished(made, runs) == [("a", "failed"), ("b", "failed")]
