"""Claims about every legal setting of the switches, generated, and the sentences about the others."""

import itertools
import re

import pytest
import torch
from switches import DIM, GRID, HEADS, PATTERNS, POSITIONS, SCALES, SIMILARITIES, image_tokens, kernel, legal, made

from vision_attn.layers import Attention, RelativeBias, Rotary, SinCosPosition, SpatialReduction, Window

SETTINGS = list(legal())
PATHS = ("math", "fused")


def agree(layer, x, **given):
    _, _, v = layer.heads(x, **{name: value for name, value in given.items() if name == "context"})
    mixed = (layer.weights(x, **given) @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x, **given), layer.proj(mixed), rtol=0, atol=1e-12)


def test_the_illegal_settings_are_those_that_are_named():
    """Scales that a similarity has no use for, and the relative table with reduced keys."""
    settings = set(SETTINGS)
    for similarity, scale, position, pattern, prefix in itertools.product(
        SIMILARITIES, SCALES, POSITIONS, PATTERNS, (0, 2)
    ):
        bounded = similarity in ("cosine", "additive", "perceptron")
        no_scale = bounded and scale not in ("none", "learned")
        no_after = similarity == "gaussian" and scale == "after_softmax"
        no_table = position == "relative" and pattern == "reduced"
        expected = not (no_scale or no_after or no_table)
        assert ((similarity, scale, position, pattern, prefix) in settings) == expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("pattern", list(PATTERNS))
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_weights_times_values_is_what_forward_gives(similarity, pattern, path):
    path = kernel(similarity, pattern) if path == "fused" else path
    chosen = [s for s in SETTINGS if s[0] == similarity and s[3] == pattern]
    assert chosen
    for _, scale, position, _, prefix in chosen:
        layer = made(similarity, scale, position, pattern, num_prefix_tokens=prefix, path=path)
        with torch.no_grad():
            agree(layer, image_tokens(12 + prefix))


@pytest.mark.parametrize("path", PATHS)
def test_so_it_is_with_padding_context_and_unequal_widths(path):
    x, context = image_tokens(12), image_tokens(7, seed=2)
    for similarity, pattern, prefix in itertools.product(SIMILARITIES, PATTERNS, (0, 2)):
        options = {"key_dim": 12, "value_dim": 6, "qk_norm": True, "v_bias": False, "num_prefix_tokens": prefix}
        options["path"] = kernel(similarity, pattern) if path == "fused" else path
        layer = made(similarity, None, "none", pattern, **options)
        if pattern != "reduced":
            tokens = image_tokens(12 + prefix)
            padding = torch.zeros(2, 12 + prefix, dtype=torch.bool)
            padding[0, -5:] = padding[1, :7] = True
            agree(layer, tokens, key_padding_mask=padding)
            seen = layer.weights(tokens, key_padding_mask=padding)
            assert not seen.transpose(2, 3)[padding[:, None].expand(-1, HEADS, -1)].any()
        if pattern in ("full", "top-k") and not prefix:
            agree(layer, x, context=context, key_padding_mask=torch.arange(7).expand(2, 7) > 4)


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_rows_of_the_weights_sum_to_one(pattern):
    for similarity, prefix in itertools.product(SIMILARITIES, (0, 2)):
        sums = made(similarity, None, "none", pattern, num_prefix_tokens=prefix).weights(image_tokens(12 + prefix))
        torch.testing.assert_close(sums.sum(-1), torch.ones_like(sums.sum(-1)), rtol=0, atol=1e-12)


