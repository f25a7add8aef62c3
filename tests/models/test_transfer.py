"""Weights of timm in our trunk, our attention in timm's models, our models under timm's names and on disk."""

import json

import pytest
import timm
import torch
from torch import nn

from vision_attn import Attention, from_timm, register_models, replace_attention
from vision_attn.models import Classifier, DepthwiseConv, Model, ResNet, SelfAttention, ViT
from vision_attn.models.trunk import VisionTransformer
from vision_attn.spec import InputError, kinds

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 7}


def theirs(name="vit_tiny_patch16_224", **options):
    """A timm ViT whose every parameter is random, the zeros and ones of its initialisation too."""
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, **options}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def images(size=32):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {}),
        ("deit_tiny_patch16_224", {}),
        ("deit3_small_patch16_224", {}),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}),
        ("vit_small_patch14_reg4_dinov2", {"patch_size": 8}),
        ("vit_tiny_patch16_224", {"pos_embed": "none", "qkv_bias": False, "mlp_ratio": 3.0}),
    ],
    ids=["vit", "deit", "deit3 with LayerScale", "mean", "mean beside a class token", "registers", "bare"],
)
def test_the_trunk_with_timms_weights_gives_timms_logits(name, options):
    source = theirs(name, **options)
    torch.testing.assert_close(from_timm(source)(images()), source(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_the_published_shapes_load_whole(name):
    torch.manual_seed(0)
    source = timm.create_model(name).eval()
    ours = from_timm(source)
    torch.testing.assert_close(ours(images(224)), source(images(224)), rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in source.parameters()) - ours.num_features


@pytest.mark.parametrize("size", [16, 48])
def test_at_another_size_positions_are_interpolated_as_timm_does(size):
    source = theirs()
    ours = from_timm(source, image_size=size)
    source.set_input_size((size, size))
    torch.testing.assert_close(ours(images(size)), source(images(size)), rtol=1e-5, atol=1e-5)


def test_what_is_loaded_is_a_copy():
    source = theirs()
    ours = from_timm(source)
    before = source.blocks[0].attn.qkv.weight.clone()
    with torch.no_grad():
        ours.blocks[0].mixer.qkv.weight.zero_()
    assert torch.equal(source.blocks[0].attn.qkv.weight, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"qk_norm": True}, "source of from_timm must be without qk_norm."),
        ({"pre_norm": True}, "source of from_timm must be without norm before the blocks."),
        ({"drop_rate": 0.2}, "source of from_timm must be without dropout outside attention. Got 0.2 instead."),
        ({"global_pool": "max"}, "source of from_timm must be pooled by token or avg. Got max instead."),
        ({"global_pool": "avg", "fc_norm": False}, "source of from_timm must be with the last norm behind"),
        ({"act_layer": nn.SiLU}, "source of from_timm must be with the activation GELU. Got SiLU instead."),
    ],
)
def test_parts_that_the_trunk_does_not_have_are_named(options, words):
    with pytest.raises(InputError) as error:
        from_timm(theirs(**options))
    assert str(error.value).startswith(words)


def test_only_vision_transformers_of_timm_are_loaded():
    with pytest.raises(InputError, match=r"must be a VisionTransformer of timm\. Got Linear instead"):
        from_timm(nn.Linear(1, 1))


class TestReplaceAttention:
    @pytest.mark.parametrize("options", [{}, {"qkv_bias": False}, {"qk_norm": True}, {"proj_bias": False}], ids=str)
    def test_without_switches_the_model_computes_what_it_did(self, options):
        model = theirs(**options)
        before = model(images())
        assert replace_attention(model) is model
        assert sum(isinstance(module, Attention) for module in model.modules()) == 3
        torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        "switches",
        [
            {"similarity": "cosine"},
            {"scale": "learned"},
            {"position": "rotary"},
            {"position": "relative", "pattern": "window", "pattern_size": 2},
            {"pattern": "axial"},
            {"pattern": "reduced", "pattern_size": 2},
            {"k_bias": False},
        ],
        ids=str,
    )
    def test_switches_change_it_and_it_trains(self, switches):
        model = theirs()
        before = model(images())
        replace_attention(model, **switches)
        after = model.train()(images())
        after.square().mean().backward()
        assert all(p.grad is not None for p in model.parameters())
        changed = not torch.allclose(after, before, atol=1e-4)
        assert changed != (switches == {"k_bias": False} or switches == {"scale": "learned"})

    def test_weights_of_the_swapped_layer_are_at_hand(self):
        model = replace_attention(theirs(), pattern="window", pattern_size=2)
        weights = model.blocks[0].attn.weights(torch.randn(1, 17, 48))
        assert weights.shape == (1, 3, 17, 17)
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 3, 17))

    def test_a_mask_of_the_block_is_refused_not_ignored(self):
        layer = replace_attention(theirs()).blocks[0].attn
        with pytest.raises(ValueError, match="attn_mask of BlockAttention must be None"):
            layer(torch.randn(1, 17, 48), attn_mask=torch.ones(17, 17))

    def test_models_without_it_and_unknown_switches_are_refused(self):
        with pytest.raises(InputError, match=r"model must have a timm.layers.Attention. Got a ResNet"):
            replace_attention(timm.create_model("resnet10t"))
        with pytest.raises(InputError, match=r"switches must be among qkv_bias, .*\. Got colour instead"):
            replace_attention(theirs(), colour="red")


