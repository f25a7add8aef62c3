"""Every model, with every mixer: what holds for all of them."""

import json

import pytest
import torch
import torch.nn.functional as F

from vision_attn.models import (
    LSTM,
    ConvNeXt,
    ConvStack,
    DepthwiseConv,
    FittedModel,
    IdentityMixer,
    Mixer,
    Model,
    PoolingMixer,
    RandomMixer,
    ResNet,
    SelfAttention,
    Timm,
    ViT,
    ZeroMixer,
    count_flops,
    count_params,
    flops_of,
    replace_attention,
)
from vision_attn.spec import InputError, from_json, kinds, to_json

SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 5}
MIXERS = {name: kind() for name, kind in kinds(Mixer).items()}
MODELS = {
    **{f"ViT-{name}": ViT(dim=16, depth=2, mixer=mixer) for name, mixer in MIXERS.items()},
    "ViT-sincos2d": ViT(dim=16, depth=1, position="sincos2d"),
    "ViT-mimetic": ViT(dim=16, depth=2, position="sincos2d", init="mimetic"),
    "ViT-none": ViT(dim=16, depth=1, position="none"),
    "ViT-drop": ViT(dim=16, depth=2, drop_path=0.3),
    "ViT-token": ViT(dim=16, depth=2, pool="token"),
    "ViT-registers": ViT(dim=16, depth=2, reg_tokens=2),
    **{
        f"ViT-stages-{name}": ViT(dim=8, depth=3, patch_size=2, mixer=mixer, merge_after=(1,))
        for name, mixer in MIXERS.items()
    },
    "ConvStack": ConvStack(width=8, kernels=(3, 3)),
    "ConvStack-depthwise": ConvStack(width=12, kernels=(5, 3), dilations=(1, 2), depthwise=True),
    "ViT-stem": ViT(dim=16, depth=1, stem="convolution"),
    "ViT-local": ViT(dim=16, depth=1, stem="local", position="none"),
    "ResNet": ResNet(width=4, blocks=1),
    "ResNet-drop": ResNet(width=4, blocks=2, drop_path=0.2),
    "ConvNeXt": ConvNeXt(width=6, blocks=1),
    "Timm-resnet": Timm(name="test_resnet"),
    "Timm-vit": Timm(name="vit_tiny_patch16_224", options=(("patch_size", 4), ("embed_dim", 24), ("depth", 2))),
}


def build(model, **changes):
    torch.manual_seed(0)
    return model.build(**{**SHAPE, **changes})


def images(number=4, size=16):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_every_kind_of_model_that_is_trained_by_updates_is_here():
    own = [kind for kind in kinds(Model).values() if kind.__module__.startswith("vision_attn.")]
    trained = {kind for kind in own if not issubclass(kind, FittedModel)}
    assert {type(model) for model in MODELS.values()} == trained


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
class TestEveryModel:
    def test_it_gives_a_logit_a_class_through_features_and_head(self, model):
        module = build(model).eval()
        logits = module(images())
        assert logits.shape == (4, 5)
        torch.testing.assert_close(module.forward_head(module.forward_features(images())), logits)
        assert module.forward_head(module.forward_features(images()), pre_logits=True).shape[1] == module.num_features

    def test_gradients_reach_every_parameter(self, model):
        module = build(model).train()
        torch.manual_seed(3)
        F.cross_entropy(module(images(16)), torch.arange(16) % 5).backward()
        missing = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert missing == []

    def test_it_survives_json(self, model):
        assert from_json(json.loads(json.dumps(to_json(model))), Model) == model

    def test_it_learns_two_classes_of_blobs(self, model):
        module = build(model, num_classes=2).train()
        labels = torch.arange(32) % 2
        blobs = images(32) * 0.3
        blobs[labels == 1, :, 4:12, 4:12] += 1.0
        optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            loss = F.cross_entropy(module(blobs), labels)
            if loss.item() < 0.3:
                return
            loss.backward()
            optimizer.step()
        pytest.fail(f"after 60 updates the loss is {loss.item():.3f}")

    def test_bfloat16_is_finite_and_near(self, model):
        module = build(model).eval()
        with torch.autocast("cpu", torch.bfloat16):
            low = module(images())
        torch.testing.assert_close(low.float(), module(images()), rtol=0.1, atol=0.1)

    def test_the_head_can_be_changed(self, model):
        module = build(model)
        module.reset_classifier(7)
        assert module(images()).shape == (4, 7)


