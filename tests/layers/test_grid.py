"""How the tokens lie is known, never guessed: stated, or said by the call, or by the image."""

import re

import pytest
import torch
from switches import DIM, HEADS, PATTERNS, POSITIONS, image_tokens, made

from vision_attn.layers import (
    Attention,
    AveragePooling,
    DepthwiseConvolution,
    LearnedPosition,
    RandomMixing,
    RecurrentMixing,
    RelativeBias,
    Rotary,
    Segmented,
    TokenMerging,
    TopK,
    Window,
)

ON_GRID = [("none", pattern) for pattern in PATTERNS if pattern not in ("full", "top-k", "segmented")] + [
    (position, "full") for position in POSITIONS if position != "none"
]


def refused(sentence, call):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()


def test_a_class_token_that_was_forgotten_is_refused():
    layer = Attention(16, 2, pattern=Window(2), grid=(4, 6))
    refused(
        "x of Attention must be 4 x 6 tokens behind the prefix, or (B, C, H, W), or given with its grid. Got "
        "'25 tokens' instead.",
        lambda: layer(torch.randn(1, 25, 16)),
    )


@pytest.mark.parametrize("number", [9, 11, 13, 16, 25])
def test_no_number_of_tokens_is_read_as_another_grid_than_the_stated(number):
    for position, pattern in [*ON_GRID, ("none", "full"), ("none", "top-k"), ("none", "segmented")]:
        layer = made(position=position, pattern=pattern)
        for call in (layer, layer.weights, layer.heads):
            with pytest.raises(ValueError, match="3 x 4 tokens behind the prefix"):
                call(image_tokens(number))


@pytest.mark.parametrize("position", [Rotary((4, 4), 4), LearnedPosition((4, 4), DIM), RelativeBias((4, 4), HEADS)])
def test_the_grid_of_a_position_is_a_stated_one(position):
    layer = Attention(DIM, HEADS, position=position)
    assert layer.grid == (4, 4)
    with pytest.raises(ValueError, match="4 x 4 tokens"):
        layer(torch.randn(1, 64, DIM))


def test_the_table_of_a_window_says_nothing_about_the_grid():
    layer = Attention(DIM, HEADS, position=RelativeBias((2, 2), HEADS), pattern=Window(2))
    assert layer.grid is None
    assert layer(torch.randn(1, 36, DIM)).shape == (1, 36, DIM)


@pytest.mark.parametrize(("position", "pattern"), ON_GRID)
@pytest.mark.parametrize("grid", [(2, 8), (8, 2), (4, 4), (5, 8), (1, 7)])
def test_the_call_may_say_the_grid(position, pattern, grid):
    """As an image of that shape: 4 x 16 tokens are not read as 8 x 8, nor 5 x 8 refused."""
    layer = made(position=position, pattern=pattern)
    image = image_tokens(grid[0] * grid[1]).transpose(1, 2).unflatten(2, grid)
    tokens = image.flatten(2).transpose(1, 2)
    torch.testing.assert_close(layer(tokens, grid=grid), layer(image).flatten(2).transpose(1, 2), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.weights(tokens, grid=grid), layer.weights(image), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.heads(tokens, grid=grid), layer.heads(image), rtol=0, atol=1e-12)


def test_another_grid_of_as_many_tokens_gives_another_result():
    for position, pattern in ON_GRID:
        layer = made(position=position, pattern=pattern)
        difference = layer(image_tokens(36), grid=(4, 9)) - layer(image_tokens(36), grid=(6, 6))
        assert difference.abs().max() > 1e-6, (position, pattern)


def test_a_grid_that_is_said_and_does_not_fit_is_refused():
    layer = made(pattern="window", num_prefix_tokens=1)
    refused(
        "x of Attention must be 5 x 8 tokens behind the prefix, or (B, C, H, W), or given with its grid. Got "
        "'39 tokens' instead.",
        lambda: layer(image_tokens(40), grid=(5, 8)),
    )
    image = image_tokens(12).transpose(1, 2).unflatten(2, (3, 4))
    refused(
        "grid of Attention must be (3, 4), as that of the image. Got (4, 3) instead.",
        lambda: made()(image, grid=(4, 3)),
    )


