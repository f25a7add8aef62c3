"""The attention layer against other ways to compute the same."""

import math

import pytest
import torch
from switches import image_tokens, made
from torch import nn

from vision_attn.layers import Attention

PATHS = ("math", "fused")


def layer(dim=24, heads=3, **options):
    torch.manual_seed(0)
    return Attention(dim, heads, **options).double().eval()


def tokens(number=10, dim=24):
    return image_tokens(number, dim=dim)


@pytest.fixture(params=PATHS)
def path(request):
    return request.param


@pytest.mark.parametrize("bias", [True, False])
def test_it_equals_multi_head_attention_of_pytorch_with_the_same_weights(bias, path):
    ours = layer(qkv_bias=bias, proj_bias=bias, path=path)
    theirs = nn.MultiheadAttention(24, 3, bias=bias, batch_first=True).double().eval()
    theirs.in_proj_weight.data.copy_(ours.qkv.weight.data)
    theirs.out_proj.weight.data.copy_(ours.proj.weight.data)
    if bias:
        theirs.in_proj_bias.data.copy_(ours.qkv.bias.data)
        theirs.out_proj.bias.data.copy_(ours.proj.bias.data)
    x, context = tokens(), tokens(7) + 1
    padding = torch.arange(7).expand(2, 7) >= torch.tensor([[5], [7]])
    for ours_given, theirs_given in (
        ({}, (x, x, x)),
        ({"context": context}, (x, context, context)),
        ({"context": context, "key_padding_mask": padding}, (x, context, context, padding)),
    ):
        expected, weights = theirs(*theirs_given, average_attn_weights=False)
        torch.testing.assert_close(ours(x, **ours_given), expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(ours.weights(x, **ours_given), weights, rtol=0, atol=1e-12)


def test_it_equals_multi_head_attention_of_pytorch_with_a_context_of_another_width(path):
    ours = layer(context_dim=10, path=path)
    theirs = nn.MultiheadAttention(24, 3, kdim=10, vdim=10, batch_first=True).double().eval()
    theirs.q_proj_weight.data.copy_(ours.q.weight.data)
    theirs.k_proj_weight.data.copy_(ours.kv.weight.data[:24])
    theirs.v_proj_weight.data.copy_(ours.kv.weight.data[24:])
    theirs.in_proj_bias.data.copy_(torch.cat([ours.q.bias.data, ours.kv.bias.data]))
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x, context = tokens(), tokens(7, 10)
    expected, weights = theirs(x, context, context, average_attn_weights=False)
    torch.testing.assert_close(ours(x, context=context), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.weights(x, context=context), weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{"qkv_bias": True}, {"qkv_bias": False, "qk_norm": True}, {"proj_bias": False}])
def test_timms_state_loads_and_gives_timms_output(options, path):
    from timm.layers import Attention as Timm

    torch.manual_seed(1)
    theirs = Timm(24, 3, **{"qkv_bias": True, "norm_layer": nn.LayerNorm, **options}).double().eval()
    ours = layer(**options, path=path)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(ours(tokens()), theirs(tokens()), rtol=0, atol=1e-12)


def test_the_context_may_be_the_tokens_themselves():
    torch.testing.assert_close(layer()(tokens(), context=tokens()), layer()(tokens()), rtol=0, atol=1e-12)


def test_document_bs_example_scores_112_and_96_give_weights_088_and_012():
    """Divided by sqrt(64) = 8 they are 14 and 12; scaled after the softmax, the first takes all of an eighth."""
    ours = Attention(64, 1).double()
    x = torch.zeros(1, 2, 64, dtype=torch.float64)
    x[0, 0, 0], x[0, 1, 1] = 1.0, 1.0
    for parameter in ours.qkv.parameters():
        parameter.data.zero_()
    ours.qkv.weight.data[0, 0] = 1.0
    ours.qkv.weight.data[64, :2] = torch.tensor([112.0, 96.0])
    expected = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))]
    assert ours.weights(x)[0, 0, 0].tolist() == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx([0.88, 0.12], abs=1e-2)
    late = Attention(64, 1, scale="after_softmax").double()
    late.load_state_dict(ours.state_dict())
    assert late.weights(x)[0, 0, 0].tolist() == pytest.approx([1 / 8, 0], abs=1e-7)


def biased(**change):
    ours = layer()
    with torch.no_grad():
        for part, amount in change.items():
            start = "qkv".index(part) * 24
            ours.qkv.bias[start : start + 24] += amount
    return ours


def test_a_key_bias_changes_nothing():
    shift = torch.randn(24, dtype=torch.float64)
    torch.testing.assert_close(biased(k=shift)(tokens()), layer()(tokens()), rtol=0, atol=1e-12)


def test_a_value_bias_is_a_bias_of_the_output():
    shift, plain = torch.randn(24, dtype=torch.float64), layer()
    expected = plain(tokens()) + plain.proj.weight @ shift
    torch.testing.assert_close(biased(v=shift)(tokens()), expected, rtol=0, atol=1e-12)


def test_a_query_bias_is_neither():
    shift = torch.randn(24, dtype=torch.float64)
    difference = biased(q=shift)(tokens()) - layer()(tokens())
    assert (difference - difference.mean(dim=1, keepdim=True)).abs().max() > 1e-3


