"""Training under RandAugment, Mixup, CutMix and with patches missing."""

import pytest
import torch
import torch.nn.functional as F
from tiny_training import TinyAttention, TinyConv, bits, data, rows, start, steps

from vision_attn import Recipe, ViT
from vision_attn.data import CuedRecall
from vision_attn.data.augment import drop_patches
from vision_attn.spec import InputError
from vision_attn.training.checkpoint import from_bytes, to_bytes
from vision_attn.training.compiling import cross_entropy
from vision_attn.training.requirements import require_fit

IMAGES = data(val_size=20)
PLAIN = Recipe(updates=12, batch_size=16, learning_rate=3e-3, history_rows=4)
STRONG = PLAIN.replace(rand_augment=9, mixup=0.8, cutmix=1.0, patch_drop=0.5)


def trained(recipe, make=TinyConv, *, seed=0, stop=None):
    state = start(make, recipe, seed=seed)
    found = []
    for row in steps(state, recipe, IMAGES):
        found.append(row)
        if state.update == stop:
            again = start(make, recipe, seed=seed)
            again.load_state_dict(from_bytes(to_bytes(state.state_dict())))
            torch.manual_seed(99)
            found += list(steps(again, recipe, IMAGES))
            return bits(again.model), rows(found)
    return bits(state.model), rows(found)


@pytest.mark.parametrize(
    "options", [{"rand_augment": 9}, {"mixup": 0.8}, {"cutmix": 1.0}, {"patch_drop": 0.5}], ids=str
)
def test_each_part_changes_training_and_repeats(options):
    recipe = PLAIN.replace(**options)
    assert trained(recipe) == trained(recipe) != trained(PLAIN)
    assert trained(recipe, seed=1) != trained(recipe)


@pytest.mark.parametrize("make", [TinyConv, TinyAttention])
def test_a_training_stopped_anywhere_goes_on_bit_for_bit(make):
    whole = trained(STRONG, make)
    assert len(whole[1]) == 4
    assert trained(STRONG, make, stop=5) == whole


def test_shares_of_labels_are_weights_of_their_losses():
    torch.manual_seed(0)
    model, images = TinyConv(dropout=0.0).eval(), torch.randn(4, 3, 16, 16)
    labels, others = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 2, 1, 0])
    shares = 0.7 * F.one_hot(labels, 10) + 0.3 * F.one_hot(others, 10)
    found = cross_entropy(model, images, shares.float(), 0.0)
    expected = 0.7 * cross_entropy(model, images, labels, 0.0) + 0.3 * cross_entropy(model, images, others, 0.0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rand_augment": 9}, "rand_augment of Recipe must be None on cued-recall-filled-1, where it matters"),
        ({"mixup": 0.8}, "mixup of Recipe must be 0 on cued-recall-filled-1, whose labels lie on a grid. Got 0.8"),
        ({"cutmix": 1.0}, "cutmix of Recipe must be 0 on cued-recall-filled-1, whose labels lie on a grid. Got 1.0"),
        (
            {"patch_drop": 0.5},
            "patch_drop of Recipe must be 0 on cued-recall-filled-1, whose labels lie on a grid. Got",
        ),
    ],
)
def test_tasks_whose_labels_would_be_wrong_are_refused(options, words):
    task = CuedRecall(distance=1, val_size=4, test_size=4).load()
    model = ViT(dim=16, depth=1, pool="none").build(image_size=32, in_chans=3, num_classes=8)
    with pytest.raises(InputError) as error:
        require_fit(Recipe(updates=1, crop_padding=0, **options), model, data=task)
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    "options", [{"rand_augment": 31}, {"mixup": -0.1}, {"cutmix": -1.0}, {"patch_drop": 1.5}], ids=str
)
def test_fields_out_of_range_are_named(options):
    (name,) = options
    with pytest.raises(InputError, match=f"^{name} of Recipe must be"):
        PLAIN.replace(**options)


def test_missing_patches_are_whole_and_their_share_is_even_up_to_the_one_given():
    generator = torch.Generator().manual_seed(0)
    images = torch.ones(2000, 2, 16, 24)
    out = drop_patches(images, share=0.6, patch_size=4, generator=generator)
    patches = out.unflatten(3, (6, 4)).unflatten(2, (4, 4)).transpose(3, 4).flatten(4)
    assert torch.equal(patches.amin((1, 4)), patches.amax((1, 4)))
    shares = 1 - patches[:, 0, :, :, 0].mean((1, 2))
    for quantile in (0.1, 0.5, 0.9):
        assert shares.quantile(quantile).item() == pytest.approx(0.6 * quantile, abs=0.03)
    assert (1 - patches[:, 0, :, :, 0].mean(0)).sub(0.3).abs().max() < 0.05  # every place alike


def test_patches_must_fit_the_images():
    model = TinyConv()
    with pytest.raises(InputError, match="patch_drop_size of Recipe must be a divisor of the image size 16"):
        require_fit(PLAIN.replace(crop_padding=0, patch_drop=0.5, patch_drop_size=5), model, data=IMAGES)
