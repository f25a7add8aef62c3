"""Cost against tokens: what is counted, and what a fresh process says, without asking how fast the machine is."""

import pytest
import torch

from vision_attn.data import Mnist5k
from vision_attn.models import ResNet, SelfAttention, ViT
from vision_attn.probes import TokenCost, token_cost
from vision_attn.probes.cost_point import Cost, Point, measure
from vision_attn.probes.token_cost import _numbers, _slopes
from vision_attn.spec import InputError

MODEL = ViT(dim=16, depth=1, mlp_ratio=4, mixer=SelfAttention(num_heads=2, path="math"), position="none")


def point(**changes):
    given = {"side": 4, "part": "mixer", "passes": "forward", "batch_size": 1, "min_seconds": 0.0, "device": "cpu"}
    return Point(**{"model": MODEL, "memory_limit": 2**32, **given, **changes})


def test_multiply_adds_are_those_of_the_formula(monkeypatch):
    monkeypatch.setattr(token_cost, "measure", lambda point: Cost(None, None))
    module = MODEL.build(image_size=28, in_chans=1, num_classes=10)
    for part, each in (("mixer", 4 * 16**2), ("blocks", 12 * 16**2)):
        probe = TokenCost(sides=(4, 8), part=part, passes=("forward",), min_seconds=0.0)
        rows = [row for row in probe(module, Mnist5k(train_size=10).load()) if row["metric"] == "multiply_adds"]
        assert [(row["tokens"], row["value"]) for row in rows] == [(n, n * each + 2 * n**2 * 16) for n in (16, 64)]


def test_slopes_are_exponents_and_running_out_is_a_row():
    less, more = Cost((1.0, 2.0, 3.0), 100), Cost((7.0, 8.0, 9.0), 1600)
    slopes = {row["metric"]: row["value"] for row in _slopes(8, less, 16, more)}
    assert slopes == pytest.approx({"time_slope": 1.0, "memory_slope": 2.0})
    assert list(_numbers(Cost(None, None))) == [{"metric": "ran_out", "value": 1.0}]
    assert list(_slopes(8, less, 16, Cost(None, None))) == []


def test_a_process_of_its_own_measures_and_says_where_memory_ran_out():
    full = measure(point(side=32, passes="forward and backward"))
    low, middle, high = full.seconds
    assert 0 < low <= middle <= high
    assert full.memory is None or full.memory > 2 * 1024**2 * 4  # scores of two heads
    assert measure(point(side=64, memory_limit=2**26)) == Cost(None, None)
    broken = point(model=MODEL.replace(mixer=SelfAttention(pattern="window", num_heads=3)))
    with pytest.raises(RuntimeError, match="num_heads"):
        measure(broken)


def test_a_model_without_blocks_is_skipped_and_refused():
    assert TokenCost().skip(ResNet(), Mnist5k()) == "ResNet has no mixer in its blocks"
    assert TokenCost().skip(MODEL.replace(pool="token"), Mnist5k()) == "its prefix tokens lie on no grid"
    with pytest.raises(InputError, match="a trunk with a mixer in its blocks"):
        list(TokenCost()(torch.nn.Linear(1, 1), Mnist5k(train_size=10).load()))
    with pytest.raises(InputError, match="rising numbers"):
        TokenCost(sides=(8, 8))
