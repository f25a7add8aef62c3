"""Attention maps of all layers: each is what the layer multiplies its values with."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from vision_attn import SelfAttention, ViT
from vision_attn.models import LSTM, DepthwiseConv, replace_attention
from vision_attn.probes import AttentionMap, attention_maps
from vision_attn.spec import InputError

TINY = {"img_size": 32, "patch_size": 8, "depth": 2, "num_classes": 5}
SWIN = {"img_size": 32, "patch_size": 2, "window_size": 4, "depths": (2, 1), "embed_dim": 24, "num_heads": (2, 2)}
MODELS = {
    "vit_tiny_patch16_224": (TINY, 1, (4, 4)),
    "deit_tiny_distilled_patch16_224": (TINY, 2, (4, 4)),
    "vit_small_patch14_reg4_dinov2": (TINY, 5, (4, 4)),
    "vit_base_patch16_siglip_224": (TINY, 0, (4, 4)),
    "vit_pwee_patch16_reg1_gap_256": (TINY, 1, (4, 4)),
    "beit_base_patch16_224": (TINY, 1, (4, 4)),
    "eva02_tiny_patch14_224": (TINY, 1, (4, 4)),
    "vit_relpos_small_patch16_224": (TINY, 0, (4, 4)),
    "swin_tiny_patch4_window7_224": ({**SWIN, "num_classes": 5}, 0, (16, 16)),
    "swinv2_tiny_window8_256": ({**SWIN, "num_classes": 5}, 0, (16, 16)),
}


def images(size=32, width=None):
    return torch.randn(2, 3, size, width or size, generator=torch.Generator().manual_seed(1))


def made(name, **options):
    torch.manual_seed(0)
    model = timm.create_model(name, **{**MODELS[name][0], **options}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_has_a_map_whose_rows_sum_to_one(name):
    _, prefix, grid = MODELS[name]
    maps = attention_maps(made(name), images())
    assert len(maps) == (3 if "swin" in name else 2)
    first = next(iter(maps.values()))
    assert (first.prefix, first.grid, first.key_grid) == (prefix, grid, grid)
    for one in maps.values():
        torch.testing.assert_close(one.weights.sum(-1), torch.ones(one.weights.shape[:3]))
        assert one.on_grid.shape == (*one.weights.shape[:2], *one.grid, *one.key_grid)
        assert one.from_prefix.shape == (*one.weights.shape[:2], prefix, *one.key_grid)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "beit_base_patch16_224", "eva02_tiny_patch14_224"])
def test_the_map_is_what_the_kernel_multiplies_its_values_with(name, monkeypatch):
    model, kernel, seen = made(name), F.scaled_dot_product_attention, []

    def noted(q, k, v, **options):
        out = kernel(q, k, v, **options)
        seen.append((v, out))
        return out

    maps = attention_maps(model, images())
    with monkeypatch.context() as patched:
        patched.setattr(F, "scaled_dot_product_attention", noted)
        with torch.no_grad():
            model(images())
    assert len(seen) == len(maps)
    for one, (v, out) in zip(maps.values(), seen, strict=True):
        torch.testing.assert_close(one.weights @ v, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_windows_of_swin_lie_where_its_tokens_do(name):
    model = made(name)
    plain, shifted, _ = attention_maps(model, images()).values()
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    for one, shift in ((plain, 0), (shifted, 2)):
        window = ((rows - shift) % 16 // 4 * 4 + (columns - shift) % 16 // 4).flatten()
        inside = window[:, None] == window[None, :]
        assert (one.weights[:, :, ~inside] == 0).all()
        assert (one.weights[:, :, inside] > 0).float().mean() > 0.5
    corner = shifted.on_grid[:, :, 0, 0]
    assert corner[..., :2, :2].sum((-1, -2)) == pytest.approx(1, abs=1e-4)


def test_what_padding_draws_is_left_out():
    model = made("swin_tiny_patch4_window7_224", img_size=28, window_size=5, always_partition=True)
    first = next(iter(attention_maps(model, images(28)).values()))
    assert first.grid == (14, 14)
    total = first.on_grid.sum((-1, -2))
    torch.testing.assert_close(total[..., :10, :10], torch.ones(2, 2, 10, 10))
    assert (total[..., 10:, :] < 1 - 1e-4).all()


def test_one_token_changes_only_the_rows_of_the_map_that_are_its_own():
    model = ViT(dim=16, depth=1, mixer=SelfAttention(num_heads=2, pattern="window", pattern_size=2), pool="token")
    module = model.build(image_size=16, in_chans=3, num_classes=2).eval()
    (one,) = attention_maps(module, images(16)).values()
    assert (one.prefix, one.grid) == (1, (4, 4))
    torch.testing.assert_close(one.weights, module.blocks[0].mixer.weights(module.blocks[0].norm1(tokens(module))))


def tokens(module):
    x = module.patch_embed(images(16)) + module.pos_embed
    return torch.cat([module.prefix.expand(2, -1, -1), x], dim=1)


@pytest.mark.parametrize("switches", [{}, {"pattern": "axial"}, {"similarity": "cosine"}], ids=str)
def test_after_a_swap_maps_are_read_as_well(switches):
    model = made("vit_tiny_patch16_224")
    before = attention_maps(model, images())
    after = attention_maps(replace_attention(model, **switches), images())
    assert after.keys() == before.keys()
    same = torch.allclose(after["blocks.0.attn"].weights, before["blocks.0.attn"].weights, atol=1e-5)
    assert same == (not switches)


def test_keys_on_a_coarser_grid_and_class_attention_have_their_own():
    module = ViT(dim=16, depth=1, mixer=SelfAttention(num_heads=2, pattern="reduced", pattern_size=2))
    (one,) = attention_maps(module.build(image_size=16, in_chans=3, num_classes=2), images(16)).values()
    assert (one.grid, one.key_grid) == ((4, 4), (2, 2))
    cait = timm.create_model("cait_xxs24_224", **TINY).eval()
    maps = attention_maps(cait, images())
    assert maps["blocks.0.attn"].grid == (4, 4)
    last = maps["blocks_token_only.0.attn"]
    assert (last.prefix, last.grid, last.key_grid) == (1, None, (4, 4))
    assert last.from_prefix.shape[2:] == (1, 4, 4)
    with pytest.raises(InputError, match="on_grid needs queries and keys on a grid"):
        _ = last.on_grid


def test_queries_that_a_layer_pools_are_the_tokens_that_come_out():
    """MViT's second stage halves the sides: fewer rows than tokens come in."""
    maps = attention_maps(timm.create_model("mvitv2_tiny", img_size=64).eval(), images(64))
    assert (maps["stages.1.blocks.0.attn"].grid, maps["stages.1.blocks.0.attn"].key_grid) == ((8, 8), (8, 8))
    assert (maps["stages.0.blocks.0.attn"].grid, maps["stages.0.blocks.0.attn"].key_grid) == ((16, 16), (4, 4))


