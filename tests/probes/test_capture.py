import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vision_attn.layers import Attention
from vision_attn.models import DepthwiseConv, ResNet, SelfAttention, ViT
from vision_attn.probes.capture import attention_inputs, attention_weights, frozen, grids, layers
from vision_attn.spec import InputError


def built(spec, *, image_size: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return spec.build(image_size=image_size, in_chans=3, num_classes=5).eval()


def timm_model(name: str, **options) -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=5, **options).eval()


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_the_layers_of_the_trunk_are_the_patch_embedding_and_its_blocks_and_of_a_resnet_the_stem_and_its_blocks():
    assert list(layers(built(ViT(dim=8, depth=2)))) == ["patch_embed", "blocks.0", "blocks.1"]
    small = built(ResNet(width=4, blocks=2))
    assert list(layers(small)) == ["stem", *(f"stages.{i}.{j}" for i in range(3) for j in range(2))]
    assert layers(small)["stages.1.0"] is small.stages[1][0]


def test_a_model_without_known_layers_is_named():
    with pytest.raises(InputError, match="layers of Linear must be"):
        layers(nn.Linear(2, 2))


def test_the_last_grid_pooled_by_hand_gives_the_logits():
    x = torch.randn(2, 3, 32, 32)
    for spec, last in ((ViT(dim=8, depth=2), "blocks.1"), (ResNet(width=4, blocks=1), "stages.2.0")):
        model = built(spec)
        pooled = grids(model, x, [last])[last].mean(dim=(2, 3))
        norm = getattr(model, "fc_norm", nn.Identity())
        torch.testing.assert_close(model.head(norm(pooled)), model(x))


def test_class_token_and_registers_are_no_part_of_the_grid():
    model, x = built(ViT(dim=8, depth=1, pool="token", reg_tokens=3)), torch.randn(2, 3, 32, 32)
    tokens = model.forward_features(x)
    assert tokens.shape == (2, 4 + 64, 8)
    image = grids(model, x, ["blocks.0"])["blocks.0"]
    assert image.shape == (2, 8, 8, 8)
    torch.testing.assert_close(image[:, :, 2, 5], tokens[:, 4 + 2 * 8 + 5])


def test_merged_tokens_form_their_smaller_grid():
    image = grids(built(ViT(dim=8, depth=2, merge_after=(1,))), torch.randn(1, 3, 32, 32), ["blocks.0", "blocks.1"])
    assert [tuple(grid.shape[1:]) for grid in image.values()] == [(8, 8, 8), (16, 4, 4)]


def test_gradients_pass_from_a_grid_to_the_image_and_no_hook_stays():
    model, x = built(ViT(dim=8, depth=2)), torch.randn(1, 3, 32, 32, requires_grad=True)
    with frozen(model):
        image = grids(model, x, ["blocks.1"])["blocks.1"]
        (gradient,) = torch.autograd.grad(image[0, 0, 3, 3], [x])
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert gradient.abs().sum() > 0
    assert all(parameter.requires_grad for parameter in model.parameters())
    attention_inputs(model, x)
    assert hooks(model) == 0


def test_hooks_are_removed_when_the_forward_pass_fails():
    model = built(ViT(dim=8, depth=1))
    with pytest.raises(RuntimeError):
        grids(model, torch.randn(1, 5, 32, 32), ["blocks.0"])
    assert hooks(model) == 0


def test_recorded_outputs_are_those_before_what_follows_works_in_place():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.blocks = nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(inplace=True))

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks(self.stem(x))

    model = InPlace()
    x = torch.randn(1, 3, 4, 4)
    assert (grids(model, x, ["stem"])["stem"] < 0).any()


def test_a_layer_that_does_not_run_and_one_without_a_grid_are_named():
    model, x = built(ViT(dim=8, depth=1)), torch.randn(1, 3, 32, 32)
    model.spare = nn.Linear(1, 1)
    with pytest.raises(InputError, match="Got spare instead"):
        grids(model, x, ["spare"])
    with pytest.raises(InputError, match="output of head must be"):
        grids(model, x, ["head"])


@pytest.mark.parametrize("pattern", ["full", "window", "reduced"])
def test_our_attention_is_captured_with_its_true_input(pattern):
    model = built(ViT(dim=8, depth=2, mixer=SelfAttention(num_heads=2, pattern=pattern)))
    x = torch.randn(2, 3, 32, 32)
    found = attention_inputs(model, x)
    assert list(found) == ["blocks.0.mixer", "blocks.1.mixer"]
    tokens = model.patch_embed(x) + model.pos_embed
    torch.testing.assert_close(found["blocks.0.mixer"][1], model.blocks[0].norm1(tokens))
    after = model.blocks[0](tokens)
    torch.testing.assert_close(found["blocks.1.mixer"][1], model.blocks[1].norm1(after))
    module, inputs = found["blocks.1.mixer"]
    assert isinstance(module, Attention)
    torch.testing.assert_close(attention_weights(module, inputs).sum(-1), torch.ones(2, 2, 64))


def test_models_without_attention_have_none():
    for spec in (ResNet(width=4, blocks=1), ViT(dim=8, depth=1, mixer=DepthwiseConv())):
        assert attention_inputs(built(spec), torch.randn(1, 3, 32, 32)) == {}


@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_weights_of_a_timm_vit_are_those_its_fused_kernel_uses(qk_norm):
    options = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 32, "patch_size": 8, "qk_norm": qk_norm}
    model = timm_model("vit_tiny_patch16_224", **options)
    found = attention_inputs(model, torch.randn(2, 3, 32, 32))
    assert list(found) == ["blocks.0.attn", "blocks.1.attn"]
    module, x = found["blocks.1.attn"]
    assert module.fused_attn
    weights = attention_weights(module, x)
    assert weights.shape == (2, 3, 17, 17)
    v = module.qkv(x)[..., 48:].unflatten(2, (3, 8)).transpose(1, 2)
    torch.testing.assert_close(module.proj((weights @ v).transpose(1, 2).flatten(2)), module(x))


def test_attention_under_a_mask_is_refused_since_its_weights_are_not_those_of_its_input():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            tokens = F.avg_pool2d(x, 2).flatten(2).transpose(1, 2)
            return self.attention(tokens, key_padding_mask=torch.zeros(len(x), 4, dtype=torch.bool))

    with pytest.raises(InputError, match="Got key_padding_mask beside them"):
        attention_inputs(Masked(), torch.randn(1, 8, 4, 4))


SHAPES = {
    "resnet18": (["act1", "layer1", "layer4"], [(64, 32, 32), (64, 16, 16), (512, 2, 2)]),
    "swin_tiny_patch4_window7_224": (
        ["patch_embed", "layers.0", "layers.3"],
        [(96, 16, 16), (96, 16, 16), (768, 2, 2)],
    ),
    "convnext_atto": (["stem", "stages.0", "stages.3"], [(40, 16, 16), (40, 16, 16), (320, 2, 2)]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_grids_of_timm_models_have_the_channels_first(name):
    names, shapes = SHAPES[name]
    model = timm_model(name, **({"img_size": 64} if "swin" in name else {}))
    assert set(names) <= set(layers(model))
    assert next(iter(layers(model))) == names[0]
    with torch.no_grad():
        found = grids(model, torch.randn(1, 3, 64, 64), names)
    assert [tuple(grid.shape[1:]) for grid in found.values()] == shapes
