"""Masks: what is not seen has weight 0, whatever the scores, and may be NaN or infinite."""

import math

import pytest
import torch
from switches import DIM, HEADS, PATTERNS, image_tokens, made
from torch import nn

from vision_attn.layers import Attention

MASKABLE = [pattern for pattern in PATTERNS if pattern != "reduced"]
HIDDEN = torch.tensor([1, 5, 6, 11])


def padded():
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[:, HIDDEN] = True
    return padding


@pytest.mark.parametrize("path", ["auto", "math"])
@pytest.mark.parametrize("pattern", MASKABLE)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_padding_reaches_no_kept_row_and_no_gradient(pattern, bad, path):
    kept = ~padded()[0]
    for similarity, position in (("dot", "none"), ("gaussian", "rotary"), ("additive", "convolution")):
        results = []
        for value in (0.0, bad):
            layer, x = made(similarity, None, position, pattern, path=path), image_tokens()
            x[:, HIDDEN] = value
            out = layer(x.requires_grad_(), key_padding_mask=padded())
            out[:, kept].square().sum().backward()
            weights = layer.weights(x, key_padding_mask=padded())
            assert not weights[:, :, kept][..., ~kept].any()
            results.append([out[:, kept], weights[:, :, kept], *(p.grad for p in layer.parameters())])
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("pattern", MASKABLE)
@pytest.mark.parametrize("large", [1e4, 1e8, 1e30, 1e38])
@pytest.mark.parametrize("form", ["key_padding_mask", "boolean", "added"])
def test_what_padding_holds_takes_no_precision_from_kept_rows(form, large, pattern):
    visible = ~padded()[:, None].expand(2, 12, 12)
    added = torch.zeros(2, 12, 12).masked_fill(~visible, -math.inf)
    masks = {"key_padding_mask": padded()} if form == "key_padding_mask" else {}
    masks |= {"boolean": {"attn_mask": visible}, "added": {"attn_mask": added}}.get(form, {})
    kept = ~padded()[0]
    for similarity in ("gaussian", "dot"):
        layer, x = made(similarity, pattern=pattern).float(), image_tokens().float()
        expected = layer(x, **masks)
        x[:, HIDDEN] = large
        torch.testing.assert_close(layer(x, **masks)[:, kept], expected[:, kept], rtol=0, atol=1e-5)


