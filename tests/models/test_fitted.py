"""Models that are fitted at once: what holds for all of them, and each against its definition."""

import json

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from vision_attn.models import (
    Classifier,
    FittedModel,
    KMeansFeatures,
    LogisticRegression,
    Model,
    NearestNeighbours,
    count_flops,
    count_params,
)
from vision_attn.models.fitted import FOLDS, choose, folds
from vision_attn.spec import InputError, from_json, kinds, to_json

SHAPE = {"image_size": 12, "in_chans": 3, "num_classes": 3}
MODELS = {
    "LogisticRegression": LogisticRegression(strengths=(1e-3, 1e-2)),
    "NearestNeighbours": NearestNeighbours(components=8),
    "KMeansFeatures": KMeansFeatures(centroids=6, strengths=(1e-2,)),
}


@pytest.fixture(autouse=True)
def few_patches(monkeypatch):
    monkeypatch.setattr("vision_attn.models.baselines.PATCHES", 500)


def blobs(number=60, *, seed=0, num_classes=3):
    """Noise with a bright bar, whose place is the class."""
    images = torch.randn(number, 3, 12, 12, generator=torch.Generator().manual_seed(seed)) * 0.5
    labels = torch.arange(number) % num_classes
    for label in range(num_classes):
        images[labels == label, :, :, 4 * label : 4 * label + 3] += 1.0
    return images, labels


def fitted(model, *, seed=0, num_classes=3):
    module = model.build(**{**SHAPE, "num_classes": num_classes})
    module.fit(*blobs(num_classes=num_classes), seed=seed)
    return module.eval()


def test_every_kind_of_fitted_model_is_here():
    assert {type(model) for model in MODELS.values()} == set(kinds(FittedModel).values())


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
class TestEveryFittedModel:
    def test_it_learns_where_the_bar_is(self, model):
        images, labels = blobs(seed=1)
        logits = fitted(model)(images)
        assert logits.shape == (60, 3)
        assert (logits.argmax(1) == labels).double().mean() > 0.9

    def test_two_classes_are_told_apart_too(self, model):
        images, labels = blobs(seed=1, num_classes=2)
        assert (fitted(model, num_classes=2)(images).argmax(1) == labels).double().mean() > 0.9

    def test_before_it_every_class_is_as_likely(self, model):
        logits = model.build(**SHAPE)(blobs()[0])
        assert torch.equal(logits, logits[:, :1].expand(-1, 3))

    def test_the_logits_are_those_of_its_features(self, model):
        module, images = fitted(model), blobs(seed=1)[0]
        features = module.forward_features(images)
        assert features.shape == (60, module.num_features)
        assert torch.equal(module.forward_head(features), module(images))
        assert torch.equal(module.forward_head(features, pre_logits=True), features)

    def test_one_seed_gives_the_same_bits_and_leaves_the_global_generator_alone(self, model):
        before = torch.get_rng_state()
        first, second = fitted(model).state_dict(), fitted(model).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
        fresh = model.build(**SHAPE)
        state = torch.get_rng_state()
        fresh.fit(*blobs(), seed=0)
        assert torch.equal(torch.get_rng_state(), state)
        torch.set_rng_state(before)

    def test_autocast_changes_nothing(self, model):
        module, images = fitted(model), blobs(seed=1)[0]
        with torch.autocast("cpu", torch.bfloat16):
            low = module(images)
        assert torch.equal(low, module(images))

    def test_its_state_is_all_that_another_one_needs(self, model, tmp_path):
        module, images = fitted(model), blobs(seed=1)[0]
        other = model.build(**SHAPE).eval()
        other.load_state_dict(module.state_dict())
        assert torch.equal(other(images), module(images))
        module.save_pretrained(tmp_path)
        assert torch.equal(Classifier.from_pretrained(str(tmp_path))(images), module(images))

    def test_it_survives_json(self, model):
        assert from_json(json.loads(json.dumps(to_json(model))), Model) == model

    def test_a_class_with_one_image_is_refused(self, model):
        images, labels = blobs()
        keep = torch.cat([torch.arange(1), (labels > 0).nonzero().flatten()])
        with pytest.raises(InputError) as error:
            model.build(**SHAPE).fit(images[keep], labels[keep], seed=0)
        assert str(error.value) == (
            f"training images of {type(model).__name__} must be at least two images of every class, one of which to "
            "choose its settings by. Got 1 of one class instead."
        )

    def test_a_fresh_head_knows_nothing(self, model):
        module = fitted(model)
        module.reset_classifier(5)
        logits = module(blobs()[0])
        assert torch.equal(logits, logits[:, :1].expand(-1, 5))


def test_logistic_regression_is_at_the_minimum_of_its_objective():
    images, labels = blobs()
    noisy = labels.roll(1).where(torch.arange(60) % 4 == 0, labels)
    module = LogisticRegression(strengths=(1e-2,)).build(**SHAPE)
    module.fit(images, noisy, seed=0)
    loss = 0.5 * module.head.weight.pow(2).sum() + 1e-2 * F.cross_entropy(module(images), noisy, reduction="sum")
    loss.backward()
    assert module.head.weight.grad.abs().max() < 1e-3
    assert loss.item() < 1e-2 * 60 * torch.tensor(3.0).log().item()