@pytest.mark.parametrize("grid", ["4x4", 4, (4,), (4, 0), (4, 4, 1), (4.0, 4), None, [True, 4]])
def test_what_is_no_grid_is_refused_where_it_is_given(grid):
    sentence = f"grid of {{}} must be two numbers, each at least 1. Got {grid!r} instead."
    refused(sentence.format("Rotary"), lambda: Rotary(grid, 4))
    if grid is not None:
        refused(sentence.format("Attention"), lambda: Attention(DIM, HEADS, grid=grid))
        refused(sentence.format("Attention"), lambda: made()(image_tokens(), grid=grid))


@pytest.mark.parametrize("pattern", [Window(2), "axial", "neighbourhood"])
def test_where_nothing_is_stated_a_square_is_assumed_or_the_call_refused(pattern):
    named = {"pattern_size": 2} if pattern == "neighbourhood" else {}
    layer = Attention(DIM, HEADS, pattern=pattern, **named).double()
    x = image_tokens(16)
    torch.testing.assert_close(layer(x), layer(x, grid=(4, 4)), rtol=0, atol=0)
    refused(
        "x of Attention must be a square number of tokens behind the prefix, or (B, C, H, W), or given with its grid. "
        "Got '17 tokens' instead.",
        lambda: layer(image_tokens(17)),
    )


@pytest.mark.parametrize("pattern", [None, TopK(3), Segmented(4)])
def test_what_needs_no_grid_takes_any_number_of_tokens(pattern):
    layer = Attention(DIM, HEADS, pattern=pattern).double()
    for number in (1, 2, 7, 11, 30):
        assert layer(image_tokens(number)).shape == (2, number, DIM)


@pytest.mark.parametrize(
    ("what", "mixer"),
    [
        ("DepthwiseConvolution", DepthwiseConvolution(DIM, grid=(3, 4), kernel_size=3)),
        ("RecurrentMixing", RecurrentMixing(DIM, grid=(3, 4))),
        ("RecurrentMixing", RecurrentMixing(DIM, grid=(3, 4), order="columns")),
        ("TokenMerging", TokenMerging(DIM, grid=(6, 2))),
        ("AveragePooling", AveragePooling(grid=(3, 4))),
    ],
)
def test_the_other_mixers_know_their_grid_too(what, mixer):
    rows, columns = mixer.grid
    assert mixer(torch.randn(1, 12, DIM)).shape[0] == 1
    refused(
        f"x of {what} must be (B, {rows * columns}, C), {rows} x {columns} tokens. Got (1, 13, 8) instead.",
        lambda: mixer(torch.randn(1, 13, DIM)),
    )


def test_a_fixed_mean_is_over_the_tokens_it_was_drawn_for():
    """One token would be taken for all of them, and images for tokens."""
    for shape in ((2, 1, DIM), (2, 13, DIM), (2, 12), (2, DIM, 12, 1)):
        refused(
            f"x of RandomMixing must be (B, 12, C), as num_tokens says. Got {shape} instead.",
            lambda shape=shape: RandomMixing(12)(torch.randn(shape)),
        )
    for number in (0, 12.0, True, (3, 4)):
        refused(
            f"num_tokens of RandomMixing must be an integer, at least 1. Got {number!r} instead.",
            lambda number=number: RandomMixing(number),
        )


@pytest.mark.parametrize("grid", ["4x4", 4, (4, 0), (4.0, 4), None])
def test_what_is_no_grid_is_refused_by_every_mixer(grid):
    for make in (
        lambda: AveragePooling(grid=grid),
        lambda: DepthwiseConvolution(DIM, grid=grid),
        lambda: RecurrentMixing(DIM, grid=grid),
        lambda: TokenMerging(DIM, grid=grid),
    ):
        with pytest.raises(ValueError, match=f"must be two numbers, each at least 1. Got {re.escape(repr(grid))} inst"):
            make()
