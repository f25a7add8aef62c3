"""Training, evaluation and augmentation on a pretended GPU."""

import dataclasses

import pytest
import torch
from one_update import DATA, IMAGES, RECIPE, SMALL, trained
from pretended_gpu import GPU, PretendedGpu, deterministic_algorithms

from vision_attn.data.rand_augment import rand_augment
from vision_attn.models import LSTM, ConvNeXt, ResNet, Timm, ViT
from vision_attn.training.evaluate import images_at_once, logits


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        (ViT(**SMALL), {}),
        (ViT(**SMALL), {"rand_augment": 9}),
        (ViT(**SMALL), {"mixup": 0.2}),
        (ViT(**SMALL), {"cutmix": 1.0}),
        (ViT(**SMALL), {"optimizer": "nadamuon"}),
        (ViT(mixer=LSTM(), **SMALL), {}),
        (ResNet(width=8, blocks=1), {"optimizer": "sgd"}),
        (ConvNeXt(), {}),
        (Timm(name="resnet10t"), {"optimizer": "sgd"}),
    ],
    ids=["ViT", "RandAugment", "Mixup", "CutMix", "NAdaMuon", "LSTM", "ResNet", "ConvNeXt", "timm"],
)
def test_an_update_on_a_gpu_is_that_on_the_cpu(spec, changes):
    recipe = RECIPE.replace(**changes)
    expected, here = trained(spec, recipe, torch.device("cpu"))
    with PretendedGpu(), deterministic_algorithms():
        found, model = trained(spec, recipe, GPU)
        there = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    assert found == pytest.approx(expected, rel=1e-5)
    for name, tensor in here.state_dict().items():
        torch.testing.assert_close(there[name], tensor, rtol=1e-3, atol=2e-4)


def test_images_are_normalised_without_waiting_for_the_gpu():
    with PretendedGpu() as gpu:
        images, data = IMAGES.to("cuda"), dataclasses.replace(DATA)
        first = data.normalise(images)
        gpu.waits.clear()
        second = data.normalise(images)
        assert gpu.waits == []
        assert torch.equal(first.cpu(), DATA.normalise(IMAGES))
        assert torch.equal(second.cpu(), DATA.normalise(IMAGES))


def test_what_was_normalised_first_while_measuring_can_be_learned_from():
    data, weight = dataclasses.replace(DATA), torch.ones(3, 1, 1, requires_grad=True)
    with torch.inference_mode():
        data.normalise(IMAGES)
    (data.normalise(IMAGES) * weight).sum().backward()
    assert weight.grad is not None


def test_rand_augment_waits_once_an_operation():
    with PretendedGpu() as gpu:
        images, generator = IMAGES.to("cuda"), torch.Generator("cuda").manual_seed(3)
        gpu.waits.clear()
        found = rand_augment(images, magnitude=9, generator=generator)
        waits = [name for name in gpu.waits if name != "tensor"]  # torchvision's own, for the matrices of its turns
        assert waits == ["_to_copy", "_to_copy"]
        expected = rand_augment(IMAGES, magnitude=9, generator=torch.Generator().manual_seed(3))
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize(
    ("side", "number", "on_cpu"), [(28, 2674, 125), (32, 2048, 125), (64, 512, 125), (224, 125, 41)]
)
def test_a_gpu_is_given_many_small_images_at_once_and_a_cpu_few_large_ones(side, number, on_cpu):
    with PretendedGpu():
        assert images_at_once(torch.zeros(1, 3, side, side, device="cuda")) == number
    assert images_at_once(torch.zeros(1, 3, side, side)) == on_cpu


def test_logits_are_those_of_the_cpu_and_are_not_waited_for():
    model = ViT(**SMALL).build(image_size=32, in_chans=3, num_classes=4)
    expected = logits(model, IMAGES, normalise=DATA.normalise)
    with PretendedGpu() as gpu:
        there, images = model.to("cuda"), IMAGES.to("cuda")
        DATA.normalise(images)
        gpu.waits.clear()
        found = logits(there, images, normalise=DATA.normalise)
        assert gpu.waits == []
        torch.testing.assert_close(found.cpu(), expected)
