"""Half precision against float64 on the same rounded numbers; second derivatives; modules that are moved and copied."""

import copy
import io

import pytest
import torch
from memory import peak_bytes
from switches import DIM, GRID, HEADS, PATTERNS, POSITIONS, SIMILARITIES, image_tokens, made
from torch.autograd import forward_ad

from vision_attn.layers import Attention, LearnedPosition, Rotary, SinCosPosition, kernels, lean, plan, stages

HALVES = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("position", ["none", "rotary", "learned"])
def test_halves_are_near_double_precision_on_the_same_rounded_numbers(dtype, similarity, position):
    low = made(similarity, None, position).to(dtype)
    exact, x = copy.deepcopy(low).double(), image_tokens().to(dtype)
    expected = exact.weights(x.double())
    assert (low.weights(x).double() - expected).abs().max() < 40 * torch.finfo(dtype).eps
    assert (low(x).double() - exact(x.double())).abs().max() < 40 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", HALVES)
def test_gaussian_weights_survive_a_common_offset(dtype):
    torch.manual_seed(0)
    low = Attention(DIM, 1, similarity="gaussian").to(dtype)
    with torch.no_grad():
        low.qkv.weight.copy_(torch.eye(DIM).repeat(3, 1))
        low.qkv.bias.fill_(30)
    x = torch.randn(1, 10, DIM).to(dtype)
    q, k, _ = low.qkv(x).double().chunk(3, dim=-1)
    expected = (-torch.cdist(q, k).square() / 2 * low.head_dim**-0.5).softmax(-1)
    assert (low.weights(x)[0].double() - expected).abs().max() < 0.01


