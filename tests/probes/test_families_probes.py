"""Similarity of layers, calibration, corruptions and frequency bands, where the answer is known."""

import base64
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from noise_data import noise

from vision_attn.data import Data, Split
from vision_attn.models import ViT
from vision_attn.probes import CKASketch, CorrectByImage, Corruption, FrequencyBands, LayerCKA, altered, grams
from vision_attn.probes.altered import piecewise
from vision_attn.probes.calibration import calibration_error
from vision_attn.probes.cka_sketch import centred, signs, u_centred
from vision_attn.probes.corruption import STRENGTHS, corrupted
from vision_attn.probes.frequency_bands import filtered
from vision_attn.probes.grams import gram_of as _gram
from vision_attn.probes.layer_cka import cka
from vision_attn.probes.zoom import zoomed
from vision_attn.spec import InputError
from vision_attn.statistics import sketched_cka

N, P = 64, 128


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_independent_features_are_unlike_by_the_unbiased_estimate_alone():
    pairs = [(_gram(normal(2 * i, N, P)), _gram(normal(2 * i + 1, N, P))) for i in range(20)]
    unbiased = torch.tensor([cka(k, other, unbiased=True) for k, other in pairs])
    biased = torch.tensor([cka(k, other, unbiased=False) for k, other in pairs])
    assert abs(unbiased.mean()) < 4 * unbiased.std() / math.sqrt(20)
    assert abs(unbiased.mean()) < 0.02
    assert biased.mean() == pytest.approx(P / (N + P), abs=0.02)


@pytest.mark.parametrize("unbiased", [True, False])
def test_it_is_one_for_rotated_and_scaled_features_and_follows_the_published_formula(unbiased):
    x, y = normal(0, 9, 5), normal(1, 9, 3)
    rotation = torch.linalg.qr(normal(2, 5, 5)).Q
    assert cka(_gram(x), _gram(3 * x @ rotation), unbiased=unbiased) == pytest.approx(1)
    assert cka(_gram(x), _gram(torch.ones(9, 1)), unbiased=unbiased) is None
    if unbiased:  # the mean over all quadruples of different images: the estimate's definition

        def hsic(k, other):
            k, other = k.tolist(), other.tolist()
            return sum(
                k[i][j] * (other[i][j] + other[q][r] - 2 * other[i][q])
                for i, j, q, r in itertools.permutations(range(len(k)), 4)
            )

        k, other = _gram(x), _gram(y)
        expected = torch.tensor(hsic(k, other) / math.sqrt(hsic(k, k) * hsic(other, other)))
    else:
        a, b = x - x.mean(0), y - y.mean(0)
        expected = (a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    assert cka(_gram(x), _gram(y), unbiased=unbiased) == pytest.approx(expected.item())


@pytest.mark.parametrize(("unbiased", "of"), [(True, u_centred), (False, centred)])
def test_cka_is_the_cosine_of_centred_matrices_and_its_sketch_is_as_near_as_it_says(unbiased, of):
    """Two networks of six layers each, less and less like one source: every pair to four standard errors at most."""
    count, bits, source = 64, 8192, normal(0, 64, 12)
    layers = [source @ normal(i, 12, 40) + i % 6 * normal(100 + i, count, 40) for i in range(1, 13)]
    found = [_gram(x) for x in layers]
    exact = np.array([[cka(k, other, unbiased=unbiased) for other in found[6:]] for k in found[:6]])
    vectors = torch.stack([of(k).flatten() for k in found])
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    assert (unit[:6] @ unit[6:].T).numpy() == pytest.approx(exact)
    texts = [base64.b64encode(np.packbits(own.numpy()).tobytes()).decode() for own in signs(vectors, bits)]
    error = np.abs(sketched_cka(texts[:6], texts[6:]) - exact)
    assert error.max() < 4 * math.pi / 2 / math.sqrt(bits)
    assert exact.max() - exact.min() > 0.3
    assert sketched_cka(texts[:1], texts[:1]) == pytest.approx(1)
    with pytest.raises(InputError, match=r"one number of bits\. Got 8 and 8192 instead"):
        sketched_cka(["qg=="], texts[:1])


def test_sketches_of_two_networks_tell_what_their_layers_have_in_common():
    """Against `LayerCKA` within one network, and 1 for the same network, whose last layer is turned and scaled."""
    data, model = noise(images=64), ViT(dim=16, depth=2, mlp_ratio=1)
    torch.manual_seed(0)
    module = model.build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)
    rows = list(CKASketch(images=32, bits=16384)(module, data))
    assert [(row["layer"], row["estimator"]) for row in rows] == [
        (layer, estimator) for layer in (1, 2, 3) for estimator in ("unbiased", "biased")
    ]
    images = data.normalise(data.test.images[::2])
    own = grams.grams(module, images, ["patch_embed", "blocks.0", "blocks.1"])
    for estimator in ("unbiased", "biased"):
        texts = [row["signs"] for row in rows if row["estimator"] == estimator]
        exact = [[cka(k, other, unbiased=estimator == "unbiased") for other in own] for k in own]
        assert sketched_cka(texts, texts) == pytest.approx(np.array(exact), abs=0.05)
    k, hollow = own[0], u_centred(own[0])
    (value,) = [row["value"] for row in rows if (row["layer"], row["estimator"]) == (1, "unbiased")]
    assert value == pytest.approx((hollow * k).sum().item() / (32 * 29))


