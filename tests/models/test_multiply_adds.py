"""Multiply-adds: what mixers state, compared with the counter; own modules are taken at their word."""

import math
import typing

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vision_attn import SelfAttention, ViT
from vision_attn.layers import Attention
from vision_attn.models import LSTM, DepthwiseConv, Mixer, PoolingMixer, Window, as_mixer, count_flops, flops
from vision_attn.spec import InputError, kinds

DIM, GRID = 16, (4, 6)
OTHERS = [
    DepthwiseConv(kernel_size=3),
    LSTM(bidirectional=False),
    LSTM(order="columns"),
    PoolingMixer(kernel_size=5),
    SelfAttention(num_heads=2, key_dim=8, value_dim=24),
    SelfAttention(position="convolution"),
    SelfAttention(position="rotary"),
    SelfAttention(qk_norm=True, scale="after_softmax"),
    *(
        SelfAttention(num_heads=2, similarity=one)
        for one in typing.get_args(SelfAttention.__annotations__["similarity"])
    ),
]
MIXERS = [kind() for kind in kinds(Mixer).values() if kind.__module__.startswith("vision_attn.")] + OTHERS


def counted(module, x, **others):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(x, **others)
    return counter.get_total_flops()


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda one: str(one)[:60])
def test_what_a_mixer_states_is_what_is_counted(mixer):
    for prefix in (0, 1) if mixer.takes_prefix else (0,):
        with torch.device("meta"):
            module = mixer.build(dim=DIM, grid=GRID, num_prefix_tokens=prefix)
            x = torch.empty(1, prefix + math.prod(GRID), DIM)
        assert 2 * module.multiply_adds(x) == counted(module, x)


def test_of_images_of_tokens_and_of_other_contexts_what_is_stated_is_what_is_counted():
    layer = Attention(DIM, 2, context_dim=8, key_dim=4).to("meta")
    x, context = torch.empty(3, DIM, *GRID, device="meta"), torch.empty(3, 5, 8, device="meta")
    assert 2 * layer.multiply_adds(x, context=context) == counted(layer, x, context=context)


def test_attention_states_nothing_of_patterns_and_is_counted():
    layer = SelfAttention(pattern=Window(size=2)).build(dim=DIM, grid=GRID)
    assert layer.multiply_adds(torch.empty(1, math.prod(GRID), DIM)) is None


class FourierMixing(nn.Module):
    """A two-dimensional Fourier transform over the tokens (Lee-Thorp et al. 2022), of 5 N log2 N operations."""

    def __init__(self, grid, stated):
        super().__init__()
        self.grid, self.stated = grid, stated
        self.linear = nn.Linear(DIM, DIM)

    def forward(self, x):
        return self.linear(torch.fft.fft2(x.unflatten(1, self.grid), dim=(1, 2)).real.flatten(1, 2))

    def multiply_adds(self, x):
        return self.stated


@as_mixer
def StatingFourierMixer(grid, stated: int | None = None):
    return FourierMixing(grid, stated)


SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 5}


def network(mixer):
    return ViT(dim=DIM, depth=2, mixer=mixer)


def test_an_own_mixer_is_taken_at_its_word_for_all_that_it_holds():
    rest = count_flops(network(PoolingMixer()), **SHAPE)
    assert count_flops(network(StatingFourierMixer(stated=1234)), **SHAPE) == rest + 2 * 2 * 1234
    module = network(StatingFourierMixer(stated=1234)).build(**SHAPE)
    assert flops(module, image_size=16, in_chans=3) == rest + 2 * 2 * 1234
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())


def test_without_a_word_the_operations_are_named():
    with pytest.raises(InputError, match=r"or stated by a method multiply_adds of their module\. Got aten::_fft_"):
        count_flops(network(StatingFourierMixer()), **SHAPE)


def test_what_is_stated_must_be_a_number():
    class Odd(nn.Identity):
        def multiply_adds(self, x):
            return 2.5

    sentence = r"^multiply_adds of Odd must give an integer of at least 0, or None\. Got 2\.5 instead\.$"
    with pytest.raises(InputError, match=sentence):
        flops(Odd(), image_size=4, in_chans=3)


def test_a_module_that_needs_numbers_is_refused_in_a_sentence():
    class Asking(nn.Module):
        def forward(self, x):
            return x * x.mean().item()

    with pytest.raises(InputError, match=r"^forward of Asking must be possible without numbers, on the device meta\."):
        flops(Asking(), image_size=4, in_chans=3)


def test_a_part_that_gives_back_a_parameter_of_its_own_costs_nothing():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(5))

        def forward(self, x):
            return self.scores.expand(len(x), -1)

    class Place(Constant):
        def forward(self):
            return self.scores

    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.place, self.linear = Place(), nn.Linear(5, 5)

        def forward(self, x):
            return self.linear(x + self.place())

    assert flops(Constant(), image_size=4, in_chans=3) == 0
    module = Placed()
    assert flops(module, image_size=5, in_chans=3) == 2 * 3 * 5 * 5 * 5
    assert all(parameter.requires_grad for parameter in module.parameters())