def test_each_projection_may_have_its_bias_alone():
    whole = layer()
    for kept in ("q", "k", "v", "qv"):
        part = layer(**{f"{name}_bias": name in kept for name in "qkv"})
        assert {name for name in part.state_dict() if "bias" in name} == {
            "proj.bias",
            *(f"qkv.{name}_bias" for name in kept),
        }
        with torch.no_grad():
            part.proj.load_state_dict(whole.proj.state_dict())
            part.qkv.weight.copy_(whole.qkv.weight)
            for number, name in enumerate("qkv"):
                if name in kept:
                    getattr(part.qkv, f"{name}_bias").copy_(whole.qkv.bias[24 * number : 24 * number + 24])
        missing = [name for name in "qkv" if name not in kept]
        same = layer()
        with torch.no_grad():
            for name in missing:
                same.qkv.bias["qkv".index(name) * 24 :][:24] = 0
        torch.testing.assert_close(part(tokens()), same(tokens()), rtol=0, atol=1e-12)


def heads_apart(ours, x):
    """q and k straight from the projection, (B, H, N, D)."""
    q, k, _ = ours.qkv(x).chunk(3, dim=-1)
    return tuple(t.unflatten(-1, (ours.num_heads, -1)).transpose(1, 2) for t in (q, k))


def test_additive_scores_are_those_of_concatenated_tokens():
    """w . tanh(W [x_i; x_j]) with W = [W_q W_k], no split."""
    ours, x = layer(similarity="additive"), tokens()
    for head in range(3):
        rows = slice(8 * head, 8 * head + 8)
        w_q, w_k = ours.qkv.weight[:24][rows], ours.qkv.weight[24:48][rows]
        bias = ours.qkv.bias[:24][rows] + ours.qkv.bias[24:48][rows]
        pairs = torch.cat([x[:, :, None].expand(-1, -1, 10, -1), x[:, None].expand(-1, 10, -1, -1)], dim=-1)
        scores = (pairs @ torch.cat([w_q, w_k], dim=1).T + bias).tanh() @ ours.similarity.weight[head]
        torch.testing.assert_close(ours.weights(x)[:, head], scores.softmax(-1), rtol=0, atol=1e-12)


def test_perceptron_scores_are_a_perceptron_on_concatenated_heads():
    ours, x = layer(similarity="perceptron"), tokens()
    q, k = heads_apart(ours, x)
    pairs = torch.cat(
        [q[..., :, None, :].expand(-1, -1, -1, 10, -1), k[..., None, :, :].expand(-1, -1, 10, -1, -1)], -1
    )
    hidden = torch.einsum("bhnmi,hio->bhnmo", pairs, ours.similarity.hidden) + ours.similarity.hidden_bias[:, None]
    scores = torch.einsum("bhnmo,ho->bhnm", hidden.relu(), ours.similarity.weight)
    torch.testing.assert_close(ours.weights(x), scores.softmax(-1), rtol=0, atol=1e-12)


def test_gaussian_scores_are_negative_squared_distances():
    ours, x = layer(similarity="gaussian"), tokens()
    q, k = heads_apart(ours, x)
    scores = -(torch.cdist(q, k) ** 2) / 2 * 8**-0.5
    torch.testing.assert_close(ours.weights(x), scores.softmax(-1), rtol=0, atol=1e-9)


def test_cosine_scores_are_cosines_times_the_temperature():
    ours, x = layer(similarity="cosine"), tokens()
    q, k = heads_apart(ours, x)
    cosines = nn.functional.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    torch.testing.assert_close(ours.weights(x), (10 * cosines).softmax(-1), rtol=0, atol=1e-5)


def test_bilinear_begins_as_dot_and_is_q_times_matrix_times_k():
    ours, x = layer(similarity="bilinear"), tokens()
    torch.testing.assert_close(ours.weights(x), layer().weights(x), rtol=0, atol=1e-12)
    ours.similarity.weight.data.normal_()
    q, k = heads_apart(ours, x)
    scores = torch.einsum("bhni,hij,bhmj->bhnm", q, ours.similarity.weight, k) * 8**-0.5
    torch.testing.assert_close(ours.weights(x), scores.softmax(-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scale", "factor"), [("sqrt", 8**-0.5), ("none", 1.0), ("inverse", 1 / 8), ("learned", 0.3)])
def test_the_scale_multiplies_the_scores(scale, factor):
    ours, x = layer(scale=scale), tokens()
    if scale == "learned":
        ours.logit_scale.data.fill_(math.log(factor))
    q, k = heads_apart(ours, x)
    torch.testing.assert_close(ours.weights(x), (factor * q @ k.mT).softmax(-1), rtol=0, atol=1e-12)


def test_a_learned_scale_begins_as_one_over_the_root_of_the_width():
    torch.testing.assert_close(layer(scale="learned")(tokens()), layer()(tokens()), rtol=0, atol=1e-7)


def test_dropout_changes_training_and_not_evaluation(path):
    ours, x = layer(attn_drop=0.5, path=path), tokens()
    torch.testing.assert_close(ours(x), layer()(x))
    assert not torch.allclose(ours.train()(x), ours.eval()(x))


def test_pair_scores_are_the_same_in_chunks(monkeypatch):
    from vision_attn.layers import pairs

    for kind in ("additive", "perceptron"):
        results = []
        for at_once in (2**21, 1):
            monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", at_once)
            ours, x = made(kind, pattern="window"), image_tokens().requires_grad_()
            out = ours(x)
            out.square().sum().backward()
            results.append([out, x.grad, *(p.grad for p in ours.parameters())])
        torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_widths_of_keys_and_values_are_free():
    ours = layer(key_dim=6, value_dim=30)
    q, k, v = ours.heads(tokens())
    assert (q.shape, k.shape, v.shape) == ((2, 3, 10, 2), (2, 3, 10, 2), (2, 3, 10, 10))
    assert ours(tokens()).shape == (2, 10, 24)
