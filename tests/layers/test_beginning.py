"""Modules made on meta, given memory and reset: nothing is left as the memory was, and all begin as new ones do."""

import math

import pytest
import torch

from vision_attn.layers import (
    Attention,
    ConvEmbed,
    DepthwiseConvolution,
    LocalEmbed,
    PatchEmbed,
    RandomMixing,
    RecurrentMixing,
    TokenMerging,
)

GRID = (4, 4)
IMAGES = {"patch_size": 4, "in_chans": 3, "dim": 8}
MODULES = {
    "depthwise": lambda: DepthwiseConvolution(8, grid=GRID),
    "depthwise, of a deviation": lambda: DepthwiseConvolution(8, grid=GRID, branch_sd=3.0),
    "recurrent": lambda: RecurrentMixing(8, grid=GRID),
    "random": lambda: RandomMixing(16),
    "patches": lambda: PatchEmbed(**IMAGES),
    "convolutions": lambda: ConvEmbed(**IMAGES),
    "local": lambda: LocalEmbed(**IMAGES, grid=GRID),
    "merging": lambda: TokenMerging(8, grid=GRID),
    "context": lambda: Attention(8, 2, context_dim=4, similarity="cosine", k_bias=False, qk_norm=True),
    "bilinear": lambda: Attention(8, 2, similarity="bilinear", scale="learned"),
    "perceptron": lambda: Attention(8, 2, similarity="perceptron"),
    "additive": lambda: Attention(8, 2, similarity="additive"),
    "reduced": lambda: Attention(8, 2, grid=GRID, pattern="reduced"),
    "top k": lambda: Attention(8, 2, grid=GRID, pattern="top_k"),
}
POSITIONS = ("learned", "sincos2d", "convolution", "rotary", "relative", "relative_with_prefix")
MODULES |= {f"{p}": lambda p=p: Attention(8, 2, grid=GRID, position=p, num_prefix_tokens=1) for p in POSITIONS}


def spoilt(make):
    """A module of empty memory, filled with NaN."""
    with torch.device("meta"):
        module = make()
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.state_dict().values()):
            tensor.fill_(math.nan)
    return module


def numbers(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@pytest.mark.parametrize("name", MODULES)
def test_modules_that_are_reset_one_by_one_leave_no_memory_unset(name):
    module = spoilt(MODULES[name])
    for part in list(module.modules()):
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    assert [key for key, value in numbers(module).items() if not value.isfinite().all()] == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_is_reset_begins_as_a_new_one_does(name):
    torch.manual_seed(0)
    module, new = spoilt(MODULES[name]), MODULES[name]()
    module.reset_parameters()
    assert numbers(module).keys() == numbers(new).keys()
    for key, expected in numbers(new).items():
        found = numbers(module)[key]
        if expected.unique().numel() <= 2:  # such as those of norms
            torch.testing.assert_close(found, expected)
        elif expected.numel() >= 64:
            assert found.std().item() == pytest.approx(expected.std().item(), rel=0.3)


def test_gates_that_forget_begin_open():
    module = RecurrentMixing(8, grid=GRID)
    with torch.no_grad():
        module.lstm.bias_ih_l0.fill_(0)
    module.apply(lambda part: part.reset_parameters() if hasattr(part, "reset_parameters") else None)
    assert module.lstm.bias_ih_l0[4:8].tolist() == [1] * 4
    assert module.lstm.bias_hh_l0_reverse[4:8].tolist() == [0] * 4
