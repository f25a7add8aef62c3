"""Our models under timm's names and on disk."""

import json

import pytest
import timm
import torch
from timm_sources import images

from vision_attn.models import Classifier, DepthwiseConv, Model, ResNet, SelfAttention, ViT, register_models
from vision_attn.models.trunk import VisionTransformer
from vision_attn.spec import InputError, kinds


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
        own = [kind for kind in kinds(Model).values() if kind.__module__.startswith("vision_attn.")]
        for kind in {kind for kind in own if kind.__name__ != "Timm"}:
            assert isinstance(kind().build(image_size=32, in_chans=3, num_classes=2), Classifier)
