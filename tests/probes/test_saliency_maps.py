"""Saliency maps, each against its definition computed in another way, on small networks in float64."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from vision_attn import ResNet, ViT
from vision_attn.models import DepthwiseConv
from vision_attn.probes import attention_maps, capture, saliency_maps
from vision_attn.probes.attention_relevance import gradient_attention, last_attention, relevance, rollout
from vision_attn.probes.saliency_maps import (
    METHODS,
    NAMES,
    fitting,
    grad_cam,
    gradient_input,
    integrated_gradients,
    occlusion,
    on_lattice,
    saliency,
    without_each,
)
from vision_attn.spec import InputError

SHAPE = {"image_size": 16, "in_chans": 3, "num_classes": 5}
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = torch.tensor([0, 2, 4, 1])


def built(spec):
    torch.manual_seed(0)
    model = spec.build(**SHAPE).double().eval()
    with torch.no_grad():  # so that attention is not even
        for block in getattr(model, "blocks", []):
            for parameter in block.parameters():
                parameter.mul_(4)
    return model


def vit(**options):
    return built(ViT(**{"dim": 16, "depth": 2, "patch_size": 4, "pool": "token", **options}))


class Linear(nn.Module):
    """Logits that are weighted sums of the pixels."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(5, 3, 16, 16, generator=generator, dtype=torch.float64))

    def forward(self, x):
        return torch.einsum("bchw,kchw->bk", x, self.weight)


@pytest.mark.parametrize("method", ["rollout", "relevance propagation", "Grad-CAM", "integrated gradients"])
def test_images_that_take_much_go_through_few_at_once_and_give_the_same(method, monkeypatch):
    model, batches = vit(), []
    whole = saliency(model, IMAGES, CLASSES, method=method)
    monkeypatch.setattr(capture, "NUMBERS", 2 * capture.numbers(model, IMAGES))
    model.register_forward_pre_hook(lambda _, given: batches.append(len(given[0])))
    torch.testing.assert_close(saliency(model, IMAGES, CLASSES, method=method), whole)
    assert max(batches) == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["gradient x attention", "relevance propagation", "Grad-CAM", "occlusion"])
def test_maps_are_the_same_where_no_gradients_are_kept(method, mode):
    model = vit()
    expected = saliency(model, IMAGES, CLASSES, method=method)
    with mode():
        torch.testing.assert_close(saliency(model, IMAGES, CLASSES, method=method), expected)
        torch.testing.assert_close(saliency(model, IMAGES.clone(), CLASSES.clone(), method=method), expected)


def test_copies_without_a_patch_are_made_one_after_the_other():
    copies = without_each(IMAGES, 4)
    first = next(copies)
    assert (first[..., :4, :4] == 0).all()
    assert torch.equal(first[..., 4:, :], IMAGES[..., 4:, :])
    assert sum(1 for _ in copies) == 15


def attention_by_hand(model, images):
    """The attention of every block, mean over heads, from its own input."""
    found, x = [], model.embed(images)
    for block in model.blocks:
        found.append(block.mixer.weights(block.norm1(x)).mean(1))
        x = block(x)
    return [one.detach() for one in found]


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_attention_of_the_last_layer_is_the_row_that_the_head_reads(pool):
    model = vit(pool=pool)
    last = attention_by_hand(model, IMAGES)[-1]
    expected = last[:, 0, 1:] if pool == "token" else last.mean(1)
    torch.testing.assert_close(last_attention(model, IMAGES, CLASSES), expected.view(4, 4, 4))


