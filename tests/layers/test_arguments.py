"""Arguments by name, those of other libraries, and sizes at their ends."""

import re

import numpy as np
import pytest
import torch
from switches import DIM, HEADS, PATTERNS, image_tokens, made

from vision_attn.layers import (
    Attention,
    AveragePooling,
    ConvEmbed,
    ConvPosition,
    DepthwiseConvolution,
    LearnedPosition,
    LocalEmbed,
    PatchEmbed,
    RandomMixing,
    RecurrentMixing,
    RelativeBias,
    Rotary,
    SinCosPosition,
    SpatialReduction,
    TokenMerging,
    Window,
    sincos2d,
)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ({"embed_dim": 8}, "dim"),
        ({"dim": 8, "heads": 2}, "num_heads"),
        ({"dim": 8, "bias": 0}, "qkv_"),
        ({"dim": 8, "use_rope": 1}, "position"),
    ],
)
def test_arguments_of_other_libraries_are_named_as_here(given, ours):
    with pytest.raises(TypeError, match=f"here it is {ours}"):
        Attention(**given)


def test_a_mask_of_another_name_is_named_as_here():
    for call in (made(), made().weights):
        with pytest.raises(TypeError, match="has no argument 'mask': here it is attn_mask"):
            call(image_tokens(), mask=None)


def test_queries_keys_and_values_by_place_are_told_how_they_are_given_here():
    layer, x = made(), image_tokens()
    for call in (layer, layer.weights):
        with pytest.raises(TypeError, match=r"takes x alone by its place: .* or keys and values from context=\. Got 3"):
            call(x, x, x)
    with pytest.raises(TypeError, match="here it is the method weights"):
        layer(x, average_attn_weights=False)


