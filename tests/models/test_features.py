"""timm's interface to features, on every classifier of the package."""

import copy

import pytest
import timm
import torch

from vision_attn import ResNet, SelfAttention, ViT
from vision_attn.models import (
    LSTM,
    Classifier,
    ConvNeXt,
    ConvStack,
    DepthwiseConv,
    IdentityMixer,
    Neighbourhood,
    PoolingMixer,
    RandomMixer,
    Window,
    from_timm,
    register_models,
)
from vision_attn.models.input_size import allow_any_size
from vision_attn.spec import InputError

register_models()
MODELS = {
    "tokens": ViT(dim=16, depth=3, mixer=SelfAttention(num_heads=2)),
    "class token and registers": ViT(dim=16, depth=3, pool="token", reg_tokens=2),
    "LSTM": ViT(dim=16, depth=3, mixer=LSTM()),
    "stages": ViT(dim=8, depth=3, patch_size=2, mixer=DepthwiseConv(kernel_size=3), merge_after=(1, 2)),
    "ResNet": ResNet(width=4, blocks=1),
    "ConvNeXt": ConvNeXt(width=4, blocks=1),
    "ConvStack": ConvStack(width=8, kernels=(3, 3, 3)),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param].build(image_size=16, in_chans=3, num_classes=2).eval()


def images(size=16):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def hooked(model, x):
    """What the modules of `feature_info` give, by hooks."""
    seen = {}
    for entry in model.feature_info:
        module = model.get_submodule(entry["module"])
        module.register_forward_hook(lambda _m, _i, out, name=entry["module"]: seen.update({name: out}))
    model(x)
    return list(seen.values())


def test_intermediates_are_what_the_blocks_give_as_images(model):
    x = images()
    final, found = model.forward_intermediates(x)
    torch.testing.assert_close(final, model.forward_features(x))
    torch.testing.assert_close(model.forward_head(final), model(x))
    prefix = getattr(model, "num_prefix_tokens", 0)
    for entry, one, raw in zip(model.feature_info, found, hooked(model, x), strict=True):
        side = 16 // entry["reduction"]
        assert one.shape == (2, entry["num_chs"], side, side)
        flat = raw.flatten(2).transpose(1, 2) if raw.ndim == 4 else raw[:, prefix:]
        torch.testing.assert_close(one.flatten(2).transpose(1, 2), flat)


def test_they_are_chosen_by_number_by_place_and_from_the_end(model):
    x = images()
    _, found = model.forward_intermediates(x)
    for indices, places in ((2, [1, 2]), ([0, -1], [0, 2]), ((2, 0), [2, 0]), (None, [0, 1, 2])):
        chosen = model.forward_intermediates(x, indices, intermediates_only=True)
        assert len(chosen) == len(places)
        assert all(torch.equal(one, found[place]) for one, place in zip(chosen, places, strict=True))


def test_the_layers_of_dino_are_tokens_or_images(model):
    x = images()
    (last,) = model.get_intermediate_layers(x)
    (image,) = model.get_intermediate_layers(x, reshape=True)
    assert torch.equal(image.flatten(2).transpose(1, 2), last)


def test_prefix_tokens_come_apart():
    model = MODELS["class token and registers"].build(image_size=16, in_chans=3, num_classes=2).eval()
    final, [(image, prefix)] = model.forward_intermediates(images(), 1, return_prefix_tokens=True)
    assert image.shape == (2, 16, 4, 4)
    assert torch.equal(prefix, final[:, :3])


def test_stopping_early_runs_no_block_behind_the_last_one(model):
    ran = []
    model.get_submodule(model.feature_info[1]["module"]).register_forward_hook(lambda *_: ran.append(1))
    first, [one] = model.forward_intermediates(images(), [0], stop_early=True)
    assert ran == []
    assert first.shape[0] == one.shape[0] == 2


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"ResNet"}))
def test_checkpointing_changes_no_gradient(name):
    torch.manual_seed(0)
    model = MODELS[name].build(image_size=16, in_chans=3, num_classes=2).train()
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        runs = []
        first = model.get_submodule(model.feature_info[0]["module"])
        handle = first.register_forward_pre_hook(lambda *_: runs.append(1))  # noqa: B023
        model(images()).square().sum().backward()
        handle.remove()
        assert len(runs) == 1 + enable
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


