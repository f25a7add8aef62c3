import pytest
import torch
from torch import Tensor, nn

from vision_attn.models import ResNet, ViT
from vision_attn.probes.capture import frozen, grids, layers
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
    assert hooks(model) == 0


def test_hooks_are_removed_when_the_forward_pass_fails():
    model = built(ViT(dim=8, depth=1))
    with pytest.raises(InputError, match="images of VisionTransformer must be"):
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


SHAPES = {
    "resnet18": (["act1", "layer1", "layer4"], [(64, 32, 32), (64, 16, 16), (512, 2, 2)]),
    "swin_tiny_patch4_window7_224": (
        ["patch_embed", "layers.0", "layers.3"],
        [(96, 16, 16), (96, 16, 16), (768, 2, 2)],
    ),
    "convnext_atto": (["stem", "stages.0", "stages.3"], [(40, 16, 16), (40, 16, 16), (320, 2, 2)]),
    "mvitv2_tiny": (["patch_embed", "stages.0", "stages.3"], [(96, 16, 16), (96, 16, 16), (768, 2, 2)]),
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


def test_layers_that_feature_info_names_within_a_part_of_the_model_are_found():
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    model = nn.ModuleDict({"encoder": nn.ModuleDict({"rows": inner})})
    model.feature_info = [{"module": "rows.0"}, {"module": "rows.1"}]
    assert list(layers(model)) == ["encoder.rows.0", "encoder.rows.1"]
