"""Pointing, deletion and sanity of saliency maps, on classifiers of which it is known what their answer rests on."""

import dataclasses
import itertools

import pytest
import torch
from every_probe import DATA, built
from known_classifiers import data_of, noise_images
from scipy.stats import rankdata, spearmanr
from torch import nn

from vision_attn import Mnist5k, ResNet, ViT
from vision_attn.data import Data, PlantedGlyph, Split
from vision_attn.figures.overlay import decoded
from vision_attn.models import LogisticRegression
from vision_attn.probes import (
    Deletion,
    DeletionCurve,
    MapRanks,
    Pointing,
    SaliencyGallery,
    SaliencySanity,
    SingleDeletion,
)
from vision_attn.probes.explained import rank_correlation
from vision_attn.probes.pointing import share_covered
from vision_attn.probes.saliency_gallery import encoded, gallery
from vision_attn.probes.saliency_maps import saliency
from vision_attn.probes.saliency_sanity import randomised
from vision_attn.spec import InputError

OCCLUSION = {"methods": ("occlusion", "random", "centred Gaussian"), "images": 24}


class Lights(nn.Module):
    """Class 0 where light falls on any pixel, the more the surer; classes 1 to 3 share the rest."""

    def forward(self, x):
        light = (x + 0.5).clamp(min=0).sum((1, 2, 3))
        return torch.stack([light, *[torch.zeros_like(light)] * 3], dim=1)


class Sum(nn.Module):
    """Class 0 the surer the larger the sum of the pixels."""

    def forward(self, x):
        total = x.sum((1, 2, 3))
        return torch.stack([total, *[torch.zeros_like(total)] * 3], dim=1)


class Corner(nn.Module):
    """Reads the mean of the upper left patch of 4 x 4 pixels: how far it is from grey."""

    def forward(self, x):
        far = 40 * x[:, :, :4, :4].mean((1, 2, 3)).abs()
        return torch.stack([far, *[torch.zeros_like(far)] * 3], dim=1)


def lit(places, *, size=16, side=8):
    """Black images with a white square at each of the places, as data that say so."""
    images = torch.zeros(len(places), 1, size, size, dtype=torch.uint8)
    for image, (top, left) in zip(images, places, strict=True):
        image[:, top : top + side, left : left + side] = 255
    data = data_of(images, torch.zeros(len(places), dtype=torch.int64))
    top, left = torch.tensor(places).T
    attributes = {"top": top, "left": left, "side": torch.full_like(top, side)}
    return dataclasses.replace(data, test=Split(images, data.test.labels, attributes), mean=(0.0,), std=(1.0,))


def values(rows, metric, **at):
    chosen = [row for row in rows if row["metric"] == metric and at.items() <= row.items()]
    return {row["method"]: row["value"] for row in chosen}


def test_a_map_that_knows_the_square_always_points_at_it_and_has_no_mass_elsewhere():
    places = [(top, left) for top in (0, 4, 8) for left in (0, 4, 8)]
    rows = list(Pointing(**OCCLUSION)(Lights(), lit(places)))
    hits, mass = values(rows, "hit_share"), values(rows, "mass_share")
    assert hits["occlusion"] == mass["occlusion"] == 1


def test_the_baselines_hit_what_they_must():
    """A hill in the middle hits the square in the middle alone; random numbers hit with the share of its area."""
    rows = list(Pointing(**OCCLUSION)(Lights(), lit([(0, 0), (0, 8), (8, 0), (4, 4)])))
    assert values(rows, "hit_share")["centred Gaussian"] == pytest.approx((3 * 1 / 4 + 1) / 4)  # four equal largest
    rows = list(Pointing(methods=("random",), images=2000)(Lights(), lit([(0, 4)] * 2000)))
    assert values(rows, "hit_share")["random"] == pytest.approx(4 / 16, abs=0.03)
    assert values(rows, "mass_share")["random"] == pytest.approx(4 / 16, abs=0.01)


