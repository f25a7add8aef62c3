"""A training that is stopped and continued from the bytes of its checkpoint ends in the same bits."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import EAGER, TinyAttention, TinyConv, bits, data, rows, start, steps
from torch import nn

from vision_attn.training import Recipe
from vision_attn.training.checkpoint import from_bytes, to_bytes

UPDATES = 24  # rows at every update but four; an epoch ends inside update 3, 5, 8, ... (40 images, batches of 16)


def resumed(make_model, recipe, choices, stops, images):
    """Train with a stop after each update of `stops`: a fresh state is built and filled from bytes."""
    found, state = [], start(make_model, recipe)
    for stop in [*stops, recipe.updates]:
        for row in steps(state, recipe, images, choices):
            found.append(row)
            if state.update == stop:
                break
        saved = to_bytes(state.state_dict())
        torch.manual_seed(stop)
        state = start(make_model, recipe)
        state.load_state_dict(from_bytes(saved))
    return bits(state.model), rows(found)


@pytest.mark.parametrize("make_model", [TinyConv, TinyAttention])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nadamuon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("stops", [[1], [3], [6, 7], [12, 18, 23]])
def test_resuming_after_any_update_gives_the_bits_of_the_uninterrupted_run(
    make_model, optimizer, precision, channels_last, stops
):
    images = data(val_size=20)
    recipe = Recipe(updates=UPDATES, batch_size=16, optimizer=optimizer, label_smoothing=0.1, learning_rate=1e-2)
    choices = dataclasses.replace(EAGER, precision=precision, channels_last=channels_last)
    state = start(make_model, recipe)
    whole = rows(steps(state, recipe, images, choices))
    assert len(whole) == 20
    assert resumed(make_model, recipe, choices, stops, images) == (bits(state.model), whole)


def test_a_state_taken_from_a_running_training_does_not_change_with_it():
    recipe, images = Recipe(updates=6, batch_size=16), data()
    state = start(TinyConv, recipe)
    running = steps(state, recipe, images)
    next(running)
    taken = state.state_dict()
    before = to_bytes(taken)
    list(running)
    assert to_bytes(taken) == before
    again = start(TinyConv, recipe)
    again.load_state_dict(taken)
    list(steps(again, recipe, images))
    assert bits(again.model) == bits(state.model)
    assert to_bytes(taken) == before


class Tied(nn.Module):
    """One layer twice, and one matrix under two names."""

    def __init__(self):
        super().__init__()
        layer = nn.Linear(16, 16)
        self.body = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.Flatten(), nn.Linear(256, 16), layer, layer)
        self.first, self.second, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 10)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(self.body(x)).relu()))


def test_a_model_with_shared_weights_goes_on_as_if_it_had_not_stopped():
    recipe, images = Recipe(updates=6, batch_size=8), data()
    whole, part, again = (start(Tied, recipe) for _ in range(3))
    list(steps(whole, recipe, images))
    next(updates := steps(part, recipe, images))
    next(updates)
    again.load_state_dict(from_bytes(to_bytes(part.state_dict())))
    list(steps(again, recipe, images))
    assert bits(again.model) == bits(whole.model)
    assert again.model.second.weight is again.model.first.weight


def test_a_finished_training_yields_nothing_more():
    recipe, images = Recipe(updates=2, batch_size=4), data()
    state = start(TinyConv, recipe)
    assert len(list(steps(state, recipe, images))) == 2
    assert list(steps(state, recipe, images)) == []


def test_seconds_go_on_from_where_they_were():
    recipe, images = Recipe(updates=4, batch_size=4), data()
    state = start(TinyConv, recipe)
    next(steps(state, recipe, images))
    assert 0 < state.seconds < 100
    state.seconds = 1000.0
    again = start(TinyConv, recipe)
    again.load_state_dict(state.state_dict())
    list(steps(again, recipe, images))
    assert 1000 < again.seconds < 1100


SCRIPT = """
import sys
from pathlib import Path
from tiny_training import EAGER, TinyAttention, TinyConv, bits, data, start, steps
from vision_attn.training import Recipe
from vision_attn.training.checkpoint import from_bytes, to_bytes
from vision_attn.training.compute import deterministic
import dataclasses, hashlib

name, compile, checkpoint, first, last = sys.argv[1:]
deterministic(1)
recipe = Recipe(updates=12, batch_size=16, label_smoothing=0.1)
choices = dataclasses.replace(EAGER, precision="bf16", compile=compile == "compiled", channels_last=True)
state = start({"conv": TinyConv, "attention": TinyAttention}[name], recipe)
if Path(checkpoint).exists():
    state.load_state_dict(from_bytes(Path(checkpoint).read_bytes()))
assert state.update == int(first)
for _ in steps(state, recipe, data(), choices):
    if state.update == int(last):
        break
Path(checkpoint).write_bytes(to_bytes(state.state_dict()))
print(hashlib.sha256(bits(state.model)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv", "attention"])
@pytest.mark.parametrize("compile", ["eager", "compiled"])
def test_resuming_in_a_fresh_process_gives_the_same_bits(tmp_path, name, compile):
    here = Path(__file__).resolve().parent
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1]), *sys.path])}

    def process(checkpoint: str, first: int, last: int) -> str:
        arguments = [name, compile, str(tmp_path / checkpoint), str(first), str(last)]
        command = [sys.executable, "-c", SCRIPT, *arguments]
        return subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout

    whole = process("whole.pt", 0, 12)
    half = process("half.pt", 0, 5)
    assert process("half.pt", 5, 12) == whole != half