def test_rollout_is_the_product_over_layers_with_the_residual():
    model = vit()
    first, second = attention_by_hand(model, IMAGES)
    joint = (0.5 * second + 0.5 * torch.eye(17)) @ (0.5 * first + 0.5 * torch.eye(17))
    torch.testing.assert_close(rollout(model, IMAGES, CLASSES), joint[:, 0, 1:].reshape(4, 4, 4))


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_gradient_attention_weighs_each_head_by_the_slope_of_the_logit(pool):
    """With one layer: the logit as a function of its attention, put together here."""
    model = vit(depth=1, pool=pool)
    block, x = model.blocks[0], model.embed(IMAGES)
    given = block.norm1(x)
    weights = block.mixer.weights(given).detach().requires_grad_()
    values = block.mixer.heads(given)[2]
    x = x + block.mixer.proj((weights @ values).transpose(1, 2).flatten(2))
    logits = model.forward_head(x + block.mlp(block.norm2(x)))
    (slope,) = torch.autograd.grad(logits.gather(1, CLASSES[:, None]).sum(), weights)
    joint = (weights * slope).relu().mean(1) + torch.eye(weights.shape[-1])
    expected = joint[:, 0, 1:] if pool == "token" else joint.mean(1)
    found = gradient_attention(model, IMAGES, CLASSES)
    torch.testing.assert_close(found, expected.detach().view(4, 4, 4))