def test_patches_that_a_square_covers_in_part_count_in_part():
    found = share_covered(*(torch.tensor([value]) for value in (2, 4, 4)), patch_size=4, size=12)
    assert found[0].tolist() == [[0, 0.5, 0], [0, 0.5, 0], [0, 0, 0]]


def test_deleting_the_one_patch_that_counts_first_or_last():
    """Surely class 0 with it and a quarter without: an area of 1/4 and half a step, and of 1 less half a step."""
    images = torch.full((6, 1, 16, 16), 255, dtype=torch.uint8)
    data = data_of(images, torch.zeros(6, dtype=torch.int64))
    rows = list(Deletion(methods=("occlusion",), images=6, steps=16)(Corner(), data))
    step = 1 / 16
    assert values(rows, "deletion_area", fill="mean")["occlusion"] == pytest.approx(1 / 4 + 3 / 4 * step / 2, abs=1e-6)
    assert values(rows, "insertion_area", fill="mean")["occlusion"] == pytest.approx(1 - 3 / 4 * step / 2, abs=1e-6)
    assert values(rows, "deletion_gap", fill="mean")["occlusion"] == pytest.approx(3 / 4 * (1 - step), abs=1e-6)
    assert values(rows, "deletion_gap", fill="other")["occlusion"] == 0  # another image has the same there


def test_the_curve_of_the_one_patch_that_counts_is_a_step_and_the_area_under_it_that_of_deletion():
    """Nearly sure before it goes and a quarter from then on; put back first, it is sure at once."""
    images = torch.full((6, 1, 16, 16), 255, dtype=torch.uint8)
    data = data_of(images, torch.zeros(6, dtype=torch.int64))
    rows = list(DeletionCurve(methods=("occlusion",), images=6, steps=16)(Corner(), data))
    for order, at_0, after in (("deletion", 1, 0.25), ("insertion", 0.25, 1)):
        curve = {
            row["share"]: row["value"]
            for row in rows
            if (row["metric"], row["fill"]) == (f"{order}_probability", "mean")
        }
        assert curve == {round(step / 16, 4): after if step else at_0 for step in range(17)}
    assert {row["value"] for row in rows if row["fill"] == "other"} == {1}  # another image has the same there
    asked = {"methods": ("gradient x input", "random"), "images": 6, "steps": 7}
    areas, found = (list(kind(**asked)(built("ViT"), DATA)) for kind in (Deletion, DeletionCurve))
    for order in ("deletion", "insertion"):
        for fill in ("mean", "other"):
            expected = values(areas, f"{order}_area", fill=fill)
            for method, area in expected.items():
                at = {"metric": f"{order}_probability", "method": method, "fill": fill}
                curve = [(row["share"], row["value"]) for row in found if at.items() <= row.items()]
                shares, heights = map(torch.tensor, zip(*curve, strict=True))
                assert torch.trapezoid(heights, shares).item() == pytest.approx(area, abs=1e-3)