@pytest.mark.parametrize("neighbours", [1, 5])
def test_neighbours_vote_as_those_of_scikit_learn(neighbours):
    images, labels = blobs()
    labels = labels.roll(2).where(torch.arange(60) % 4 == 0, labels)
    module = NearestNeighbours(neighbours=(neighbours,), components=8).build(**SHAPE)
    module.fit(images, labels, seed=0)
    stored = module.forward_features(images).detach().half().float()
    reference = KNeighborsClassifier(neighbours).fit(stored, labels)
    asked = blobs(40, seed=2)[0]
    shares = torch.from_numpy(reference.predict_proba(module.forward_features(asked).detach()))
    expected = (shares * neighbours + 1) / (neighbours + 3)
    torch.testing.assert_close(module(asked).exp().double(), expected, rtol=0, atol=1e-4)


def test_of_equally_many_votes_the_nearest_wins():
    votes = NearestNeighbours(components=1).build(**SHAPE).head
    votes.remember(torch.tensor([[0.0], [1.0]]), torch.tensor([2, 0]), neighbours=2)
    assert votes(torch.tensor([[0.4], [0.6]])).argmax(1).tolist() == [2, 0]


def test_components_are_the_directions_of_most_variance():
    module, (images, _) = fitted(MODELS["NearestNeighbours"]), blobs()
    pixels = images.flatten(1)
    _, values, directions = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    found = module.projection.weight.detach()
    assert (found[:2] @ directions[:2].T).abs().diagonal().min() > 0.99
    assert module.forward_features(images).mean(0).abs().max() < 1e-4
    assert values[1] > values[2]


def test_features_of_patches_equal_their_definition_patch_by_patch():
    module = fitted(MODELS["KMeansFeatures"])
    image = blobs(1, seed=3)[0]
    sums = torch.zeros(2, 2, 6, dtype=torch.float64)
    for top in range(7):
        for left in range(7):
            patch = image[0, :, top : top + 6, left : left + 6].flatten().double()
            patch = (patch - patch.mean()) / (patch.var(correction=0) + 0.0025).sqrt()
            white = (patch - module.mean) @ module.whitening.double()
            distances = torch.stack([(white - centroid).norm() for centroid in module.centroids.double()])
            sums[int(top >= 3), int(left >= 3)] += (distances.mean() - distances).clamp(min=0)
    torch.testing.assert_close(module.forward_features(image)[0].double(), sums.flatten(), rtol=1e-3, atol=1e-3)


def test_the_drawn_patches_are_patches_of_the_images():
    module = KMeansFeatures(centroids=4).build(**SHAPE)
    images = torch.arange(2 * 3 * 12 * 12.0).view(2, 3, 12, 12)
    every = {tuple(patch.tolist()) for patch in F.unfold(images, 6).transpose(1, 2).flatten(0, 1)}
    drawn = [tuple(patch.tolist()) for patch in module._drawn(images, seed=0)]
    assert len(drawn) == 500
    assert set(drawn) <= every
    assert len(set(drawn)) > 80


def test_folds_hold_every_image_out_once_and_a_fifth_of_every_class():
    labels = torch.arange(100) % 4
    parts = folds(labels, what="X", num_classes=4, seed=0)
    assert len(parts) == FOLDS
    assert torch.cat([held for _, held in parts]).sort().values.tolist() == list(range(100))
    for places, held in parts:
        assert sorted([*places.tolist(), *held.tolist()]) == list(range(100))
        assert labels[held].bincount().tolist() == [5] * 4
    other = folds(labels, what="X", num_classes=4, seed=1)
    assert not torch.equal(other[0][1], parts[0][1])


def test_of_many_images_one_fold_is_enough():
    ((places, held),) = folds(torch.arange(2010) % 3, what="X", num_classes=3, seed=0)
    assert (len(places), len(held)) == (1608, 402)


def test_the_setting_with_most_hits_is_chosen_and_of_equals_the_first():
    parts = [(torch.arange(4), torch.arange(1)), (torch.arange(4), torch.arange(2))]
    hits = {1: [1, 0], 2: [1, 2], 3: [1, 2]}
    calls = []

    def score(setting, places, held):
        calls.append(setting)
        return hits[setting][len(held) - 1]

    assert choose((1, 2, 3), score, parts) == 2
    assert calls == [1, 1, 2, 2, 3, 3]


def test_size_is_counted():
    assert count_params(LogisticRegression(), **SHAPE) == 3 * 432 + 3
    assert count_flops(LogisticRegression(), **SHAPE) == 2 * 3 * 432
    pixels, patches = 108, 49
    expected = 2 * (patches * pixels**2 + patches * pixels * 6 + 24 * 3)
    assert count_flops(KMeansFeatures(centroids=6), **SHAPE) == expected


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            lambda: LogisticRegression(strengths=()),
            "strengths of LogisticRegression must be one or more rising numbers above 0. Got () instead.",
        ),
        (
            lambda: NearestNeighbours(neighbours=(3, 1)),
            "neighbours of NearestNeighbours must be one or more rising numbers above 0. Got (3, 1) instead.",
        ),
        (
            lambda: NearestNeighbours(components=0),
            "components of NearestNeighbours must be at least 1. Got 0 instead.",
        ),
        (lambda: KMeansFeatures(centroids=1), "centroids of KMeansFeatures must be at least 2. Got 1 instead."),
        (
            lambda: KMeansFeatures(patch_size=12).build(**SHAPE),
            "patch_size of KMeansFeatures must be less than the image size 12. Got 12 instead.",
        ),
        (
            lambda: NearestNeighbours(neighbours=(50,)).build(**SHAPE).fit(*blobs(), seed=0),
            "neighbours of NearestNeighbours must be at most 48, the number of images that are not held out, for one. "
            "Got (50,) instead.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(model, sentence):
    with pytest.raises(InputError) as error:
        model()
    assert str(error.value) == sentence
