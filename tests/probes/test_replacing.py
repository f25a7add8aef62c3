"""What pools, chooses and spreads: the field of each by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vision_attn.models import ConvStack
from vision_attn.probes.reach import Reach, reach
from vision_attn.probes.support import OUTPUT, Support, support
from vision_attn.spec import InputError


@pytest.fixture(autouse=True)
def any_algorithm():
    """Unpooling has no deterministic one, which another test of the process may have asked for."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before)


def conv(kernel=3, stride=1, inputs=4):
    return nn.Conv2d(inputs, 4, kernel, stride, kernel // 2)


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def padded_with_nothing(x):
    """Max-pooling as TensorFlow pads it: with -inf, more behind than before."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)


def pooled_and_unpooled(x):
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(values, indices, 2)


def windows(x):
    """The 3 x 3 values around every place."""
    return F.unfold(x, 3, padding=1).unflatten(1, (x.shape[1], 9)).transpose(2, 3).unflatten(2, x.shape[2:])


def in_a_volume(function):
    return lambda x: function(x.unsqueeze(1)).squeeze(1)


def unpooled_volume(x):
    values, indices = F.max_pool3d(x, (1, 2, 2), return_indices=True)
    return F.max_unpool3d(values, indices, (1, 2, 2))


def straight_through(x):
    return x + (x.round() - x).detach()


def everything(function):
    """The number of a channel at every place."""
    return Lambda(lambda x: function(x).view(*x.shape[:2], 1, 1) + torch.zeros_like(x))


BOUNDED = {
    # 3 x 3, then 3 pixels of it, then 3 x 3 of stride 2: 3 + 2 + 2 * 2
    "max-pooling over -inf": (nn.Sequential(conv(inputs=3), Lambda(padded_with_nothing), nn.BatchNorm2d(4), conv()), 9),
    # 3 x 3 pixels lie in two pairs of pairs, each seen by 3 x 3
    "unpooling": (nn.Sequential(conv(inputs=3), Lambda(pooled_and_unpooled), conv()), 2 + 2 + 2),
    "unpooling alone": (nn.Sequential(Lambda(pooled_and_unpooled), conv(inputs=3)), 4),
    "max-pooling on a line": (Lambda(lambda x: F.max_pool1d(x.flatten(1, 2), 4, 1, 2)[..., :32].view(x.shape)), 4),
    "dilated pooling on a line, rounded up": (
        Lambda(lambda x: F.max_pool1d(x.flatten(1, 2), 2, 2, dilation=3, ceil_mode=True).unflatten(1, x.shape[1:3])),
        4,
    ),
    "dilated pooling, rounded up": (nn.MaxPool2d(2, 2, dilation=3, ceil_mode=True), 4),
    "the larger of two": (Lambda(lambda x: torch.maximum(x, F.avg_pool2d(x, 3, 1, 1))), 3),
    "the smallest and the largest": (Lambda(lambda x: sum(torch.aminmax(windows(x), dim=-1))), 3),
    "adaptive max-pooling on a line": (
        Lambda(lambda x: F.adaptive_max_pool1d(x.flatten(1, 2), 8).unflatten(1, x.shape[1:3])),
        4,
    ),
    "pooling of a volume": (Lambda(in_a_volume(lambda x: F.max_pool3d(x, (1, 3, 3), 1, (0, 1, 1)))), 3),
    "dilated pooling of a volume": (Lambda(in_a_volume(nn.MaxPool3d((1, 2, 2), 2, 0, (1, 3, 3), ceil_mode=True))), 4),
    "unpooling of a volume": (nn.Sequential(Lambda(in_a_volume(unpooled_volume)), conv(inputs=3)), 4),
    "the largest norm": (Lambda(lambda x: torch.linalg.norm(windows(x), ord=torch.inf, dim=-1)), 3),
    "the norm of the smallest": (Lambda(lambda x: windows(x).norm(p=-torch.inf, dim=-1)), 3),
    "the largest row": (Lambda(lambda x: torch.linalg.matrix_norm(windows(x).unflatten(-1, (3, 3)), ord=torch.inf)), 3),
    "signs": (Lambda(lambda x: torch.sign(F.avg_pool2d(x, 3, 1, 1) - 1)), 3),
    "steps": (Lambda(lambda x: torch.heaviside(F.avg_pool2d(x, 3, 1, 1) - 1, x.new_zeros(()))), 3),
    "rounded, straight through": (Lambda(lambda x: straight_through(F.avg_pool2d(x, 3, 1, 1))), 3),
    "clamped": (Lambda(lambda x: F.avg_pool2d(x, 3, 1, 1).clamp(0, 0.1)), 3),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_the_field_of_what_chooses_is_that_of_all_it_chooses_from(name):
    net, expected = BOUNDED[name]
    found = support(net, image_size=32, layers=[OUTPUT])[OUTPUT]
    assert max(found.height, found.width) == expected
    assert found.extent == "exact"


GLOBAL = {
    "amax": lambda x: x.amax((2, 3)),
    "max of all": lambda x: x.flatten(2).max(-1).values,
    "torch.max": lambda x: torch.max(x.flatten(2), dim=2)[0],
    "adaptive max-pooling": lambda x: F.adaptive_max_pool2d(x, 1),
    "adaptive max-pooling with indices": lambda x: F.adaptive_max_pool2d(x, 1, return_indices=True)[0],
    "max-pooling on a line with indices": lambda x: F.max_pool1d(x.flatten(2), x[0, 0].numel(), return_indices=True)[0],
    "adaptive max-pooling on a line with indices": lambda x: F.adaptive_max_pool1d(
        x.flatten(2), 1, return_indices=True
    )[0],
    "top 3": lambda x: x.flatten(2).topk(3, dim=-1).values.sum(-1),
    "sorted": lambda x: x.flatten(2).sort(dim=-1).values[..., 5],
    "quantile": lambda x: x.flatten(2).quantile(0.3, dim=-1),
    "median but for what is no number": lambda x: x.flatten(2).nanmedian(-1).values,
    "most frequent": lambda x: x.flatten(2).mode(-1).values,
    "running maximum": lambda x: x.flatten(2).cummax(-1).values[..., -1],
    "median": lambda x: x.flatten(2).median(-1).values,
    "log-sum-exp": lambda x: x.logsumexp((2, 3)),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_what_chooses_from_the_whole_image_sees_all_of_it(name):
    found = support(nn.Sequential(conv(inputs=3), everything(GLOBAL[name])), image_size=32, layers=["0", OUTPUT])
    assert (found["0"].height, found["0"].extent) == (3, "exact")
    assert (found[OUTPUT].extent, found[OUTPUT].corner) == ("global", 1)


HIDDEN = {
    "gathered by the largest": lambda x: windows(x).gather(-1, windows(x).argmax(-1, keepdim=True)).squeeze(-1),
    "one of two": lambda x: torch.where(F.avg_pool2d(x, 3, 1, 1) > 1, x, -x),
    "detached": lambda x: x * F.avg_pool2d(x, 3, 1, 1).detach(),
    "in a bin": lambda x: torch.bucketize(F.avg_pool2d(x, 3, 1, 1), torch.linspace(0, 2, 9).double()) * x,
    "pooled in random windows": lambda x: F.fractional_max_pool2d(x, 3, output_size=16),
}


@pytest.mark.parametrize("mode", ["architectural", "dependency"])
@pytest.mark.parametrize("name", HIDDEN)
def test_no_field_is_told_where_pixels_act_through_what_has_no_gradient(name, mode):
    net = nn.Sequential(conv(inputs=3), Lambda(HIDDEN[name]))
    assert support(net, image_size=32, layers=["0"], mode=mode)["0"].height == 3
    with pytest.raises(
        InputError, match="Got 1, which also depends on pixels through a choice, a comparison or detach"
    ):
        support(net, image_size=32, layers=["0", "1"], mode=mode)


def test_what_ends_at_a_border_of_one_side_ends_at_no_other():
    """The product of 3 x 3 values is 0, and depends on nothing, wherever one of them is padding."""
    net = nn.Sequential(conv(inputs=3), Lambda(lambda x: windows(x).prod(-1)))
    found = support(net, image_size=32, layers=["1"])["1"]
    assert (found.height, found.width, found.extent) == (5, 5, "exact")


def test_a_gradient_that_fades_through_recurrence_shows_no_end():
    torch.manual_seed(0)
    by_row, memory = Lambda(lambda x: x.permute(0, 2, 3, 1).flatten(0, 1)), nn.GRU(3, 2, batch_first=True)
    rows = Rows(nn.Sequential(by_row, memory, Lambda(lambda out: out[0])))
    for mode in ("dependency", "architectural"):
        found = support(rows, image_size=24, layers=[OUTPUT], mode=mode)[OUTPUT]
        assert (found.height, found.extent) == (1, "cut")


class Rows(nn.Module):
    """A network of rows of pixels, asked of every row."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).unflatten(0, (len(x), -1)).permute(0, 3, 1, 2)


class Lenet(nn.Module):
    """Convolutions, then flattened and linear: bound to images of 32 pixels, but for what comes before."""

    def __init__(self, *parts):
        super().__init__()
        self.features = nn.Sequential(*parts)
        self.head = nn.LazyLinear(10)
        self(torch.zeros(1, 3, 32, 32))

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def test_a_head_of_flattened_features_does_not_bind_the_convolutions_before_it():
    deep = Lenet(conv(inputs=3), *(conv() for _ in range(11)), nn.MaxPool2d(2), *(conv() for _ in range(12)))
    assert support(deep, image_size=32, layers=["features"])["features"].height == 1 + 24 + 1 + 2 * 24 == 74
    small = Lenet(conv(5, inputs=3), nn.MaxPool2d(2), conv(5), nn.MaxPool2d(2), conv(9))
    assert support(small, image_size=32, layers=["features"])["features"].height == 1 + 4 + 1 + 8 + 2 + 32 == 48
    assert reach(small, image_size=32, patch_size=4, layers=["features"])["features"].distance > 4


def test_a_kernel_fifty_patches_wide_has_an_end():
    model = ConvStack(width=4, kernels=(51, 3), depthwise=True).build(image_size=32, in_chans=3, num_classes=10)
    found = list(support(model, image_size=32).values())
    assert [one.height for one in found] == [4, 204, 212]
    assert {one.extent for one in found} == {"exact"}


@pytest.mark.slow
def test_a_field_of_two_thousand_pixels_has_an_end():
    import timm

    *_, last = support(timm.create_model("densenet121"), image_size=32).values()
    assert (last.height, last.width, last.extent) == (2071, 2071, "exact")


@pytest.mark.slow
def test_a_network_that_pools_by_maximum_has_the_field_of_its_convolutions():
    import timm

    *_, last = support(timm.create_model("resnet18", global_pool="max"), image_size=64).values()
    assert (last.height, last.extent) == (435, "exact")


class Branches(nn.Module):
    """A branch that sees everything, and one beside it that sees 3 pixels, listed behind it."""

    def __init__(self):
        super().__init__()
        self.stem, self.near, self.blind = conv(1, inputs=3), conv(), Lambda(torch.zeros_like)
        self.far = everything(lambda x: x.mean((2, 3)))

    def forward(self, x):
        x = self.stem(x)
        return self.far(x) + self.near(x) + self.blind(x)


def test_a_local_branch_behind_a_global_one_is_local_and_a_layer_that_sees_nothing_has_no_field():
    found = support(Branches(), image_size=32, layers=["stem", "far", "near", "blind"])
    assert [one.height for one in found.values()] == [1, 32, 3, 0]
    assert [one.extent for one in found.values()] == ["exact", "global", "exact", "exact"]
    assert found["blind"] == Support(0, 0, (0, 0, 0, 0), "exact", 0, 0, 0)
    assert reach(Branches(), image_size=32, patch_size=4, layers=["blind"])["blind"] == Reach()


class Halves(nn.Module):
    """Attention within the left and within the right half: a sum masks the others, behind a norm of large numbers."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 16, 4, stride=4), nn.LayerNorm(16)
        half = torch.arange(64) % 8 < 4
        self.register_buffer("mask", -100.0 * (half[:, None] != half))

    def forward(self, x):
        tokens = 30 * self.patches(x).flatten(2).transpose(1, 2)
        normed = self.norm(tokens)
        scores = normed @ normed.transpose(1, 2) / 4 + self.mask
        return (tokens + scores.softmax(dim=-1) @ normed).transpose(1, 2).unflatten(2, (8, 8))


@pytest.mark.parametrize("mode", ["architectural", "dependency"])
def test_what_a_sum_masks_is_no_hidden_path_where_scores_are_large(mode):
    found = support(Halves(), image_size=32, layers=[OUTPUT], mode=mode)[OUTPUT]
    assert (found.centre, found.corner) == (1 / 2, 1 / 2)
