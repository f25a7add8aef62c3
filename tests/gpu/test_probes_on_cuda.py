"""Every probe of a model and images on a GPU: the rows are those of the CPU, as far as float32 goes."""

import pytest
import torch
from every_probe import DATA, FILLED, KINDS, PLANNED, SHAPE, SPECS, TIMED, built, probe_of

from vision_attn.data import CuedRecall
from vision_attn.models import LSTM, ViT

TASK = CuedRecall(distance=None, pooled=True, train_size=8, val_size=0, test_size=32)
SLOW_ON_THE_CPU = ("ReceptiveField", "Intervention")
CASES = [
    (name, model)
    for model in ("ViT", "CNN")
    for name in KINDS
    if probe_of(KINDS[name]).skip(SPECS[model], PLANNED) is None and (model == "ViT" or name not in SLOW_ON_THE_CPU)
]
CASES += [("Accuracy", "LSTM"), ("Influence", "LSTM"), ("ShiftConsistency", "LSTM")]
FLIPPED = 2 / 12
"""An altered image is rounded to 256 levels, where a last bit can tip the scales: so many images may change class."""


def made(name):
    """The module of a name; recurrent layers have kernels of their own on a GPU, some without gradients."""
    if name != "LSTM":
        return built(name)
    torch.manual_seed(0)
    return SPECS["ViT"].replace(mixer=LSTM()).build(**SHAPE).eval()


def told_apart(rows):
    return [{name: cell for name, cell in row.items() if name != "value"} for row in rows]


@pytest.mark.parametrize(("kind", "model"), CASES)
def test_a_probe_says_on_a_gpu_what_it_says_on_the_cpu(kind, model, device, noted):
    probe = probe_of(KINDS[kind])
    expected = list(probe(made(model), DATA))
    found = list(probe(made(model).to(device), DATA.to(device)))
    assert told_apart(found) == told_apart(expected)
    misses = []
    for row, wanted in zip(found, expected, strict=True):
        if wanted["metric"] in TIMED or kind == "TokenCost":
            continue
        difference = abs(row["value"] - wanted["value"])
        noted(f"probe {kind}: absolute", difference)
        counted = "accuracy" in wanted["metric"] or "consistency" in wanted["metric"] or wanted["metric"] == "correct"
        if difference > (FLIPPED if counted else 1e-3 + 1e-2 * abs(wanted["value"])):
            misses.append((row, wanted["value"]))
    assert misses == []


@pytest.mark.parametrize("kind", ["AccuracyByDistance", "AccuracyByLag", "SubgroupAccuracy"])
def test_probes_of_what_is_known_of_images_too(kind, device):
    probe = KINDS[kind](attribute="distance") if kind == "SubgroupAccuracy" else KINDS[kind]()
    assert set(FILLED) == {"attribute"}
    data = TASK.load()
    torch.manual_seed(0)
    model = ViT(dim=16, depth=1).build(image_size=32, in_chans=3, num_classes=8).eval()
    expected = list(probe(model, data))
    found = list(probe(model.to(device), data.to(device)))
    assert told_apart(found) == told_apart(expected)
    assert [row["value"] for row in found] == pytest.approx([row["value"] for row in expected], abs=0.25)
