"""The expectations are recurrences over kernels and strides, counts of windows, and values from the literature."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vision_attn import DepthwiseConv, ResNet, SelfAttention, ViT
from vision_attn.models import LSTM, ConvStack, ZeroMixer
from vision_attn.probes.reach import Reach, reach
from vision_attn.probes.support import OUTPUT, support
from vision_attn.spec import InputError

SMALL = {"image_size": 32, "in_chans": 3, "num_classes": 10}
MODES = ("architectural", "dependency")


def field(*layers):
    """r and the distance j between neighbours, from (kernel, stride) or (kernel, stride, dilation) of a chain."""
    r, j = 1, 1
    for kernel, stride, *dilation in layers:
        r, j = r + (kernel - 1) * (dilation or [1])[0] * j, j * stride
    return r


def chain(*blocks):
    """ "c": 3x3 convolution and ReLU, "p": 2x2 max-pooling."""
    layers, chans = [], 3
    for letter in blocks:
        layers += [nn.MaxPool2d(2)] if letter == "p" else [nn.Conv2d(chans, 4, 3, padding=1), nn.ReLU()]
        chans = 4
    return nn.Sequential(*layers)


def output_of(module, **options):
    return support(module, image_size=32, layers=[OUTPUT], **options)[OUTPUT]


@pytest.mark.parametrize(("blocks", "expected"), [("ccc", 7), ("ccpccp", 16), ("ccpccpccp", 36)])
def test_chains_of_convolution_and_pooling_have_the_field_of_the_recurrence(blocks, expected):
    found = output_of(chain(*blocks))
    assert field(*[(2, 2) if letter == "p" else (3, 1) for letter in blocks]) == expected
    assert (found.height, found.width) == (expected, expected)
    assert not found.is_global
    assert not found.clipped


def test_height_and_width_are_told_apart_and_dilation_counts():
    net = nn.Sequential(nn.Conv2d(3, 4, (3, 7), padding=(1, 3)), nn.Conv2d(4, 4, (5, 1), dilation=3, padding=(6, 0)))
    found = output_of(net)
    assert (found.height, found.width) == (field((3, 1), (5, 1, 3)), field((7, 1), (1, 1)))
    assert found.box == (-7, -3, 7, 3)


def test_dilated_pooling_compares_pixels_that_lie_apart():
    assert output_of(nn.MaxPool2d(3, stride=1, padding=1, dilation=1)).height == 3
    assert output_of(nn.MaxPool2d(3, stride=1, padding=1, dilation=4)).height == field((3, 1, 4))


def test_fractions_of_the_image_are_those_of_the_square_cut_by_the_border():
    found = output_of(chain("c", "c"))
    assert found.centre == 5 * 5 / 32**2
    assert found.edge == 3 * 5 / 32**2
    assert found.corner == 3 * 3 / 32**2


@pytest.mark.parametrize(("blocks", "expected"), [(3, 81), (9, 249)])
def test_residual_networks_for_small_images_see_more_than_the_image(blocks, expected):
    model = ResNet(width=16 if blocks == 3 else 4, blocks=blocks).build(**SMALL)
    convolutions = [(3, 1)] + [(3, 2 if stage and i == 0 else 1) for stage in range(3) for i in range(2 * blocks)]
    found = list(support(model, image_size=32).values())
    assert [one.height for one in found][-1] == field(*convolutions) == expected
    assert found[-1].corner == 1
    assert not found[-1].is_global
    assert found[0].height == 3


@pytest.mark.parametrize("mode", MODES)
def test_the_module_as_it_is_reaches_as_far_as_its_architecture_where_nothing_leaks(mode):
    model = ResNet(width=16, blocks=1).build(**SMALL)
    convolutions = [(3, 1), (3, 1), (3, 1), (3, 2), (3, 1), (3, 2), (3, 1)]
    found = support(model, image_size=32, mode=mode, largest=96)
    assert [one.width for one in found.values()] == [field(*convolutions[:number]) for number in (1, 3, 5, 7)]


def test_four_depthwise_convolutions_on_patches_of_four_see_36_pixels():
    trunk = ViT(dim=16, depth=4, mixer=DepthwiseConv(kernel_size=3), position="none")
    found = support(trunk.build(**{**SMALL, "image_size": 64}), image_size=64)
    stack = support(ConvStack(width=8, depthwise=True).build(**SMALL), image_size=32)
    for layers in (found, stack):
        assert [one.height for one in layers.values()] == [4, 12, 20, 28, 36]
        assert not any(one.clipped for one in layers.values())


def test_a_model_bound_to_its_image_is_measured_as_far_as_a_corner_sees_and_said_to_be_cut_beyond():
    trunk = ViT(dim=16, depth=8, mixer=DepthwiseConv(kernel_size=3)).build(**SMALL)
    *exact, all_seen, last = support(trunk, image_size=32).values()
    assert [one.height for one in exact] == [field((4, 4), *[(3, 1)] * depth) for depth in range(7)]
    assert {one.extent for one in exact} == {"exact"}
    for one in (all_seen, last):
        assert (one.extent, one.height, one.corner) == ("cut", 32, 1)


@pytest.mark.parametrize("mode", MODES)
def test_attention_sees_everything_from_the_first_block_on(mode):
    model = ViT(dim=16, depth=2, mixer=SelfAttention(num_heads=2)).build(**SMALL)
    embedded, *blocks = support(model, image_size=32, mode=mode).values()
    assert (embedded.height, embedded.is_global, embedded.corner) == (4, False, 16 / 1024)
    for block in blocks:
        assert block.is_global
        assert block.height == block.width == 32
        assert block.centre == block.edge == block.corner == 1


def test_a_model_that_takes_any_size_is_global_only_without_end():
    free = ViT(dim=16, depth=2, position="none", mixer=SelfAttention(num_heads=2)).build(**SMALL)
    assert [one.is_global for one in support(free, image_size=32).values()] == [False, True, True]
    large = ConvStack(width=4, kernels=(31, 3), depthwise=True).build(**SMALL)
    assert [(one.height, one.is_global) for one in support(large, image_size=32).values()] == [
        (4, False),
        (field((4, 4), (31, 1)), False),
        (field((4, 4), (31, 1), (3, 1)), False),
    ]


def test_a_model_that_takes_no_longer_canvas_is_measured_within_the_image():
    mixer = SelfAttention(num_heads=2, pattern="neighbourhood", pattern_size=6)
    model = ViT(dim=16, depth=3, position="none", mixer=mixer).build(**SMALL)
    found = list(support(model, image_size=32).values())
    assert [one.height for one in found[:2]] == [4, 4 * 13]
    assert [one.height for one in found[2:]] == [32, 32]


@pytest.mark.parametrize("mode", MODES)
def test_attention_to_neighbours_grows_by_its_radius(mode):
    mixer = SelfAttention(num_heads=2, pattern="neighbourhood", pattern_size=1)
    model = ViT(dim=16, depth=3, mixer=mixer).build(**{**SMALL, "image_size": 48})
    fields = support(model, image_size=48, mode=mode).values()
    assert [one.height for one in fields] == [4 * (2 * block + 1) for block in range(4)]
    assert [one.distance for one in reach(model, image_size=48, patch_size=4, mode=mode).values()] == [0, 1, 2, 3]


def windows(cells, *, size, shift):
    """Which cells of a row share a window."""
    window = [(cell + size - shift) // size if shift else cell // size for cell in range(cells)]
    return torch.tensor([[a == b for b in window] for a in window])


def in_windows(side, *sizes_and_shifts):
    """A Swin of timm whose layers are blocks of these windows, on side x side tokens of 4 pixels."""
    import timm

    swin = timm.models.swin_transformer.SwinTransformerBlock
    options = {"window_size": 4, "embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=4 * side, **options)
    blocks = [
        swin(8, (side, side), num_heads=1, window_size=size, shift_size=shift) for size, shift in sizes_and_shifts
    ]
    model.layers = nn.Sequential(*blocks)
    model.feature_info = [{"module": f"layers.{i}"} for i in range(len(blocks))]
    model.norm, model.head = nn.Identity(), nn.Identity()
    return model


@pytest.mark.parametrize("mode", MODES)
def test_windows_in_turn_shifted_grow_window_by_window_and_do_not_wrap_around(mode):
    shifts = (0, 2, 0)
    model = in_windows(16, *((4, shift) for shift in shifts))
    seen, expected = torch.eye(16, dtype=torch.bool), [0]
    for shift in shifts:
        seen = (windows(16, size=4, shift=shift).int() @ seen.int()) > 0
        pairs = seen.nonzero()
        expected.append(int((pairs[:, 0] - pairs[:, 1]).abs().max()))
    found = reach(model, image_size=64, patch_size=4, mode=mode, draws=1)
    assert [one.distance for one in found.values()] == expected == [0, 3, 5, 7]


def test_the_field_of_the_unit_in_the_middle_of_windows_is_no_smaller_than_what_it_sees():
    """Units at the border lie in windows that the image cuts: what they see tells nothing of those in the middle."""
    sizes_and_shifts = (4, 0), (4, 2), (8, 0), (8, 4)
    seen, expected = torch.eye(32, dtype=torch.bool), [4]
    for size, shift in sizes_and_shifts:
        seen = (windows(32, size=size, shift=shift).int() @ seen.int()) > 0
        expected.append(4 * int(seen[16].sum()))
    found = support(in_windows(32, *sizes_and_shifts), image_size=128)
    assert [one.height for one in found.values()] == [one.width for one in found.values()] == expected
    assert [one.centre for one in found.values()] == [(height / 128) ** 2 for height in expected]


@pytest.mark.parametrize("mode", MODES)
def test_a_dial_of_radius_r_reaches_r_cells_in_every_direction(mode):
    spec = ConvStack(width=8, kernels=(3, 5, 1), dilations=(2, 1, 1), pool="none")
    found = reach(spec.build(**SMALL), image_size=32, patch_size=4, mode=mode, layers=["patch_embed", OUTPUT])
    assert found["patch_embed"] == Reach()
    assert found[OUTPUT] == Reach(4, 4, 4, 4, 4) == Reach(*[spec.radius] * 5)


@pytest.mark.parametrize("mode", MODES)
def test_a_memory_in_one_direction_has_not_seen_what_comes_later(mode):
    def of(**options):
        model = ViT(dim=16, depth=1, mixer=LSTM(**options)).build(**SMALL)
        return reach(model, image_size=32, patch_size=4, mode=mode, draws=1)["blocks.0"]

    assert of(bidirectional=False) == Reach(distance=7, left=7, up=7)
    assert of(bidirectional=True) == Reach(7, 7, 7, 7, 7)


def test_without_mixing_no_cell_sees_another():
    model = ViT(dim=16, depth=2, mixer=ZeroMixer()).build(**SMALL)
    assert set(reach(model, image_size=32, patch_size=4).values()) == {Reach()}


def test_reach_counts_from_the_border_of_units_larger_than_a_cell_and_joins_smaller_ones():
    model = ResNet(width=8, blocks=1).build(**SMALL)
    found = reach(model, image_size=32, patch_size=4)
    assert found["stem"].distance == 1
    coarse = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(4, 4, 3, padding=1))
    assert reach(coarse, image_size=32, patch_size=4, layers=[OUTPUT])[OUTPUT] == Reach(2, 2, 2, 2, 2)


def test_reach_refuses_cells_that_do_not_fit_the_image():
    with pytest.raises(InputError, match="patch_size of reach must be a divisor of the image size 30"):
        reach(nn.Conv2d(3, 4, 1), image_size=30, patch_size=4, layers=[OUTPUT])


ASK = {
    "support": lambda model, **options: support(model, **{"image_size": 16, "layers": [OUTPUT], **options}),
    "reach": lambda model, **options: reach(
        model, **{"image_size": 16, "patch_size": 4, "layers": [OUTPUT], **options}
    ),
}


@pytest.mark.parametrize("within", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ASK)
def test_gradients_are_taken_also_where_the_caller_takes_none(name, mode, within):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1))
    expected = ASK[name](net, mode=mode)
    with within():
        assert ASK[name](net, mode=mode) == expected
        assert torch.is_grad_enabled() is False
        assert torch.is_inference_mode_enabled() is (within is torch.inference_mode)
    assert (expected[OUTPUT].height == 5) if name == "support" else (expected[OUTPUT].distance == 1)


@pytest.mark.parametrize("given", [0, -3, "32", 16.0, True, None])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        *((name, field) for name in ASK for field in ("image_size", "in_chans")),
        ("support", "largest"),
        ("reach", "patch_size"),
        ("reach", "draws"),
    ],
)
def test_sizes_that_are_none_are_refused(name, field, given):
    words = rf"^{field} of {name} must be an integer, at least 1\. Got {given!r} instead\.$"
    with pytest.raises(InputError, match=words):
        ASK[name](chain("c"), **{field: given})


@pytest.mark.parametrize("name", ASK)
def test_what_is_no_module_or_no_mode_is_refused(name):
    for given in (ViT(), nn.Conv2d, "resnet18"):
        with pytest.raises(InputError, match=rf"^model of {name} must be a torch\.nn\.Module\. Got .+ instead\.$"):
            ASK[name](given)
    with pytest.raises(
        InputError, match=rf"^mode of {name} must be 'architectural' or 'dependency'\. Got 'own' instead"
    ):
        ASK[name](chain("c"), mode="own")


def of_timm(name):
    import timm

    return timm.create_model(name)


@pytest.mark.parametrize("name", ASK)
@pytest.mark.parametrize(
    ("make", "options", "shape"),
    [
        (lambda: of_timm("test_coatnet"), {"image_size": 64, "layers": None}, (3, 64, 64)),
        (lambda: of_timm("test_maxvit"), {"image_size": 64, "layers": None}, (3, 64, 64)),
        (lambda: chain("c"), {"in_chans": 1}, (1, 16, 16)),
        (lambda: nn.Conv2d(3, 4, 17), {}, (3, 16, 16)),
    ],
    ids=["CoAtNet", "MaxViT", "channels", "kernel"],
)
def test_images_that_a_model_does_not_take_are_refused_in_one_sentence(make, options, shape, name):
    words = r"^model of a receptive field must be one that takes images {}, in float64 on a CPU\. Got .+ instead\.$"
    with pytest.raises(InputError, match=words.format(re.escape(str(shape)))):
        ASK[name](make(), **options)


def test_what_a_model_says_of_its_images_in_a_sentence_is_said_as_it_is():
    with pytest.raises(InputError, match=r"^images of VisionTransformer must be of 32 x 32 pixels"):
        support(ViT(dim=16, depth=1).build(**SMALL), image_size=16)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("name", ASK)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("scripted", [torch.jit.script, lambda net: torch.jit.trace(net, torch.zeros(1, 3, 16, 16))])
def test_scripted_modules_are_refused(scripted, inside, name):
    net = scripted(chain("c"))
    words = r"^modules of \w+ must be modules as they are written, neither scripted nor traced, .* Got \w+ instead\.$"
    with pytest.raises(InputError, match=words):
        ASK[name](nn.Sequential(net) if inside else net)


def test_reach_takes_units_that_are_no_part_or_multiple_of_a_cell():
    net = nn.Sequential(nn.Conv2d(3, 4, 5, stride=5), nn.Conv2d(4, 4, 3, padding=1))
    # a unit at 5 i + 2.5 sees 5 i - 5 ... 5 i + 9; its own cells are those whose middle is at most 2.5 away
    expected = 0
    for i in range(8):
        own = [cell for cell in range(10) if -2.5 < 4 * cell + 2 - (5 * i + 2.5) <= 2.5]
        first, last = max(0, 5 * i - 5) // 4, min(39, 5 * i + 9) // 4
        expected = max(expected, own[0] - first, last - own[-1])
    assert reach(net, image_size=40, patch_size=4, layers=[OUTPUT])[OUTPUT].distance == expected


class Saturated(nn.Module):
    """Gates and attention whose slopes would underflow for inputs of this size."""

    def __init__(self, mixer):
        super().__init__()
        self.mixer = mixer

    def forward(self, x):
        tokens = 1e4 * x.flatten(2).transpose(1, 2)
        mixed = self.mixer(tokens) if isinstance(self.mixer, nn.LSTM) else self.mixer(tokens, tokens, tokens)
        return mixed[0].transpose(1, 2).unflatten(2, x.shape[2:])


@pytest.mark.parametrize("mixer", [nn.LSTM(4, 4, batch_first=True), nn.MultiheadAttention(4, 2, batch_first=True)])
def test_saturation_hides_no_path_of_the_architecture(mixer):
    found = reach(Saturated(mixer), image_size=8, patch_size=1, in_chans=4, layers=[OUTPUT], mode="architectural")
    assert found[OUTPUT].distance == found[OUTPUT].left == found[OUTPUT].up == 7
    assert (found[OUTPUT].right == 0) == isinstance(mixer, nn.LSTM)


class NormOverImage(nn.Module):
    """LayerNorm over channels, rows and columns together."""

    def forward(self, x):
        return F.layer_norm(x, x.shape[1:])


class NormOfPosition(nn.Module):
    """LayerNorm over the channels of each position."""

    def forward(self, x):
        return F.layer_norm(x.movedim(1, 3), (x.shape[1],)).movedim(3, 1)


def squeeze_excitation():
    import timm

    return timm.layers.SqueezeExcite(8)


LEAKING = {
    "GroupNorm(1)": lambda: nn.GroupNorm(1, 8),
    "InstanceNorm": lambda: nn.InstanceNorm2d(8),
    "LayerNorm over C, H, W": NormOverImage,
    "squeeze-excitation": squeeze_excitation,
}
TIGHT = {"LayerNorm per position": NormOfPosition, "BatchNorm": lambda: nn.BatchNorm2d(8)}


def small_with(norm):
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm(), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))


@pytest.mark.parametrize("name", LEAKING)
def test_what_mixes_positions_shows_as_a_dependency_on_everything(name):
    net = small_with(LEAKING[name])
    leak = output_of(net, mode="dependency", largest=192)
    assert leak.is_global
    assert leak.corner == 1
    assert reach(net, image_size=32, patch_size=4, layers=[OUTPUT])[OUTPUT].distance == 7


@pytest.mark.parametrize("name", TIGHT)
def test_what_does_not_mix_positions_is_not_accused(name):
    net = small_with(TIGHT[name])
    assert output_of(net, mode="dependency").height == 5
    assert reach(net, image_size=32, patch_size=4, layers=[OUTPUT])[OUTPUT].distance == 1


@pytest.mark.parametrize("name", ["GroupNorm(1)", "InstanceNorm", "LayerNorm over C, H, W"])
def test_norms_leave_no_trace_in_the_architecture(name):
    assert output_of(small_with(LEAKING[name])).height == 5


def test_squeeze_excitation_is_architecture():
    assert output_of(small_with(squeeze_excitation), largest=192).is_global


def leaks_between_samples(module, images):
    """Whether the output for one image of the batch depends on another, as with batch statistics in train mode."""
    images = images.double().requires_grad_()
    first = module.double()(images)[0]
    weights = torch.rand(first.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * first).sum(), images)
    return bool((gradient[1:] != 0).any())


@pytest.mark.parametrize("name", [*LEAKING, *TIGHT])
def test_only_batch_statistics_leak_between_images_of_a_batch_and_only_in_train_mode(name):
    net, x = small_with({**LEAKING, **TIGHT}[name]), torch.randn(3, 3, 8, 8)
    assert leaks_between_samples(net.train(), x) == (name == "BatchNorm")
    assert not leaks_between_samples(net.eval(), x)


def test_a_branch_that_starts_at_zero_does_not_hide_its_paths():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
            nn.init.zeros_(self.bn.weight)

        def forward(self, x):
            return x + self.bn(self.conv(x))

    for mode in MODES:
        assert output_of(Branch(), mode=mode).height == 3


def test_the_caller_s_module_and_random_numbers_are_left_alone():
    model = ResNet(width=4, blocks=1).build(**SMALL).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    support(model, image_size=32)
    reach(model, image_size=32, patch_size=4, draws=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 435), ("mobilenetv2_050", 491)])
def test_published_fields_of_networks_of_timm(name, expected):
    import timm

    *_, last = support(timm.create_model(name), image_size=64).values()
    assert (last.height, last.width) == (expected, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("resnet18", 435), ("resnet34", 899), ("resnet50", 427)])
def test_published_fields_of_residual_networks_of_torchvision(name, expected):
    import torchvision

    model = getattr(torchvision.models, name)()
    last = support(model, image_size=64, layers=["layer4"])["layer4"]
    assert (last.height, last.width) == (expected, expected)


@pytest.mark.slow
def test_the_last_pooling_layer_of_vgg16_sees_212_pixels():
    import torchvision

    found = output_of(torchvision.models.vgg16().features)
    assert (found.height, found.width) == (212, 212)


@pytest.mark.parametrize("image_size", [48, 47, 46, 50])
def test_pixels_that_strides_leave_unseen_at_the_border_are_not_taken_for_the_end_of_a_field(image_size):
    """At 48 pixels two strides of 3 leave the last pixel out, so that fields cut there end before the image does."""
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3, stride=3, padding=1), nn.Conv2d(3, 4, 3, stride=3, padding=1), nn.Conv2d(4, 4, 5, padding=2)
    )
    found = support(model, image_size=image_size, layers=[OUTPUT])[OUTPUT]
    assert (found.height, found.box, found.extent) == (1 + 2 + 2 * 3 + 4 * 9, (-22, -22, 22, 22), "exact")


def even_stride():
    return nn.Conv2d(3, 4, 4, stride=2, padding=1)


@pytest.mark.parametrize(
    ("layers", "image_size", "expected"),
    [
        ((nn.AvgPool2d(2, stride=1), nn.Conv2d(3, 4, 5, dilation=2, padding=4)), 13, 2 + 4 * 2),
        ((even_stride(), nn.Conv2d(4, 4, 5, stride=3, dilation=2, padding=4)), 20, 4 + 4 * 2 * 2),
        ((even_stride(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5, dilation=2, padding=4)), 23, 4 + 2 + 4 * 2 * 4),
        ((nn.AvgPool2d(3, stride=2), nn.Conv2d(3, 4, 3, stride=3), nn.AvgPool2d(2)), 29, 3 + 2 * 2 + 6),
    ],
    ids=["dilated", "strided and dilated", "all cut", "two units"],
)
def test_holes_of_dilated_kernels_at_a_border_between_do_not_shorten_the_field(layers, image_size, expected):
    """A border that takes one tap of a dilated kernel cuts a field well inside of the image."""
    found = support(nn.Sequential(*layers), image_size=image_size, layers=[OUTPUT])[OUTPUT]
    assert (found.height, found.width, found.extent) == (expected, expected, "exact")


class Crossed(nn.Module):
    """A row of 5 of the line above and a pixel, each beside a border of its own: the last line sees nothing."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 4, (1, 5), padding=(0, 2)), nn.ZeroPad2d((0, 0, 1, 1)))
        self.narrow = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ZeroPad2d((0, 0, 0, 2)))

    def forward(self, x):
        return self.wide(x) + self.narrow(x)