def test_the_insertion_area_is_that_of_putting_back_the_most_important_first():
    model, images = built("ViT"), DATA.test.images[:6]
    data = dataclasses.replace(DATA, test=Split(images, DATA.test.labels[:6]))
    probe = Deletion(methods=("gradient x input",), images=6, steps=49)
    found = values(list(probe(model, data)), "insertion_area", fill="mean")["gradient x input"]
    x = data.normalise(images)
    classes = model(x).argmax(1)
    order = saliency(model, x, classes, method="gradient x input").flatten(1).argsort(dim=1, descending=True)
    shown, heights = torch.zeros_like(x), []
    for step in range(50):
        if step:
            for image, patch in enumerate(order[:, step - 1].tolist()):
                at = (slice(None), slice(patch // 7 * 4, patch // 7 * 4 + 4), slice(patch % 7 * 4, patch % 7 * 4 + 4))
                shown[image][at] = x[image][at]
        heights.append(model(shown).softmax(1).gather(1, classes[:, None]).mean().item())
    assert found == pytest.approx(sum((a + b) / 2 for a, b in itertools.pairwise(heights)) / 49, abs=1e-5)


def test_what_a_patch_takes_alone_is_ranked_by_the_light_on_it():
    """More light on a patch, a larger fall; a map in the opposite order would have a correlation of -1."""
    images = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    for patch in range(16):
        images[:, :, patch // 4 * 4 : patch // 4 * 4 + 4, patch % 4 * 4 : patch % 4 * 4 + 4] = patch
    data = dataclasses.replace(data_of(images, torch.zeros(4, dtype=torch.int64)), mean=(0.0,))
    rows = list(SingleDeletion(methods=("occlusion", "centred Gaussian"), images=4)(Sum(), data))
    found = values(rows, "deletion_correlation")
    hill = [abs(row - 1.5) ** 2 + abs(column - 1.5) ** 2 for row in range(4) for column in range(4)]
    assert found["occlusion"] == pytest.approx(1)
    assert found["centred Gaussian"] == pytest.approx(-spearmanr(hill, range(16)).statistic)


def test_rank_correlation_is_scipys_with_equal_values_too():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(6, (5, 20), generator=generator) for _ in range(2))
    expected = [spearmanr(a, b).statistic for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    assert rank_correlation(one, other).tolist() == pytest.approx(expected)
    assert rank_correlation(torch.zeros(1, 20), other[:1].float()).tolist() == [0]


def test_ranks_of_a_map_are_scipys_for_the_class_that_an_image_has():
    model = built("ViT")
    rows = list(MapRanks(methods=("gradient x input",), images=3, patch_size=7)(model, DATA))
    places = [0, 4, 8]  # of twelve images
    x = DATA.normalise(DATA.test.images[places])
    maps = saliency(model, x, DATA.test.labels[places], method="gradient x input", patch_size=7).flatten(1)
    assert [(row["image"], row["patch"]) for row in rows] == [
        (image, patch) for image in range(3) for patch in range(16)
    ]
    assert [row["value"] + 1 for row in rows] == rankdata(maps, axis=1).flatten().tolist()


def test_maps_that_are_no_numbers_get_no_ranks():
    class Root(nn.Module):
        def forward(self, x):
            return torch.stack([x.sum((1, 2, 3)), (x - x).sum((1, 2, 3)).sqrt()], 1)

    data = Data.from_tensors(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1]))
    words = r"maps of 'gradient x input' must be numbers\. Got NaN for 4 of 4 images of Root"
    with pytest.raises(InputError, match=words):
        list(MapRanks(images=4, methods=("gradient x input",))(Root(), data))


def test_maps_that_know_neither_class_nor_weights_stay_the_same_and_gradients_change():
    rows = list(SaliencySanity(images=6, patch_size=7)(built("ViT"), DATA))
    classes, weights = values(rows, "class_correlation"), values(rows, "randomised_correlation")
    for method in ("attention", "rollout", "random", "centred Gaussian"):
        assert classes[method] == pytest.approx(1)
    assert weights["random"] == weights["centred Gaussian"] == pytest.approx(1)
    for method in ("gradient x input", "occlusion", "integrated gradients"):
        assert abs(weights[method]) < 0.7
        assert classes[method] < 0.99


def test_a_randomised_copy_has_the_same_numbers_in_another_order():
    model = built("CNN")
    copied = randomised(model, seed=0)
    for own, other in zip(model.parameters(), copied.parameters(), strict=True):
        assert torch.equal(own.flatten().sort().values, other.flatten().sort().values)
    assert not torch.equal(model.stem.weight, copied.stem.weight)
    assert torch.equal(randomised(model, seed=0).stem.weight, copied.stem.weight)


def test_what_does_not_fit_is_refused_or_skipped():
    with pytest.raises(InputError, match="methods of Deletion must be None or names among 'attention', "):
        Deletion(methods=("LIME",))
    with pytest.raises(
        InputError, match="patch_size of SingleDeletion must be a divisor of the image size 16, and less"
    ):
        list(SingleDeletion(patch_size=5)(Lights(), data_of(noise_images(4), torch.zeros(4).long())))
    with pytest.raises(InputError, match="data of Pointing must say where on an image its class is seen"):
        list(Pointing()(Lights(), data_of(noise_images(4), torch.zeros(4).long())))
    assert "does not say where" in Pointing().skip(ViT(), Mnist5k())
    assert "is no network" in Deletion().skip(LogisticRegression(), Mnist5k())
    assert "every token" in Deletion().skip(ViT(pool="none"), Mnist5k())
    assert Pointing().skip(ResNet(), PlantedGlyph(of=Mnist5k())) is None


def test_the_gallery_shows_the_images_themselves_and_maps_from_their_lowest_to_their_largest_value():
    model = built("CNN")
    rows = list(SaliencyGallery(images=4, patch_size=7)(model, DATA))
    pictures = [row for row in rows if row["metric"] == "gallery_probability"]
    assert len(pictures) == 4
    for row in pictures:
        assert torch.equal(torch.from_numpy(decoded(row["picture"]).copy()), DATA.test.images[row["image"], 0])
        assert row["label"] == DATA.classes[DATA.test.labels[row["image"]]]
        scores = model(DATA.normalise(DATA.test.images[row["image"]][None])).softmax(1)[0]
        assert row["given"] == DATA.classes[scores.argmax()]
        assert row["value"] == pytest.approx(scores.max().item(), abs=1e-5)
    maps = [row for row in rows if row["metric"] == "gallery_peak"]
    assert {row["method"] for row in maps} == {"Grad-CAM", "integrated gradients"}
    for row in maps:
        x = DATA.normalise(DATA.test.images[row["image"]][None])
        own = saliency(model, x, model(x).argmax(1), method=row["method"], patch_size=7)[0]
        expected = (own - own.min()) / (own.max() - own.min()) * 255
        assert row["value"] == pytest.approx(own.max().item(), rel=1e-4, abs=1e-6)
        found = torch.from_numpy(decoded(row["map"]).copy()).float()
        assert (found - expected).abs().max() <= 1


def test_of_permuted_pixels_the_picture_is_what_the_model_sees_and_a_square_is_pointed_at_by_none():
    turned = dataclasses.replace(DATA, order=torch.arange(28 * 28).flip(0))
    rows = SaliencyGallery(images=4, patch_size=14, methods=("random",))(built("CNN"), turned)
    for row in [row for row in rows if row["metric"] == "gallery_probability"]:
        image = DATA.test.images[row["image"], 0]
        assert torch.equal(torch.from_numpy(decoded(row["picture"]).copy()), image.flip(0).flip(1))
    places = dict.fromkeys(("top", "left", "side"), torch.ones(12, dtype=torch.int64))
    known = dataclasses.replace(turned, test=Split(DATA.test.images, DATA.test.labels, places))
    with pytest.raises(InputError, match=r"must be in their own order for Pointing\. Got pixels that are permuted"):
        list(Pointing(images=4, patch_size=14)(built("CNN"), known))


def test_half_of_the_gallery_is_what_a_mean_image_misleads():
    """Classes 0 and 1 are dark and light; one light image of class 0, at place 4, lies nearest to the other class."""
    labels = torch.arange(20) % 2
    images = (labels * 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone()
    data = dataclasses.replace(data_of(images, labels, num_classes=2), train=Split(images, labels))
    changed = images.clone()
    changed[4] = 200
    shown = dataclasses.replace(data, test=Split(changed, labels))
    assert gallery(shown, 2).tolist() == [0, 4]
    assert 4 not in gallery(data, 2).tolist()
    assert len(set(gallery(shown, 20).tolist())) == 20


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (7, 7)])
def test_pictures_are_read_as_they_were_written(shape):
    levels = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = levels if len(shape) == 2 else levels[0] if shape[0] == 1 else levels.movedim(0, 2)
    assert torch.equal(torch.from_numpy(decoded(encoded(levels)).copy()), expected)