def trunk_flops(*, dim, depth, tokens, patch_dim, classes, hidden, mixer):
    """Multiply-and-adds of the trunk, written down from its definition, times two."""
    block = mixer + 2 * tokens * dim * hidden
    return 2 * (tokens * patch_dim * dim + depth * block + dim * classes)


@pytest.mark.parametrize(
    ("mixer", "macs"),
    [
        (SelfAttention(), lambda n, d: 4 * n * d * d + 2 * n * n * d),
        (DepthwiseConv(kernel_size=5), lambda n, d: 25 * n * d),
        (LSTM(), lambda n, d: 2 * 4 * (d // 2) * (d + d // 2) * n),
        (LSTM(bidirectional=False), lambda n, d: 4 * d * 2 * d * n),
        (SelfAttention(pattern="neighbourhood", pattern_size=2), lambda n, d: 4 * n * d * d + 2 * n * n * d),
        (ZeroMixer(), lambda n, d: 0),
        (IdentityMixer(), lambda n, d: 0),
        (PoolingMixer(), lambda n, d: 0),
        (RandomMixer(), lambda n, d: n * n * d),
    ],
)
def test_flops_of_the_trunk_equal_the_closed_formula(mixer, macs):
    model = ViT(dim=24, depth=3, patch_size=2, mixer=mixer)
    expected = trunk_flops(dim=24, depth=3, tokens=64, patch_dim=12, classes=5, hidden=96, mixer=macs(64, 24))
    assert count_flops(model, **SHAPE) == expected


@pytest.mark.parametrize("image_size", [16, 80])
def test_attention_is_counted_on_either_path(image_size):
    tokens = (image_size // 4) ** 2
    full = count_flops(ViT(dim=16, depth=1), **{**SHAPE, "image_size": image_size})
    none = count_flops(ViT(dim=16, depth=1, mixer=ZeroMixer()), **{**SHAPE, "image_size": image_size})
    assert full - none == 2 * (4 * tokens * 16 * 16 + 2 * tokens * tokens * 16)


def resnet_counts(width, blocks, image_size, in_chans, classes):
    params, macs, before, side = (
        9 * in_chans * width + 2 * width,
        9 * in_chans * width * image_size**2,
        width,
        image_size,
    )
    for stage in range(3):
        channels = width * 2**stage
        side = side if stage == 0 else side // 2
        for block in range(blocks):
            source = before if block == 0 else channels
            params += 9 * source * channels + 9 * channels * channels + 4 * channels
            macs += (9 * source * channels + 9 * channels * channels) * side**2
            if stage and block == 0:
                params += source * channels + 2 * channels
                macs += source * channels * side**2
        before = channels
    return params + before * classes + classes, 2 * (macs + before * classes)


@pytest.mark.parametrize(("width", "blocks"), [(16, 3), (5, 1)])
def test_size_of_the_resnet_equals_the_closed_formula(width, blocks):
    shape = {"image_size": 32, "in_chans": 3, "num_classes": 10}
    model = ResNet(width=width, blocks=blocks)
    assert (count_params(model, **shape), count_flops(model, **shape)) == resnet_counts(width, blocks, 32, 3, 10)


def test_resnet_20_has_the_parameters_that_are_published_for_it():
    """272,474 with projection shortcuts: the 269,722 of parameter-free shortcuts and two projections."""
    assert count_params(ResNet(), image_size=32, in_chans=3, num_classes=10) == 269_722 + 16 * 32 + 32 * 64 + 2 * (
        32 + 64
    )


def test_flops_of_timms_tiny_vit_at_224_are_the_formula_for_197_tokens():
    tokens, dim, depth = 197, 192, 12
    block = 12 * tokens * dim * dim + 2 * tokens * tokens * dim
    expected = 2 * (196 * 768 * dim + depth * block + dim * 2)
    model = Timm(name="vit_tiny_patch16_224")
    assert count_flops(model, image_size=224, in_chans=3, num_classes=2) == expected


def test_flops_of_torchvisions_resnet_18_are_the_known_number():
    assert count_flops(Timm(name="resnet18"), image_size=224, in_chans=3, num_classes=1000) == 2 * 1_814_073_344


@pytest.mark.parametrize("merge_after", [(), (1,)], ids=["flat", "stages"])
def test_twins_differ_in_the_mixer_and_in_nothing_else(merge_after):
    kinds_of_twins = [ViT(dim=16, depth=2, mixer=mixer, merge_after=merge_after) for mixer in MIXERS.values()]
    twins = [build(model).state_dict() for model in kinds_of_twins]
    outside = [{name: value for name, value in twin.items() if ".mixer." not in name} for twin in twins]
    for other in outside[1:]:
        assert other.keys() == outside[0].keys()
        assert all(torch.equal(other[name], outside[0][name]) for name in other)


def test_without_position_attention_does_not_see_where_patches_lie():
    module = build(ViT(dim=16, depth=2, patch_size=4, position="none")).double().eval()
    x = images().double()
    patches = x.reshape(4, 3, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(4, 16, 3, 4, 4)
    shuffled = patches[:, torch.randperm(16)].reshape(4, 4, 4, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(4, 3, 16, 16)
    torch.testing.assert_close(module(shuffled), module(x), rtol=0, atol=1e-12)
    placed = build(ViT(dim=16, depth=2, patch_size=4)).double().eval()
    assert not torch.allclose(placed(shuffled), placed(x), atol=1e-6)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    from vision_attn.models.drop_path import DropPath

    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(10000, 2, 3))
    values = dropped[:, 0, 0]
    assert torch.equal(dropped, values[:, None, None].expand_as(dropped))
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert values.mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            lambda: ViT(patch_size=5).build(**SHAPE),
            "patch_size of ViT must be a divisor of the image size 16. Got 5 instead.",
        ),
        (
            lambda: ViT(dim=30, depth=1).build(**SHAPE),
            "dim of ViT must be a multiple of num_heads = 4. Got 30 instead.",
        ),
        (
            lambda: ViT(dim=15, depth=1, mixer=LSTM()).build(**SHAPE),
            "dim of ViT must be even with the bidirectional LSTM. Got 15 instead.",
        ),
        (
            lambda: ViT(mixer=LSTM(), reg_tokens=1),
            "mixer of ViT must be one that takes a class token and registers, such as SelfAttention. Got LSTM",
        ),
        (lambda: ViT(dim=0), "dim of ViT must be at least 1. Got 0 instead."),
        (
            lambda: DepthwiseConv(kernel_size=4),
            "kernel_size of DepthwiseConv must be odd and at least 1. Got 4 instead.",
        ),
        (lambda: PoolingMixer(kernel_size=2), "kernel_size of PoolingMixer must be odd and at least 1. Got 2 instead."),
        (
            lambda: DepthwiseConv(branch_sd=0.0),
            "branch_sd of DepthwiseConv must be None or more than 0. Got 0.0",
        ),
        (lambda: ViT(depth=3, merge_after=(3,)), "merge_after of ViT must be rising numbers from 1 to depth - 1 = 2."),
        (
            lambda: ViT(depth=3, merge_after=(2, 1)),
            "merge_after of ViT must be rising numbers from 1 to depth - 1 = 2.",
        ),
        (
            lambda: ViT(depth=4, merge_after=(1, 2, 3)).build(**SHAPE),
            "merge_after of ViT must be no longer than 4 x 4 tokens can be halved. Got (1, 2, 3) instead.",
        ),
        (lambda: ViT(reg_tokens=1, merge_after=(2,)), "merge_after of ViT must be () with a class token or registers."),
        (
            lambda: ViT(pool="token", mixer=DepthwiseConv()),
            "mixer of ViT must be one that takes a class token and registers, such as SelfAttention. Got DepthwiseConv",
        ),
        (
            lambda: Timm(name="resnet19").build(**SHAPE),
            "name of Timm must be the name of a timm model, such as 'resnet18', ",
        ),
        (lambda: Timm(name="resnet18", options=(("num_classes", 3),)), "options of Timm must be other than"),
        (
            lambda: Timm(name="resnet18", options=(("colour", 3),)).build(**SHAPE),
            "options of Timm must be ones that resnet18",
        ),
        (
            lambda: Timm(name="test_vit.r160_in1k"),
            "name of Timm must be one without a tag behind a dot, which names pretrained weights: models are freshly "
            "initialised. Got 'test_vit.r160_in1k' instead.",
        ),
        (
            lambda: Timm(name="test_vit", options=(("pretrained_cfg", "r160_in1k"),)),
            "options of Timm must be other than img_size, in_chans, num_classes, pretrained, pretrained_cfg. Got ",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(model, sentence):
    with pytest.raises(InputError) as error:
        model()
    assert str(error.value).startswith(sentence)


DEPTH = (("depth", 1),)


@pytest.mark.parametrize(
    ("name", "options", "size", "sentence"),
    [
        ("vit_tiny_patch16_224", DEPTH, 28, '28, as options=(("patch_size", 7),) does. Got 16 instead.'),
        ("deit_tiny_patch16_224", DEPTH, 28, '28, as options=(("patch_size", 7),) does. Got 16 instead.'),
        ("vit_small_patch14_dinov2", DEPTH, 32, '32, as options=(("patch_size", 8),) does. Got 14 instead.'),
        ("test_vit", (("patch_size", 8),), 28, '28, as options=(("patch_size", 7),) does. Got 8 instead.'),
        ("mixer_s16_224", (), 28, '28, as options=(("patch_size", 7),) does. Got 16 instead.'),
        ("swin_tiny_patch4_window7_224", (), 30, '30, as options=(("patch_size", 3),) does. Got 4 instead.'),
        ("tnt_s_legacy_patch16_224", DEPTH, 28, '28, as options=(("patch_size", 7),) does. Got 16 instead.'),
        ("crossvit_9_240", (), 28, "28. Got 12 instead."),
        ("sequencer2d_s", (), 32, "32. Got 7 instead."),
    ],
)
def test_a_model_of_timm_whose_patches_leave_out_a_border_is_refused(name, options, size, sentence):
    with torch.device("meta"), pytest.raises(InputError) as error:
        Timm(name=name, options=options).build(image_size=size, in_chans=1, num_classes=10)
    assert str(error.value) == f"patch_size of {name} must divide the image size {sentence}"


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("vit_tiny_patch16_224", (*DEPTH, ("patch_size", 7)), 28),
        ("vit_tiny_patch16_224", (*DEPTH, ("dynamic_img_size", True), ("dynamic_img_pad", True)), 28),
        ("vit_tiny_patch16_224", DEPTH, 32),
        ("vit_tiny_r_s16_p8_224", DEPTH, 32),
        ("swin_tiny_patch4_window7_224", (), 32),
        ("mixer_s16_224", (), 32),
        ("convnext_atto", (), 32),
        ("resnet10t", (), 30),
    ],
)
def test_a_model_of_timm_that_sees_the_whole_image_is_built(name, options, size):
    torch.manual_seed(0)
    module = Timm(name=name, options=options).build(image_size=size, in_chans=1, num_classes=10)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 8)
    x = torch.randn(1, 1, size, size, requires_grad=True)
    module.eval()(x).square().sum().backward()
    assert (x.grad != 0).all()


def test_meta_and_real_modules_count_alike():
    model = ViT(dim=16, depth=1)
    assert flops_of(build(model).to("meta"), (3, 16, 16)) == count_flops(model, **SHAPE)


def test_a_spec_that_is_called_says_how_the_module_is_built():
    with pytest.raises(TypeError, match=r"^ViT says what to build\. The module is ViT\(\.\.\.\)\.build\("):
        ViT()(torch.zeros(1, 3, 32, 32))


def test_attention_is_replaced_in_a_module_and_not_in_its_name():
    with pytest.raises(InputError, match=r"^model of replace_attention must be a module, .*\. Got a str instead\.$"):
        replace_attention("vit_tiny_patch16_224")
