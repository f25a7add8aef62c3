"""Every kind of probe, found by itself, asked of a ViT, a CNN, a model of timm and one of one's own."""

import math

import pytest
import torch
from every_probe import DATA, KINDS, PLANNED, SPECS, TIMED, built, probe_of

from vision_attn.data import Data
from vision_attn.probes import Probe, SaliencyGallery
from vision_attn.probes.asking import answers
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


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_probe_takes_the_gradients_that_it_needs_wherever_it_is_asked(kind, mode):
    probe, module = probe_of(kind), built(next(iter(SPECS)))
    if probe.skip(SPECS[next(iter(SPECS))], PLANNED) is None:
        expected = untimed(probe(module, DATA))
        with mode():
            assert untimed(probe(module, DATA)) == expected


NOT_A_NUMBER = {
    "Size",
    "TokenCost",
    "ReceptiveField",
    "Influence",
    "Intervention",
    "CKASketch",
    "LayerCKA",
    "BranchScale",
    "MapRanks",
}
"""Probes that look at no logits."""


def asked(kind, module, data):
    """The rows, or the sentence that refuses them."""
    try:
        return list(probe_of(kind)(module, data))
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_single_test_image_is_measured_or_refused_in_a_sentence(kind):
    alone = Data.from_tensors(DATA.test.images[:1], DATA.test.labels[:1], classes=DATA.classes)
    found = asked(kind, built("ViT"), alone)
    needs_two = {"Occlusion", "Intervention", "Deletion", "DeletionCurve", "LayerCKA", "CKASketch"}
    if kind.__name__ in needs_two:
        assert found.startswith("test split of tensors must have ")
        assert found.endswith("Got 1 instead.")


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_logits_that_are_no_numbers_are_refused_rather_than_counted_as_a_class(kind):
    module = built("CNN")
    if probe_of(kind).skip(SPECS["CNN"], PLANNED) is not None or kind.__name__ in NOT_A_NUMBER:
        return
    module.head.bias.data.fill_(math.nan)
    with pytest.raises(InputError, match=r"^(logits|model|data|images|pixels|attribute) .* must (be|say|have)"):
        answers(probe_of(kind), module, DATA)


def test_a_class_that_the_images_lack_is_called_by_its_number():
    few = Data.from_tensors(DATA.test.images, DATA.test.labels * 0, classes=("a",))
    module = built("ViT")
    module.head.bias.data[7] = 100
    rows = list(SaliencyGallery(images=2, patch_size=14, methods=("random",))(module, few))
    assert {row["given"] for row in rows if row["metric"] == "gallery_probability"} == {"output 7"}
