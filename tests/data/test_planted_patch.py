"""The planted patch: what is drawn is the formula, and what can be known of it is known."""

import pytest
import torch

from vision_attn.data import PlantedPatch
from vision_attn.spec import InputError


def patches_of(task, split, data):
    side = int(task.num_patches**0.5)
    x = data.normalise(split.images)[:, 0]
    return x.unflatten(2, (side, -1)).unflatten(1, (side, -1)).transpose(2, 3).flatten(3).flatten(1, 2)


@pytest.mark.parametrize(("number", "size"), [(16, 4), (4, 3), (1, 5)])
def test_pixels_are_noise_and_the_signed_pattern_at_its_place(number, size):
    task = PlantedPatch(num_patches=number, patch_size=size, strength=0.5, test_size=3000)
    data = task.load()
    found = patches_of(task, data.test, data)
    assert found.shape == (3000, number, size**2)
    place = data.test.attributes["place"]
    sign = (2 * data.test.labels - 1)[:, None]
    planted = found[torch.arange(3000), place] * sign
    assert torch.allclose(planted.mean(0), task.pattern.flatten(), atol=0.1)
    others = torch.ones(3000, number, dtype=torch.bool)
    others[torch.arange(3000), place] = False
    rest = torch.cat([planted - task.pattern.flatten(), found[others]])
    assert rest.std().item() == pytest.approx(1, abs=0.01)
    assert abs(rest.mean().item()) < 0.02
    assert place.bincount(minlength=number).min() > 0.8 * 3000 / number


def test_the_best_possible_answer_is_often_right_and_a_mean_over_patches_seldom():
    task = PlantedPatch(num_patches=16, patch_size=4, test_size=4000)
    data = task.load()
    matched = patches_of(task, data.test, data).double() @ task.pattern.flatten().double()
    best = (matched.sinh().sum(1) > 0).long() == data.test.labels  # sign of the difference of the likelihoods
    pooled = (matched.sum(1) > 0).long() == data.test.labels
    normal = torch.distributions.Normal(0, 1)
    expected = normal.cdf(torch.tensor((16.0 / 16) ** 0.5)).item()  # a signal of 16 in noise of sqrt(16 x 16)
    assert pooled.double().mean().item() == pytest.approx(expected, abs=0.02)
    assert best.double().mean() > 0.95


def test_images_of_two_seeds_differ_and_every_update_may_draw_its_own():
    sizes = [PlantedPatch(train_size=10, subset_seed=seed).load().train.images for seed in (0, 1)]
    assert not torch.equal(*sizes)
    assert PlantedPatch().load().train_size is None


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(InputError, match=r"num_patches of PlantedPatch must be a square number.* Got 15 instead"):
        PlantedPatch(num_patches=15)
    with pytest.raises(InputError, match="strength of PlantedPatch"):
        PlantedPatch(strength=0.0)
    with pytest.raises(InputError, match="aligned of PlantedPatch"):
        PlantedPatch(aligned=False)
