"""Every kind of probe, found by itself, asked of a ViT, a CNN, a model of timm and one of one's own."""

import math

import pytest
import torch
from every_probe import DATA, KINDS, PLANNED, SPECS, TIMED, built, probe_of

from vision_attn.probes import Probe
from vision_attn.spec import InputError, from_json, to_json


def untimed(rows):
    return [row for row in rows if row["metric"] not in TIMED]


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