class TestRegistration:
    def test_every_name_creates_a_model_that_timm_can_use(self):
        for name in register_models():
            model = timm.create_model(name, num_classes=3)
            size = model.default_cfg["input_size"]
            x = torch.randn(2, *size)
            features = model.forward_features(x)
            assert model.forward_head(features).shape == (2, 3)
            assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
            assert timm.data.resolve_data_config(model=model)["input_size"] == size
            model.reset_classifier(0)
            assert model(x).shape == (2, model.num_features)
            assert model.get_submodule(model.default_cfg["classifier"]) is model.get_classifier()
            assert model.get_submodule(model.default_cfg["first_conv"]).in_channels == 3

    def test_arguments_are_timms(self):
        register_models()
        model = timm.create_model(
            "vision_attn_tiny_patch4_32",
            num_classes=4,
            in_chans=1,
            img_size=16,
            drop_path_rate=0.1,
            global_pool="token",
            depth=2,
        )
        assert model(torch.randn(1, 1, 16, 16)).shape == (1, 4)
        assert (model.spec.drop_path, model.spec.pool, model.spec.depth) == (0.1, "token", 2)

    def test_it_can_be_done_twice_and_never_replaces_another_model(self):
        names = register_models()
        assert register_models() == names
        assert set(timm.list_models("vision_attn_*")) == set(names)
        before = timm.models.model_entrypoint("resnet18")
        from vision_attn.models import registration

        registration.MODELS["resnet18"] = registration.MODELS["vision_attn_resnet20_32"]
        try:
            with pytest.raises(InputError, match="'resnet18' is the name of another timm model already"):
                register_models()
        finally:
            del registration.MODELS["resnet18"]
        assert timm.models.model_entrypoint("resnet18") is before

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"pretrained": True}, "pretrained of vision_attn_tiny_patch4_32 must be False"),
            ({"colour": "red"}, "options of vision_attn_tiny_patch4_32 must be among img_size"),
            ({"global_pool": "max"}, "pool of ViT must be"),
        ],
    )
    def test_what_cannot_be_had_is_said(self, options, words):
        register_models()
        with pytest.raises(InputError) as error:
            timm.create_model("vision_attn_tiny_patch4_32", **options)
        assert str(error.value).startswith(words)


MODELS = [ViT(dim=16, depth=2, mixer=SelfAttention(pattern="window", pattern_size=2)), ResNet(width=4, blocks=1)]
MODELS += [ViT(dim=8, depth=3, patch_size=2, mixer=DepthwiseConv(kernel_size=3), merge_after=(1,))]


class TestPretrained:
    @pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
    def test_what_is_saved_comes_back_the_same(self, model, tmp_path):
        module = model.build(image_size=16, in_chans=3, num_classes=5).eval()
        module.reset_classifier(3)
        module.eval().save_pretrained(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
        assert json.loads((tmp_path / "config.json").read_text())["num_classes"] == 3
        loaded = Classifier.from_pretrained(tmp_path)
        assert type(loaded) is type(module)
        assert loaded.spec == model
        assert torch.equal(loaded(images(16)), module(images(16)))
        assert torch.equal(type(module).from_pretrained(str(tmp_path))(images(16)), module(images(16)))

    def test_another_class_and_another_library_are_refused(self, tmp_path):
        ResNet(width=4, blocks=1).build(image_size=16, in_chans=3, num_classes=5).save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"must be a VisionTransformer\. Got a ResidualNetwork"):
            VisionTransformer.from_pretrained(tmp_path)
        (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')
        with pytest.raises(InputError, match="must be one that save_pretrained of vision-attn wrote"):
            Classifier.from_pretrained(tmp_path)

    def test_every_own_model_is_a_classifier(self):
        for kind in {kind for kind in kinds(Model).values() if kind.__name__ != "Timm"}:
            assert isinstance(kind().build(image_size=32, in_chans=3, num_classes=2), Classifier)
