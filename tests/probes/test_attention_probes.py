"""Probes of single attention layers, on cases that are computed by hand."""

import math

import pytest
import torch
from noise_data import noise

from vision_attn.data import Mnist5k
from vision_attn.models import DepthwiseConv, ResNet, SelfAttention, ViT
from vision_attn.probes import AttentionFormula, WorkedExample
from vision_attn.spec import InputError

DATA = noise()
TRUNK = ViT(dim=16, depth=1, mlp_ratio=1)


def built(model, seed=0):
    torch.manual_seed(seed)
    return model.build(image_size=DATA.image_size, in_chans=DATA.in_chans, num_classes=DATA.num_classes)


def with_attention(**switches):
    return built(TRUNK.replace(mixer=SelfAttention(**switches)))


def values(probe, model, metric):
    return [row["value"] for row in probe(model, DATA) if row["metric"] == metric]


@pytest.mark.parametrize("scale", ["sqrt", "none", "inverse", "learned"])
def test_a_layer_makes_the_softmax_of_the_scaled_products(scale):
    factor = {"sqrt": 8**-0.5, "none": 1, "inverse": 1 / 8, "learned": 8**-0.5}[scale]
    model = with_attention(num_heads=2, scale=scale)
    scores = [factor * product for product in (5.0, 3.0, -2.0)]
    total = sum(map(math.exp, scores))
    probe = WorkedExample(products=(5.0, 3.0, -2.0))
    assert values(probe, model, "score") == pytest.approx(scores, rel=1e-6)
    assert values(probe, model, "attention_weight") == pytest.approx([math.exp(s) / total for s in scores], rel=1e-6)


def test_the_example_of_the_text_comes_out_in_a_head_of_64_of_any_layer():
    model = built(TRUNK.replace(dim=32, depth=2, mixer=SelfAttention(num_heads=2, key_dim=128, q_bias=False)))
    found = values(WorkedExample(), model, "attention_weight")
    assert [round(value, 2) for value in found] == [0.88, 0.12] * 2


def test_the_equation_holds_for_one_source_and_two_and_a_layer_that_does_something_else_is_seen():
    for switches in ({"num_heads": 4, "v_bias": False}, {"key_dim": 24, "value_dim": 8, "qkv_bias": False}):
        found = values(AttentionFormula(), with_attention(**switches), "formula_difference")
        assert len(found) == 2
        assert max(found) < 1e-13
    model = with_attention()
    assert max(values(AttentionFormula(), model, "torch_difference")) < 1e-13
    model.blocks[0].mixer.proj.register_forward_hook(lambda module, inputs, output: 1.001 * output)
    for metric in ("formula_difference", "torch_difference"):
        assert min(values(AttentionFormula(), model, metric)) > 1e-5


def test_a_prefix_longer_than_the_examples_is_no_obstacle():
    model = built(TRUNK.replace(pool="token", reg_tokens=12))
    assert values(WorkedExample(products=(5.0, 3.0)), model, "attention_weight") == pytest.approx(
        [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))], rel=1e-6
    )
    assert max(values(AttentionFormula(), model, "formula_difference")) < 1e-13
    assert model.blocks[0].mixer.num_prefix_tokens == 13


def test_torch_is_compared_only_where_it_has_such_a_layer():
    for switches in ({"scale": "none"}, {"key_dim": 8}):
        assert values(AttentionFormula(), with_attention(**switches), "torch_difference") == []


def test_what_is_no_plain_attention_is_skipped_and_refused():
    skip = WorkedExample().skip
    assert skip(TRUNK, Mnist5k()) is None
    no_layer = "has no attention layer of this package"
    assert skip(TRUNK.replace(mixer=DepthwiseConv()), Mnist5k()) == f"DepthwiseConv {no_layer}"
    assert skip(ResNet(), Mnist5k()) == f"ResNet {no_layer}"
    for switches in ({"similarity": "cosine"}, {"position": "relative"}, {"pattern": "window"}, {"qk_norm": True}):
        mixer = SelfAttention(**switches)
        said = "scores of its attention are more than products of queries and keys"
        assert AttentionFormula().skip(TRUNK.replace(mixer=mixer), Mnist5k()) == said
        with pytest.raises(InputError, match="must be the product of queries and keys alone for WorkedExample"):
            list(WorkedExample()(with_attention(**switches), DATA))
    with pytest.raises(InputError, match="first above 0"):
        WorkedExample(products=(0.0, 1.0))
