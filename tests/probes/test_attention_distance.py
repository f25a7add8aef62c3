import math

import pytest
import timm
import torch
import torch.nn.functional as F
from noise_data import noise, selected, value
from torch import nn

from vision_attn.data import Data, Mnist5k
from vision_attn.layers import Attention, SpatialReduction
from vision_attn.models import DepthwiseConv, ResNet, SelfAttention, Timm, ViT, ZeroMixer
from vision_attn.probes import AttentionDistance, AttentionMap, attention_distance
from vision_attn.probes.attention_distance import Geometry, geometry, shuffled_patches, statistics
from vision_attn.probes.lattice import places
from vision_attn.spec import InputError


def built(spec, **shape) -> nn.Module:
    torch.manual_seed(0)
    return spec.build(**{"image_size": 32, "in_chans": 3, "num_classes": 5, **shape}).eval()


def lying(side: int, *, image_size: int, prefix: int = 0) -> Geometry:
    at = places((side, side), image_size=image_size)
    return Geometry((at[:, None] - at[None]).norm(dim=-1), prefix)


def uniform(model: nn.Module) -> nn.Module:
    """The model with queries of zero, so that all tokens are attended to alike."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Attention):
                for parameter in module.qkv.parameters():
                    parameter[: module.dim] = 0
    return model


def test_attention_to_oneself_has_distance_and_entropy_zero():
    found = statistics(torch.eye(64).expand(2, 3, 64, 64), lying(8, image_size=32))
    assert found["attention_distance"].tolist() == [0] * 3
    assert found["attention_entropy"].tolist() == [0] * 3
    assert "prefix_share" not in found


@pytest.mark.parametrize(
    ("side", "size", "expected"), [(8, 32, 16.55), (16, 32, 16.65), (4, 32, 16.06), (14, 224, 116.5)]
)
def test_the_distance_of_uniform_attention_is_the_mean_distance_of_patches(side, size, expected):
    weights = torch.full((1, 1, side**2, side**2), side**-2)
    found = statistics(weights, lying(side, image_size=size))
    assert found["attention_distance"].item() == pytest.approx(expected, rel=5e-4)
    assert found["attention_entropy"].item() == pytest.approx(2 * math.log(side), rel=1e-5)


def test_the_distance_of_uniform_attention_to_the_neighbours():
    grid = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    near = ((grid[:, None] - grid[None]).abs().amax(-1) <= 1).double()
    found = statistics((near / near.sum(1, keepdim=True))[None, None], lying(8, image_size=32))
    side, corner = 4.0, 4 * math.sqrt(2)
    inside, edge, corners = (4 * side + 4 * corner) / 9, (3 * side + 2 * corner) / 6, (2 * side + corner) / 4
    expected = (36 * inside + 24 * edge + 4 * corners) / 64
    assert expected == pytest.approx(4.085, abs=5e-4)
    assert found["attention_distance"].item() == pytest.approx(expected)


def test_a_class_token_that_draws_half_of_the_attention_leaves_the_distance_as_it_was():
    torch.manual_seed(0)
    weights = torch.rand(2, 3, 64, 64).softmax(dim=-1)
    with_token = torch.rand(2, 3, 65, 65)
    with_token[:, :, 1:, 0], with_token[:, :, 1:, 1:] = 0.5, weights / 2
    alone = statistics(weights, lying(8, image_size=32))
    beside = statistics(with_token, lying(8, image_size=32, prefix=1))
    for metric in alone:
        torch.testing.assert_close(beside[metric], alone[metric])
    assert beside["prefix_share"].tolist() == pytest.approx([0.5] * 3)


def test_the_probe_finds_uniform_attention_in_every_layer_and_head_of_a_vit():
    model = uniform(built(ViT(dim=16, depth=2, mixer=SelfAttention(num_heads=2), pool="token", reg_tokens=1)))
    rows = list(AttentionDistance(images=3)(model, noise()))
    for layer in (1, 2):
        baseline = value(rows, "attention_distance_uniform", layer=layer)
        assert baseline == pytest.approx(16.55, abs=5e-3)
        for head in (0, 1):
            for images in ("true", "shuffled"):
                at = {"layer": layer, "head": head, "images": images}
                assert value(rows, "attention_distance", **at) == pytest.approx(baseline, rel=1e-5)
                assert value(rows, "attention_entropy", **at) == pytest.approx(math.log(64), rel=1e-5)
                assert value(rows, "prefix_share", **at) == pytest.approx(2 / 66, rel=1e-4)
    assert {row["layer"] for row in rows} == {1, 2}


def test_the_distance_is_that_of_the_weights_at_the_true_input_of_the_layer():
    model, data = built(ViT(dim=16, depth=2)), noise(images=20)
    with torch.no_grad():
        for block in model.blocks:
            block.mixer.qkv.weight.mul_(40)
        x = data.normalise(data.test.images)
        tokens = model.blocks[0](model.patch_embed(x) + model.pos_embed)
        weights = model.blocks[1].mixer.weights(model.blocks[1].norm1(tokens))
    expected = (weights * lying(8, image_size=32).distance).sum(-1).mean((0, 2))
    rows = list(AttentionDistance(images=20)(model, data))
    found = [value(rows, "attention_distance", layer=2, head=head, images="true") for head in range(4)]
    assert found == pytest.approx(expected.tolist(), rel=1e-5)
    shuffled = [value(rows, "attention_distance", layer=2, head=head, images="shuffled") for head in range(4)]
    assert shuffled != pytest.approx(found, rel=1e-5)


def test_reduced_keys_of_pvt_lie_where_its_convolution_looks():
    """5 x 5 tokens of 2 px, two by two a key: the last row and column make none."""
    layer = timm.models.pvt_v2.Attention(8, num_heads=1, sr_ratio=2)
    found = AttentionMap(torch.full((1, 1, 25, 4), 0.25), 0, (5, 5), (2, 2))
    distance = geometry(found, layer, image_size=10).distance
    expected = [math.hypot(down - 1, across - 1) for down in (2, 6) for across in (2, 6)]
    assert distance[0].tolist() == pytest.approx(expected)


def convolved(kernel: int, stride: int) -> list[float]:
    """The middles, in tokens, of what a convolution with padding (kernel - 1) / 2 looks at in a line of eight."""
    at = torch.arange(8.0) + 0.5
    lines = F.pad(at, (kernel // 2, kernel // 2))
    lines[: kernel // 2], lines[-(kernel // 2) :] = -0.5, 8.5
    return lines.unfold(0, kernel, stride).mean(1).tolist()


EVERY = [i + 0.5 for i in range(8)]
POOLED = {
    "MViT": (lambda: multi_scale(stride_q=(2, 2), stride_kv=(4, 4)), convolved(3, 2), convolved(3, 4)),
    "MViT, queries": (
        lambda: multi_scale(stride_q=(2, 2), stride_kv=(1, 1)),
        convolved(3, 2),
        EVERY,
    ),
    "MViT, max": (lambda: multi_scale(stride_kv=(2, 2), mode="max"), EVERY, convolved(3, 2)),
    "MobileNetV4": (
        lambda: timm.layers.attention2d.MultiQueryAttention2d(8, num_heads=1, query_strides=2, kv_stride=2),
        [1, 3, 5, 7],
        convolved(3, 2),
    ),
    "LeViT": (
        lambda: timm.models.levit.AttentionDownsample(8, 8, 4, num_heads=1, resolution=8),
        [0.5, 2.5, 4.5, 6.5],
        EVERY,
    ),
}


def multi_scale(**options):
    from timm.models.mvitv2 import MultiScaleAttention

    return MultiScaleAttention(8, 8, (8, 8), num_heads=1, kernel_q=(3, 3), kernel_kv=(3, 3), **options)


@pytest.mark.parametrize("name", POOLED)
def test_pooled_queries_and_keys_lie_where_the_pooling_looks(name):
    layer, rows, columns = POOLED[name][0](), *POOLED[name][1:]
    sides = (len(rows), len(columns))
    weights = torch.full((1, 1, sides[0] ** 2, sides[1] ** 2), 1 / sides[1] ** 2)
    distance = geometry(AttentionMap(weights, 0, (sides[0],) * 2, (sides[1],) * 2), layer, image_size=16).distance
    from_first = [2 * math.hypot(down - rows[0], across - rows[0]) for down in columns for across in columns]
    from_last = [2 * math.hypot(down - rows[-1], across - rows[-1]) for down in columns for across in columns]
    assert distance[0].tolist() == pytest.approx(from_first)
    assert distance[-1].tolist() == pytest.approx(from_last)


def test_windows_keep_the_distance_short_and_reduced_keys_lie_in_the_middle_of_their_cells():
    model = uniform(built(ViT(dim=16, depth=1, mixer=SelfAttention(num_heads=2, pattern="window"))))
    rows = list(AttentionDistance(images=2)(model, noise()))
    within = lying(4, image_size=16).distance.mean().item()
    assert value(rows, "attention_distance", layer=1, head=0, images="true") == pytest.approx(within, rel=1e-5)
    model = uniform(built(ViT(dim=16, depth=1, mixer=SelfAttention(num_heads=2, pattern="reduced"))))
    rows = list(AttentionDistance(images=2)(model, noise()))
    middles = torch.cartesian_prod(torch.tensor([8.0, 24.0]), torch.tensor([8.0, 24.0]))
    expected = (places((8, 8), image_size=32)[:, None] - middles).norm(dim=-1).mean().item()
    assert value(rows, "attention_distance", layer=1, head=1, images="true") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_reduced_keys_at_the_border_lie_in_the_middle_of_the_tokens_that_they_are_made_of(size):
    pattern = SpatialReduction(16, size)
    model = uniform(built(ViT(dim=16, depth=1, mixer=SelfAttention(num_heads=2, pattern="reduced", pattern_size=size))))
    rows = list(AttentionDistance(images=2)(model, noise()))
    # which tokens move a key, as the gradients of the convolution say
    tokens = torch.rand(1, 64, 16, requires_grad=True)
    pattern.norm = torch.nn.Identity()
    keys = pattern(tokens, (8, 8), prefix=0)[0]
    moved = [torch.autograd.grad(key.sum(), tokens, retain_graph=True)[0][0].any(dim=1) for key in keys]
    at = places((8, 8), image_size=32)
    expected = torch.stack([(at - at[of].mean(dim=0)).norm(dim=1) for of in moved]).mean().item()
    assert value(rows, "attention_distance", layer=1, head=0, images="true") == pytest.approx(expected, rel=1e-5)
    assert value(rows, "attention_distance_uniform", layer=1) == pytest.approx(expected, rel=1e-6)


def test_a_merged_grid_is_measured_in_pixels_too():
    model = uniform(built(ViT(dim=16, depth=2, merge_after=(1,))))
    rows = list(AttentionDistance(images=2)(model, noise()))
    assert value(rows, "attention_distance_uniform", layer=2) == pytest.approx(16.06, abs=5e-3)
    assert len(selected(rows, "attention_distance", layer=2, images="true")) == 8
    assert value(rows, "attention_distance", layer=2, head=5, images="true") == pytest.approx(16.06, abs=5e-3)


def test_a_timm_vit_is_measured_head_by_head():
    options = (("embed_dim", 24), ("depth", 2), ("num_heads", 3), ("patch_size", 4))
    spec = Timm(name="vit_tiny_patch16_224", options=options)
    assert AttentionDistance().skip(spec, Mnist5k()) is None
    rows = list(AttentionDistance(images=2)(built(spec), noise()))
    found = selected(rows, "attention_distance", images="true")
    assert [(row["layer"], row["head"]) for row in found] == [(layer, head) for layer in (1, 2) for head in range(3)]
    assert all(row["value"] == pytest.approx(16.55, rel=0.05) for row in found)
    share = [row["value"] for row in selected(rows, "prefix_share", images="true")]
    assert share == pytest.approx([1 / 65] * 6, rel=0.2)


def swin_expected(window, side, shift, image_size):
    """The mean distance to the tokens of the window, with windows moved by `shift` and not across the border."""
    total = []
    for row in range(side):
        for column in range(side):
            inside = [
                (r, c)
                for r in range(side)
                for c in range(side)
                if (r + window - shift) // window == (row + window - shift) // window
                and (c + window - shift) // window == (column + window - shift) // window
            ]
            total.append(sum(math.hypot(r - row, c - column) for r, c in inside) / len(inside))
    return sum(total) / len(total) * image_size / side


def test_windows_of_swin_are_measured_where_they_lie():
    import timm

    options = {"img_size": 32, "patch_size": 2, "window_size": 4, "depths": (2, 1), "embed_dim": 8, "num_heads": (2, 2)}
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **options).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "qkv" in name or "relative_position" in name:
                parameter.zero_()
    rows = list(AttentionDistance(images=3)(model, noise()))
    expected = [swin_expected(4, 16, 0, 32), swin_expected(4, 16, 2, 32), swin_expected(4, 8, 0, 32)]
    for layer, distance in enumerate(expected, start=1):
        for head in (0, 1):
            found = value(rows, "attention_distance", layer=layer, head=head, images="true")
            assert found == pytest.approx(distance, rel=1e-5)
    assert not selected(rows, "prefix_share")


class Encoder(nn.Module):
    """Patches, a class token, and layers of PyTorch's own attention; `first` where tokens come before the batch."""

    def __init__(self, *, first: bool):
        super().__init__()
        self.embed, self.first, self.token = nn.Conv2d(3, 8, 4, stride=4), first, nn.Parameter(torch.zeros(1, 1, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=not first)

    def forward(self, x):
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], dim=1)
        return (self.layer(tokens.transpose(0, 1)).transpose(0, 1) if self.first else self.layer(tokens))[:, 0]


