"""Our attention in the models of timm: every layer, or none and a sentence that says why."""

import copy
import pickle

import pytest
import timm
import torch
from timm.layers import to_2tuple
from timm.optim import param_groups_weight_decay
from timm_sources import images, stirred, theirs
from torch import nn

from vision_attn.layers import Attention
from vision_attn.models import replace_attention
from vision_attn.probes import attention_maps
from vision_attn.spec import InputError

SWITCHES = [
    {},
    {"similarity": "cosine"},
    {"scale": "learned"},
    {"position": "rotary"},
    {"position": "relative", "pattern": "window", "pattern_size": 2},
    {"pattern": "axial"},
    {"pattern": "reduced", "pattern_size": 2},
    {"k_bias": False},
    {"key_dim": 24},
    {"qk_norm": True},
]
TINY = {"img_size": 32, "patch_size": 8, "depth": 1, "num_classes": 5}
TAKEN = [
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch16_siglip_224",
    "vit_base_patch32_clip_quickgelu_224",
    "vit_small_patch16_18x2_224",
]
REFUSED = {
    "eva02_tiny_patch14_224": (
        TINY,
        "timm.models.eva.EvaAttention (1 times, first at blocks.0.attn: its model hands it the angles",
    ),
    "vit_small_patch16_rope_224": (
        TINY,
        "timm.layers.attention.AttentionRope (1 times, first at blocks.0.attn: its model hands it the angles",
    ),
    "vit_dlittle_patch16_reg1_gap_256": (
        TINY,
        "timm.layers.diff_attention.DiffAttention (1 times, first at blocks.0.attn: it takes one softmax from another",
    ),
    "vit_pwee_patch16_reg1_gap_256": (TINY, "timm.models.vision_transformer.ParallelScalingBlock (1 times"),
    "vit_relpos_small_patch16_224": (TINY, "timm.models.vision_transformer_relpos.RelPosAttention (1 times"),
    "cait_xxs24_224": (TINY, "timm.models.cait.TalkingHeadAttn (1 times, first at blocks.0.attn: it mixes heads"),
    "swinv2_tiny_window8_256": (
        {"depths": (1, 1, 1, 1)},
        "timm.models.swin_transformer_v2.WindowAttention (4 times, first at layers.0.blocks.0.attn: a perceptron",
    ),
    "hiera_tiny_224": ({"stages": (1, 1, 1, 1)}, "timm.models.hiera.MaskUnitAttention (4 times"),
    "crossvit_tiny_240": ({}, "timm.models.crossvit.CrossAttention (6 times, first at blocks.0.fusion.0.attn)"),
    "mobilenetv4_hybrid_medium": ({}, "timm.layers.attention2d.MultiQueryAttention2d"),
}


def layers(model):
    return [module for module in model.modules() if isinstance(module, Attention)]


def untouched(model, before):
    """Whether the modules of the model are the very objects they were."""
    return [id(module) for module in model.modules()] == before