def test_relevance_is_what_the_rules_of_each_layer_pass_on():
    """Ali et al. 2022, section 3, written out backwards: each layer's relevance goes to its inputs by their shares."""
    model = vit(depth=1, pool="mean")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
        block = model.blocks[0]
        x = model.embed(IMAGES)
        normed, value = block.norm1(x), block.mixer.heads(block.norm1(x))[2]
        weights, joined = block.mixer.weights(normed), (block.mixer.weights(normed) @ value).transpose(1, 2).flatten(2)
        mixed = block.mixer.proj(joined)
        y = x + mixed
        hidden = block.mlp.fc1(block.norm2(y))
        active, added = F.gelu(hidden), block.mlp(block.norm2(y))
        z = y + added
        pooled = model.fc_norm(z.mean(1))
        logits = model.head(pooled)

        def linear(given, weight, out, relevance):
            return given * (relevance / out @ weight)

        def norm(module, given, out, relevance):
            slope = relevance / out * module.weight / (given.var(-1, correction=0, keepdim=True) + module.eps).sqrt()
            return given * (slope - slope.mean(-1, keepdim=True))

        wanted = logits * F.one_hot(CLASSES, 5)
        r = norm(model.fc_norm, z.mean(1), pooled, linear(pooled, model.head.weight, logits, wanted))
        share = (r / z.mean(1) / z.shape[1])[:, None]  # of the sum y + added
        r_hidden = linear(active, block.mlp.fc2.weight, added, added * share)
        r_normed = linear(block.norm2(y), block.mlp.fc1.weight, hidden, r_hidden)
        share = share + norm(block.norm2, y, block.norm2(y), r_normed) / y
        r_joined = linear(joined, block.mixer.proj.weight, mixed, mixed * share)
        per_value = (r_joined / joined).unflatten(2, (block.mixer.num_heads, -1)).transpose(1, 2)
        r_value = (value * (weights.transpose(2, 3) @ per_value)).transpose(1, 2).flatten(2)
        of_value = block.mixer.qkv.weight[-16:]
        r_tokens = linear(normed, of_value, value.transpose(1, 2).flatten(2), r_value)
        share = share + norm(block.norm1, x, normed, r_tokens) / x
        slope = torch.einsum("bno,ocij->bcnij", share, model.patch_embed.proj.weight)
        slope = slope.unflatten(2, (4, 4)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    torch.testing.assert_close(relevance(model, IMAGES, CLASSES), (slope * IMAGES).sum(1), rtol=1e-6, atol=1e-9)


def test_relevance_adds_up_to_the_logit_where_nothing_else_contributes():
    """No positions, class token or biases: then every layer passes on all that it is given."""
    model = vit(position="none", pool="mean")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    maps = relevance(model, IMAGES, CLASSES)
    logits = model(IMAGES).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(maps.sum((1, 2)), logits.detach(), rtol=1e-3, atol=1e-5)  # norms add 1e-6 to variances
    slopes = gradient_input(model, IMAGES, CLASSES).sum((1, 2))
    assert not torch.allclose(slopes, logits, rtol=0.1)  # the plain gradient does not


@pytest.mark.parametrize(
    "parts",
    [
        {"act_layer": nn.SiLU},
        {"act_layer": nn.Hardswish},
        {"norm_layer": timm.layers.RmsNorm},
        {"mlp_layer": timm.layers.SwiGLU},
        {"mlp_layer": timm.layers.GluMlp},
    ],
    ids=lambda parts: next(iter(parts.values())).__name__,
)
def test_relevance_adds_up_with_other_norms_and_gates_too(parts):
    torch.manual_seed(0)
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
    model = timm.models.VisionTransformer(**sizes, global_pool="avg", **parts).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            linear = parameter.ndim == 2 or name.startswith("patch_embed.proj.w")
            parameter.normal_(std=0.3) if linear else parameter.fill_(float(name.endswith("weight")))
    logits = model.eval()(IMAGES).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(relevance(model, IMAGES, CLASSES).sum((1, 2)), logits.detach(), rtol=1e-3, atol=1e-5)
    assert not torch.allclose(gradient_input(model, IMAGES, CLASSES).sum((1, 2)), logits, rtol=0.02)


def test_grad_cam_of_a_mean_before_a_linear_head_is_the_class_activation_map():
    """Zhou et al. 2016: the head's weights of the class over the channels."""
    model = built(ResNet(width=8, blocks=1))
    features = model.forward_features(IMAGES)
    expected = torch.einsum("bchw,bc->bhw", features, model.head.weight[CLASSES]).relu() / features[0, 0].numel()
    torch.testing.assert_close(grad_cam(model, IMAGES, CLASSES), expected.detach())


def test_grad_cam_of_a_class_token_is_taken_of_the_last_attentions_tokens():
    model = vit()
    x = model.blocks[0](model.embed(IMAGES))
    tokens = model.blocks[1].norm1(x).detach().requires_grad_()
    block = model.blocks[1]
    x = x + block.mixer(tokens)
    logits = model.forward_head(x + block.mlp(block.norm2(x)))
    (slope,) = torch.autograd.grad(logits.gather(1, CLASSES[:, None]).sum(), tokens)
    expected = torch.einsum("btc,bc->bt", tokens[:, 1:], slope[:, 1:].mean(1)).relu().view(4, 4, 4)
    torch.testing.assert_close(grad_cam(model, IMAGES, CLASSES), expected.detach())


def test_of_a_linear_model_gradients_and_occlusion_are_what_each_pixel_adds():
    model = Linear()
    added = (IMAGES * model.weight[CLASSES]).sum(1).detach()
    torch.testing.assert_close(gradient_input(model, IMAGES, CLASSES), added)
    torch.testing.assert_close(integrated_gradients(model, IMAGES, CLASSES, steps=3), added)
    by_patch = added.view(4, 4, 4, 4, 4).sum((2, 4))
    torch.testing.assert_close(occlusion(model, IMAGES, CLASSES, patch_size=4).double(), by_patch)


def test_integrated_gradients_add_up_to_the_rise_of_the_logit():
    model = vit()
    total = integrated_gradients(model, IMAGES, CLASSES, steps=200).sum((1, 2))
    logits, none = (model(x).gather(1, CLASSES[:, None])[:, 0].detach() for x in (IMAGES, torch.zeros_like(IMAGES)))
    torch.testing.assert_close(total, logits - none, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("spec", [ViT(dim=16, depth=2, pool="token"), ResNet(width=8, blocks=1)], ids=["ViT", "CNN"])
def test_captum_agrees(spec):
    attr = pytest.importorskip("captum.attr")
    model = built(spec)
    found = integrated_gradients(model, IMAGES, CLASSES, steps=8)
    options = {"target": CLASSES, "n_steps": 8, "method": "riemann_middle"}
    torch.testing.assert_close(found, attr.IntegratedGradients(model).attribute(IMAGES, **options).sum(1))
    theirs = attr.InputXGradient(model).attribute(IMAGES.clone().requires_grad_(), target=CLASSES).sum(1)
    torch.testing.assert_close(gradient_input(model, IMAGES, CLASSES), theirs.detach())
    window = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4), "target": CLASSES}
    theirs = attr.Occlusion(model).attribute(IMAGES, **window)[:, 0, ::4, ::4]
    torch.testing.assert_close(occlusion(model, IMAGES, CLASSES).double(), theirs.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("is_vit", [False, True], ids=["CNN", "ViT"])
def test_grad_cam_is_that_of_captum_and_of_torchcam(is_vit):
    model = vit() if is_vit else built(ResNet(width=8, blocks=1))
    layer = model.blocks[-1].norm1 if is_vit else model.stages[-1]

    def on_grid(x):
        return x[:, 1:].transpose(1, 2).unflatten(2, (4, 4)) if is_vit else x

    own = grad_cam(model, IMAGES, CLASSES)
    if not is_vit:  # what is no picture captum takes for a sequence of channels
        attr = pytest.importorskip("captum.attr")
        theirs = attr.LayerGradCam(model, layer).attribute(IMAGES, target=CLASSES, relu_attributions=True)
        torch.testing.assert_close(own, theirs[:, 0].detach())
    methods = pytest.importorskip("torchcam.methods")
    with methods.GradCAM(model, layer, reshape_transform=on_grid) as extract:
        (theirs,) = extract(CLASSES.tolist(), model(IMAGES), normalized=False)
    torch.testing.assert_close(own, theirs)


def test_attention_and_rollout_say_the_same_of_every_class_and_gradients_do_not():
    model, others = vit(), (CLASSES + 1) % 5
    for method in ("attention", "rollout"):
        assert torch.equal(*(saliency(model, IMAGES, asked, method=method) for asked in (CLASSES, others)))
    for method in ("gradient x attention", "relevance propagation", "Grad-CAM", "gradient x input", "occlusion"):
        assert not torch.allclose(*(saliency(model, IMAGES, asked, method=method) for asked in (CLASSES, others)))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "resnet10t"])