@pytest.mark.parametrize("dtype", HALVES)
def test_the_cosine_of_nothing_is_finite(dtype):
    layer = Attention(DIM, HEADS, similarity="cosine", qkv_bias=False).to(dtype)
    weights = layer.weights(torch.zeros(1, 4, DIM, dtype=dtype))
    torch.testing.assert_close(weights, torch.full_like(weights, 0.25))


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("path", ["auto", "math"])
@pytest.mark.parametrize("pattern", sorted(PATTERNS.keys() - {"reduced"}))  # these keys are normalised
def test_scores_may_be_more_than_float16_can_hold(pattern, path, cast, monkeypatch):
    """Norms of 1e4 give scores of 1e6 and more; infinite ones would have no softmax."""
    monkeypatch.setattr(plan, "COPY", 0)  # cut wherever a pattern can be
    low = made(pattern=pattern, path=path, seed=3).half()
    low = low.float() if cast else low
    exact, x = copy.deepcopy(low).double(), (300 * image_tokens()).half().to(low.proj.weight.dtype)
    q, k, _ = exact.heads(x.double())
    assert (q @ k.transpose(-2, -1)).amax() > torch.finfo(torch.float16).max
    with torch.no_grad(), torch.autocast("cpu", torch.float16, enabled=cast):
        weights, out, expected = low.weights(x), low(x), exact(x.double())
    torch.testing.assert_close(weights.double(), exact.weights(x.double()), rtol=0, atol=0.01)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=0.005 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_row_and_a_column_share_alike_where_all_scores_are_large_and_equal(dtype, monkeypatch):
    """50 and the logarithm of 8 or 7 tokens is nearer to a neighbour of that type than to the other's."""
    monkeypatch.setattr(plan, "COPY", 0)
    low = Attention(DIM, 1, scale="none", pattern="axial", grid=(8, 8)).to(dtype)
    with torch.no_grad():
        low.qkv.weight[: 2 * DIM] = 0
        low.qkv.bias[0], low.qkv.bias[DIM] = 50, 1
    x = torch.randn(1, 64, DIM, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.no_grad():
        exact = copy.deepcopy(low).double()(x.double())
        assert (low(x).double() - exact).abs().max() < 2 * torch.finfo(dtype).eps * exact.abs().max()


def test_rotary_angles_keep_their_precision_in_half_modules():
    places = torch.tensor([[0.0, 256.0], [0.0, 257.0]])
    for dtype in HALVES:
        rotary, t = Rotary((1, 300), 8).to(dtype), torch.ones(1, 1, 2, 8, dtype=dtype)
        exact = Rotary((1, 300), 8).rotate(t.double(), places)
        assert (rotary.rotate(t, places).double() - exact).abs().max() < 2 * torch.finfo(dtype).eps
        assert not torch.equal(*rotary.rotate(t, places)[0, 0])


@pytest.mark.parametrize("dtype", HALVES)
def test_a_learned_position_is_interpolated_in_halves(dtype):
    position = LearnedPosition((4, 4), DIM).to(dtype)
    exact = copy.deepcopy(position).double().tokens(torch.zeros(1, 30, DIM).double(), (5, 6))
    found = position.tokens(torch.zeros(1, 30, DIM, dtype=dtype), (5, 6))
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize("position", list(POSITIONS))
@pytest.mark.parametrize("assign", [False, True])
def test_a_layer_made_on_meta_and_loaded_is_the_stored_one(position, assign):
    stored, x = made(position=position).float(), image_tokens().float()
    with torch.device("meta"):
        empty = made(position=position).float()
    if not assign:
        empty = empty.to_empty(device="cpu")
    empty.load_state_dict(stored.state_dict(), assign=assign)
    torch.testing.assert_close(empty(x), stored(x), rtol=0, atol=0)


def test_a_table_that_is_not_stored_keeps_its_precision():
    position = SinCosPosition(GRID, DIM)
    assert torch.equal(copy.deepcopy(position).bfloat16().float().embedding, position.embedding)


def test_copies_and_pickles_give_the_same():
    for setting in [(s, None, "none", "full") for s in SIMILARITIES] + [("dot", None, "rotary", p) for p in PATTERNS]:
        layer, x, file = made(*setting), image_tokens(), io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
            assert torch.equal(other(x), layer(x))


def test_reset_parameters_makes_a_new_layer():
    for similarity in SIMILARITIES:
        torch.manual_seed(5)
        expected = Attention(DIM, HEADS, similarity=similarity)
        layer = made(similarity).float()
        torch.manual_seed(5)
        layer.reset_parameters()
        for one, other in zip(layer.parameters(), expected.parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("path", ["auto", "math"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_gradient_penalty_has_a_gradient(path, dtype):
    for similarity in SIMILARITIES:
        layer, x = made(similarity, path=path).to(dtype), image_tokens().to(dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("pattern", ["full", "window", "neighbourhood", "axial"])
def test_second_derivatives_are_right(pattern):
    layer, x = made(pattern=pattern), image_tokens(batch=1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[..., :1], (x,), atol=1e-4)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_forward_mode_agrees_with_reverse_mode(similarity):
    layer, x, tangent = made(similarity), image_tokens(), image_tokens(seed=4)
    out, forward = torch.func.jvp(layer, (x,), (tangent,))
    cotangent = torch.randn_like(out)
    (reverse,) = torch.func.vjp(layer, x)[1](cotangent)
    torch.testing.assert_close((forward * cotangent).sum(), (reverse * tangent).sum(), rtol=1e-9, atol=1e-9)


def tangent_agrees(layer, name, *given, **options):
    """Whether dual numbers in the parameter of that name alone give the derivative that reverse mode does."""
    parameter = layer.get_parameter(name)
    tangent = torch.randn_like(parameter)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(parameter.detach(), tangent)
        forward = forward_ad.unpack_dual(torch.func.functional_call(layer, {name: dual}, given, options)).tangent
    cotangent = torch.randn_like(forward)
    (reverse,) = torch.autograd.grad(layer(*given, **options), parameter, cotangent)
    torch.testing.assert_close((forward * cotangent).sum(), (reverse * tangent).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pattern", ["window", "dilated", "segmented", "neighbourhood", "axial", "top-k"])
def test_dual_numbers_pass_where_tokens_are_cut_into_groups_or_heads_taken_in_turn(pattern):
    layer = made(position="relative", pattern=pattern, grid=(14, 14))
    for name in ("qkv.weight", "position.relative_position_bias_table"):
        tangent_agrees(layer, name, image_tokens(196), is_causal=True)


def test_so_do_those_of_another_context_alone():
    layer = made(pattern="top-k", context_dim=6, grid=None)
    tangent_agrees(layer, "kv.weight", image_tokens(130), context=image_tokens(140, dim=6))


@pytest.mark.parametrize("at_once", [500, 72, 36, 20])
@pytest.mark.parametrize("what", ["full", "causal", "padding", "mask", "relative"])
def test_scores_that_are_formed_some_at_a_time_give_what_all_do(what, at_once, monkeypatch):
    layer, x = made(position="relative" if what == "relative" else "none", grid=(6, 6)), image_tokens(36)
    masks = {
        "causal": {"is_causal": True},
        "padding": {"key_padding_mask": torch.arange(36).expand(2, -1) > torch.tensor([[30], [20]])},
        "mask": {"attn_mask": image_tokens(36 * 36, dim=HEADS).reshape(2, HEADS, 36, 36)},
    }.get(what, {})

    def found():
        given = x.clone().requires_grad_()
        out = layer(given, **masks)
        with torch.no_grad():
            unlearned = layer(given, **masks)
        (first,) = torch.autograd.grad(out.square().sum(), given, create_graph=True)
        return out, unlearned, first, *torch.autograd.grad(first.square().sum(), [given, *layer.parameters()])

    monkeypatch.setattr(kernels, "is_fused", lambda *_: False)
    expected = found()
    monkeypatch.setattr(plan, "SCORES", at_once)
    monkeypatch.setattr(plan, "HELD", at_once)
    taken = []
    in_turn = stages.in_turn
    monkeypatch.setattr(stages, "in_turn", lambda *given, **so: taken.append(so["at_once"]) or in_turn(*given, **so))
    for one, other in zip(found(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert taken  # it was done in turn


@pytest.mark.parametrize(
    ("samples", "tokens", "axis", "rounds"),
    [(20, 197, 0, [10, 10]), (5, 441, 0, [3, 2]), (1, 1025, 1, [1, 1, 1]), (1, 1600, 2, [800, 800] * 3)],
    ids=["samples", "few samples", "heads", "queries"],
)
def test_of_scores_that_are_formed_some_at_a_time_each_round_has_about_as_many(samples, tokens, axis, rounds):
    layer, q = Attention(DIM, 3, key_dim=3, value_dim=3), torch.empty(samples, 3, tokens, 1)
    with torch.no_grad():
        at_once = plan.scores_at_once(layer, q, q, q)
    found = [q[chunk] for chunk in lean._chunks(q, at_once)]
    assert [part.shape[axis] for part in found] == rounds
    assert all(part.numel() * tokens <= plan.SCORES for part in found)


@pytest.mark.parametrize("path", ["auto", "math"])
def test_only_products_that_are_asked_for_hold_the_scores_of_a_long_sequence(path):
    layer, side = Attention(DIM, HEADS, path=path, position="relative", grid=(2, 1100)), 2200
    matrix = HEADS * side**2 * 4
    x = torch.randn(1, side, DIM).requires_grad_()
    most = peak_bytes(lambda: layer(x).sum().backward())
    assert (most > 4 * matrix) == (path == "math")  # those of the bias and what it is made of, beside the scores


def test_gradients_may_be_asked_for_several_at_a_time():
    layer, x = Attention(DIM, HEADS, position="relative", grid=(2, 1100)), torch.randn(1, 2200, DIM).requires_grad_()
    out = layer(x)
    asked = torch.randn(2, *out.shape)
    (both,) = torch.autograd.grad(out, x, asked, is_grads_batched=True, retain_graph=True)
    for one, other in zip(both, asked, strict=True):
        torch.testing.assert_close(one, torch.autograd.grad(out, x, other, retain_graph=True)[0])


@pytest.mark.parametrize("path", ["math", "auto"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_so_may_all_those_of_a_jacobian(similarity, path):
    for pattern in ("full", "window", "neighbourhood"):
        layer, x = made(similarity, pattern=pattern, num_prefix_tokens=1, path=path), image_tokens(13, batch=1)
        whole = torch.autograd.functional.jacobian(layer, x)
        torch.testing.assert_close(torch.autograd.functional.jacobian(layer, x, vectorize=True), whole)


@pytest.mark.parametrize("path", ["math", "auto"])
def test_float16_has_shapes_on_the_meta_device(path):
    layer = Attention(16, num_heads=2, path=path, device="meta", dtype=torch.float16)
    tokens = torch.empty(2, 8, 16, device="meta", dtype=torch.float16)
    assert layer(tokens).shape == tokens.shape
    assert layer.weights(tokens).shape == (2, 2, 8, 8)