@pytest.mark.parametrize("options", [{}, {"qkv_bias": False}, {"qk_norm": True}, {"proj_bias": False}], ids=str)
def test_without_switches_the_model_computes_what_it_did(options):
    model = theirs(**options)
    before = model(images())
    assert replace_attention(model) is model
    assert len(layers(model)) == 3
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TAKEN)
def test_these_models_of_timm_compute_what_they_did(name):
    torch.manual_seed(0)
    model = stirred(timm.create_model(name, **TINY).eval())
    before = model(images())
    count = sum(type(module) is timm.layers.Attention for module in model.modules())
    assert len(layers(replace_attention(model))) == count > 0
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_these_are_refused_with_every_class_named_and_left_as_they_are(name):
    options, words = REFUSED[name]
    model = timm.create_model(name, **options)
    before = [id(module) for module in model.modules()]
    with pytest.raises(InputError) as error:
        replace_attention(model)
    allowed = "timm.layers.Attention, or that of Swin or BEiT, throughout"
    assert str(error.value).startswith(f"attention of the model must be {allowed}. Got timm.")
    assert words in str(error.value)
    assert untouched(model, before)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_switches_change_it_and_it_trains(switches):
    model = theirs()
    before = model(images())
    replace_attention(model, **switches)
    after = model.train()(images())
    after.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    changed = not torch.allclose(after, before, atol=1e-4)
    assert changed == (switches not in ({}, {"k_bias": False}, {"scale": "learned"}))


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_frozen_type_mode_and_generator_stay(switches):
    model = theirs().double().train()
    model.blocks[1].attn.eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("blocks.2" in name)
    kept = {name: (parameter, parameter.clone()) for name, parameter in model.named_parameters()}
    state = torch.get_rng_state()
    replace_attention(model, **switches)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert [block.attn.training for block in model.blocks] == [True, False, True]
    shared = 0
    for name, parameter in model.named_parameters():
        if name in kept and kept[name][0].shape == parameter.shape:
            assert parameter is kept[name][0]
            assert torch.equal(parameter, kept[name][1])
            assert parameter.requires_grad == ("blocks.2" in name)
            shared += 1
    assert shared >= len(kept) - 3 * 2


def test_biases_that_are_split_stay_frozen_and_keep_their_values():
    model = theirs()
    model.blocks[0].attn.qkv.bias.requires_grad_(requires_grad=False)
    q, _, v = model.blocks[0].attn.qkv.bias.detach().clone().chunk(3)
    qkv = replace_attention(model, k_bias=False).blocks[0].attn.qkv
    assert torch.equal(qkv.q_bias, q)
    assert torch.equal(qkv.v_bias, v)
    assert not qkv.q_bias.requires_grad
    assert not qkv.v_bias.requires_grad


def test_what_comes_new_trains_in_a_frozen_model():
    model = theirs().requires_grad_(requires_grad=False)
    replace_attention(model, position="relative")
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == [f"blocks.{i}.attn.position.relative_position_bias_table" for i in range(3)]


@pytest.mark.parametrize("place", ["", ".qkv", ".proj", ".proj_drop"])
def test_hooks_are_called_as_before_and_their_handles_remove_them(place):
    model, seen = theirs(), []
    module = model.get_submodule(f"blocks.0.attn{place}")
    handles = [module.register_forward_hook(lambda *_: seen.append("after"))]
    handles.append(module.register_forward_pre_hook(lambda *_: seen.append("before")))
    replace_attention(model)
    model(images())
    assert seen == ["before", "after"]
    for handle in handles:
        handle.remove()
    model(images())
    assert seen == ["before", "after"]


def test_a_layer_that_stands_in_two_places_stays_one():
    model = theirs()
    model.blocks[2].attn = model.blocks[0].attn
    before = model(images())
    replace_attention(model)
    assert model.blocks[2].attn is model.blocks[0].attn
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)


def test_tables_of_positions_and_learned_scales_are_not_decayed_as_before():
    model = replace_attention(theirs(), position="relative", scale="learned")
    new = ("position.relative_position_bias_table", "logit_scale")
    tables = {f"blocks.{i}.attn.{name}" for i in range(3) for name in new}
    for copied in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.no_weight_decay() == {"pos_embed", "cls_token", "reg_token", "dist_token"} | tables
        free, _ = param_groups_weight_decay(copied, 0.05, no_weight_decay_list=copied.no_weight_decay())
        names = {id(parameter): name for name, parameter in copied.named_parameters()}
        assert tables <= {names[id(parameter)] for parameter in free["params"]}


def test_weights_of_the_swapped_layer_are_at_hand():
    model = replace_attention(theirs(), pattern="window", pattern_size=2)
    weights = model.blocks[0].attn.weights(torch.randn(1, 17, 48))
    assert weights.shape == (1, 3, 17, 17)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 3, 17))


