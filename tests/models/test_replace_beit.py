"""Our attention in timm's BEiT: the same numbers with the same parameters, at every size and with a shared bias."""

import copy
import pickle

import pytest
import timm
import torch
from timm_sources import SMALL, images, stirred

from vision_attn.layers import Attention
from vision_attn.models import replace_attention
from vision_attn.probes import attention_maps

VARIANTS = [
    {},
    {"img_size": (32, 48)},
    {"qkv_bias": False},
    {"use_rel_pos_bias": False},
    {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_abs_pos_emb": True},
    {"global_pool": "token", "swiglu_mlp": True},
]


def beit(**options):
    torch.manual_seed(0)
    return stirred(timm.create_model("beit_base_patch16_224", **{**SMALL, "depth": 2, **options}).eval())


def same(model, other, x):
    torch.testing.assert_close(model(x), other(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_without_switches_it_computes_what_it_did_with_the_same_parameters(options):
    theirs = beit(**options)
    ours, x = replace_attention(copy.deepcopy(theirs)), images(*theirs.patch_embed.img_size)
    assert sum(isinstance(module, Attention) for module in ours.modules()) == 2
    same(ours, theirs, x)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    before, after = attention_maps(theirs, x), attention_maps(ours, x)
    for name, one in before.items():
        torch.testing.assert_close(after[name].weights, one.weights, rtol=1e-4, atol=1e-5)
        assert (after[name].prefix, after[name].grid) == (1, theirs.patch_embed.grid_size)


def test_parameters_are_the_very_ones_and_stay_frozen():
    model = beit()
    model.blocks[0].attn.q_bias.requires_grad_(requires_grad=False)
    kept = {id(parameter): parameter.requires_grad for parameter in model.parameters()}
    replace_attention(model)
    assert {id(parameter): parameter.requires_grad for parameter in model.parameters()} == kept
    assert "blocks.1.attn.position.relative_position_bias_table" in model.no_weight_decay()


def test_a_bias_of_the_keys_begins_at_0():
    theirs = beit()
    same(replace_attention(copy.deepcopy(theirs), k_bias=True), theirs, images())


@pytest.mark.parametrize("options", [{}, {"qkv_bias": False}], ids=str)
def test_states_of_either_are_loaded_into_ours(options):
    theirs = beit(**options)
    ours = [replace_attention(beit(**options)) for _ in range(2)]
    for model in ours:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
    ours[0].load_state_dict(theirs.state_dict())
    ours[1].load_state_dict(ours[0].state_dict())
    for model in (*ours, copy.deepcopy(ours[0]), pickle.loads(pickle.dumps(ours[0]))):
        same(model, theirs, images())


@pytest.mark.parametrize("window", [None, 4])
def test_timms_filter_brings_the_tables_of_a_state_to_another_size(window):
    own = timm.models.beit if window is None else timm.models.swin_transformer

    def made(size):
        swin = {"window_size": window, "patch_size": 2, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2)}
        name = "swin_tiny_patch4_window7_224"
        return beit(img_size=size) if window is None else stirred(timm.create_model(name, img_size=size, **swin).eval())

    state, theirs, ours = made(32).state_dict(), made((48, 32)), replace_attention(made((48, 32)))
    for model in (theirs, ours):
        model.load_state_dict(own.checkpoint_filter_fn(state, model))
    same(ours, theirs, images(48, 32))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_at_another_size_it_is_what_timms_is_there(options):
    theirs = beit(**options)
    ours = replace_attention(copy.deepcopy(theirs))
    for model in (ours, theirs):
        model.set_input_size((48, 32))
    same(ours, theirs, images(48, 32))


@pytest.mark.parametrize(
    "switches",
    [
        {"position": "none"},
        {"position": "rotary"},
        {"similarity": "cosine"},
        {"pattern": "neighbourhood", "pattern_size": 1},
        {"pattern": "top_k", "pattern_size": 3},
        {"key_dim": 24},
    ],
    ids=str,
)
def test_switches_change_it_and_it_trains_at_another_size_too(switches):
    theirs = beit()
    model = replace_attention(copy.deepcopy(theirs), **switches)
    assert not torch.allclose(model(images()), theirs(images()), atol=1e-4)
    model.set_input_size((48, 32))
    model.train()(images(48, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_pattern_keeps_the_numbers_of_the_offsets_that_it_has():
    theirs = beit()
    model = replace_attention(copy.deepcopy(theirs), pattern="window", pattern_size=2)
    table = model.blocks[0].attn.position.relative_position_bias_table
    before = theirs.blocks[0].attn.relative_position_bias_table
    own = [(row + 3) * 7 + column + 3 for row in (-1, 0, 1) for column in (-1, 0, 1)]
    assert torch.equal(table, torch.cat([before[own], before[-3:]]))
