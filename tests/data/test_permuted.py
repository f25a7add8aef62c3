"""Images in another order: a bijection, the same for all, false for convolution and nothing to attention."""

import pytest
import torch
import torch.nn.functional as F

from vision_attn import Accuracy, Mnist5k, ResNet, ViT
from vision_attn.data import Permuted
from vision_attn.data.permuted import pixel_order
from vision_attn.spec import InputError

STAYING = 53
"""A seed whose permutation of four patches moves none."""
PIXELS, PATCHES = Permuted(of=Mnist5k(), train_size=200), Permuted(of=Mnist5k(), patch_size=7, train_size=200)


@pytest.fixture(scope="module")
def plain():
    return Mnist5k(train_size=200).load()


def patches_of(images, size):
    return images.unfold(2, size, size).unfold(3, size, size).flatten(2, 3)


def test_every_pixel_goes_to_one_place_the_same_in_every_image(plain):
    data = PIXELS.load()
    assert data.order.sort().values.tolist() == list(range(28 * 28))
    before, after = plain.normalise(plain.test.images[:3]), data.normalise(data.test.images[:3])
    assert torch.equal(after.flatten(2), before.flatten(2)[:, :, data.order])
    assert (after != before).any()


def test_patches_keep_their_pixels_and_change_their_places(plain):
    data = PATCHES.load()
    before = patches_of(plain.normalise(plain.test.images[:3]), 7)
    after = patches_of(data.normalise(data.test.images[:3]), 7)
    same = (before[:, :, :, None] == after[:, :, None]).all(-1).all(-1).all(1).all(0)  # (before, after)
    assert same.any(0).all()
    assert same.int().argmax(0).tolist() != list(range(16))


def test_the_order_is_that_of_the_patches_row_by_row():
    order = pixel_order(torch.tensor([3, 0, 1, 2]), side=2, patch_size=2)
    image = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]).flatten()
    assert image[order].view(4, 4).tolist() == [[4, 4, 1, 1], [4, 4, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_images_subset_and_fingerprint_are_those_of_the_data_set(plain):
    data = PIXELS.load()
    assert torch.equal(data.train.images, plain.train.images)
    assert (data.fingerprint, data.subset_sha256) == (plain.fingerprint, plain.subset_sha256)
    assert data.name == "mnist5k-permuted-1"
    assert not torch.equal(data.order, PIXELS.replace(permutation_seed=1).load().order)
    assert torch.equal(data.order, PIXELS.replace(subset_seed=3).load().order)


def trained(model, data, *, updates=8):
    """Losses of a few updates in double precision."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for update in range(updates):
        part = slice(20 * update, 20 * update + 20)
        images = data.normalise(data.train.images[part]).double()
        loss = F.cross_entropy(model(images), data.train.labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def built(spec):
    torch.manual_seed(0)
    return spec.build(image_size=28, in_chans=1, num_classes=10).double()


def test_attention_with_its_positions_permuted_learns_exactly_as_before(plain):
    data = PATCHES.load()
    corners = data.order.view(4, 7, 4, 7)[:, 0, :, 0].flatten()
    patches = corners // 28 // 7 * 4 + corners % 28 // 7
    vit = ViT(dim=16, depth=2, patch_size=7)
    permuted = built(vit)
    with torch.no_grad():
        permuted.pos_embed.copy_(permuted.pos_embed[:, patches])
    torch.testing.assert_close(trained(built(vit), plain), trained(permuted, data), rtol=0, atol=1e-12)
    unplaced = vit.replace(position="none")
    torch.testing.assert_close(trained(built(unplaced), plain), trained(built(unplaced), data), rtol=0, atol=1e-12)


def test_convolution_does_not(plain):
    one, other = (trained(built(ResNet(width=4, blocks=1)), data) for data in (plain, PATCHES.load()))
    assert (one - other).abs().max() > 1e-3


def test_probes_see_the_images_in_their_order():
    seen = []

    class Model(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return F.one_hot(torch.zeros(len(x), dtype=torch.int64), 10).float()

    data = PIXELS.load()
    list(Accuracy()(Model().eval(), data))
    assert torch.equal(torch.cat(seen)[:200], data.normalise(data.train.images))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Permuted(of=Mnist5k(train_size=3)), "of of Permuted must be a data set with its subset left"),
        (lambda: Permuted(of=PIXELS), "of of Permuted must be a data set with its subset left"),
        (lambda: Permuted(of=Mnist5k(), patch_size=0), "patch_size of Permuted must be at least 1. Got 0 instead."),
        (
            lambda: Permuted(of=Mnist5k(), patch_size=5).load(),
            "patch_size of Permuted must be a divisor of the image size 28. Got 5 instead.",
        ),
        (
            lambda: Permuted(of=Mnist5k(), patch_size=28).load(),
            "patch_size of Permuted must be less than the image size 28, so that there are patches to change places.",
        ),
        (
            lambda: Permuted(of=Mnist5k(), patch_size=14, permutation_seed=STAYING).load(),
            "permutation_seed of Permuted must be one that leaves not all 4 patches where they are.",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, words):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(words)