def test_what_cannot_be_had_is_said():
    model = MODELS["tokens"].build(image_size=16, in_chans=3, num_classes=2)
    for indices in (0, 4, [3], [-4], []):
        with pytest.raises(InputError, match="indices of VisionTransformer must be None, a number from 1 to 3,"):
            model.forward_intermediates(images(), indices)
    with pytest.raises(InputError, match=r"output_fmt of forward_intermediates must be .*\. Got 'NHWC'"):
        model.forward_intermediates(images(), output_fmt="NHWC")
    with pytest.raises(InputError, match="norm of forward_intermediates must be False"):
        model.forward_intermediates(images(), norm=True)
    with pytest.raises(InputError, match="must be False for a ResidualNetwork, whose BatchNorm"):
        MODELS["ResNet"].build(image_size=16, in_chans=3, num_classes=2).set_grad_checkpointing()


@pytest.mark.parametrize("name", ["tiny_patch4_32", "stages_tiny_patch2_32", "resnet20_32"])
def test_timm_makes_a_model_of_features_only(name):
    for options, number in (({}, 3), ({"out_indices": (0, -1)}, 2)):
        model = timm.create_model(f"vision_attn_{name}", features_only=True, **options).eval()
        found = model(images(32))
        assert [one.shape[1] for one in found] == model.feature_info.channels()
        assert [32 // one.shape[2] for one in found] == model.feature_info.reduction()
        assert len(found) == number
    with pytest.raises(InputError, match=r"options of .* must be among .* Got 'out_indices' instead"):
        timm.create_model(f"vision_attn_{name}", out_indices=(0,))


class TestInputSize:
    @pytest.mark.parametrize("size", [32, (32, 32)])
    def test_another_size_is_taken_and_the_first_one_comes_back(self, model, size):
        before = model(images())
        kept = {name: parameter for name, parameter in model.named_parameters() if name != "pos_embed"}
        model.set_input_size(size)
        assert model.image_size == 32
        assert model(images(32)).shape == (2, 2)
        assert all(parameter is kept[name] for name, parameter in model.named_parameters() if name in kept)
        found = model.forward_intermediates(images(32), intermediates_only=True)
        assert found[-1].shape[2] == 32 // model.feature_info[-1]["reduction"]
        if not isinstance(getattr(model, "pos_embed", None), torch.nn.Parameter):
            model.set_input_size(16)
            assert torch.equal(model(images()), before)

    @pytest.mark.parametrize("size", [8, 24])
    def test_positions_are_interpolated_as_in_timm(self, size):
        theirs = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=48, depth=1).eval()
        ours = from_timm(theirs)
        ours.set_input_size(size)
        theirs.set_input_size((size, size))
        torch.testing.assert_close(ours(images(size)), theirs(images(size)), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("position", ["sincos2d", "rotary", "convolution"])
    def test_it_is_the_network_of_the_spec_at_that_size(self, position):
        spec = ViT(dim=32, depth=2, position="sincos2d", mixer=SelfAttention(num_heads=2, position=position))
        small, large = (spec.build(image_size=size, in_chans=3, num_classes=2).eval() for size in (16, 24))
        large.load_state_dict(small.state_dict())
        small.set_input_size(24)
        torch.testing.assert_close(small(images(24)), large(images(24)))

    @pytest.mark.parametrize("position", ["relative", "learned"])
    def test_what_mixers_learned_for_places_is_interpolated_and_saved(self, position, tmp_path):
        mixer = SelfAttention(num_heads=2, position=position, pattern=Neighbourhood(radius=2))
        model = ViT(dim=32, depth=1, mixer=mixer).build(image_size=16, in_chans=3, num_classes=2).eval()
        layer, x = model.blocks[0].mixer, torch.randn(1, 36, 32)
        before = layer(x, grid=(6, 6))
        model.set_input_size(24)
        torch.testing.assert_close(layer(x), before)
        model.save_pretrained(tmp_path)
        assert torch.equal(Classifier.from_pretrained(tmp_path)(images(24)), model(images(24)))

    def test_what_is_saved_comes_back_at_the_new_size(self, tmp_path):
        model = MODELS["tokens"].build(image_size=16, in_chans=3, num_classes=2).eval()
        model.set_input_size(32)
        model.save_pretrained(tmp_path)
        assert torch.equal(Classifier.from_pretrained(tmp_path)(images(32)), model(images(32)))

    def test_frozen_positions_and_the_generator_stay(self):
        model = MODELS["tokens"].build(image_size=16, in_chans=3, num_classes=2).requires_grad_(False)
        state = torch.get_rng_state()
        model.set_input_size(32)
        assert not model.pos_embed.requires_grad
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize(
        ("mixer", "size", "words"),
        [
            (
                SelfAttention(),
                (16, 32, 16),
                "img_size of set_input_size must be a whole number, at least 1, or two",
            ),
            (SelfAttention(), 0, "img_size of set_input_size must be a whole number, at least 1"),
            (SelfAttention(), 18, "patch_size of ViT must be a divisor of the image size 18"),
            (RandomMixer(), 32, "img_size of set_input_size must be 16, as blocks.0.mixer"),
        ],
    )
    def test_a_size_that_cannot_be_had_leaves_the_network_as_it_is(self, mixer, size, words):
        model = ViT(dim=16, depth=1, mixer=mixer).build(image_size=16, in_chans=3, num_classes=2).eval()
        before = model(images())
        with pytest.raises(InputError) as error:
            model.set_input_size(size)
        assert str(error.value).startswith(words)
        assert torch.equal(model(images()), before)


ANY_SIZE = {
    "attention": {},
    "class token and registers": {"pool": "token", "reg_tokens": 2},
    "fixed positions": {"position": "sincos2d"},
    "stages": {"merge_after": (1,), "mixer": SelfAttention(num_heads=2, position="relative", pattern=Window(size=2))},
    "LSTM": {"mixer": LSTM(order="columns")},
    "convolution": {"position": "none", "mixer": DepthwiseConv(kernel_size=3)},
    "pooling": {"mixer": PoolingMixer()},
    "identity": {"mixer": IdentityMixer()},
    **{name: {"mixer": SelfAttention(num_heads=2, position=name)} for name in ("relative", "rotary", "convolution")},
    **{name: {"mixer": SelfAttention(num_heads=2, position=name)} for name in ("learned", "sincos2d")},
}


class TestDynamicImageSize:
    """A call with images of another size is what `set_input_size` makes of the model; the built size stays its own."""

    @pytest.mark.parametrize("name", ANY_SIZE)
    @pytest.mark.parametrize("size", [(24, 24), (16, 32), (8, 24)])
    def test_any_size_is_taken_as_if_it_had_been_set(self, name, size):
        torch.manual_seed(0)
        spec = ViT(**{"dim": 16, "depth": 2, "mixer": SelfAttention(num_heads=2), **ANY_SIZE[name]})
        model = spec.build(image_size=16, in_chans=3, num_classes=2).eval()
        x = torch.randn(2, 3, *size)
        expected, built = copy.deepcopy(model), model(images())
        expected.set_input_size(size)
        with pytest.raises(InputError, match="images of VisionTransformer must be of 16 x 16 pixels"):
            model(x)
        allow_any_size(model)
        torch.testing.assert_close(model(x), expected(x))
        found, wanted = (one.forward_intermediates(x, intermediates_only=True) for one in (model, expected))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other)
        assert torch.equal(model(images()), built)
        model.set_grad_checkpointing()
        model.train()(x).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_timms_name_for_it_is_taken_with_features_and_saved(self, tmp_path):
        name, x = "vision_attn_stages_tiny_patch2_32", images(24)
        model = timm.create_model(name, dynamic_img_size=True, depth=3, merge_after=(1, 2)).eval()
        assert not model.default_cfg["fixed_input_size"]
        model.save_pretrained(tmp_path)
        assert torch.equal(Classifier.from_pretrained(tmp_path)(x), model(x))
        maps = timm.create_model(name, dynamic_img_size=True, depth=3, merge_after=(1, 2), features_only=True)(x)
        assert [one.shape[2] for one in maps] == [12, 6, 3]
        with pytest.raises(InputError, match="images of VisionTransformer must be of sides that 8 pixels divide"):
            model(images(20))

    def test_that_of_timm_is_taken_over(self):
        options = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 1, "dynamic_img_size": True}
        theirs = timm.create_model("vit_tiny_patch16_224", **options).eval()
        ours, x = from_timm(theirs), torch.randn(2, 3, 24, 16)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"mixer": RandomMixer()}, "or the stem belongs to one grid. Got True with blocks.0.mixer.weights"),
            ({"stem": "local"}, "where a mixer or the stem belongs to one grid. Got True with patch_embed.weight"),
            ({"pool": "none"}, "dynamic_img_size must be False with pool = 'none'"),
        ],
    )
    def test_what_cannot_take_any_size_says_so(self, options, words):
        with pytest.raises(InputError, match=words):
            timm.create_model("vision_attn_tiny_patch4_32", depth=1, dynamic_img_size=True, **options)
        with pytest.raises(
            InputError, match="must be left out for a ResidualNetwork, whose convolutions take any size"
        ):
            timm.create_model("vision_attn_resnet20_32", dynamic_img_size=True)
