"""The attention layer on a GPU against the CPU in float64, on the same rounded weights and tokens."""

import copy

import pytest
import torch

from vision_attn.layers import Attention
from vision_attn.layers.named import PATTERNS, POSITIONS
from vision_attn.layers.similarity import SIMILARITIES

DIM, HEADS, GRID, SIZE = 64, 2, (6, 6), 3
AT_MOST = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
REORDERED = 0.4
"""In bfloat16 scores that are nearly equal change their order, and top-k attention then takes another token."""


def kinds(pattern):
    placed = [(position, "dot") for position in POSITIONS if (pattern, position) != ("reduced", "relative")]
    return placed + [("none", similarity) for similarity in SIMILARITIES if similarity != "dot"]


def apart(found, expected):
    """The norm of the difference over that of what is expected."""
    expected = expected.double()
    return ((found.detach().double().cpu() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("dtype", AT_MOST, ids=["fp32", "bf16"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_both_ways_are_near_double_precision_forward_and_backward(pattern, dtype, device, noted):
    limit = REORDERED if (pattern, dtype) == ("top_k", torch.bfloat16) else AT_MOST[dtype]
    misses = []
    for position, similarity in kinds(pattern):
        torch.manual_seed(0)
        options = {"pattern": pattern, "pattern_size": SIZE, "position": position, "similarity": similarity}
        low = Attention(DIM, HEADS, grid=GRID, **options).to(dtype)
        tokens = torch.randn(4, GRID[0] * GRID[1], DIM).to(dtype)
        upstream = torch.randn_like(tokens)
        exact, x = copy.deepcopy(low).double(), tokens.double().requires_grad_()
        expected = exact(x)
        expected.backward(upstream.double())
        for path in ("fused", "math"):
            there, y = copy.deepcopy(low).to(device), tokens.detach().clone().to(device).requires_grad_()
            there.path = path
            out = there(y)
            out.backward(upstream.to(device))
            weight, its = there.qkv.weight.grad, exact.qkv.weight.grad
            found = max(apart(out, expected), apart(y.grad, x.grad), apart(weight, its))
            noted(f"layer, {str(dtype)[6:]}, {pattern}: relative to float64", found)
            if not found <= limit:
                misses.append((position, similarity, path, found))
    assert misses == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_masks_and_the_causal_order_hold(dtype, device, noted):
    torch.manual_seed(0)
    low, tokens = Attention(DIM, HEADS).to(dtype), torch.randn(3, 17, DIM).to(dtype)
    padded = torch.zeros(3, 17, dtype=torch.bool)
    padded[:, 12:] = True
    tokens[:, 14:] = torch.nan  # masked, so nobody may notice
    added = torch.randn(17, 17).to(dtype)
    kept = tokens.nan_to_num(0.0)
    for options in ({"key_padding_mask": padded}, {"is_causal": True}, {"attn_mask": added}):
        given = tokens if "key_padding_mask" in options else kept
        rows = slice(0, 12) if "key_padding_mask" in options else slice(None)
        expected = copy.deepcopy(low).double()(
            kept.double(), **{name: mask.double() if name == "attn_mask" else mask for name, mask in options.items()}
        )
        there = {name: mask.to(device) if name != "is_causal" else mask for name, mask in options.items()}
        for path in ("fused", "math"):
            layer = copy.deepcopy(low).to(device)
            layer.path = path
            found = apart(layer(given.to(device), **there)[:, rows], expected[:, rows])
            noted(f"layer, {str(dtype)[6:]}, masks: relative to float64", found)
            assert found < AT_MOST[dtype], (options, path)


def test_under_autocast_it_computes_in_bfloat16(device):
    torch.manual_seed(0)
    layer, tokens = Attention(DIM, HEADS, similarity="cosine", position="rotary", grid=GRID), torch.randn(2, 36, DIM)
    expected = copy.deepcopy(layer).double()(tokens.double())
    layer, tokens = layer.to(device), tokens.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        out = layer(tokens)
    assert out.dtype == torch.bfloat16
    assert apart(out, expected) < AT_MOST[torch.bfloat16]
