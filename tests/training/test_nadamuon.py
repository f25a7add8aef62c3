"""The optimiser of whole matrices: which parameters it takes, what its steps are, and that it learns."""

import pytest
import torch
import torch.nn.functional as F

from vision_attn.models import LSTM, ConvNeXt, DepthwiseConv, RandomMixer, ResNet, SelfAttention, ViT
from vision_attn.training import Recipe

SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 4}
TRUNK = ViT(dim=16, depth=1, patch_size=4)
MODELS = {
    "attention": TRUNK.replace(mixer=SelfAttention(num_heads=2)),
    "class token": TRUNK.replace(mixer=SelfAttention(num_heads=2), pool="token"),
    "convolution": TRUNK.replace(mixer=DepthwiseConv(kernel_size=3)),
    "lstm": TRUNK.replace(mixer=LSTM()),
    "random": TRUNK.replace(mixer=RandomMixer()),
    "resnet": ResNet(width=8, blocks=1),
    "convnext": ConvNeXt(width=8, blocks=1),
}


def built(model):
    torch.manual_seed(0)
    return model.build(**SHAPE)


def first_step(model, **fields):
    """The change of every parameter in the first step, by name, for a gradient of normal numbers."""
    recipe = Recipe(updates=1, optimizer="nadamuon", **fields)
    optimizer = recipe.make_optimizer(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return {name: parameter.detach() - before[name] for name, parameter in model.named_parameters()}


def test_a_matrix_gets_a_step_of_a_fifth_of_the_rate_and_a_vector_one_of_nadamw():
    steps = first_step(built(MODELS["attention"]), learning_rate=1e-3, weight_decay=0.0)
    for name, step in steps.items():
        rms = step.pow(2).mean().sqrt().item()
        if name.endswith("weight") and "norm" not in name:
            assert rms == pytest.approx(0.2e-3, rel=0.01), name
        else:
            assert rms == pytest.approx(1.9e-3, rel=0.01), name


def test_kernels_are_matrices_of_output_channels_but_depthwise_ones_are_not():
    steps = first_step(built(MODELS["resnet"]), learning_rate=1e-3, weight_decay=0.0)
    assert steps["stages.1.0.conv1.weight"].pow(2).mean().sqrt().item() == pytest.approx(0.2e-3, rel=0.01)
    steps = first_step(built(MODELS["convolution"]), learning_rate=1e-3, weight_decay=0.0)
    assert steps["blocks.0.mixer.conv.weight"].pow(2).mean().sqrt().item() == pytest.approx(1.9e-3, rel=0.01)


def test_the_direction_is_that_of_the_gradient_with_its_singular_values_made_equal():
    """In the first step the second moment is the square of the direction, so that its signs are left of it."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 12, bias=False)
    layer.weight.grad = torch.randn(12, 24)
    u, _, vh = torch.linalg.svd(layer.weight.grad, full_matrices=False)
    before = layer.weight.detach().clone()
    Recipe(updates=1, optimizer="nadamuon", learning_rate=1.0, weight_decay=0.0).make_optimizer(layer).step()
    step, exact = before - layer.weight.detach(), u @ vh
    clear = exact.abs() > 0.03
    assert clear.float().mean() > 0.8
    assert (step.sign() == exact.sign())[clear].float().mean() > 0.99


def test_the_iteration_computes_in_float32_on_a_cpu():
    Recipe(updates=1, optimizer="nadamuon").make_optimizer(torch.nn.Linear(8, 8))
    from timm.optim import muon

    coefficients = muon._COEFFICIENTS["quintic"]
    found = muon.zeropower_via_newtonschulz(torch.randn(8, 16), 5, coefficients)
    assert found.dtype == torch.float32
    assert torch.linalg.svdvals(found).sub(1).abs().max() < 0.1
    asked = muon.zeropower_via_newtonschulz(torch.randn(8, 16), 5, coefficients, dtype=torch.bfloat16)
    assert asked.dtype == torch.bfloat16


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_it_trains_every_kind_of_network(model):
    module = built(model).train()
    labels = torch.arange(32) % 4
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.3
    for label in range(4):
        images[labels == label, label % 3, 4 * (label // 3) : 12] += 1.0
    optimizer = Recipe(updates=60, optimizer="nadamuon", learning_rate=1e-2).make_optimizer(module)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(images), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