@pytest.mark.parametrize("mask", [torch.rand(17, 17) > 0.5, torch.randn(17, 17)], ids=["boolean", "additive"])
def test_masks_that_timm_hands_to_its_blocks_mean_what_they_did(mask):
    model = theirs()
    mask.fill_diagonal_(1)
    before = [model(images(), attn_mask=mask), model(images(), is_causal=True)]
    replace_attention(model)
    torch.testing.assert_close(model(images(), attn_mask=mask), before[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model(images(), is_causal=True), before[1], rtol=1e-5, atol=1e-5)


def test_graphs_of_fx_follow_a_swapped_model_and_take_no_mask():
    """The model hands its blocks a mask and an order, which stand for others while the graph is made."""
    model = replace_attention(theirs(), similarity="cosine")
    graph, x = torch.fx.symbolic_trace(model), images()
    torch.testing.assert_close(graph(x), model(x), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="x of Attention must be the only argument of a graph"):
        graph(x, attn_mask=torch.ones(17, 17, dtype=torch.bool))
    found = timm.models.create_feature_extractor(model, ["blocks.1"])(x)
    assert found["blocks.1"].shape == (2, 17, 48)


def test_rectangular_images_give_the_layer_their_grid():
    model = replace_attention(theirs(img_size=(32, 48)), position="relative")
    assert model.blocks[0].attn.grid == (4, 6)
    assert model(images(32, 48)).shape == (2, 7)


@pytest.mark.parametrize(
    ("make", "switches", "words"),
    [
        (lambda: timm.create_model("resnet10t"), {}, "model must have a timm.layers.Attention. Got a ResNet without"),
        (lambda: timm.layers.Attention(48), {}, "model must have a timm.layers.Attention. Got that layer itself"),
        (theirs, {"colour": "red"}, "switches must be among qkv_bias, "),
        (theirs, {"num_heads": 2}, "switches must be among qkv_bias, "),
        (theirs, {"similarity": "cosin"}, "similarity of SelfAttention must be"),
        (
            lambda: replace_attention(theirs()),
            {},
            "attention of the model must be timm.layers.Attention, or that of Swin or BEiT, throughout",
        ),
        (
            lambda: theirs(attn_layer=Gated),
            {},
            "attention of the model must be timm.layers.Attention, or that of Swin or BEiT, throughout",
        ),
        (lambda: theirs(scale_attn_norm=True), {}, "attention of the model must be without gate and inner norm"),
        (
            lambda: theirs(dynamic_img_size=True),
            {"position": "rotary"},
            "model must be a VisionTransformer or Beit of timm",
        ),
        (
            lambda: theirs(patch_drop_rate=0.5),
            {"pattern": "axial"},
            "model must be a VisionTransformer or Beit of timm",
        ),
        (
            lambda: timm.create_model("pit_ti_224"),
            {"pattern": "window"},
            "model must be a VisionTransformer or Beit of timm",
        ),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_changed(make, switches, words):
    model = make()
    before = [id(module) for module in model.modules()]
    with pytest.raises(InputError) as error:
        replace_attention(model, **switches)
    assert str(error.value).startswith(words)
    assert untouched(model, before)


class Gated(timm.layers.Attention):
    """A subclass, which may compute something else."""


def test_the_last_layer_decides_as_the_first_does():
    model = theirs()
    nn.utils.parametrizations.weight_norm(model.blocks[2].attn.qkv)
    before = [id(module) for module in model.modules()]
    with pytest.raises(InputError, match=r"must be a plain torch.nn.Linear. Got .* at blocks.2.attn.qkv"):
        replace_attention(model, k_bias=False)
    assert untouched(model, before)


def test_images_of_several_sizes_pass_where_no_place_is_asked_for():
    model = theirs(dynamic_img_size=True)
    sizes = [(32, 32), (16, 48)]
    before = [model(images(*size)) for size in sizes]
    replace_attention(model, similarity="dot")
    for size, expected in zip(sizes, before, strict=True):
        torch.testing.assert_close(model(images(*size)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_another_input_size_is_told_to_positions_and_patterns(switches):
    model = replace_attention(theirs(), **switches)
    model.set_input_size((48, 32))
    assert model(images(48, 32)).shape == (2, 7)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    copied.set_input_size((32, 32))
    assert copied(images()).shape == (2, 7)
    assert model(images(48, 32)).shape == (2, 7)


def swin(**options):
    """A Swin of two stages with shifted windows, every parameter random; at 40 pixels its windows are padded."""
    torch.manual_seed(0)
    shape = {"img_size": 32, "depths": (2, 1), "embed_dim": 16, "num_heads": (2, 4), "window_size": 4}
    return stirred(timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **{**shape, **options}).eval())


class TestSwin:
    @pytest.mark.parametrize("options", [{}, {"img_size": 40}, {"img_size": (32, 48)}, {"qkv_bias": False}], ids=str)
    def test_without_switches_it_computes_what_it_did_with_the_same_parameters(self, options):
        model, x = swin(**options), images(*to_2tuple(options.get("img_size", 32)))
        before, parameters = model(x), {id(parameter) for parameter in model.parameters()}
        model.layers[0].blocks[1].attn.relative_position_bias_table.requires_grad_(requires_grad=False)
        replace_attention(model)
        assert len(layers(model)) == 3
        torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5)
        assert {id(parameter) for parameter in model.parameters()} == parameters
        tables = [layer.position.relative_position_bias_table for layer in layers(model)]
        assert [table.requires_grad for table in tables] == [True, False, True]
        assert "layers.0.blocks.0.attn.position.relative_position_bias_table" in model.no_weight_decay()

    @pytest.mark.parametrize(
        "switches", [{"position": "none"}, {"position": "rotary"}, {"similarity": "cosine"}], ids=str
    )
    def test_switches_act_inside_of_windows_and_masks_of_shifted_windows_stay(self, switches):
        """A block of shifted windows lets no token see another window, nor what shifting brought together."""
        model = replace_attention(swin(), **switches)
        block, x = model.layers[0].blocks[1], torch.randn(1, 8, 8, 16, requires_grad=True)
        (seen,) = torch.autograd.grad(block._attn(x)[0, 0, 0].sum(), x)
        reached = seen[0].abs().sum(dim=-1) > 1e-30
        expected = torch.zeros(8, 8, dtype=torch.bool)
        expected[:2, :2] = True  # shifted by 2: the first window holds 2 x 2 tokens of each of four corners
        assert torch.equal(reached, expected)
        model.train()(images()).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_maps_of_its_layers_are_those_of_timms(self):
        model = swin()
        before = attention_maps(model, images())
        after = attention_maps(replace_attention(model), images())
        for name, one in before.items():
            torch.testing.assert_close(after[name].weights, one.weights, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("size", [(32, 48), (64, 64)])
    def test_at_another_input_size_it_computes_what_timms_does_there(self, size):
        before, after = swin(), replace_attention(swin())
        for model in (before, after):
            model.set_input_size(size, window_size=(4, 8))
        torch.testing.assert_close(after(images(*size)), before(images(*size)), rtol=1e-5, atol=1e-5)

    def test_another_input_size_is_taken_as_the_position_says(self):
        model = replace_attention(swin(), position="rotary")
        model.set_input_size((48, 32), window_size=(3, 4))
        assert model(images(48, 32)).shape == (2, 5)
        assert [layer.grid for layer in layers(model)] == [(3, 4)] * 3

    @pytest.mark.parametrize("pattern", ["window", "axial"])
    def test_its_windows_are_its_pattern(self, pattern):
        model = swin()
        before = [id(module) for module in model.modules()]
        with pytest.raises(
            InputError, match="pattern must be 'full' or 'top_k' in the windows that the blocks of Swin"
        ):
            replace_attention(model, pattern=pattern, pattern_size=2)
        assert untouched(model, before)
        replace_attention(model, pattern="top_k", pattern_size=3)
        assert model(images()).isfinite().all()
