"""One command executes some runs of a plan; files in the current directory and banners change nothing about it."""

import os
import subprocess
import sys

import pytest
import torch
from sweeping import EXPERIMENT, ROOT, facts

from vision_attn import Mnist5k, Recipe, Run, ViT, worker
from vision_attn.executors import local
from vision_attn.plan import Plan, PlannedRun
from vision_attn.run import Outcome
from vision_attn.run_one import read_plan, resolve, run
from vision_attn.spec import InputError, json_sha256, to_json
from vision_attn.store import Store

BANNER = """import sys
sys.stdout.write('Welcome!\\n{"kind": "finished", "run": "x"}\\nhalf a line')
sys.stdout.flush()
"""
FINISHES = """import json, sys
for line in sys.stdin:
    print(json.dumps({"kind": "finished", "run": line.strip(), "outcome": "done"}), flush=True)
"""


def plan_of(*keys):
    runs = {key: PlannedRun(hint="run", run={}) for key in keys}
    return Plan(name="made-up", question="?", factors={}, cells=(), runs=runs)


def test_keys_may_be_cut_short_joined_and_repeated():
    keys = ["a" * 64, "ab" * 32, "c" * 64]
    plan = plan_of(*keys)
    assert resolve(plan, ["c" * 12, "ababab", keys[0], keys[2]]) == [(keys[2],), (keys[1],), (keys[0],)]
    assert resolve(plan, [f"{keys[1]},{keys[0]},{keys[1]}", keys[0]]) == [(keys[1], keys[0])]


@pytest.mark.parametrize(
    ("text", "why"),
    [("aaaaaa", "means 2 runs"), ("dddddd", "means none of them"), ("aaaaa", "means none"), ("", "means none")],
)
def test_a_key_that_means_no_run_or_several_is_refused(text, why):
    with pytest.raises(InputError, match=f"key must be that of one of the 2 runs of the plan.*Got '{text}'.*{why}"):
        resolve(plan_of("a" * 64, "a" * 63 + "b"), [text])


@pytest.mark.parametrize("name", ["absent.json", ".", "there.json/below", "mine.py"])
def test_a_plan_that_is_not_there_is_refused(tmp_path, name):
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(
        InputError,
        match=r"plan must be a file that `plan --save` has written: `vision-attn plan .* --save plan.json` writes one",
    ):
        read_plan(tmp_path / name)


def test_a_run_that_was_killed_before_is_executed_again_and_one_that_failed_is_not(tmp_path, monkeypatch):
    keys = [letter * 64 for letter in "ab"]
    found = Store(tmp_path)
    for key, outcome in zip(keys, ("killed", "failed"), strict=True):
        found.open(key, hint="run", run={}, index={}).acquire().release(outcome, "why")
    monkeypatch.setattr(local, "python", lambda *arguments: [sys.executable, "-c", FINISHES])
    told = []
    options = {"threads": 1, "device": "cpu", "timeout": None, "no_progress": 60, "experiment": None}
    ended = run(plan_of(*keys), [(key,) for key in keys], store=tmp_path, tell=told.append, **options)
    assert [(event.run, event.outcome) for event in told if event] == [(keys[0], "done")]
    assert ended.states[keys[1]].name == "failed"


def test_a_folder_that_holds_another_run_or_none_costs_that_run_and_not_the_worker(tmp_path, monkeypatch):
    """As a plan by someone else's hand may have left it in a shared pool."""
    wanted, other = (
        to_json(Run(model=ViT(), data=Mnist5k(train_size=50), recipe=Recipe(updates=1), seed=seed)) for seed in (0, 1)
    )
    unknown, store, told = {"kind": "Nothing"}, Store(tmp_path), []
    for key, lies_there in ((wanted, other), (unknown, unknown), (other, other)):
        store.open(json_sha256(key), hint="run", run=lies_there, index={})
    monkeypatch.setattr(worker, "execute", lambda *given, **options: Outcome("done"))
    options = {"device": torch.device("cpu"), "threads": 1, "stopping": lambda: False}

    def tell(kind, key, **more):
        if kind == "finished":
            told.append((key, more["outcome"], more["error"]))

    keys = [json_sha256(wanted), json_sha256(unknown), "f" * 64, json_sha256(other)]
    for key in keys:
        worker._execute([key], Store(tmp_path), {}, [], options, tell)
    assert [(key, outcome) for key, outcome, _ in told] == [*((key, "failed") for key in keys[:3]), (keys[3], "done")]
    for sentence, (_, _, error) in zip(
        ("must hold the run", "kind of Run must be", "has no folder"), told, strict=False
    ):
        assert sentence in error


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_runs_one_by_one_are_those_of_a_sweep_whatever_lies_in_the_current_directory_or_is_printed(tmp_path):
    work, site = tmp_path / "work", tmp_path / "site"
    for folder in (work / "vision_attn", site):
        folder.mkdir(parents=True)
    question = tmp_path / "question.py"
    question.write_text(EXPERIMENT)

    def command(*arguments, path=(ROOT,)):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "CI": "true"}
        command = [sys.executable, "-P", "-m", "vision_attn.cli", *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    assert command("run", question, "--results", tmp_path / "whole")[0] == 0
    _, said = command("plan", question, "--results", tmp_path / "results", "--save", tmp_path / "plan.json", "--keys")
    keys = said.split()
    assert len(keys) == 4
    (work / "queue.py").write_text("raise SystemExit('the queue of the current directory')")
    (work / "vision_attn" / "__init__.py").write_text("raise SystemExit('the package of the current directory')")
    (site / "sitecustomize.py").write_text(BANNER)
    options = ("--plan", tmp_path / "plan.json", "--store", tmp_path / "results/runs")
    ways = [(keys[0],), (f"{keys[1]},{keys[2]}", keys[0]), (keys[3][:12],)]
    for way in ways:
        code, said = command("run-one", *way, *options, path=(ROOT, site))
        assert code == 0, said
    code, said = command("run-one", *keys, *options)
    assert (code, said) == (0, "4 runs: 4 done\n")
    assert facts(tmp_path, "results") == facts(tmp_path, "whole")
    assert command("run-one", "nothing", *options)[0] == 2