@pytest.mark.parametrize("swapped", [False, True])
def test_registers_are_told_apart_where_the_model_lies_in_another_or_takes_images_of_any_size(swapped):
    for options in ({}, {"dynamic_img_size": True}):
        vit = made("vit_small_patch14_reg4_dinov2", **options)
        vit = replace_attention(vit) if swapped else vit
        for model in (vit, torch.nn.Sequential(torch.nn.Identity(), vit)):
            one = next(iter(attention_maps(model, images()).values()))
            assert (one.prefix, one.grid) == (5, (4, 4))


def compiled(model, what):
    """The model, its blocks or its attention compiled, and run once without hooks."""
    inner = model.layers[0].blocks if hasattr(model, "layers") else model.blocks
    if what == "model":
        model = torch.compile(model, backend="eager")
    elif what == "in place":
        model.compile(backend="eager")
    for place, block in enumerate(inner):
        if what == "blocks":
            inner[place] = torch.compile(block, backend="eager")
        elif what == "attention":
            block.attn = torch.compile(block.attn, backend="eager")
    with torch.no_grad():
        model(images())
    return model


@pytest.mark.parametrize("what", ["model", "in place", "blocks", "attention"])
@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "swin_tiny_patch4_window7_224"])
def test_compiled_models_have_the_same_maps(name, what):
    model = made(name)
    expected = attention_maps(model, images())
    torch.compiler.reset()
    found = attention_maps(compiled(model, what), images())
    assert [place.replace("_orig_mod.", "").removesuffix("._orig_mod") for place in found] == list(expected)
    for own, other in zip(found.values(), expected.values(), strict=True):
        assert (own.prefix, own.grid) == (other.prefix, other.grid)
        torch.testing.assert_close(own.weights, other.weights)


