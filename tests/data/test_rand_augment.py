"""RandAugment, Mixup, CutMix: what they do to each image, and that all chance comes from the generator."""

import pytest
import torch

from vision_attn.data.mixing import mixed
from vision_attn.data.rand_augment import LARGEST, operations, rand_augment


def images(number=64, channels=3):
    noise = torch.randint(0, 256, (number, channels, 16, 16), generator=torch.Generator().manual_seed(1))
    return noise.to(torch.uint8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


THEIRS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("name", THEIRS)
def test_operations_and_ranges_are_torchvisions(name, magnitude):
    from torchvision.transforms.v2 import InterpolationMode, RandAugment

    their = RandAugment()
    of_bins, signed = their._AUGMENTATION_SPACE[THEIRS[name]]
    levels = of_bins(LARGEST + 1, 16, 16)
    ours, ours_signed = operations()[name]
    assert ours_signed == signed
    for sign in (1, -1) if signed else (1,):
        level = 0.0 if levels is None else float(levels[magnitude]) * sign
        expected = their._apply_image_or_video_transform(
            images(), THEIRS[name], level, interpolation=InterpolationMode.NEAREST, fill={torch.Tensor: None}
        )
        difference = ours(images(), sign * magnitude / LARGEST).int() - expected.int()
        assert difference.abs().max() <= 1, "more than the rounding of a level"


def test_there_are_no_operations_but_torchvisions():
    from torchvision.transforms.v2 import RandAugment

    assert set(THEIRS.values()) == set(RandAugment._AUGMENTATION_SPACE)
    assert operations().keys() == THEIRS.keys()


def test_each_image_goes_through_one_operation_of_its_own():
    x = images(200)
    out = rand_augment(x, magnitude=15, num_ops=1, generator=generator())
    used = set()
    for before, after in zip(x, out, strict=True):
        fitting = {
            name
            for name, (operation, signed) in operations().items()
            for sign in ((1, -1) if signed else (1,))
            if torch.equal(operation(before[None], sign * 0.5)[0], after)
        }
        assert fitting
        used |= fitting
    assert used == set(operations())


def test_chance_is_the_generators():
    x = images()
    first = rand_augment(x, magnitude=9, generator=generator())
    torch.manual_seed(99)
    assert torch.equal(first, rand_augment(x, magnitude=9, generator=generator()))
    assert not torch.equal(first, rand_augment(x, magnitude=9, generator=generator(1)))
    assert first.dtype == torch.uint8
    assert torch.equal(x, images())


def test_grey_images_go_through_too():
    assert rand_augment(images(channels=1), magnitude=9, generator=generator()).shape == (64, 1, 16, 16)


def labels():
    return torch.arange(64) % 5


class TestMixing:
    def test_mixup_is_the_same_share_of_images_and_labels(self):
        x = images().float()
        out, shares = mixed(x, labels(), num_classes=5, mixup=0.8, cutmix=0.0, generator=generator())
        share = ((out[0] - x[-1]) / (x[0] - x[-1]))[x[0] != x[-1]].median()
        one_hot = torch.eye(5)[labels()]
        torch.testing.assert_close(out, share * x + (1 - share) * x.flip(0), rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(shares, share * one_hot + (1 - share) * one_hot.flip(0), rtol=1e-4, atol=1e-4)

    def test_cutmix_pastes_a_box_and_shares_labels_by_its_area(self):
        x = images().float()
        for seed in range(20):
            out, shares = mixed(x, labels(), num_classes=5, mixup=0.0, cutmix=1.0, generator=generator(seed))
            pasted = (out != x).any(dim=1).any(dim=0)
            rows, columns = pasted.any(1).sum(), pasted.any(0).sum()
            assert pasted.sum() == rows * columns
            assert torch.equal(out[..., pasted], x.flip(0)[..., pasted])
            area = pasted.sum() / 256
            torch.testing.assert_close(shares[0, labels()[0]], 1 - area)

    def test_shares_sum_to_one_and_both_kinds_occur(self):
        kinds = set()
        for seed in range(20):
            out, shares = mixed(
                images().float(), labels(), num_classes=5, mixup=0.8, cutmix=1.0, generator=generator(seed)
            )
            torch.testing.assert_close(shares.sum(1), torch.ones(64))
            kinds.add("cutmix" if (out == images()).any(dim=1).float().mean() > 0.01 else "mixup")
        assert kinds == {"cutmix", "mixup"}

    def test_the_mean_share_is_one_half(self):
        x, y = torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])
        shares = [mixed(x, y, num_classes=2, mixup=0.8, cutmix=0, generator=generator(s))[1][0, 0] for s in range(400)]
        assert torch.stack(shares).mean().item() == pytest.approx(0.5, abs=0.06)

    def test_chance_is_the_generators(self):
        one, other = (
            mixed(images().float(), labels(), num_classes=5, mixup=0.8, cutmix=1.0, generator=generator(3))
            for _ in range(2)
        )
        assert torch.equal(one[0], other[0])
