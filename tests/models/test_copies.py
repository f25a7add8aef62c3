"""Copies of modules that keep what they computed: PyTorch's own refuses them once a forward pass had gradients."""

import copy

import pytest
import timm
import torch
from torch import nn

from vision_attn.models.copies import copied
from vision_attn.models.size import flops
from vision_attn.probes.saliency_sanity import randomised
from vision_attn.probes.support import support


class Keeping(nn.Module):
    """Keeps its last hidden numbers, alone and among others, as people do to look at them later."""

    def __init__(self):
        super().__init__()
        self.stem, self.head, self.log = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5), {}

    def forward(self, x):
        self.hidden = self.stem(x).relu()
        self.log["steps"] = [self.hidden]
        return self.head(self.hidden.mean((2, 3)))


def normed():
    model = Keeping()
    torch.nn.utils.weight_norm(model.stem)  # the older one, which keeps the product of its two parameters
    return model


MODELS = {
    "keeping": Keeping,
    "normed": normed,
    "cache": lambda: timm.models.levit.Attention(16, 8, num_heads=2, resolution=(4, 4)),
}
INPUTS = {"cache": torch.randn(2, 16, 16)}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_computes_the_same_with_parameters_of_its_own(name):
    torch.manual_seed(0)
    model, x = nn.Sequential(MODELS[name]()).eval(), INPUTS.get(name, torch.randn(2, 3, 8, 8))
    expected = model(x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    other = copied(model)
    torch.testing.assert_close(other(x), expected)
    own = {id(parameter) for parameter in model.parameters()}
    assert not own & {id(parameter) for parameter in other.parameters()}
    other(x).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    if name == "keeping":
        assert model[0].hidden.grad_fn is not None


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", ["keeping", "normed"])
def test_probes_that_work_on_copies_take_models_that_have_just_run(name):
    model, x = MODELS[name]().eval(), torch.randn(2, 3, 8, 8)
    model(x)
    assert support(model, image_size=8, layers=["stem"])["stem"].height == 3
    assert flops(model, image_size=8, in_chans=3) == 2 * (8 * 8 * 4 * 27 + 20)
    assert randomised(model, seed=0)(x).shape == (2, 5)
