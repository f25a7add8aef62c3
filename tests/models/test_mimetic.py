"""Mimetic initialisation: the two products of the paper, and nothing but attention touched."""

import pytest
import torch

from vision_attn.models import DepthwiseConv, SelfAttention, ViT
from vision_attn.spec import InputError

SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 5}


def build(model, seed=0):
    torch.manual_seed(seed)
    return model.build(**SHAPE)


def products(model):
    """W_q W_k^T of every head (H, d, d) and W_v W_proj (d, d) of the first block, tokens being rows."""
    attention = build(model).blocks[0].mixer
    q, k, v = attention.qkv.weight.detach().double().chunk(3)
    q, k = (part.unflatten(0, (attention.num_heads, -1)) for part in (q, k))
    return q.transpose(1, 2) @ k, v.T @ attention.proj.weight.detach().double().T


def test_with_one_head_the_products_are_noise_and_identity_in_the_measure_of_the_paper():
    dim = 192
    scores, values = products(ViT(dim=dim, depth=1, mixer=SelfAttention(num_heads=1), init="mimetic"))
    for product, noise, identity in ((scores[0], 0.7, 0.7), (values, 0.4, -0.4)):
        diagonal = product.diagonal()
        rest = product - torch.diag(diagonal)
        assert diagonal.mean().item() == pytest.approx(identity, abs=4 * noise / dim)
        assert rest.pow(2).sum().div(dim * (dim - 1)).sqrt().item() == pytest.approx(noise * dim**-0.5, rel=0.02)
        assert rest.sum().abs().item() < 4 * noise * dim**0.5
        deviation = (diagonal - identity).std().item()
        assert deviation == pytest.approx(noise * dim**-0.5, rel=0.2)


def test_every_head_has_its_own_noise_and_the_largest_part_of_its_product():
    scores, values = products(ViT(dim=64, depth=1, init="mimetic"))
    assert scores.shape == (4, 64, 64)
    assert torch.linalg.matrix_rank(scores, rtol=1e-4).tolist() == [16] * 4
    assert torch.linalg.matrix_rank(values, rtol=1e-4).item() == 64
    assert not torch.allclose(scores[0], scores[1], atol=0.01)
    assert (scores.diagonal(dim1=1, dim2=2).mean(1) > 0.2).all()
    smallest_kept = torch.linalg.svdvals(scores)[:, 15]
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(9))
    typical = torch.linalg.svdvals(0.7 * noise / 8 + 0.7 * torch.eye(64))
    assert smallest_kept.mean().item() == pytest.approx(typical[15].item(), rel=0.1)


def test_factors_share_the_singular_values_evenly():
    attention = build(ViT(dim=32, depth=1, init="mimetic")).blocks[0].mixer
    q, k, v = attention.qkv.weight.detach().chunk(3)
    for one, other in ((q, k), (v, attention.proj.weight.detach().T)):
        torch.testing.assert_close(one.norm(dim=1), other.norm(dim=1), rtol=1e-4, atol=1e-5)


def test_blocks_differ():
    blocks = build(ViT(dim=32, depth=2, init="mimetic")).blocks
    assert not torch.allclose(blocks[0].mixer.qkv.weight, blocks[1].mixer.qkv.weight, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"pool": "token", "reg_tokens": 1}, {"merge_after": (1,)}], ids=str)
def test_only_the_weights_of_attention_differ_from_those_of_the_default(options):
    plain = build(ViT(dim=32, depth=2, **options)).state_dict()
    mimetic = build(ViT(dim=32, depth=2, init="mimetic", **options)).state_dict()
    changed = {name for name in plain if not torch.equal(plain[name], mimetic[name])}
    weights = {"qkv.weight", "proj.weight"}
    assert changed == {f"blocks.{block}.mixer.{name}" for block in (0, 1) for name in weights}


def test_with_positions_of_sine_and_cosine_tokens_attend_to_those_near_them():
    module = build(ViT(dim=64, depth=1, position="sincos2d", patch_size=2, init="mimetic"))
    attention = module.blocks[0].mixer
    weights = attention.weights(torch.nn.functional.layer_norm(module.pos_embed, (64,)))[0].mean(0)
    places = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))
    distances = torch.cdist(places, places)
    assert (weights * distances).sum(1).mean() < 0.9 * distances.mean()


@pytest.mark.parametrize(
    "mixer",
    [
        DepthwiseConv(),
        SelfAttention(similarity="cosine"),
        SelfAttention(qk_norm=True),
        SelfAttention(key_dim=32),
        SelfAttention(value_dim=32),
    ],
    ids=str,
)
def test_what_the_formula_does_not_speak_of_is_refused(mixer):
    with pytest.raises(InputError) as error:
        ViT(mixer=mixer, init="mimetic")
    assert str(error.value).startswith(
        "mixer of ViT must be SelfAttention with the similarity 'dot', as wide as the tokens, without qk_norm, with "
        f"init 'mimetic'. Got {type(mixer).__name__}("
    )