def test_scaled_after_the_softmax_they_sum_to_one_over_the_root_of_the_width():
    sums = made("dot", "after_softmax").weights(image_tokens()).sum(-1)
    torch.testing.assert_close(sums, torch.full_like(sums, (DIM // HEADS) ** -0.5), rtol=0, atol=1e-12)


def test_where_all_keys_are_padding_the_weights_are_zero_and_nothing_is_nan():
    for pattern in PATTERNS.keys() - {"reduced"}:
        layer = made(pattern=pattern)
        x = image_tokens().requires_grad_()
        padding = torch.ones(2, 12, dtype=torch.bool)
        assert not layer.weights(x, key_padding_mask=padding).any()
        out = layer(x, key_padding_mask=padding)
        torch.testing.assert_close(out, layer.proj.bias.expand_as(out))
        out.sum().backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("path", ["auto", "math"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_where_the_context_has_no_tokens_only_the_last_bias_is_left(similarity, path):
    layer, x = made(similarity, path=path), image_tokens().requires_grad_()
    out = layer(x, context=image_tokens(0))
    torch.testing.assert_close(out, layer.proj.bias.expand_as(out))
    out.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


def test_gradients_reach_every_parameter_of_every_setting():
    for similarity, scale, position, pattern, prefix in SETTINGS:
        layer = made(similarity, scale, position, pattern, num_prefix_tokens=prefix, qk_norm=True).train()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.3 * torch.rand_like(parameter))
        layer(image_tokens(12 + prefix)).square().sum().backward()
        silent = [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.any()]
        assert silent == [], (similarity, scale, position, pattern, prefix)


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_an_image_of_tokens_is_its_raster(pattern):
    layer, x = made(position="rotary", pattern=pattern), image_tokens()
    image = x.transpose(1, 2).unflatten(2, GRID)
    torch.testing.assert_close(layer(image), layer(x).transpose(1, 2).unflatten(2, GRID), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.weights(image), layer.weights(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_without_position_a_permutation_of_the_tokens_permutes_the_output(similarity):
    x, order = image_tokens(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    ties = similarity == "perceptron"  # scores of exactly 0 where no unit is active: top-k takes the first
    for pattern in ("full",) if ties else ("full", "top-k"):
        layer = made(similarity, pattern=pattern)
        torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("position", "pattern"),
    [(position, "full") for position in POSITIONS if position != "none"]
    + [("none", pattern) for pattern in PATTERNS if pattern not in ("full", "top-k")],
)
def test_with_a_position_or_a_pattern_it_does_not(position, pattern):
    x, order = image_tokens(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    layer = made(position=position, pattern=pattern)
    assert (layer(x[:, order]) - layer(x)[:, order]).abs().max() > 1e-3


def test_forward_is_right_to_first_order_for_every_similarity_position_and_pattern():
    settings = {(s, "none", "full") for s in SIMILARITIES}
    settings |= {("dot", p, "full") for p in POSITIONS} | {("dot", "none", p) for p in PATTERNS}
    for similarity, position, pattern in sorted(settings):
        layer = made(similarity, None, position, pattern, grid=(2, 2))
        x = image_tokens(4, batch=1).requires_grad_()
        assert torch.autograd.gradcheck(layer, (x,)), (similarity, position, pattern)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_of_all_parameters_are_right(path):
    for similarity in SIMILARITIES:
        used = kernel(similarity, "full") if path == "fused" else path
        layer, x = made(similarity, grid=(2, 2), path=used), image_tokens(4)
        names, values = zip(*layer.named_parameters(), strict=True)

        def call(*given, layer=layer, x=x, names=names):
            return torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (x,))

        assert torch.autograd.gradcheck(call, tuple(value.detach().requires_grad_() for value in values))


def refused(sentence, make):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make()


ALL_KINDS = "'dot', 'cosine', 'bilinear', 'additive', 'perceptron', 'gaussian'"


@pytest.mark.parametrize(
    ("sentence", "options"),
    [
        ("num_heads of Attention must be a divisor of dim = 8. Got 3 instead.", {"num_heads": 3}),
        ("num_heads of Attention must be a divisor of dim = 8. Got 0 instead.", {"num_heads": 0}),
        ("key_dim of Attention must be a multiple of num_heads = 2. Got 7 instead.", {"key_dim": 7}),
        ("value_dim of Attention must be a multiple of num_heads = 2. Got 0 instead.", {"value_dim": 0}),
        (
            f"similarity of Attention must be one of {ALL_KINDS}. Got 'cosin' instead.",
            {"similarity": "cosin"},
        ),
        (
            "scale of Attention must be one of 'learned', 'none' with similarity = 'cosine', or a number. Got 'sqrt' "
            "instead.",
            {"similarity": "cosine", "scale": "sqrt"},
        ),
        (
            "scale of Attention must be one of 'sqrt', 'none', 'inverse', 'learned', 'after_softmax' with similarity = "
            "'dot', or a number. Got 'root' instead.",
            {"scale": "root"},
        ),
        (
            "position of Attention must be built with head_dim = 4. Got 'Rotary(head_dim=8)' instead.",
            {"position": Rotary(GRID, 8)},
        ),
        (
            "position of Attention must be built with num_heads = 2. Got 'RelativeBias(num_heads=4)' instead.",
            {"position": RelativeBias(GRID, 4)},
        ),
        (
            "pattern of Attention must be built with dim = 8. Got 'SpatialReduction(dim=6)' instead.",
            {"pattern": SpatialReduction(6, 2)},
        ),
        (
            "pattern of Attention must be None or TopK with context_dim. Got 'Window' instead.",
            {"pattern": Window(2), "context_dim": 5},
        ),
        (
            "position of Attention must be None with context_dim. Got 'Rotary' instead.",
            {"position": Rotary(GRID, 4), "context_dim": 5},
        ),
        ("num_prefix_tokens of Attention must be an integer, at least 0. Got -1 instead.", {"num_prefix_tokens": -1}),
        ("qkv_bias of Attention must be True or False. Got 'no' instead.", {"qkv_bias": "no"}),
        ("v_bias of Attention must be True or False. Got 0.5 instead.", {"v_bias": 0.5}),
        ("qk_norm of Attention must be True or False. Got 'layer' instead.", {"qk_norm": "layer"}),
        ("attn_drop of Attention must be a number from 0 to 1. Got 1.5 instead.", {"attn_drop": 1.5}),
        ("proj_drop of Attention must be a number from 0 to 1. Got None instead.", {"proj_drop": None}),
        (
            "norm_layer of Attention must be what makes a norm of so many channels, with qk_norm. Got None instead.",
            {"norm_layer": None, "qk_norm": True},
        ),
        ("dtype of Attention must be None or a floating torch.dtype. Got 'float32' instead.", {"dtype": "float32"}),
        (
            "position of Attention must be another than RelativeBias with the pattern SpatialReduction. Got "
            "'RelativeBias' instead.",
            {"position": RelativeBias(GRID, 2), "pattern": SpatialReduction(8, 2)},
        ),
    ],
)
def test_wrong_arguments_are_named_with_what_is_allowed(sentence, options):
    refused(sentence, lambda: Attention(DIM, **{"num_heads": HEADS, **options}))


def test_wrong_inputs_are_named_with_what_is_allowed():
    x = image_tokens()
    refused("x of Attention must be (B, N, 8) or (B, 8, H, W). Got (2, 12, 7) instead.", lambda: made()(x[..., :7]))
    refused("context of Attention must be given, as context_dim is. Got None instead.", lambda: made(context_dim=5)(x))
    refused(
        "context of Attention must be None with a position, or with a pattern other than TopK: they need queries and "
        "keys on one grid. Got (2, 12, 8) instead.",
        lambda: made(pattern="window")(x, context=x),
    )
    refused(
        "context of Attention must be of the batch size 2. Got (1, 12, 8) instead.", lambda: made()(x, context=x[:1])
    )
    refused(
        "key_padding_mask of Attention must be of shape (2, 12) and torch.bool. Got ((2, 11), torch.bool) instead.",
        lambda: made()(x, key_padding_mask=torch.zeros(2, 11, dtype=torch.bool)),
    )
    refused(
        "key_padding_mask of Attention must be None with the pattern SpatialReduction. Got (2, 12) instead.",
        lambda: made(pattern="reduced")(x, key_padding_mask=torch.zeros(2, 12, dtype=torch.bool)),
    )
    refused(
        "x of Attention must be 3 x 4 tokens behind the prefix, or (B, C, H, W), or given with its grid. Got "
        "'11 tokens' instead.",
        lambda: made(pattern="window")(x[:, :11]),
    )
    refused(
        "x of Attention must be (B, N, 8), as num_prefix_tokens is 1. Got (2, 8, 3, 4) instead.",
        lambda: made(num_prefix_tokens=1)(x.transpose(1, 2).unflatten(2, GRID)),
    )


@pytest.mark.parametrize(
    ("sentence", "make"),
    [
        ("size of Window must be an integer or two, at least 1. Got 0 instead.", lambda: Window(0)),
        ("shift of Window must be less than size = (2, 2). Got 2 instead.", lambda: Window(2, shift=2)),
        ("ratio of SpatialReduction must be an integer, at least 1. Got 0 instead.", lambda: SpatialReduction(8, 0)),
        ("head_dim of Rotary must be a multiple of 4. Got 6 instead.", lambda: Rotary(GRID, 6)),
        ("head_dim of Rotary must be a multiple of 4. Got 8.0 instead.", lambda: Rotary(GRID, 8.0)),
        (
            "temperature of Rotary must be a finite number more than 0. Got 0 instead.",
            lambda: Rotary(GRID, 8, temperature=0),
        ),
        (
            "temperature of sincos2d must be a finite number more than 0. Got -1.0 instead.",
            lambda: SinCosPosition(GRID, 8, temperature=-1.0),
        ),
        ("grid of Rotary must be two numbers, each at least 1. Got (0, 3) instead.", lambda: Rotary((0, 3), 4)),
    ],
)
def test_wrong_parts_are_named_with_what_is_allowed(sentence, make):
    refused(sentence, make)