def test_models_of_timm_are_asked_by_what_fits_them(name):
    options = {"img_size": 32, "patch_size": 8, "depth": 2, "num_heads": 2, "embed_dim": 16}
    if "swin" in name:
        options = {"img_size": 32, "patch_size": 4, "window_size": 4, "depths": (1, 1), "embed_dim": 8}
        options["num_heads"] = (2, 2)
    model = timm.create_model(name, num_classes=5, **({} if "resnet" in name else options)).eval()
    images = torch.randn(2, 3, 32, 32)
    lacking = {
        "vit_tiny_patch16_224": set(),
        "swin_tiny_patch4_window7_224": {"rollout", "gradient x attention"},
        "resnet10t": {"attention", "rollout", "gradient x attention", "relevance propagation"},
    }[name]
    assert set(NAMES) - set(fitting(model, images)) == lacking
    for method in set(METHODS) - lacking:
        assert saliency(model, images, torch.tensor([0, 1]), method=method).shape == (2, 8, 8)


@pytest.mark.parametrize("reads", ["class token", "mean", "class token by a head of zeros"])
def test_of_a_model_that_says_nothing_the_row_is_that_of_the_tokens_that_move_the_logits(reads):
    torch.manual_seed(0)
    sizes = {"image_size": 16, "patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    model = torchvision.models.VisionTransformer(**sizes, num_classes=5).double()
    if "zeros" not in reads:
        nn.init.normal_(model.heads.head.weight)
    if reads == "mean":
        model.heads.register_forward_pre_hook(lambda module, given: (tokens[-1][:, 1:].mean(1),))
        tokens = []
        model.encoder.register_forward_hook(lambda module, given, out: tokens.append(out))
    last = list(attention_maps(model, IMAGES).values())[-1].weights.mean(1)
    expected = last[:, 1:, 1:].mean(1) if reads == "mean" else last[:, 0, 1:]
    torch.testing.assert_close(last_attention(model, IMAGES, CLASSES), expected.view(4, 4, 4))
    assert ("Grad-CAM" in fitting(model, IMAGES)) == (reads != "mean")
    assert not model.encoder.layers[-1].self_attention._forward_hooks


def test_a_model_is_left_as_it_is():
    model = vit().train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for method in NAMES:
        saliency(model, IMAGES, CLASSES, method=method)
    assert all(module.training for module in model.modules())
    assert {block.mixer.path for block in model.blocks} == {"auto"}
    assert all(torch.equal(before[name], own) and own.requires_grad for name, own in model.named_parameters())
    assert all(own.grad is None for own in model.parameters())


def test_finer_maps_are_averaged_and_coarser_ones_interpolated():
    fine = torch.arange(64.0).view(1, 8, 8)
    torch.testing.assert_close(on_lattice(fine, (4, 4)), fine.view(1, 4, 2, 4, 2).mean((2, 4)))
    coarse = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    assert on_lattice(coarse, (4, 4))[0, 0].tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_models_of_half_precision_have_all_maps_that_they_have_in_full(precision):
    model = vit()
    for method in NAMES:
        expected = saliency(model, IMAGES, CLASSES, method=method)
        found = saliency(copy.deepcopy(model).to(precision), IMAGES.to(precision), CLASSES, method=method)
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 0.2 * expected.abs().max()


def test_rectangular_images_have_a_lattice_of_their_shape():
    images = IMAGES[:, :, :8]
    model = ViT(dim=16, depth=1, patch_size=4).build(image_size=(8, 16), in_chans=3, num_classes=5).double()
    for method in fitting(model, images):
        assert saliency(model, images, CLASSES, method=method).shape == (4, 2, 4)
    linear = Linear()
    linear.weight.data = linear.weight.data[:, :, :8]
    added = (linear.weight[CLASSES] * images).sum(1).unflatten(2, (4, 4)).unflatten(1, (2, 4)).sum((2, 4)).detach()
    torch.testing.assert_close(saliency(linear, images, CLASSES, method="occlusion"), added.float())
    torch.testing.assert_close(saliency(linear, images, CLASSES, method="gradient x input"), added.float() / 16)
    hill = saliency(linear, images, CLASSES, method="centred Gaussian")[0]
    torch.testing.assert_close(hill, hill.flip(0).flip(1))
    with pytest.raises(InputError, match=r"must be a divisor of the image size 8 x 16\. Got 16 instead"):
        saliency(linear, images, CLASSES, method="random", patch_size=16)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("side", [3, 5, 8])
def test_equal_values_stay_equal_on_another_lattice(size, side):
    """Else rounding would rank them."""
    values = torch.linspace(0.1, 7, 50)
    assert torch.equal(on_lattice(values.view(50, 1, 1).expand(-1, size, size), (side, side)).unique(), values)


def test_many_images_give_what_each_gives_alone(monkeypatch):
    monkeypatch.setattr(saliency_maps, "AT_ONCE", 3)
    model = vit()
    for method in METHODS:
        whole = saliency(model, IMAGES, CLASSES, method=method)
        alone = [saliency(model, IMAGES[i : i + 1], CLASSES[i : i + 1], method=method) for i in range(4)]
        torch.testing.assert_close(whole, torch.cat(alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (Linear(), {"method": "LIME"}, r"method of saliency must be one of 'attention', .*\. Got 'LIME' instead\."),
        (Linear(), {"method": "random", "patch_size": 5}, "patch_size of saliency must be a divisor of the image size"),
        (Linear(), {"method": "attention"}, "must have attention. Got Linear"),
        (Linear(), {"method": "Grad-CAM"}, "must have forward_features and forward_head. Got Linear"),
        (vit(mixer=DepthwiseConv(), pool="mean"), {"method": "gradient x attention"}, "pass through attn_drop. Got Vi"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(model, options, words):
    with pytest.raises(InputError, match=words):
        saliency(model, IMAGES, CLASSES, **options)


def test_softmax_of_a_class_is_no_part_of_the_score():
    """Attributions are those of the logit: scaling all other logits changes nothing."""
    model = Linear()
    before = gradient_input(model, IMAGES[:1], CLASSES[:1])
    with torch.no_grad():
        model.weight[1:] *= 3
    torch.testing.assert_close(gradient_input(model, IMAGES[:1], CLASSES[:1]), before)
    assert not torch.allclose(F.softmax(model(IMAGES), 1), model(IMAGES))
