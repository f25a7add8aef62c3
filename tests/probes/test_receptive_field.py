import time

import pytest
import torch

from vision_attn import ResNet, SelfAttention, ViT
from vision_attn.data.base import Data, Split
from vision_attn.models import LSTM
from vision_attn.probes import Probe, ReceptiveField
from vision_attn.spec import InputError, from_json, to_json

EMPTY = Split(torch.zeros(0, 3, 32, 32, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
SMALL = {"image_size": 32, "in_chans": 3, "num_classes": 10}


@pytest.fixture
def data():
    named = {"name": "empty", "classes": tuple("abcdefghij"), "fingerprint": "0" * 64, "subset_sha256": "0" * 64}
    return Data(train=EMPTY, val=None, test=EMPTY, flip=False, mean=(0.5,) * 3, std=(0.2,) * 3, **named)


def values(rows, metric, **where):
    return [
        row["value"] for row in rows if row["metric"] == metric and all(row.get(key) == v for key, v in where.items())
    ]


def test_a_row_for_every_layer_mode_unit_and_direction(data):
    model = ViT(dim=16, depth=2, mixer=SelfAttention(num_heads=2)).build(**SMALL)
    rows = list(ReceptiveField()(model, data))
    for mode in ("architectural", "dependency"):
        assert values(rows, "receptive_field", mode=mode) == [4, 32, 32]
        for unit in ("centre", "edge", "corner"):
            assert values(rows, "visible_fraction", mode=mode, unit=unit) == [1 / 64, 1, 1]
        for direction in ("any", "right", "left", "down", "up"):
            assert values(rows, "reach", mode=mode, direction=direction) == [0, 7, 7]
    assert [row["extent"] for row in rows if "extent" in row] == ["exact", "global", "global"] * 2
    assert len(rows) == 2 * 3 * (1 + 3 + 5)
    assert {row["layer"] for row in rows} == {0, 1, 2}
    assert all(type(row["value"]) in (int, float) for row in rows)


def test_a_convolutional_network_is_measured_beyond_the_image(data):
    rows = list(ReceptiveField()(ResNet(width=8, blocks=3).build(**SMALL), data))
    for mode in ("architectural", "dependency"):
        assert values(rows, "receptive_field", mode=mode)[-1] == 81
        assert values(rows, "receptive_field", mode=mode)[0] == 3


def test_the_direction_of_a_memory_shows(data):
    model = ViT(dim=16, depth=1, mixer=LSTM(bidirectional=False)).build(**SMALL)
    rows = list(ReceptiveField()(model, data))
    for mode in ("architectural", "dependency"):
        at = {"mode": mode, "layer": 1}
        found = {d: values(rows, "reach", direction=d, **at) for d in ("any", "right", "left", "down", "up")}
        assert found == {"any": [7], "right": [0], "left": [7], "down": [0], "up": [7]}


def test_the_spec_is_checked_and_comes_back_from_json():
    with pytest.raises(InputError, match="patch_size of ReceptiveField must be at least 1"):
        ReceptiveField(patch_size=0)
    assert from_json(to_json(ReceptiveField(patch_size=8)), Probe) == ReceptiveField(patch_size=8)


@pytest.mark.benchmark
def test_six_blocks_at_32_pixels_take_less_than_three_seconds_of_one_core(data):
    model, threads = ViT().build(**SMALL), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        list(ReceptiveField()(model, data))
        assert time.process_time() - start < 3
    finally:
        torch.set_num_threads(threads)


def test_weights_that_are_no_numbers_are_refused_in_a_sentence(data):
    model = ResNet(width=8, blocks=1).build(**SMALL)
    torch.nn.init.constant_(next(model.stem.parameters()), torch.nan)
    with pytest.raises(InputError, match=r"gradients of ResidualNetwork must be finite numbers\. Got NaN or infinity"):
        list(ReceptiveField()(model, data))
