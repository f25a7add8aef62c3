"""Tokens alone take a short way through the layer: the same numbers in fewer steps of Python."""

import sys

import pytest
import torch
from switches import DIM, HEADS, image_tokens
from timm.layers import Attention as TimmAttention

from vision_attn.layers import Attention, plain

OPTIONS = [
    {},
    {"k_bias": False},
    {"qk_norm": True, "num_prefix_tokens": 2},
    {"key_dim": 4, "value_dim": 12},
    {"scale": "after_softmax"},
    {"scale": 0.3, "path": "math"},
    {"attn_drop": 0.4, "proj_drop": 0.4},
    {"grid": (3, 4), "path": "fused"},
]


@pytest.fixture
def short(monkeypatch):
    """The layers whose calls took the short way."""
    taken = []

    def mixed(layer, x, of=plain.mixed):
        taken.append(layer)
        return of(layer, x)

    monkeypatch.setattr(plain, "mixed", mixed)
    return taken


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_outputs_and_gradients_have_the_bits_of_the_long_way(short, options, dtype):
    """A grid that is said with the call is read on the long way, and here nothing depends on it."""
    torch.manual_seed(0)
    layer, results = Attention(DIM, HEADS, dtype=dtype, **options), []
    prefix = layer.num_prefix_tokens
    for given in ({}, {"grid": (3, 4)}):
        x = image_tokens(12 + prefix).to(dtype).requires_grad_()
        layer.zero_grad()
        torch.manual_seed(1)
        out = layer(x, **given)
        out.square().sum().backward()
        results.append([out, x.grad, *(parameter.grad for parameter in layer.parameters())])
    assert short == [layer]
    for plainly, long in zip(*results, strict=True):
        assert torch.equal(plainly, long)


def test_under_autocast_too(short):
    layer, x = Attention(DIM, HEADS, qk_norm=True), image_tokens().float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), layer(x, grid=(3, 4)))
    assert short == [layer]


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"similarity": "cosine"}, {}),
        ({"scale": "learned"}, {}),
        ({"position": "rotary", "grid": (3, 4)}, {}),
        ({"pattern": "top_k", "pattern_size": 3}, {}),
        ({"context_dim": DIM}, {"context": image_tokens(5).float()}),
        ({}, {"context": image_tokens(5).float()}),
        ({}, {"is_causal": True}),
        ({}, {"attn_mask": torch.ones(12, 12, dtype=torch.bool)}),
        ({}, {"key_padding_mask": torch.zeros(2, 12, dtype=torch.bool)}),
    ],
    ids=str,
)
def test_what_has_more_to_say_takes_the_long_way(short, options, call):
    Attention(DIM, HEADS, **options)(image_tokens().float(), **call)
    assert short == []


def test_a_pattern_that_is_put_in_later_is_followed():
    layer, x = Attention(DIM, HEADS, grid=(3, 4)), image_tokens().float()
    plainly = layer(x)
    layer.pattern = Attention(DIM, HEADS, pattern="window", pattern_size=2).pattern
    assert not torch.equal(layer(x), plainly)


@pytest.mark.parametrize("options", [{"grid": (3, 3)}, {"num_prefix_tokens": 13}], ids=str)
def test_tokens_that_do_not_fit_are_refused_as_ever(options):
    with pytest.raises(ValueError, match="x of Attention must be"):
        Attention(DIM, HEADS, **options)(image_tokens().float())


def steps(layer, x):
    """The calls of Python functions in one call of the layer, without those that check types in tests."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event == "call" and any(f"/{own}/" in frame.f_code.co_filename for own in ("layers", "torch"))

    with torch.no_grad():
        layer(x)
        sys.setprofile(counted)
        try:
            layer(x)
        finally:
            sys.setprofile(None)
    return count


def test_there_are_at_most_twice_as_many_steps_of_python_as_in_timms():
    x = image_tokens().float()
    assert steps(Attention(DIM, HEADS), x) <= 2 * steps(TimmAttention(DIM, HEADS, qkv_bias=True), x)