@pytest.mark.parametrize("first", [True, False])
def test_attention_of_pytorch_is_measured_like_any_other(first):
    torch.manual_seed(0)
    model = Encoder(first=first).eval()
    with torch.no_grad():
        model.layer.self_attn.in_proj_weight[:16] = 0
    rows = list(AttentionDistance(images=3)(model, noise()))
    for head in (0, 1):
        at = {"layer": 1, "head": head, "images": "true"}
        assert value(rows, "attention_distance", **at) == pytest.approx(16.55, rel=1e-3)
        assert value(rows, "prefix_share", **at) == pytest.approx(1 / 65, rel=1e-4)


def test_attention_of_another_form_is_named_before_training_and_when_asked():
    spec = Timm(name="xcit_nano_12_p16_224")
    reason = AttentionDistance().skip(spec, Mnist5k())
    assert "has attention whose weights cannot be read" in reason
    assert "XCA" in reason
    with pytest.raises(InputError, match="XCA"):
        list(AttentionDistance(images=2)(built(spec, image_size=32), noise(images=2)))


def test_how_many_images_are_taken_at_once_changes_nothing(monkeypatch):
    model = built(ViT(dim=16, depth=1))
    whole = list(AttentionDistance(images=4)(model, noise()))
    monkeypatch.setattr(attention_distance, "NUMBERS", 1)
    for one, other in zip(whole, AttentionDistance(images=4)(model, noise()), strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-6)


