"""The attention layer against other ways to compute the same."""

import pytest
import torch
from torch import nn

from vision_attn import Attention
from vision_attn.layers import attention, attention_path
from vision_attn.layers.attention import MATH_TOKENS


def layer(dim=24, heads=3, **options):
    torch.manual_seed(0)
    return Attention(dim, heads, **options).double().eval()


def tokens(number=10, dim=24):
    return torch.randn(2, number, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [True, False])
def test_it_equals_multi_head_attention_of_pytorch_with_the_same_weights(bias):
    ours = layer(qkv_bias=bias)
    theirs = nn.MultiheadAttention(24, 3, bias=bias, batch_first=True).double().eval()
    theirs.in_proj_weight.data.copy_(ours.qkv.weight.data)
    if bias:
        theirs.in_proj_bias.data.copy_(ours.qkv.bias.data)
        theirs.out_proj.bias.data.copy_(ours.proj.bias.data)
    else:
        ours.proj.bias.data.zero_()
    theirs.out_proj.weight.data.copy_(ours.proj.weight.data)
    x = tokens()
    expected, weights = theirs(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.weights(x), weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"qkv_bias": False}])
@pytest.mark.parametrize("path", ["math", "fused"])
def test_weights_times_values_is_what_forward_gives_on_either_path(options, path, monkeypatch):
    monkeypatch.setattr(attention, "attention_path", lambda device, tokens, dtype: path)
    ours, x = layer(**options), tokens()
    _, _, v = ours.heads(x)
    mixed = (ours.weights(x) @ v).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(ours(x), ours.proj(mixed), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("device", "number", "dtype", "path"),
    [
        ("cpu", MATH_TOKENS, torch.bfloat16, "math"),
        ("cpu", MATH_TOKENS + 1, torch.bfloat16, "fused"),
        ("cpu", 64, torch.float32, "fused"),
        ("cuda", 64, torch.bfloat16, "fused"),
        ("meta", 64, torch.bfloat16, "fused"),
    ],
)
def test_matrix_products_are_taken_by_a_cpu_in_bfloat16_for_short_sequences(device, number, dtype, path):
    assert attention_path(torch.device(device), number, dtype) == path


def test_autocast_counts_as_its_dtype(monkeypatch):
    asked = []
    monkeypatch.setattr(attention, "attention_path", lambda device, tokens, dtype: asked.append(dtype) or "math")
    ours, x = layer().float(), tokens().float()
    ours(x)
    with torch.autocast("cpu", torch.bfloat16):
        ours(x)
    assert asked == [torch.float32, torch.bfloat16]


def test_rows_of_the_weights_sum_to_one():
    sums = layer().weights(tokens()).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)


def test_without_position_a_permutation_of_the_tokens_permutes_the_output():
    ours, x, order = layer(), tokens(), torch.randperm(10)
    torch.testing.assert_close(ours(x[:, order]), ours(x)[:, order], rtol=0, atol=1e-12)


def test_scores_are_scaled_before_the_softmax():
    """The worked example: scores 112 and 96, divided by sqrt(64), give weights 0.88 and 0.12."""
    ours = Attention(64, 1).double()
    x = torch.zeros(1, 2, 64, dtype=torch.float64)
    x[0, 0, 0], x[0, 1, 1] = 1.0, 1.0
    ours.qkv.weight.data.zero_()
    ours.qkv.bias.data.zero_()
    ours.qkv.weight.data[0, 0] = 1.0
    ours.qkv.weight.data[64, :2] = torch.tensor([112.0, 96.0])
    assert ours.weights(x)[0, 0, 0].tolist() == pytest.approx([0.8808, 0.1192], abs=1e-4)


def test_dropout_changes_training_and_not_evaluation():
    ours, x = layer(attn_drop=0.5), tokens()
    torch.testing.assert_close(ours(x), layer()(x))
    assert not torch.allclose(ours.train()(x), ours.eval()(x))


def test_gradients_are_right():
    ours = layer(dim=6, heads=2)
    assert torch.autograd.gradcheck(ours, (tokens(3, 6).requires_grad_(),))


def test_wrong_arguments_name_the_argument():
    with pytest.raises(ValueError, match=r"^num_heads of Attention must be a divisor of dim = 24\. Got 5 instead\.$"):
        Attention(24, 5)