@pytest.mark.parametrize("given", ["attn_mask", "is_causal"])
@pytest.mark.parametrize("pattern", MASKABLE)
def test_what_a_row_may_not_see_does_not_reach_it(pattern, given):
    """The last tokens are NaN; rows that do not see them are what they were, rows that see them are NaN."""
    layer, x = made(pattern=pattern), image_tokens()
    masks = {"is_causal": True} if given == "is_causal" else {"attn_mask": torch.ones(12, 12).tril().bool()}
    expected, seen = layer(x, **masks), layer.weights(x, **masks)[0].sum(0)[:, 10:].sum(-1) > 0
    spoilt = x.clone()
    spoilt[:, 10:] = math.nan
    out = layer(spoilt, **masks)
    if pattern != "top-k":
        assert out[:, seen].isnan().all()
    torch.testing.assert_close(out[:, :10], expected[:, :10], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("path", ["fused", "math"])
def test_a_masked_key_has_weight_0_however_large_its_score(dtype, path):
    torch.manual_seed(0)
    layer = Attention(DIM, 1, scale="none", path=path).to(dtype)
    with torch.no_grad():
        layer.qkv.weight.copy_(torch.eye(DIM).repeat(3, 1))
        layer.qkv.bias.zero_()
        layer.proj.weight.copy_(torch.eye(DIM))
        layer.proj.bias.zero_()
    x = torch.zeros(1, 3, DIM, dtype=dtype)
    x[0, 0, 0], x[0, 1, 0], x[0, 2, 1] = 240.0, -240.0, 1.0  # scores to -57,600
    padding = torch.tensor([[True, False, False]])
    assert layer.weights(x, key_padding_mask=padding)[0, 0, 0].tolist() == [0, 0, 1]
    assert layer.weights(x, key_padding_mask=padding)[0, 0, :, 0].tolist() == [0, 0, 0]
    torch.testing.assert_close(layer(x, key_padding_mask=padding)[0, 0], x[0, 2], rtol=0, atol=1e-3)


@pytest.mark.parametrize("options", [{"path": "math"}, {"path": "fused"}, {"pattern": "top_k"}], ids=str)
def test_so_it_is_where_its_score_is_more_than_the_type_can_hold(options):
    """In float16 400 x 400 is infinite, and infinity less infinity is no number."""
    layer = Attention(DIM, 1, scale="none", **options).half()
    with torch.no_grad():
        layer.qkv.weight.copy_(torch.eye(DIM).repeat(3, 1))
        layer.qkv.bias.zero_()
    x = torch.zeros(1, 3, DIM, dtype=torch.float16)
    x[0, 0, 0], x[0, 1, 0], x[0, 2, 1] = 400.0, 400.0, 1.0
    seen = torch.tensor([[False, False, True]]).expand(3, 3)
    for masks in ({"attn_mask": seen}, {"attn_mask": torch.where(seen, 0.0, -math.inf)}):
        assert layer.weights(x, **masks)[0, 0].tolist() == [[0, 0, 1]] * 3
        torch.testing.assert_close(layer(x, **masks)[0, :2], layer(x, **masks)[0, 2:].expand(2, -1), rtol=0, atol=0)


def shapes():
    generator = torch.Generator().manual_seed(3)
    for shape in ((12, 7), (2, 12, 7), (2, HEADS, 12, 7), (2, 1, 12, 7)):
        seen = torch.rand(shape, generator=generator) > 0.3
        seen[..., 0] = True
        yield seen
        yield torch.randn(shape, generator=generator, dtype=torch.float64)
        yield torch.where(seen, torch.randn(shape, generator=generator, dtype=torch.float64), -math.inf)


@pytest.mark.parametrize("mask", list(shapes()), ids=lambda mask: f"{tuple(mask.shape)}-{mask.dtype}")
@pytest.mark.parametrize("path", ["fused", "math"])
def test_masks_over_pairs_are_those_of_scaled_dot_product_attention(mask, path):
    layer, x, context = made(path=path), image_tokens(), image_tokens(7, seed=2)
    q, k, v = layer.heads(x, context=context)
    four = mask if mask.ndim == 4 else mask[:, None] if mask.ndim == 3 else mask
    expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=four)
    out = layer(x, context=context, attn_mask=mask)
    torch.testing.assert_close(out, layer.proj(expected.transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)
    mixed = layer.weights(x, context=context, attn_mask=mask) @ v
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


def test_the_causal_order_is_that_of_scaled_dot_product_attention():
    for path in ("fused", "math"):
        layer, x = made(path=path), image_tokens()
        expected = nn.functional.scaled_dot_product_attention(*layer.heads(x), is_causal=True)
        out = layer(x, is_causal=True)
        torch.testing.assert_close(out, layer.proj(expected.transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)
        assert not layer.weights(x, is_causal=True).triu(1).any()


def test_a_row_that_sees_nothing_is_the_bias_of_the_last_projection():
    seen = torch.ones(12, 12, dtype=torch.bool)
    seen[4] = False
    for pattern in MASKABLE:
        layer = made(pattern=pattern)
        x = image_tokens().requires_grad_()
        out = layer(x, attn_mask=seen)
        torch.testing.assert_close(out[:, 4], layer.proj.bias.expand(2, -1), rtol=0, atol=1e-12)
        out.sum().backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("path", ["auto", "math"])
@pytest.mark.parametrize("pattern", MASKABLE)
def test_what_is_no_number_in_an_added_mask_spreads_and_hides_nothing(pattern, path):
    layer, x = made("dot", None, "none", pattern, path=path), image_tokens()
    tokens = x.shape[1]
    added = torch.zeros(tokens, tokens, dtype=x.dtype)
    added[torch.arange(tokens), torch.arange(tokens)] = math.nan
    added[3, 3] = 0
    out = layer(x, attn_mask=added)
    assert not out[:, 3].isnan().any()
    assert out[:, torch.arange(tokens) != 3].isnan().any(dim=-1).all()


def test_a_mask_that_does_not_fit_is_refused():
    x = image_tokens()
    for wrong in (torch.ones(12, 11).bool(), torch.ones(3, 12, 12).bool(), torch.ones(12, 12).long()):
        with pytest.raises(ValueError, match=r"^attn_mask of Attention must be of shape \(12, 12\), \(2, 12, 12\) or"):
            made()(x, attn_mask=wrong)
    for name, shape in (("attn_mask", (12, 12)), ("key_padding_mask", (2, 12))):
        elsewhere = {name: torch.ones(shape, dtype=torch.bool, device="meta")}
        words = f"^{name} of Attention must be on cpu, the device of the tokens. Got 'meta' instead"
        with pytest.raises(ValueError, match=words):
            made()(x, **elsewhere)
    with pytest.raises(ValueError, match=r"^attn_mask of Attention must be None with the pattern SpatialReduction"):
        made(pattern="reduced")(x, is_causal=True)
