"""What biases of attention can do, where it is known."""

import pytest
import torch
from noise_data import noise

from vision_attn.models import SelfAttention, ViT
from vision_attn.probes import BiasEffect, capture

DATA = noise()


def measured(model=None, **switches):
    torch.manual_seed(0)
    spec = ViT(dim=16, depth=2, mlp_ratio=1, mixer=SelfAttention(**switches))
    module = model or spec.build(image_size=DATA.image_size, in_chans=DATA.in_chans, num_classes=DATA.num_classes)
    rows = list(BiasEffect(images=3)(module, DATA))
    return {(row["metric"], row["layer"], row["projection"]): row["value"] for row in rows}


@pytest.mark.parametrize(
    "switches", [{}, {"qkv_bias": False}, {"k_bias": False, "value_dim": 8}, {"scale": "after_softmax"}]
)
def test_of_products_the_key_bias_is_redundant_and_the_value_bias_absorbed(switches):
    found = measured(**switches)
    for layer in (1, 2):
        assert found["bias_effect", layer, "k"] < 1e-13
        assert found["bias_effect", layer, "v, absorbed"] < 1e-13
        assert found["bias_effect", layer, "q"] > 1e-8
        assert found["bias_effect", layer, "v"] > 1e-3
        assert found["bias_gradient", layer, "k"] < 1e-15 < found["bias_gradient", layer, "v"]


@pytest.mark.parametrize("switches", [{"qk_norm": True}, {"similarity": "cosine"}, {"similarity": "additive"}])
def test_where_scores_are_no_products_the_key_bias_counts(switches):
    assert measured(**switches)["bias_effect", 1, "k"] > 1e-6


def test_how_many_images_fit_into_memory_changes_nothing(monkeypatch):
    whole = measured()
    monkeypatch.setattr(capture, "NUMBERS", 1)
    assert measured() == pytest.approx(whole, rel=1e-9, abs=1e-12)


def test_the_bias_of_the_norm_is_one_of_the_projection():
    torch.manual_seed(0)
    spec = ViT(dim=16, depth=1, mlp_ratio=1, mixer=SelfAttention(qkv_bias=False))
    model = spec.build(image_size=DATA.image_size, in_chans=DATA.in_chans, num_classes=DATA.num_classes)
    assert measured(model)["norm_bias_relative", 1, "q"] == 0
    with torch.no_grad():
        model.blocks[0].norm1.weight.zero_()
        model.blocks[0].norm1.bias.fill_(0.5)
    found = measured(model)
    assert [found["norm_bias_relative", 1, name] for name in "qkv"] == pytest.approx([1, 1, 1])
