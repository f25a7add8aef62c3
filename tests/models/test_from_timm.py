"""Weights of timm in our trunk: the same logits, or a sentence that names the setting."""

import functools

import pytest
import timm
import torch
from timm_sources import images, stirred, theirs
from torch import nn

from vision_attn.models import from_timm, replace_attention
from vision_attn.spec import InputError

BEIT = "beit_base_patch16_224"
TINY = {"img_size": 32, "patch_size": 8, "depth": 1, "num_classes": 5}
EXACT = [
    "vit_tiny_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_wee_patch16_reg1_gap_256",
    "vit_betwixt_patch16_reg4_gap_256",
    "flexivit_small",
    "deit_tiny_patch16_224",
    "deit3_small_patch16_224",
    "beit_base_patch16_224",
    "beitv2_base_patch16_224",
]
REFUSED = {
    "deit_tiny_distilled_patch16_224": "a VisionTransformer or Beit of timm. Got VisionTransformerDistilled",
    "vit_medium_patch16_gap_240": "with fc_norm",
    "vit_base_patch16_siglip_224": "of global_pool token or avg. Got AttentionPoolLatent",
    "vit_base_patch16_siglip_gap_224": "with fc_norm",
    "vit_base_patch32_clip_quickgelu_224": "without pre_norm",
    "vit_base_patch16_clip_224": "without pre_norm",
    "vit_small_patch16_18x2_224": "with the block_fn Block. Got ParallelThingsBlock at blocks.0",
    "vit_pwee_patch16_reg1_gap_256": "with the block_fn Block. Got ParallelScalingBlock at blocks.0",
    "vit_relpos_small_patch16_224": "a VisionTransformer or Beit of timm. Got VisionTransformerRelPos",
    "eva02_tiny_patch14_224": "a VisionTransformer or Beit of timm. Got Eva",
    "vit_small_patch16_dinov3": "a VisionTransformer or Beit of timm. Got Eva",
    "swin_tiny_patch4_window7_224": "a VisionTransformer or Beit of timm. Got SwinTransformer",
    "cait_xxs24_224": "a VisionTransformer or Beit of timm. Got Cait",
}


def equal(ours, source, x):
    torch.testing.assert_close(ours(x), source(x), rtol=1e-5, atol=1e-5)


def refusal(source):
    """The sentence with which the model is refused; None where it is not."""
    try:
        from_timm(source)
    except InputError as error:
        return str(error)
    return None


def made(name):
    options = TINY if "swin" not in name else {"num_classes": 5, "depths": (1, 1, 1, 1)}
    torch.manual_seed(0)
    return stirred(timm.create_model(name, **options).eval())


@pytest.mark.parametrize("name", EXACT)
def test_these_models_of_timm_give_the_same_logits(name):
    source = made(name)
    equal(from_timm(source), source, images())


@pytest.mark.parametrize("name", REFUSED)
def test_these_are_refused_by_the_setting(name):
    with pytest.raises(InputError, match=f"source of from_timm must be {REFUSED[name]}"):
        from_timm(made(name))


SETTINGS = [
    {},
    {"global_pool": "avg", "class_token": False},
    {"global_pool": "avg"},
    {"global_pool": "avg", "reg_tokens": 2},
    {"global_pool": "avg", "class_token": False, "pool_include_prefix": True},
    {"global_pool": "token", "pool_include_prefix": True},
    {"global_pool": "token", "fc_norm": True},
    {"global_pool": "avg", "fc_norm": False},
    {"global_pool": "avg", "pool_include_prefix": True},
    {"global_pool": "max"},
    {"global_pool": "avgmax"},
    {"global_pool": ""},
    {"global_pool": "map"},
    {"global_pool": "prr"},
    {"reg_tokens": 3, "no_embed_class": True},
    {"reg_tokens": 3},
    {"no_embed_class": True},
    {"pos_embed": "none", "qkv_bias": False, "mlp_ratio": 3.0},
    {"init_values": 0.5},
    {"num_classes": 0},
    {"in_chans": 1},
    {"img_size": (32, 48)},
    {"img_size": 36},
    {"patch_size": (8, 16)},
    {"dynamic_img_size": True},
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"qk_norm": True},
    {"scale_attn_norm": True},
    {"scale_mlp_norm": True},
    {"proj_bias": False},
    {"pre_norm": True},
    {"final_norm": False},
    {"embed_norm_layer": nn.LayerNorm},
    {"norm_layer": nn.LayerNorm},
    {"norm_layer": functools.partial(nn.LayerNorm, eps=1e-6)},
    {"norm_layer": functools.partial(nn.LayerNorm, eps=1e-3)},
    {"norm_layer": "rmsnorm"},
    {"act_layer": "gelu"},
    {"act_layer": "gelu_tanh"},
    {"act_layer": "quick_gelu"},
    {"act_layer": nn.SiLU},
    {"mlp_layer": timm.layers.SwiGLU},
    {"mlp_layer": timm.layers.GluMlp},
    {"block_fn": timm.models.vision_transformer.ResPostBlock},
    {"block_fn": timm.models.vision_transformer.ParallelScalingBlock},
    {"block_fn": timm.models.vision_transformer.ParallelThingsBlock},
    {"attn_layer": "diff"},
    {"attn_drop_rate": 0.2},
    {"drop_path_rate": 0.2},
    {"drop_rate": 0.2},
    {"pos_drop_rate": 0.2},
    {"patch_drop_rate": 0.2},
    {"proj_drop_rate": 0.2},
    {"weight_init": "jax", "fix_init": True},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_every_setting_is_exact_or_refused_by_its_name(options):
    source = theirs(**options)
    refused = refusal(source)
    if refused is not None:
        assert any(name in refused for name in options), refused
        return
    ours = from_timm(source)
    equal(ours, source, images(*source.patch_embed.img_size, channels=source.in_chans))
    rates = [module.drop_prob for module in source.modules() if type(module).__name__ == "DropPath"]
    assert max(rates, default=0) == pytest.approx(ours.spec.drop_path)
    assert ours.spec.mixer.attn_drop == source.blocks[0].attn.attn_drop.p
    assert ours.spec.drop_rate == source.head_drop.p


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"qk_norm": True}, "without qk_norm. Got LayerNorm instead."),
        ({"pre_norm": True}, "without pre_norm (a norm before the blocks). Got LayerNorm instead."),
        ({"pos_drop_rate": 0.2}, "without pos_drop_rate. Got 0.2 instead."),
        ({"global_pool": "max"}, "of global_pool token or avg. Got 'max' instead."),
        ({"global_pool": "avg", "pool_include_prefix": True}, "without pool_include_prefix. Got True instead."),
        (
            {"img_size": (32, 36)},
            "of an img_size that patch_size 8 divides unless image_size is given. Got (32, 36) instead.",
        ),
        ({"norm_layer": nn.LayerNorm}, "with a norm_layer of eps = 1e-06. Got eps = 1e-05 at the last norm instead."),
        ({"act_layer": nn.SiLU}, "with the act_layer GELU. Got SiLU() at blocks.0.mlp instead."),
    ],
    ids=str,
)
def test_the_sentence_says_what_is_allowed_and_what_was_given(options, words):
    with pytest.raises(InputError) as error:
        from_timm(theirs(**options))
    assert str(error.value) == f"source of from_timm must be {words}"


