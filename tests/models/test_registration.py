"""Our models under timm's names and on disk."""

import json

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from timm_sources import images

from vision_attn.models import Classifier, ConvNeXt, DepthwiseConv, Model, ResNet, SelfAttention, ViT, register_models
from vision_attn.models.trunk import VisionTransformer
from vision_attn.spec import InputError, kinds

BLOCKS = ["blocks.0", "blocks.1", "blocks.2"]


class TestRegistration:
    def test_every_name_creates_a_model_that_timm_can_use(self):
        for name in register_models():
            model = timm.create_model(name, num_classes=3)
            size = model.default_cfg["input_size"]
            x = torch.randn(2, *size)
            features = model.forward_features(x)
            assert model.forward_head(features).shape == (2, 3)
            assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
            assert model.head_hidden_size == model.num_features
            assert timm.data.resolve_data_config(model=model)["input_size"] == size
            with pytest.raises(InputError, match="global_pool of reset_classifier must be None"):
                model.reset_classifier(0, "")
            model.reset_classifier(0)
            assert model(x).shape == (2, model.num_features)
            assert model.get_submodule(model.default_cfg["classifier"]) is model.get_classifier()
            assert model.get_submodule(model.default_cfg["first_conv"]).in_channels == 3

    def test_it_has_no_config_for_adapters_take_that_for_one_of_transformers(self):
        assert not hasattr(ViT().build(image_size=32, in_chans=3, num_classes=2), "config")

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

    @pytest.mark.parametrize("options", [{}, {"global_pool": "token", "position": "sincos2d"}], ids=str)
    def test_images_may_be_rectangular(self, options, tmp_path):
        register_models()
        name = "vision_attn_tiny_patch4_32"
        model = timm.create_model(name, img_size=(16, 24), depth=2, num_classes=3, **options).eval()
        x = torch.randn(2, 3, 16, 24)
        assert model(x).shape == (2, 3)
        assert model.default_cfg["input_size"] == (3, 16, 24)
        [last] = model.forward_intermediates(x, 1, intermediates_only=True)
        assert last.shape == (2, 192, 4, 6)
        model.save_pretrained(tmp_path)
        assert torch.equal(Classifier.from_pretrained(tmp_path)(x), model(x))
        model.set_input_size((8, 24))
        assert (model.image_size, model.grid, model(x[:, :, :8]).shape) == ((8, 24), (2, 6), (2, 3))

    def test_a_mixer_that_lies_on_the_grid_and_stages_get_the_sides_of_a_rectangle(self):
        register_models()
        for name in ("vision_attn_stages_tiny_patch2_32", "vision_attn_conv_tiny_patch4_32"):
            model = timm.create_model(name, img_size=(32, 48), num_classes=3).eval()
            x = torch.randn(1, 3, 32, 48)
            taller = timm.create_model(name, img_size=(48, 32), num_classes=3).eval()
            assert model(x).shape == taller(x.mT).shape == (1, 3)
            with pytest.raises(InputError, match="must be of 32 x 48 pixels"):
                model(x.mT)  # with as many tokens

    def test_dropout_before_the_head_is_timms_drop_rate(self):
        register_models()
        model = timm.create_model("vision_attn_tiny_patch4_32", depth=1, drop_rate=0.9)
        model.head = torch.nn.Identity()
        features = torch.ones(2, 64, 192)
        model.fc_norm = torch.nn.Identity()
        dropped = model.train().forward_head(features)
        assert 0.8 < (dropped == 0).float().mean() < 0.98
        torch.testing.assert_close(dropped[dropped != 0].mean(), torch.tensor(10.0))
        assert torch.equal(model.eval().forward_head(features), features[:, 0])

    @pytest.mark.parametrize("spec", [ResNet(width=4, blocks=1), ConvNeXt(width=4, blocks=1)], ids=str)
    def test_convolutional_networks_have_it_too(self, spec):
        model = spec.replace(drop_rate=0.9).build(image_size=16, in_chans=3, num_classes=0)
        features = model.forward_features(torch.randn(64, 3, 16, 16))
        pooled = model.eval().forward_head(features)
        assert torch.equal(model.forward_head(features, pre_logits=True), pooled)
        dropped = model.train().forward_head(features)
        assert 0.8 < (dropped == 0).float().mean() < 0.98
        torch.testing.assert_close(dropped[dropped != 0], 10 * pooled[dropped != 0])

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
            ({"global_pool": "max"}, "global_pool of vision_attn_tiny_patch4_32 must be 'avg' or 'token'. Got 'max'"),
            ({"drop_rate": 1.5}, "drop_rate of ViT must be at least 0 and less than 1"),
            ({"img_size": "32"}, "img_size of vision_attn_tiny_patch4_32 must be a whole number, at least 1, or two"),
            ({"img_size": (30, 32)}, "patch_size of ViT must be a divisor of the image size (30, 32)"),
        ],
    )
    def test_what_cannot_be_had_is_said(self, options, words):
        register_models()
        with pytest.raises(InputError) as error:
            timm.create_model("vision_attn_tiny_patch4_32", **options)
        assert str(error.value).startswith(words)

    def test_an_option_that_the_model_lacks_is_named_as_it_was_given(self):
        register_models()
        with pytest.raises(InputError, match="Got 'global_pool' instead"):
            timm.create_model("vision_attn_resnet20_32", global_pool="avg")

    @pytest.mark.parametrize(
        ("name", "options", "groups"),
        [
            ("vision_attn_tiny_patch4_32", {"depth": 3, "reg_tokens": 1}, ["patch_embed", *BLOCKS, "head"]),
            ("vision_attn_stages_tiny_patch2_32", {"depth": 3, "merge_after": (1,)}, ["patch_embed", *BLOCKS, "head"]),
            (
                "vision_attn_resnet20_32",
                {"width": 4, "blocks": (2, 1, 1)},
                ["stem", "stages.0.0", "stages.0.1", "stages.1.0", "stages.2.0", "head"],
            ),
        ],
    )
    def test_learning_rates_fall_block_by_block_with_timms_layer_decay(self, name, options, groups):
        register_models()
        model = timm.create_model(name, **options)
        optimizer = create_optimizer_v2(model, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
        names = {parameter: name for name, parameter in model.named_parameters()}
        beside = {"pos_embed": "patch_embed", "prefix": "patch_embed", "bn": "stem", "fc_norm": "blocks.2"}
        beside["merges.1"] = "blocks.1"
        number = 0
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                start = next((s for s in (*groups, *beside) if f"{names[parameter]}.".startswith(f"{s}.")), None)
                place = groups.index(beside.get(start, start))
                assert group["lr_scale"] == 0.5 ** (len(groups) - 1 - place), names[parameter]
                number += 1
        assert number == len(names)


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
        own = [kind for kind in kinds(Model).values() if kind.__module__.startswith("vision_attn.")]
        for kind in {kind for kind in own if kind.__name__ != "Timm"}:
            assert isinstance(kind().build(image_size=32, in_chans=3, num_classes=2), Classifier)
