"""Which engine is chosen, and what may be said to it."""

import pytest

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