@pytest.mark.parametrize("count", [5, 37, 64])
def test_what_rounding_makes_of_constant_layers_is_like_nothing(count):
    """A sum of equal numbers is hardly ever as many times the number: quotients of such leftovers are any number."""
    varied, constant = normal(0, count, 4).float(), torch.full((count, 7), 0.3)
    noisy = constant * (1 + 1e-7 * normal(1, count, 7).float())
    for unbiased in (True, False):
        for one, other in ((constant, varied), (noisy, varied), (constant, 5 * constant), (noisy, constant)):
            assert cka(_gram(one), _gram(other), unbiased=unbiased) is None
        shifted = cka(_gram(varied), _gram(varied.square() + 1000), unbiased=unbiased)
        assert shifted == pytest.approx(cka(_gram(varied), _gram(varied.square()), unbiased=unbiased), abs=1e-3)


def test_features_that_are_no_numbers_are_refused_rather_than_left_out():
    data, model = noise(images=8), ViT(dim=16, depth=2, mlp_ratio=1)
    module = model.build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)
    module.blocks[1].mlp.fc2.bias.data.fill_(math.nan)
    with pytest.raises(InputError, match=r"features of blocks\.1 must be numbers for LayerCKA\. Got NaN instead"):
        list(LayerCKA(images=4)(module, data))


def test_every_layer_is_compared_with_later_ones_pixels_labels_and_itself_on_other_images():
    data, model = noise(images=16), ViT(dim=16, depth=2, mlp_ratio=1)
    torch.manual_seed(0)
    module = model.build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)
    others = {1: {"2", "3"}, 2: {"3"}, 3: set()}
    for labels in (data.test.labels, torch.arange(16) % 5):  # labels that are all alike are like nothing
        test = Split(data.test.images, labels)
        rows = list(LayerCKA(images=8)(module, dataclasses.replace(data, test=test)))
        varied = {"labels"} if labels.any() else set()
        for layer, later in others.items():
            found = {row["other"] for row in rows if (row["layer"], row["estimator"]) == (layer, "biased")}
            assert found == later | varied | {"pixels", "other images"}


def test_layers_are_named_where_a_model_does_not_say_which_it_has():
    data = noise(images=16)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(data.in_chans, 4, 3), torch.nn.Conv2d(4, 6, 3), torch.nn.Flatten())
    with pytest.raises(InputError, match="layers of Sequential must be named"):
        list(LayerCKA(images=8)(model, data))
    rows = list(LayerCKA(images=8, layers=("1", "0"))(model, data))
    swapped = list(LayerCKA(images=8, layers=("0", "1"))(model, data))

    def value(rows, layer, other):
        (found,) = [r["value"] for r in rows if (r["layer"], r["other"], r["estimator"]) == (layer, other, "biased")]
        return found

    assert value(rows, 1, "2") == pytest.approx(value(swapped, 1, "2"))
    for other in ("pixels", "other images"):
        assert (value(rows, 1, other), value(rows, 2, other)) == (value(swapped, 2, other), value(swapped, 1, other))


def test_layers_that_are_too_large_to_be_held_together_are_taken_one_after_the_other(monkeypatch):
    data, model = noise(images=8), ViT(dim=16, depth=2, mlp_ratio=1)
    module = model.build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)
    whole, last = list(LayerCKA(images=4)(module, data)), []
    monkeypatch.setattr(grams, "NUMBERS", 4 * 64 * 16)  # one layer for 4 images
    module.blocks[-1].register_forward_hook(lambda *_: last.append(1))
    passes = []
    module.patch_embed.register_forward_hook(lambda *_: passes.append(1))
    parts = list(LayerCKA(images=4)(module, data))
    assert (len(passes), len(last)) == (8, 4)  # twice for one image, and a pass for each layer
    for one, other in zip(whole, parts, strict=True):
        assert other == one | {"value": pytest.approx(one["value"], rel=1e-9)}
    x = normal(0, 4, 50)
    monkeypatch.setattr(grams, "NUMBERS", 12)
    torch.testing.assert_close(_gram(x), (x - x[0]) @ (x - x[0]).T)


