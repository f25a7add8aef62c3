"""Which engine is chosen, and what may be said to it."""

import importlib.util

import pytest
from sweeping import EXPERIMENT

from vision_attn import engines
from vision_attn.cli.command import execute
from vision_attn.engines import Workers
from vision_attn.spec import InputError


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"engine": "lsf"}, "engine must be one of 'local', 'slurm', 'ray'. Got 'lsf' instead."),
        ({"sbatch": ("--mem=1",)}, "sbatch options need --engine slurm. Got '--mem=1' with 'local'."),
        ({"engine": "slurm", "address": "a:1"}, "address needs --engine ray. Got 'a:1' with 'slurm'."),
        ({"engine": "slurm", "sbatch": ("gpu",)}, "sbatch option must begin with a dash, as '--partition=gpu'."),
    ],
)
def test_what_an_engine_does_not_hear_is_refused(choice, sentence):
    with pytest.raises(InputError) as caught:
        Workers(**choice)
    assert str(caught.value).startswith(sentence)


def test_options_of_each_engine_are_taken():
    assert Workers(engine="slurm", sbatch=("--mem=1", "-p=x")).sbatch == ("--mem=1", "-p=x")
    assert Workers(engine="ray", address="a:1").address == "a:1"


@pytest.mark.parametrize(("engine", "sentence"), [("slurm", "needs sbatch, squeue, scancel"), ("ray", "needs Ray")])
def test_an_engine_that_is_not_installed_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys, engine, sentence
):
    (tmp_path / "question.py").write_text(EXPERIMENT)
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else there(name, *more))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^engine '{engine}' {sentence}"):
        engines.require(Workers(engine=engine))
    assert execute(["run", "question.py", "--engine", engine]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
