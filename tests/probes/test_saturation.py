"""Saturation of the softmax, on weights whose numbers are known."""

import math

import pytest
import torch
from noise_data import noise

from vision_attn.data import Mnist5k
from vision_attn.models import DepthwiseConv, SelfAttention, ViT
from vision_attn.probes import Saturation
from vision_attn.probes.saturation import statistics
from vision_attn.spec import InputError

DATA = noise()


def built(seed=0, dim=16, depth=1, init="default", **switches):
    torch.manual_seed(seed)
    model = ViT(dim=dim, depth=depth, mlp_ratio=1, mixer=SelfAttention(**switches), init=init)
    return model.build(image_size=DATA.image_size, in_chans=DATA.in_chans, num_classes=DATA.num_classes)


def found(rows, metric, **at):
    return [row["value"] for row in rows if row["metric"] == metric and at.items() <= row.items()]


def test_the_norm_is_that_of_the_jacobian_that_autograd_gives():
    scores = 3 * torch.randn(1, 1, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = list(statistics(scores, scores.softmax(-1)))
    norms = [torch.func.jacrev(lambda s: s.softmax(0))(row).norm().item() for row in scores[0, 0]]
    assert found(rows, "mean_jacobian_norm") == pytest.approx([sum(norms) / 5])
    assert found(rows, "jacobian_norm", quantile=0.5) == pytest.approx([sorted(norms)[2]])
    scaled = list(statistics(scores, 0.25 * scores.softmax(-1)))
    assert found(scaled, "mean_jacobian_norm") == pytest.approx([sum(norms) / 20])
    assert found(scaled, "largest_weight") == pytest.approx(found(rows, "largest_weight"))


def test_uniform_attention_has_entropy_one_and_one_key_alone_none_and_no_slope():
    uniform = list(statistics(torch.zeros(1, 1, 4, 8), torch.full((1, 1, 4, 8), 1 / 8, dtype=torch.float64)))
    assert found(uniform, "entropy_relative") == pytest.approx([1])
    assert found(uniform, "mean_jacobian_norm") == pytest.approx([math.sqrt(7) / 8])
    alone = torch.eye(8, dtype=torch.float64)[None, None]
    rows = list(statistics(100 * alone, alone))
    assert found(rows, "entropy_relative") == found(rows, "mean_jacobian_norm") == [0]
    assert found(rows, "saturated_share") == found(rows, "largest_weight") == [1]


@pytest.mark.parametrize(("scale", "expected"), [("none", 32.0), ("sqrt", 1.0), ("inverse", 1 / 32)])
def test_random_queries_and_keys_have_the_variance_of_the_derivation(scale, expected):
    model = built(num_heads=1, key_dim=32, scale=scale)
    rows = list(Saturation(inputs="normal", draws=64)(model, DATA))
    assert found(rows, "score_variance", layer=1) == pytest.approx([expected], rel=0.03)
    assert found(
        list(Saturation(inputs="normal", draws=64)(built(1, num_heads=1, key_dim=32, scale=scale), DATA)),
        "score_variance",
    ) != found(rows, "score_variance")


def test_of_images_it_is_the_attention_of_the_layers_and_unit_variance_is_what_it_says():
    rows = list(Saturation(images=4)(built(depth=2, dim=64, num_heads=1), DATA))
    assert len(found(rows, "score_variance")) == 2
    plain = found(rows, "score_variance", layer=1)[0]
    unit = list(Saturation(images=4)(built(dim=64, num_heads=1, init="unit_variance"), DATA))
    assert plain < 0.01
    assert 0.3 < found(unit, "score_variance", layer=1)[0] < 4
    raw = list(Saturation(images=4)(built(dim=64, num_heads=1, init="unit_variance", scale="none"), DATA))
    assert found(raw, "score_variance")[0] == pytest.approx(64 * found(unit, "score_variance")[0], rel=1e-4)


def test_what_it_cannot_look_at_is_skipped_and_refused():
    skip = Saturation().skip
    trunk = ViT(dim=16, depth=1)
    assert skip(trunk, Mnist5k()) is None
    assert skip(trunk.replace(mixer=DepthwiseConv()), Mnist5k())
    for switches in ({"similarity": "additive"}, {"pattern": "window"}):
        assert "not products of all" in skip(trunk.replace(mixer=SelfAttention(**switches)), Mnist5k())
        with pytest.raises(InputError, match="must be products of all queries and keys for Saturation"):
            list(Saturation()(built(**switches), DATA))


def test_unit_variance_is_for_attention_alone():
    with pytest.raises(InputError, match="mixer of ViT must be SelfAttention with init 'unit_variance'"):
        ViT(mixer=DepthwiseConv(), init="unit_variance")