def test_the_scale_may_be_a_number_and_is_one():
    assert Attention(DIM, HEADS).scale == (DIM // HEADS) ** -0.5
    x = image_tokens()
    torch.testing.assert_close(made(scale=0.5)(x), made(scale="sqrt")(x), rtol=0, atol=0)
    assert made("cosine").scale.shape == (HEADS, 1, 1)


@pytest.mark.parametrize("options", [{"num_heads": 2.0}, {"position": RelativeBias((8, 8), 2), "pattern": Window(4)}])
def test_what_does_not_fit_is_refused(options):
    with pytest.raises(ValueError, match="of Attention must be"):
        Attention(DIM, **{"num_heads": HEADS, **options})


@pytest.mark.parametrize("pattern", [None, Window(2)])
def test_the_size_of_a_pattern_that_has_no_name_is_refused(pattern):
    with pytest.raises(ValueError, match=r"^pattern_size of Attention must be left out .* not a name\. Got 3"):
        Attention(8, num_heads=2, pattern=pattern, pattern_size=3)


@pytest.mark.parametrize("pattern", ["full", "axial"])
def test_so_is_that_of_a_pattern_that_has_none(pattern):
    words = (
        rf"^pattern_size of Attention must be left out with pattern = '{pattern}', which has none\. Got 2 instead\.$"
    )
    with pytest.raises(ValueError, match=words):
        Attention(8, num_heads=2, pattern=pattern, pattern_size=2)


def test_a_size_of_two_sides_is_that_of_shifted_windows_too():
    pattern = Attention(8, num_heads=2, pattern="shifted_window", pattern_size=(4, 3)).pattern
    assert (pattern.size, pattern.shift) == ((4, 3), (2, 1))


SIDES, ARRAY = (4, 4), np.array([1, 2])
WHOLE, ODD = "an integer, at least 1", "an odd integer, at least 1"
MORE_THAN_0, SWITCH = "a finite number more than 0", "True or False"
SIZES = {
    "dim of LearnedPosition": lambda size: LearnedPosition(SIDES, size),
    "dim of ConvPosition": lambda size: ConvPosition(SIDES, size),
    "num_heads of RelativeBias": lambda size: RelativeBias(SIDES, size),
    "dim of SpatialReduction": lambda size: SpatialReduction(size, 2),
    "ratio of SpatialReduction": lambda size: SpatialReduction(16, size),
    "dim of DepthwiseConvolution": lambda size: DepthwiseConvolution(size, grid=SIDES),
    "dim of RecurrentMixing": lambda size: RecurrentMixing(size, grid=SIDES),
    "num_tokens of RandomMixing": lambda size: RandomMixing(size),
    "patch_size of PatchEmbed": lambda size: PatchEmbed(patch_size=size, in_chans=3, dim=8),
    "in_chans of PatchEmbed": lambda size: PatchEmbed(patch_size=2, in_chans=size, dim=8),
    "dim of PatchEmbed": lambda size: PatchEmbed(patch_size=2, in_chans=3, dim=size),
    "in_chans of ConvEmbed": lambda size: ConvEmbed(patch_size=2, in_chans=size, dim=8),
    "dim of ConvEmbed": lambda size: ConvEmbed(patch_size=2, in_chans=3, dim=size),
    "patch_size of LocalEmbed": lambda size: LocalEmbed(patch_size=size, in_chans=3, dim=8, grid=SIDES),
    "in_chans of LocalEmbed": lambda size: LocalEmbed(patch_size=2, in_chans=size, dim=8, grid=SIDES),
    "dim of LocalEmbed": lambda size: LocalEmbed(patch_size=2, in_chans=3, dim=size, grid=SIDES),
    "dim of TokenMerging": lambda size: TokenMerging(size, grid=SIDES),
}
OTHERS = [
    ("dim of sincos2d", lambda size: SinCosPosition(SIDES, size), "a multiple of 4, at least 8", (16.0, "16", True, 4)),
    ("dim of sincos2d", lambda size: sincos2d(SIDES, size), "a multiple of 4, at least 8", (16.0, "16")),
    ("temperature of sincos2d", lambda given: SinCosPosition(SIDES, 16, temperature=given), MORE_THAN_0, ("8", True)),
    ("temperature of Rotary", lambda given: Rotary(SIDES, 8, temperature=given), MORE_THAN_0, ("8", None, True)),
    (
        "branch_sd of DepthwiseConvolution",
        lambda given: DepthwiseConvolution(4, grid=SIDES, branch_sd=given),
        MORE_THAN_0,
        ("1", (1,)),
    ),
    (
        "kernel_size of ConvPosition",
        lambda size: ConvPosition(SIDES, 16, kernel_size=size),
        ODD,
        ("3", 3.0, (3, 3), True, 2),
    ),
    (
        "kernel_size of DepthwiseConvolution",
        lambda size: DepthwiseConvolution(4, grid=SIDES, kernel_size=size),
        ODD,
        ("3", 3.0, (3, 3), True),
    ),
    (
        "kernel_size of AveragePooling",
        lambda size: AveragePooling(grid=SIDES, kernel_size=size),
        ODD,
        ("3", 3.0, (3, 3), True),
    ),
    (
        "patch_size of ConvEmbed",
        lambda size: ConvEmbed(patch_size=size, in_chans=3, dim=8),
        "a power of two, at least 2",
        ("4", 4.0, True, 0),
    ),
    ("prefix of RelativeBias", lambda given: RelativeBias(SIDES, 2, prefix=given), SWITCH, ("no", 2, None)),
    (
        "bidirectional of RecurrentMixing",
        lambda given: RecurrentMixing(4, grid=SIDES, bidirectional=given),
        SWITCH,
        ("no", 2, None),
    ),
    (
        "order of RecurrentMixing",
        lambda given: RecurrentMixing(4, grid=SIDES, order=given),
        "'raster' or 'columns'",
        (["raster"], np.array(["raster", "columns"])),
    ),
    (
        "key_dim of Attention",
        lambda size: Attention(16, 1, key_dim=size),
        "a multiple of num_heads = 1",
        (True, np.array([16, 8])),
    ),
    (
        "value_dim of Attention",
        lambda size: Attention(16, 1, value_dim=size),
        "a multiple of num_heads = 1",
        (True, np.array([16, 8])),
    ),
    *(
        (f"{field} of Attention", lambda given, field=field: Attention(16, 2, **{field: given}), ".+", (["dot"], ARRAY))
        for field in ("similarity", "scale", "pattern", "position", "path")
    ),
    ("scale of Attention", lambda given: Attention(16, 2, scale=given), ".+, or a number", (10**400,)),
    ("size of Window", lambda size: Attention(16, 2, pattern="shifted_window", pattern_size=size), ".+", ("4", 4.0)),
    *(
        (f"grid of {one.__name__}", one(SIDES, 16).set_grid, "two numbers, each at least 1", ("ab", (0, 4), 4))
        for one in (LearnedPosition, RelativeBias)
    ),
]
CASES = [
    *((field, make, WHOLE, given) for field, make in SIZES.items() for given in (0, -16, 2.0, "16", True, None)),
    *((field, make, allowed, given) for field, make, allowed, wrong in OTHERS for given in wrong),
]


@pytest.mark.parametrize(
    ("field", "make", "allowed", "given"), CASES, ids=lambda part: None if callable(part) else str(part)
)
def test_what_no_argument_can_be_is_refused_in_one_sentence(field, make, allowed, given):
    with pytest.raises(ValueError, match=rf"^{field} must be {allowed}\. Got {re.escape(repr(given))} instead\.$"):
        make(given)


@pytest.mark.parametrize("number", [np.int64, np.int32])
def test_integers_of_numpy_are_sizes(number):
    four, three = number(4), number(3)
    assert LearnedPosition(SIDES, four).pos_embed.shape == (1, 16, 4)
    assert ConvPosition(SIDES, four, kernel_size=three).conv.kernel_size == (3, 3)
    assert SinCosPosition(SIDES, number(8), temperature=np.float32(100)).embedding.shape == (1, 16, 8)
    assert RelativeBias(SIDES, four).num_heads == SpatialReduction(four, number(2)).dim == 4
    assert ConvEmbed(patch_size=four, in_chans=three, dim=four)(torch.randn(1, 3, 8, 8)).shape == (1, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tokens_and_no_samples_are_taken(dtype):
    for path in ("auto", "math"):
        layer = Attention(DIM, HEADS, path=path, device="cpu", dtype=dtype)
        for shape in ((2, 0, DIM), (0, 4, DIM)):
            assert layer(torch.randn(shape, dtype=dtype)).shape == shape
            assert layer.weights(torch.randn(shape, dtype=dtype)).shape == (shape[0], HEADS, shape[1], shape[1])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_samples_are_taken_where_tokens_are_cut_into_groups(pattern):
    layer, x = made(pattern=pattern, grid=(16, 16)), image_tokens(256)[:0].requires_grad_()
    layer(x).sum().backward()
    assert x.grad.shape == layer(x).shape == (0, 256, DIM)
    assert layer.weights(x).shape[0] == 0


def test_dropout_is_on_where_its_module_is_in_training():
    for path in ("auto", "fused", "math"):
        layer, x = made(attn_drop=0.5, path=path), image_tokens()
        plain = layer(x)
        layer.attn_drop.train()
        assert not torch.allclose(layer(x), plain)


def ragged(layout):
    return torch.nested.nested_tensor([torch.randn(5, DIM), torch.randn(9, DIM)], layout=layout)


@pytest.mark.parametrize("options", [{}, {"pattern": "reduced"}, {"similarity": "cosine"}], ids=str)
@pytest.mark.parametrize("call", ["forward", "weights", "heads"])
def test_tokens_without_a_number_at_every_place_are_refused(call, options):
    ask = getattr(made(**options), call)
    for x in (ragged(torch.jagged), ragged(torch.strided), image_tokens().to_sparse()):
        with pytest.raises(ValueError, match=r"^x of Attention must be a dense tensor, shorter samples padded \(key_"):
            ask(x)
    for x in ([[1.0]], None, image_tokens().numpy()):
        with pytest.raises(
            ValueError, match=rf"^x of Attention must be a tensor\. Got '{type(x).__name__}' instead\.$"
        ):
            ask(x)
    if not options:
        with pytest.raises(ValueError, match=r"^context of Attention must be a dense tensor"):
            ask(image_tokens(), context=ragged(torch.jagged))


@pytest.mark.parametrize("name", ["key_padding_mask", "attn_mask"])
def test_a_mask_that_is_no_tensor_is_refused(name):
    for layer in (made(), made(pattern="reduced")):
        with pytest.raises(ValueError, match=rf"^{name} of Attention must be None or a tensor\. Got 'list' instead\.$"):
            layer(image_tokens(), **{name: [[True] * 12] * 2})