def test_shuffling_moves_whole_patches_differently_in_each_image():
    images = torch.arange(2 * 3 * 8 * 8).float().view(2, 3, 8, 8)
    mixed = shuffled_patches(images, (4, 4), generator=torch.Generator().manual_seed(0))

    def patches(image):
        cut = [image[:, r : r + 2, c : c + 2].flatten().tolist() for r in range(0, 8, 2) for c in range(0, 8, 2)]
        return [tuple(patch) for patch in cut]

    orders = []
    for before, after in zip(images, mixed, strict=True):
        assert sorted(patches(before)) == sorted(patches(after))
        orders.append([patches(before).index(patch) for patch in patches(after)])
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
    with pytest.raises(InputError, match="must be a multiple of the grid"):
        shuffled_patches(images, (3, 3), generator=torch.Generator())


def test_models_without_attention_are_skipped_with_a_reason():
    probe = AttentionDistance()
    assert probe.skip(ViT(), Mnist5k()) is None
    assert probe.skip(ViT(mixer=DepthwiseConv()), Mnist5k()) == "DepthwiseConv has no attention weights"
    assert probe.skip(ViT(mixer=ZeroMixer()), Mnist5k()) == "ZeroMixer has no attention weights"
    assert "ResNet has no attention" in probe.skip(ResNet(), Mnist5k())
    assert "no attention whose weights can be read" in probe.skip(Timm(name="resnet18"), Mnist5k())
    with pytest.raises(InputError, match="model of AttentionDistance must have attention"):
        list(probe(built(ResNet(width=2, blocks=1)), noise(images=1)))


def test_heads_that_are_mixed_behind_the_softmax_have_no_distance_and_are_left_out_of_a_plan():
    options = (("embed_dim", 24), ("depth", 1), ("num_heads", 2))
    spec = Timm(name="cait_xxs24_224", options=options)
    words = "weights of blocks.0.attn must be shares of 1 for AttentionDistance. Got heads that are mixed behind the "
    assert words in AttentionDistance().skip(spec, Mnist5k())
    data = Data.from_tensors(torch.zeros(2, 3, 224, 224, dtype=torch.uint8), torch.tensor([0, 1]))
    with pytest.raises(InputError, match=words):
        list(AttentionDistance(images=2)(built(spec, image_size=224), data))
