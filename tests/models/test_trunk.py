"""The trunk's pooling and stages."""

import pytest
import torch

from vision_attn.layers import TokenMerging, sincos2d
from vision_attn.models import DepthwiseConv, SelfAttention, ViT, count_flops, count_params, match
from vision_attn.spec import InputError

SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 5}


def build(model, **changes):
    torch.manual_seed(0)
    return model.build(**{**SHAPE, **changes}).eval()


def images(number=2):
    return torch.randn(number, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_without_pooling_the_head_reads_every_token_by_itself():
    pooled, dense = build(ViT(dim=16, depth=2)), build(ViT(dim=16, depth=2, pool="none"))
    tokens = pooled.forward_features(images())
    torch.testing.assert_close(dense.forward_features(images()), tokens)
    logits = dense(images())
    assert logits.shape == (2, 5, 4, 4)
    third = pooled.head(pooled.fc_norm(tokens[:, 6]))
    torch.testing.assert_close(logits[:, :, 1, 2], third)
    assert dense.forward_head(tokens, pre_logits=True).shape == (2, 16, 4, 4)


def test_a_class_token_is_what_the_head_reads():
    module = build(ViT(dim=16, depth=2, pool="token", reg_tokens=2))
    tokens = module.forward_features(images())
    assert tokens.shape == (2, 3 + 16, 16)
    torch.testing.assert_close(module(images()), module.head(module.fc_norm(tokens[:, 0])))


def test_registers_do_not_count_in_the_mean():
    module = build(ViT(dim=16, depth=2, reg_tokens=3))
    tokens = module.forward_features(images())
    torch.testing.assert_close(module(images()), module.head(module.fc_norm(tokens[:, 3:].mean(1))))


def test_merging_joins_the_four_tokens_of_a_square():
    layer = TokenMerging(1, grid=(4, 6))
    layer.norm = torch.nn.Identity()
    layer.reduction.weight.data = torch.tensor([[1.0, 1, 1, 1], [1, -1, 0, 0]])
    image = torch.arange(24.0).view(4, 6)
    out = layer(image.view(1, 24, 1)).view(2, 3, 2)
    sums = image.unfold(0, 2, 2).unfold(1, 2, 2).sum((-1, -2))
    torch.testing.assert_close(out[..., 0], sums)
    assert out[..., 1].abs().unique().tolist() == [6.0]


def test_a_hierarchy_has_fewer_and_wider_tokens_and_more_heads_stage_by_stage():
    module = build(ViT(dim=8, depth=4, patch_size=2, mixer=SelfAttention(num_heads=2, key_dim=4), merge_after=(1, 3)))
    assert module.grids == [(8, 8), (4, 4), (4, 4), (2, 2)]
    assert [block.mixer.num_heads for block in module.blocks] == [2, 4, 4, 8]
    assert [block.mixer.head_dim for block in module.blocks] == [2, 2, 2, 2]
    assert module.forward_features(images()).shape == (2, 4, 32)
    assert module.num_features == 32


def test_flops_of_a_hierarchy_equal_the_closed_formula():
    model = ViT(dim=16, depth=3, patch_size=2, merge_after=(1, 2))
    macs, tokens, dim = 64 * 12 * 16, 64, 16
    for stage in range(3):
        macs += 12 * tokens * dim**2 + 2 * tokens**2 * dim
        if stage < 2:
            macs += tokens // 4 * 4 * dim * 2 * dim
            tokens, dim = tokens // 4, 2 * dim
    assert count_flops(model, **SHAPE) == 2 * (macs + dim * 5)


def test_a_hierarchy_with_another_mixer_is_matched_in_size():
    reference = ViT(dim=32, depth=4, patch_size=2, merge_after=(2,))
    twin = match(reference.replace(mixer=DepthwiseConv(kernel_size=3)), reference=reference, **SHAPE)
    assert twin.merge_after == (2,)
    assert count_params(twin, **SHAPE) == pytest.approx(count_params(reference, **SHAPE), rel=0.02)


def test_position_without_room_for_a_class_token_is_the_mixers_own():
    module = build(ViT(dim=16, depth=1, pool="token", position="none", mixer=SelfAttention(position="relative")))
    assert module.blocks[0].mixer.num_prefix_tokens == 1
    assert module(images()).shape == (2, 5)


def test_a_merged_grid_that_does_not_divide_is_refused_by_the_layer():
    with pytest.raises(ValueError, match="grid of TokenMerging must have even sides"):
        TokenMerging(4, grid=(3, 4))
    with pytest.raises(InputError):
        build(ViT(dim=16, depth=3, merge_after=(1, 2)), image_size=20)


def fixed_positions(dim=8, size=40):
    return ViT(dim=dim, depth=1, patch_size=2, position="sincos2d").build(image_size=size, in_chans=3, num_classes=2)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_fixed_positions_keep_their_precision_in_every_type(kind):
    module = fixed_positions().to(kind)
    exact = sincos2d((20, 20), 8)
    assert torch.equal(module.float().pos_embed, exact)
    module.to(kind)
    with torch.no_grad():
        module.patch_embed.proj.weight.zero_()
        module.patch_embed.proj.bias.zero_()
    placed = module.embed(torch.zeros(1, 3, 40, 40, dtype=kind))
    assert placed.dtype == kind
    torch.testing.assert_close(placed, exact.to(kind), rtol=0, atol=0)


@pytest.mark.parametrize("assign", [False, True])
def test_a_trunk_made_on_meta_and_loaded_is_the_stored_one(assign):
    stored, x = fixed_positions().eval(), torch.randn(2, 3, 40, 40)
    with torch.device("meta"):
        empty = fixed_positions().eval()
    if not assign:
        empty = empty.to_empty(device="cpu")
    empty.load_state_dict(stored.state_dict(), assign=assign)
    assert torch.equal(empty(x), stored(x))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_class_token_and_stochastic_depth_keep_the_batch_free_in_a_graph():
    spec = ViT(dim=8, depth=2, pool="token", reg_tokens=1, drop_path=0.1, mixer=SelfAttention(num_heads=2))
    module = spec.build(image_size=8, in_chans=1, num_classes=3)
    images = torch.randn(5, 1, 8, 8)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(module, (images[:3],), dynamic_shapes=shapes).module()
    assert program(images).shape == (5, 3)
    module.eval()
    trace = torch.jit.trace(module, (images[:3],))
    torch.testing.assert_close(trace(images), module(images))