def test_a_single_block_that_differs_is_found():
    source = theirs()
    source.blocks[1].norm2.eps = 1e-5
    with pytest.raises(InputError, match=r"eps = 1e-05 at blocks.1.norm2"):
        from_timm(source)
    source = theirs(attn_drop_rate=0.1)
    source.blocks[2].attn.attn_drop.p = 0.5
    with pytest.raises(InputError, match=r"of the same attn_drop_rate in every block. Got \[0.1, 0.1, 0.5\]"):
        from_timm(source)


def test_a_model_with_our_attention_in_it_is_refused():
    with pytest.raises(InputError, match=r"with the attn_layer timm.layers.Attention, or .* Got vision_attn's"):
        from_timm(replace_attention(theirs(), similarity="cosine"))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_weights_that_folding_would_round_are_refused(kind):
    with pytest.raises(InputError, match=f"in float32 or float64 .* Got {str(kind)[6:]} instead"):
        from_timm(theirs().to(kind))


def test_type_mode_frozen_parameters_and_generator_are_those_of_the_source():
    source = theirs().double().train()
    for name, parameter in source.named_parameters():
        parameter.requires_grad_("mlp" in name)
    state = torch.get_rng_state()
    ours = from_timm(source)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name for name, p in ours.named_parameters() if p.requires_grad} == {
        name for name, p in source.named_parameters() if p.requires_grad
    }
    assert ours.training
    equal(ours.eval(), source.eval(), images().double())


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("options", [{}, {"img_size": (32, 48)}, {"dynamic_img_size": True}, {"name": BEIT}], ids=str)
def test_at_another_size_positions_are_interpolated_as_timm_does(size, options):
    source = theirs(**options)
    ours = from_timm(source, image_size=size)
    source.set_input_size((size, size))
    equal(ours, source, images(size))


OF_BEIT = [
    {"use_abs_pos_emb": True},
    {"use_rel_pos_bias": False},
    {"use_shared_rel_pos_bias": True},
    {"qkv_bias": False},
    {"global_pool": "token"},
    {"global_pool": ""},
    {"use_fc_norm": False},
    {"init_values": None},
    {"swiglu_mlp": True},
    {"scale_mlp": True},
    {"img_size": (32, 48)},
    {"drop_path_rate": 0.1},
    {"pos_drop_rate": 0.1},
]


@pytest.mark.parametrize("options", OF_BEIT, ids=str)
def test_so_is_every_setting_of_beit(options):
    source = theirs(BEIT, **options)
    refused = refusal(source)
    if refused is not None:
        allowed = {"swiglu_mlp": "mlp_layer", "scale_mlp": "scale_mlp_norm", "use_fc_norm": "fc_norm"}
        assert any(allowed.get(name, name) in refused for name in options), refused
    else:
        equal(from_timm(source), source, images(*source.patch_embed.img_size))


@pytest.mark.parametrize("size", [0, -8, 32.0, "32", True])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match="image_size of from_timm must be a whole number, at least the patch size 8"):
        from_timm(theirs(), image_size=size)


def test_what_is_loaded_is_a_copy():
    source = theirs()
    ours = from_timm(source)
    before = source.blocks[0].attn.qkv.weight.clone()
    with torch.no_grad():
        ours.blocks[0].mixer.qkv.weight.zero_()
    assert torch.equal(source.blocks[0].attn.qkv.weight, before)


def test_the_published_shape_loads_whole():
    torch.manual_seed(0)
    source = timm.create_model("vit_tiny_patch16_224").eval()
    ours = from_timm(source)
    equal(ours, source, images(224))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in source.parameters()) - ours.num_features


@pytest.mark.parametrize("options", [{"img_size": (32, 48)}, {"drop_rate": 0.2}], ids=str)
def test_rectangular_images_and_dropout_before_the_head_are_understood(options):
    assert refusal(theirs(**options)) is None