ALTERATIONS = {
    **{kind: lambda x, kind=kind: corrupted(x, kind, STRENGTHS[kind][0], seed=3) for kind in STRENGTHS},
    "low": lambda x: filtered(x, "low", 3),
    "smaller": lambda x: zoomed(x, side=7, places=["centre"], fill=None),
    "larger": lambda x: zoomed(x, side=11, places=["centre"], fill=None),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_images_are_altered_some_at_a_time_and_alike(name, monkeypatch):
    images = torch.randint(256, (37, 1, 9, 9), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    whole, parts = ALTERATIONS[name](images), []
    monkeypatch.setattr(altered, "PIXELS", 1)
    assert torch.equal(ALTERATIONS[name](images), whole)
    piecewise(images, lambda part: parts.append(len(part)) or part)
    assert parts == [16, 16, 5]


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_images():
    confidence = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    hits = torch.tensor([True, True, True, False, True, False])
    assert calibration_error(confidence, hits, bins=10) == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.05)
    assert calibration_error(torch.tensor([1.0, 0.0]), torch.tensor([True, False]), bins=15) == 0


def cosine(cycles, side=16):
    wave = 128 + 60 * torch.cos(2 * math.pi * cycles * torch.arange(side) / side)
    return wave.round().to(torch.uint8).expand(1, 1, side, side)


def test_a_band_keeps_the_waves_within_it_and_the_mean():
    wave = cosine(3)
    for band, cutoff, kept in (("low", 3, True), ("low", 2, False), ("high", 2, True), ("high", 3, False)):
        left = filtered(wave, band, cutoff).float()
        assert (left - wave.float()).abs().max() <= 1 or not kept
        assert (left - 128).abs().max() <= 2 or kept


def test_corruptions_do_what_their_names_say():
    image = torch.randint(64, 192, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    plain = image.float()
    noisy = corrupted(image, "noise", 0.1).float() - plain
    assert noisy.std().item() == pytest.approx(25.5, rel=0.05)
    pale = corrupted(image, "contrast", 0.5).float()
    assert pale.std().item() == pytest.approx(0.5 * plain.std().item(), rel=0.02)
    assert (corrupted(image, "brightness", 0.1).float() - plain).mean().item() == pytest.approx(25.5, abs=1)
    flat = torch.full((1, 1, 8, 8), 77, dtype=torch.uint8)
    for kind in ("blur", "pixelate", "contrast"):
        assert torch.equal(corrupted(flat, kind, 0.5), flat)
    dot = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    dot[..., 4, 4] = 255
    weights = [math.exp(-(i**2) / 2) for i in range(-4, 5)]
    assert corrupted(dot, "blur", 1.0)[0, 0, 4, 4].item() == round(255 / sum(weights) ** 2)
    checks = torch.tensor([[0, 200], [100, 100]], dtype=torch.uint8).repeat(2, 2)[None, None]
    assert corrupted(checks, "pixelate", 0.5).unique().tolist() == [100]


def test_severity_0_and_a_band_of_everything_are_the_images_as_they_are():
    images = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    data = Data.from_tensors(images, torch.arange(20) % 4)
    torch.manual_seed(0)
    model = ViT(dim=8, depth=1, patch_size=4).build(image_size=8, in_chans=1, num_classes=4)
    hits = [row["value"] for row in CorrectByImage()(model, data)]
    clean = {row["value"] for row in Corruption()(model, data) if row["severity"] == 0}
    assert clean == {sum(hits) / 20}
    rows = list(FrequencyBands(cutoffs=(100,))(model, data))
    assert rows[0]["value"] == sum(hits) / 20
    assert len(list(Corruption()(model, data))) == sum(len(one) + 1 for one in STRENGTHS.values())


@pytest.mark.parametrize("kind", STRENGTHS)
def test_images_are_corrupted_alike_whatever_a_model_computes_in(kind):
    images = torch.randint(256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        found = corrupted(images, kind, STRENGTHS[kind][0])
    assert torch.equal(found, corrupted(images, kind, STRENGTHS[kind][0]))


def test_other_images_have_nothing_to_do_with_the_first_in_a_split_that_is_sorted_by_class():
    data, model = noise(images=200), ViT(dim=16, depth=1, mlp_ratio=1)
    torch.manual_seed(0)
    module = model.build(image_size=data.image_size, in_chans=data.in_chans, num_classes=data.num_classes)
    labels = torch.arange(200) * data.num_classes // 200
    shades = torch.linspace(20, 235, data.num_classes)[labels].view(-1, 1, 1, 1)
    images = (shades + 0.05 * data.test.images).clamp(0, 255).to(torch.uint8)
    rows = LayerCKA(images=100)(module, dataclasses.replace(data, test=Split(images, labels)))
    found = [row["value"] for row in rows if (row["other"], row["estimator"]) == ("other images", "unbiased")]
    assert max(map(abs, found)) < 0.1
