import io
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import TinyConv, data, start, steps

from vision_attn.training import Recipe
from vision_attn.training.checkpoint import MAGIC, DamagedCheckpoint, from_bytes, to_bytes

CONTENT = {"state": {"weight": torch.arange(6.0)}, "update": 3, "seconds": 0.5, "text": '{"a": null}', "list": [1]}
SAVED = to_bytes(CONTENT)


def test_content_survives():
    found = from_bytes(SAVED)
    assert torch.equal(found["state"].pop("weight"), torch.arange(6.0))
    assert found == {"state": {}, "update": 3, "seconds": 0.5, "text": '{"a": null}', "list": [1]}


@given(st.integers(0, len(SAVED) * 8 - 1))
def test_a_flipped_bit_is_detected(bit):
    damaged = bytearray(SAVED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedCheckpoint):
        from_bytes(bytes(damaged))


@given(st.integers(0, len(SAVED) - 1))
def test_a_truncated_checkpoint_is_detected(length):
    with pytest.raises(DamagedCheckpoint):
        from_bytes(SAVED[:length])


def test_bytes_after_the_end_are_detected():
    with pytest.raises(DamagedCheckpoint):
        from_bytes(SAVED + b"\0")


class Hostile:
    def __reduce__(self):
        return os.mkdir, (self.target,)

    def __init__(self, target: str) -> None:
        self.target = target


def test_a_hostile_checkpoint_with_a_right_checksum_runs_no_code(tmp_path):
    payload = to_bytes({"state": Hostile(str(tmp_path / "gotcha"))})
    with pytest.raises(DamagedCheckpoint):
        from_bytes(payload)
    assert not (tmp_path / "gotcha").exists()
    torch.load(io.BytesIO(payload[len(MAGIC) + 32 :]), weights_only=False)
    assert (tmp_path / "gotcha").exists()  # it does run code where it is let


def test_a_state_of_training_loads_without_pickled_classes():
    recipe = Recipe(updates=3, batch_size=8)
    for optimizer in ("adamw", "sgd"):
        state = start(TinyConv, recipe.replace(optimizer=optimizer))
        list(steps(state, recipe, data()))
        assert from_bytes(to_bytes(state.state_dict()))["update"] == 3


def test_the_state_of_another_budget_or_seed_is_refused():
    saved = start(TinyConv, Recipe(updates=3)).state_dict()
    with pytest.raises(AssertionError, match="budget"):
        start(TinyConv, Recipe(updates=4)).load_state_dict(saved)
    with pytest.raises(AssertionError, match="seed"):
        start(TinyConv, Recipe(updates=3), seed=1).load_state_dict(saved)