def test_rectangular_images_keep_their_shape():
    maps = attention_maps(made("vit_tiny_patch16_224", img_size=(32, 48)), images(32, 48))
    assert next(iter(maps.values())).grid == (4, 6)


def test_the_model_is_left_as_it_is():
    model = made("vit_tiny_patch16_224", attn_drop_rate=0.5, drop_path_rate=0.5).train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    first, second = attention_maps(model, images()), attention_maps(model, images())
    assert all(torch.equal(first[name].weights, second[name].weights) for name in first)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: timm.create_model("resnet10t"), "model of attention_maps must have attention. Got ResNet instead."),
        (lambda: own(LSTM()), "model of attention_maps must have attention. Got VisionTransformer instead."),
        (lambda: own(DepthwiseConv()), "model of attention_maps must have attention. Got VisionTransformer"),
        (lambda: nn.Conv2d(3, 1, 1), "model of attention_maps must have attention. Got Conv2d instead."),
        (lambda: timm.create_model("coat_tiny", img_size=32), "attention of serial_blocks1.0.factoratt_crpe, a Factor"),
        (lambda: timm.create_model("mobilevitv2_050"), "attention of stages.2.1.transformer.0.attn, a LinearSelfA"),
        (lambda: timm.create_model("xcit_nano_12_p16_224", depth=1, img_size=32), "attention of blocks.0.attn, a XCA,"),
    ],
)
def test_what_has_no_map_is_said(make, words):
    with pytest.raises(InputError) as error:
        attention_maps(make(), images())
    assert str(error.value).startswith(words)


def test_pairs_of_channels_are_no_map_where_a_head_has_as_many_as_there_are_tokens():
    model = timm.create_model("xcit_nano_12_p16_224", img_size=(64, 128), depth=1).eval()
    allowed = r"a XCA, must be .*\. Got \(2, 4, 32, 32\) over pairs of channels instead\.$"
    with pytest.raises(InputError, match=allowed):
        attention_maps(model, images(64, 128))


def own(mixer):
    return ViT(dim=16, depth=1, mixer=mixer).build(image_size=32, in_chans=3, num_classes=2)


def test_a_map_is_plain_to_hold():
    one = AttentionMap(torch.full((1, 1, 5, 5), 0.2), 1, (2, 2), (2, 2))
    assert one.on_grid.sum().item() == pytest.approx(16 * 0.2)
    assert one.from_prefix.shape == (1, 1, 1, 2, 2)


def test_a_map_is_shown_by_its_shape_and_grids():
    found = AttentionMap(torch.zeros(2, 3, 5, 5), 1, (2, 2), (2, 2))
    assert repr(found) == "AttentionMap(weights of (2, 3, 5, 5), prefix=1, grid=(2, 2), key_grid=(2, 2))"


def test_what_is_no_batch_of_images_is_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"^images of attention_maps must be \(B, C, H, W\)\. Got \(1, 4, 16\)"):
        attention_maps(nn.Identity(), torch.zeros(1, 4, 16))
