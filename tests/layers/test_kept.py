"""Masks that are kept: what they say, whose they are, and bands of queries of which some keys need not be met."""

import copy

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from vision_attn.layers import Attention, Axial, Dilated, Neighbourhood, Segmented, Window, kept, plan

DIM, HEADS = 16, 2
PATTERNS = {
    "window": Window(3),
    "shifted window": Window(4, shift=2),
    "neighbourhood": Neighbourhood(2),
    "dilated": Dilated(5),
    "axial": Axial(),
    "segmented": Segmented(10),
}


@pytest.fixture(params=[False, True], ids=["whole", "bands"])
def in_bands(request, monkeypatch):
    """Masks, whatever is faster; in bands wherever there is more than one."""
    monkeypatch.setattr(plan, "_cut", lambda key, prices: 2 * kept.IN_BANDS)
    monkeypatch.setattr(plan, "_pays_in_bands", lambda layer, spans, x: request.param and len(spans) > 1)
    monkeypatch.setattr(kept, "BAND", 0)
    for one in (kept.spans, kept.scores, kept.added_in_bands):
        one.cache_clear()
    yield request.param
    for one in (kept.spans, kept.scores, kept.added_in_bands):
        one.cache_clear()


def tokens(number, batch=2):
    return torch.randn(batch, number, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("grid", [(6, 6), (5, 9)])
@pytest.mark.parametrize("name", PATTERNS)
def test_masks_give_what_the_weights_say_with_gradients(name, grid, prefix, in_bands):
    layer = Attention(DIM, HEADS, pattern=PATTERNS[name], grid=grid, num_prefix_tokens=prefix).double()
    x = tokens(grid[0] * grid[1] + prefix).requires_grad_()
    assert plan.mask(layer, x, grid) is not None
    expected = layer.proj((layer.weights(x) @ layer.heads(x)[2]).transpose(1, 2).flatten(2))
    for given in (x, x.detach()):
        with torch.set_grad_enabled(given.requires_grad):
            torch.testing.assert_close(layer(given), expected, rtol=0, atol=1e-12)
    inputs = [x, *layer.parameters()]
    (found, wanted) = (torch.autograd.grad(out.square().sum(), inputs) for out in (layer(x), expected))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("name", PATTERNS)
def test_bands_are_all_queries_in_order_and_meet_all_that_they_see(name, prefix, in_bands):
    pattern, grid = PATTERNS[name], (9, 7)
    spans = kept.spans(kept.key(pattern, grid, prefix))
    assert [number for span in spans for number in range(63 + prefix)[span.queries]] == list(range(63 + prefix))
    seen = kept.framed(pattern.seen(grid, torch.device("cpu")), prefix)
    for span in spans:
        met = set(range(63 + prefix)[span.keys]) | set(range(span.prefix))
        assert {int(key) for key in seen[span.queries].any(dim=0).nonzero()} <= met
    assert sum(span.scores for span in spans) < (63 + prefix) ** 2 or name == "axial"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("of", ["k", "v"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", PATTERNS)
def test_what_is_not_finite_reaches_only_those_that_see_it(name, dtype, of, value, in_bands):
    layer = Attention(DIM, HEADS, pattern=PATTERNS[name], grid=(6, 6)).to(dtype)
    with torch.no_grad():
        layer.qkv.weight[:, 0] = 0
        layer.qkv.weight[{"k": DIM, "v": 2 * DIM}[of] + 3, 0] = 1
    x = tokens(36).to(dtype)
    clean = layer(x)
    x[0, 20, 0] = value
    with torch.no_grad():
        out = layer(x)
    reached = PATTERNS[name].seen((6, 6), torch.device("cpu"))[:, 20]
    assert not out[0, reached].isfinite().all(dim=-1).any()
    atol = 0.01 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(out[0, ~reached], clean[0, ~reached], rtol=0, atol=atol)
    torch.testing.assert_close(out[1], clean[1], rtol=0, atol=atol)


@pytest.mark.parametrize(("name", "side"), [("axial", 21), ("neighbourhood", 8), ("segmented", 8)])
def test_what_is_dropped_out_is_the_same_without_gradients_as_in_a_checkpoint(name, side, monkeypatch):
    monkeypatch.setattr(plan, "BANDS", -(10**9))
    layer = Attention(DIM, HEADS, pattern=PATTERNS[name], grid=(side, side), attn_drop=0.5).double()
    outs = []
    for gradients in (False, True):
        torch.manual_seed(0)
        with torch.set_grad_enabled(gradients):
            outs.append(layer(tokens(side * side)))
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)


def test_a_mask_is_kept_and_follows_how_the_pattern_is_set():
    layer, x = Attention(DIM, HEADS, pattern=Neighbourhood(1), grid=(6, 6)).double(), tokens(36)
    layer(x)
    key = kept.key(layer.pattern, (6, 6), 0)
    assert kept.added(key, torch.float64) is kept.added(key, torch.float64)
    layer.pattern.radius = 2
    other = copy.deepcopy(layer)
    other.pattern = Neighbourhood(2)
    assert torch.equal(layer(x), other(x))


def test_a_pattern_of_ones_own_made_from_one_of_these_is_asked_itself():
    class Upper(Neighbourhood):
        def seen(self, grid, device):
            return torch.ones(36, 36, dtype=torch.bool, device=device).tril()

        def cut(self, grid, *, prefix):
            return None

    layer, x = Attention(DIM, HEADS, pattern=Upper(1), grid=(6, 6)).double(), tokens(36)
    assert kept.key(layer.pattern, (6, 6), 0) is None
    assert torch.equal(layer.weights(x) > 0, layer.pattern.seen((6, 6), "cpu").expand(2, HEADS, -1, -1))
    expected = (layer.weights(x) @ layer.heads(x)[2]).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(x), layer.proj(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.inference_mode, lambda: FakeTensorMode(allow_non_fake_inputs=True)])
def test_what_is_kept_from_within_a_mode_serves_outside_of_it(mode):
    layer, x = Attention(DIM, HEADS, pattern=Neighbourhood(2), grid=(5, 7)).double(), tokens(35)
    for one in (kept.seen, kept.added, kept.spans, kept.added_in_bands):
        one.cache_clear()
    key = kept.key(layer.pattern, (5, 7), 0)
    with mode():
        kept.added(key, x.dtype)
        kept.added_in_bands(key, x.dtype)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad.isfinite().all()