def test_a_corner_that_sees_less_than_the_others_does_not_shorten_the_field():
    found = output_of(Crossed())
    assert (found.height, found.width, found.extent) == (2, 5, "exact")


def circular(kernel, *, stride=1, dilation=1):
    padding = kernel // 2 * dilation
    return nn.Conv2d(3, 3, kernel, stride=stride, padding=padding, dilation=dilation, padding_mode="circular")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((circular(3), circular(3)), field((3, 1), (3, 1))),
        ((circular(5, stride=2), circular(3)), field((5, 2), (3, 1))),
        ((circular(3, dilation=3), circular(3)), field((3, 1, 3), (3, 1))),
        ((nn.Conv2d(3, 3, 3, padding=1), nn.CircularPad2d(2), nn.Conv2d(3, 3, 5)), field((3, 1), (5, 1))),
        ((circular(9),) * 4, field(*[(9, 1)] * 4)),
    ],
    ids=["plain", "strided", "dilated", "a module", "beyond the image"],
)
def test_a_field_that_goes_on_at_the_other_end_of_the_image_has_an_end(layers, expected):
    """With circular padding no unit's field is cut, and one in the corner sees as much as one in the middle."""
    found = support(nn.Sequential(*layers), image_size=24, layers=[OUTPUT])[OUTPUT]
    half = (expected - 1) / 2
    assert (found.height, found.box, found.extent) == (expected, (-half, -half, half, half), "exact")
    assert found.corner == found.centre == min(24, expected) ** 2 / 24**2


@pytest.mark.parametrize(
    "layers",
    [
        (nn.ZeroPad2d((4, 0, 4, 0)), nn.Conv2d(3, 3, 5)) * 2,
        (nn.ZeroPad2d((0, 4, 0, 4)), nn.Conv2d(3, 3, 5)) * 2,
    ],
    ids=["causal", "anticausal"],
)
def test_units_may_lie_beside_the_image_where_padding_is_on_one_side(layers):
    found = support(nn.Sequential(*layers), image_size=24, layers=[OUTPUT])[OUTPUT]
    assert (found.height, found.box, found.extent) == (9, (-4, -4, 4, 4), "exact")
    assert found.centre == 9**2 / 24**2
