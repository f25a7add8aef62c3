"""Every kind of probe, found by itself, asked of a ViT, a CNN, a model of timm and one of one's own."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from vision_attn.data import Data, Mnist5k
from vision_attn.models import Model, ResNet, Timm, ViT
from vision_attn.probes import Probe
from vision_attn.spec import InputError, from_json, kinds, to_json

QUICK = {"images": 4, "repeats": 1, "draws": 1, "sides": (2,), "min_seconds": 0.0, "passes": ("forward",)}
TIMED = ("latency_seconds", "peak_bytes")
"""Metrics of the machine, which are not the same twice."""
FILLED = {"attribute": "quadrant"}
"""What a probe is given for fields that have no default."""
KINDS = {name: kind for name, kind in kinds(Probe).items() if kind.__module__.startswith("vision_attn.")}
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (12, 1, 28, 28), generator=GENERATOR, dtype=torch.uint8)
DATA = Data.from_tensors(IMAGES, torch.arange(12) % 10, classes=tuple("0123456789"))
PLANNED = Mnist5k(train_size=20)
SHAPE = {"image_size": 28, "in_chans": 1, "num_classes": 10}
SPECS: dict[str, Model] = {
    "ViT": ViT(dim=16, depth=1, patch_size=7),
    "CNN": ResNet(width=8, blocks=1),
    "timm": Timm(name="resnet10t"),
}


class Own(nn.Module):
    """A model of one's own, of which nothing is known."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.stem(x).relu().mean((2, 3)))


def probe_of(kind):
    fields = {field.name for field in dataclasses.fields(kind)}
    given = {name: value for name, value in {**QUICK, **FILLED}.items() if name in fields}
    if "pixels" in fields:
        given["pixels"] = (0, 1)
    if kind.__name__ == "PatchShuffle":
        given["grids"] = (2, 4)
    return kind(**given)


def untimed(rows):
    return [row for row in rows if row["metric"] not in TIMED]


def built(name):
    torch.manual_seed(0)
    return (Own() if name == "own" else SPECS[name].build(**SHAPE)).eval()


@pytest.mark.parametrize("model", [*SPECS, "own"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_probe_yields_flat_finite_rows_twice_the_same_or_says_why_not(kind, model):
    probe, module = probe_of(kind), built(model)
    assert from_json(to_json(probe), Probe) == probe
    if model in SPECS and (reason := probe.skip(SPECS[model], PLANNED)) is not None:
        assert reason.strip()
        return
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    rows, refused = [], ""
    try:
        rows = list(probe(module, DATA))
    except InputError as error:
        refused = str(error)
    if refused:
        assert model == "own"  # a planned model is skipped instead
        assert refused.endswith(".")
        return
    assert torch.equal(torch.rand(1), expected), "the global generator was used"
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    for row in rows:
        assert isinstance(row["metric"], str)
        assert math.isfinite(row["value"])
        assert all(isinstance(cell, str | int | float) for cell in row.values())
    assert rows
    assert untimed(probe(module, DATA)) == untimed(rows)
