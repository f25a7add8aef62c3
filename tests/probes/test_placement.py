"""The centres of units are recurrences over kernels, strides and paddings, written out once more here."""

import pytest
import torch
from torch import nn

from vision_attn import ResNet, SelfAttention, ViT
from vision_attn.probes import Influence, Intervention, ReceptiveField
from vision_attn.probes.capture import layers
from vision_attn.probes.placement import placements
from vision_attn.probes.support import support
from vision_attn.spec import InputError

SMALL = {"image_size": 32, "in_chans": 3, "num_classes": 10}


def composed(*convolutions):
    """Centre of unit 0 and step: i stride + 1/2 - padding + (kernel - 1) dilation / 2, layer after layer."""
    centre, step = 0.5, 1
    for kernel, stride, padding, dilation in convolutions:
        centre += ((kernel - 1) * dilation / 2 - padding) * step
        step *= stride
    return centre, step


def chain(*convolutions):
    parts = []
    for i, (kernel, stride, padding, dilation) in enumerate(convolutions):
        parts += [nn.Conv2d(3 if i == 0 else 4, 4, kernel, stride, padding, dilation), nn.ReLU()]
    return nn.Sequential(*parts)


def placed(model, names=None, *, image_size=32):
    return placements(model.eval(), names=names or list(layers(model)), image_size=image_size, in_chans=3)


CHAINS = [
    [(3, 2, 1, 1)],
    [(4, 4, 0, 1)],
    [(4, 2, 1, 1), (4, 2, 1, 1)],
    [(7, 2, 3, 1), (3, 2, 1, 1), (3, 1, 1, 1)],
    [(5, 1, 0, 1), (3, 3, 1, 1)],
    [(3, 1, 1, 1), (5, 1, 6, 3)],
    [(3, 1, 4, 4), (2, 2, 0, 1)],
    [(1, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (3, 1, 1, 1)],
]


@pytest.mark.parametrize("convolutions", CHAINS)
def test_the_centre_of_a_unit_is_composed_of_strides_paddings_and_kernels(convolutions):
    model = chain(*convolutions)
    names = [str(2 * i) for i in range(len(convolutions))]
    found = placed(model, names, image_size=48)
    for depth, name in enumerate(names, start=1):
        centre, step = composed(*convolutions[:depth])
        assert found[name].first == (centre, centre)
        assert found[name].step == (step, step)
    rows = found[name].centres(torch.tensor([[0, 2], [3, 1]])).tolist()
    assert rows == [[centre, centre + 2 * step], [centre + 3 * step, centre + step]]


def test_down_and_across_are_told_apart():
    found = placed(nn.Sequential(nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(1, 0))), ["0"])["0"]
    assert (found.first, found.step) == ((0.5, 2.5), (2, 1))


def test_the_residual_networks_have_their_units_half_a_pixel_into_the_image_and_transformers_in_their_patches():
    for where in placed(ResNet(width=4, blocks=2).build(**SMALL)).values():
        assert where.first == (0.5, 0.5)
    for where in placed(ViT(dim=8, depth=2, patch_size=4).build(**SMALL)).values():
        assert (where.first, where.step) == ((2, 2), (4, 4))


def timm_model(name, **options):
    import timm

    return timm.create_model(name, **options)


@pytest.mark.parametrize(
    ("name", "firsts"),
    [
        ("resnet18", {"act1": 0.5, "layer2": 0.5, "layer4": 0.5}),  # layer4 sees 435 pixels, and has one unit
        ("mobilenetv3_small_050", {"conv_stem": 0.5, "blocks.1.1": 0.5}),  # squeeze-excitation sees everything
        ("tf_mobilenetv3_small_minimal_100", {"conv_stem": 1.5, "blocks.1.1": 7.5}),  # pads more behind than before
        ("pvt_v2_b0", {"patch_embed": 0.5, "stages.1": 0.5}),  # attention between convolutions
    ],
)
def test_units_of_networks_of_timm_lie_where_their_convolutions_put_them(name, firsts):
    found = placed(timm_model(name), list(firsts))
    assert {name: where.first for name, where in found.items()} == {name: (at, at) for name, at in firsts.items()}


def test_the_field_of_a_strided_network_lies_around_its_unit():
    found = support(timm_model("resnet18"), image_size=128, layers=["layer3"])["layer3"]
    assert (found.height, found.box) == (211, (-105, -105, 105, 105))


class Between(nn.Module):
    """A padded stem of stride 2, then tokens that all see each other through a linear layer, bound to their number."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.mix = nn.Linear(256, 256)

    def forward(self, x):
        x = self.stem(x)
        return x + self.mix(x.flatten(2)).view(x.shape)


def test_where_everything_is_seen_units_lie_as_those_of_the_layer_before():
    model = nn.Sequential(Between())
    found = placed(model, ["0.stem", "0"])
    assert found["0"].first == found["0.stem"].first == (0.5, 0.5)
    alone = nn.Sequential(nn.Flatten(2), nn.Linear(1024, 64), nn.Unflatten(2, (8, 8)))
    assert placed(alone, ["2"])["2"].first == (2, 2)


class Reordered(nn.Module):
    """Patches of 4 pixels as tokens, in another order than row by row."""

    def __init__(self, order):
        super().__init__()
        self.patch_embed, self.blocks = nn.Conv2d(3, 4, 4, stride=4), nn.Sequential(nn.Sequential(nn.Linear(4, 4)))
        self.order = order

    def forward(self, x):
        return self.blocks(self.patch_embed(x).flatten(2).transpose(1, 2)[:, self.order])


def mask_units(side=8, unit=2):
    cells = torch.arange(side * side).view(side // unit, unit, side // unit, unit)
    return cells.transpose(1, 2).flatten()


ORDERS = {
    "columns": torch.arange(64).view(8, 8).T.flatten(),
    "mask units": mask_units(),
    "backwards": torch.arange(63, -1, -1),
    "shifted by one": torch.arange(64).roll(9),
}


@pytest.mark.parametrize("name", ORDERS)
def test_tokens_in_another_order_than_row_by_row_are_refused(name):
    with pytest.raises(InputError, match=r"units of blocks must lie in raster order over the image\. Got \("):
        placed(Reordered(ORDERS[name]), ["patch_embed", "blocks"])
    assert placed(Reordered(torch.arange(64)), ["blocks"])["blocks"].first == (2, 2)


@pytest.mark.slow
def test_mask_units_of_timm_are_refused():
    model = timm_model("hiera_tiny_224")
    with pytest.raises(InputError, match=r"units of blocks\.0 must lie in raster order"):
        support(model, image_size=224, layers=["blocks.0"])


def test_a_layer_whose_batch_is_not_that_of_the_images_is_refused():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(3, 4, 4, stride=4)

        def forward(self, x):
            windows = x.unflatten(3, (2, 16)).unflatten(2, (2, 16)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
            return self.inner(windows)

    with pytest.raises(InputError, match=r"output of inner must be one an image\. Got 4 for 1 images instead"):
        placed(Windows(), ["inner"])


@pytest.mark.parametrize("kind", [Influence, Intervention, ReceptiveField])
def test_cells_that_do_not_fill_the_image_are_refused_before_any_run(kind, noise_data):
    side = noise_data.image_size
    words = f"^patch_size of {kind.__name__} must be a divisor of the image size {side}. Got {side - 1} instead.$"
    with pytest.raises(InputError, match=words):
        kind(patch_size=side - 1).require_fit(noise_data)


def test_layers_are_named_and_their_order_is_that_of_the_rows(noise_data):
    model = chain((3, 1, 1, 1), (3, 2, 1, 1)).eval()
    for probe in (
        ReceptiveField(layers=("2", "0")),
        Influence(layers=("2", "0"), images=2),
        Intervention(layers=("2", "0"), images=2),
    ):
        rows = list(probe(model, noise_data))
        assert {row["layer"] for row in rows if "layer" in row} == {0, 1}
    sizes = [row["value"] for row in ReceptiveField(layers=("2", "0"))(model, noise_data) if "extent" in row]
    assert sizes == [5, 3, 5, 3]


@pytest.mark.parametrize("kind", [ReceptiveField, Influence, Intervention])
def test_unknown_layers_are_named_beside_those_that_there_are(kind, noise_data):
    model = chain((3, 1, 1, 1)).eval()
    with pytest.raises(InputError) as error:
        list(kind(layers=("body",))(model, noise_data))
    known = "names of its modules, such as '0', '1'"
    assert str(error.value) == f"layers of Sequential must be {known}. Got 'body' instead."
    with pytest.raises(InputError, match="layers of Sequential must be named, as it is not one with blocks"):
        list(kind()(model, noise_data))
    with pytest.raises(InputError, match=f"layers of {kind.__name__} must be None or at least one name"):
        kind(layers=())


@pytest.fixture
def noise_data():
    from noise_data import noise

    return noise(images=4)


def test_attention_to_neighbours_leaves_units_in_their_patches():
    mixer = SelfAttention(num_heads=2, pattern="neighbourhood", pattern_size=1)
    for where in placed(ViT(dim=8, depth=2, mixer=mixer).build(**SMALL)).values():
        assert where.first == (2, 2)


@pytest.mark.parametrize(
    ("layers", "first", "step"),
    [
        ((nn.ZeroPad2d((8, 0, 8, 0)), nn.Conv2d(3, 4, 9)), 0.5 - 4, 1),
        ((nn.ZeroPad2d((0, 8, 0, 8)), nn.Conv2d(3, 4, 9)), 0.5 + 4, 1),
        ((nn.Conv2d(3, 4, 3, stride=3, padding=1), nn.ConvTranspose2d(4, 4, 5, 3, 1, 2)), None, 1),
        ((nn.Conv2d(3, 4, 5, stride=2, padding=2, padding_mode="circular"),), 0.5, 2),
    ],
    ids=["causal", "anticausal", "padded output", "circular"],
)
def test_units_may_lie_beside_what_is_left_of_their_field(layers, first, step):
    where = placed(nn.Sequential(*layers), ["1" if len(layers) > 1 else "0"])
    (found,) = where.values()
    assert found.step == (step, step)
    assert first is None or found.first == (first, first)


UP = nn.Upsample(scale_factor=2)


@pytest.mark.parametrize("image_size", [6, 16])
@pytest.mark.parametrize(
    ("layers", "first", "step"),
    [
        ((nn.AvgPool2d(2), UP), 0.5, 1),
        ((nn.AvgPool2d(2), UP, nn.Conv2d(3, 4, 3, padding=1)), 0.5, 1),
        ((nn.Conv2d(3, 4, 3, stride=2, padding=1), UP), 0, 1),
        ((nn.AvgPool2d(2), UP, UP), 0.25, 0.5),
        ((UP, UP, nn.Conv2d(3, 4, 3)), 0.375, 0.25),
    ],
)
def test_units_that_share_their_field_lie_around_its_middle_on_average(layers, first, step, image_size):
    found = placements(nn.Sequential(*layers), names=[""], image_size=image_size, in_chans=3)[""]
    assert found.step == (step, step)
    assert found.first == pytest.approx((first, first), abs=step / 2 if step < 0.5 else 0)  # fields are whole pixels


def test_fields_that_end_where_strides_leave_pixels_unseen_are_no_stairs():
    layers = (nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 5))
    found = placements(nn.Sequential(*layers), names=[""], image_size=16, in_chans=3)[""]
    centre, step = composed((3, 2, 0, 1), (3, 1, 2, 2), (5, 1, 0, 1))
    assert (found.first, found.step) == ((centre, centre), (step, step))


def test_pixels_that_reflection_shows_beyond_the_field_do_not_move_units():
    blurred = nn.Sequential(
        nn.Conv2d(3, 4, 2, stride=2), nn.ReflectionPad2d((1, 2, 1, 2)), nn.Conv2d(4, 4, 4, stride=2)
    )
    found = placements(blurred, names=[""], image_size=18, in_chans=3)[""]  # the last of 5 units sees rows 6 to 8 of 9
    assert (found.first, found.step) == ((2, 2), (4, 4))


@pytest.mark.parametrize("image_size", [12, 22])
def test_units_finer_than_pixels_have_their_part_of_a_pixel(image_size):
    larger = nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2), nn.Conv2d(4, 16, 3, padding=1), nn.PixelShuffle(2))
    found = placements(larger, names=[""], image_size=image_size, in_chans=3)[""]
    assert found.step == (1 / 4, 1 / 4)
    assert found.first == pytest.approx((1 / 8, 1 / 8), abs=1 / 4)  # fields are whole pixels


@pytest.mark.parametrize(
    ("layers", "first", "step"),
    [
        ([nn.Conv2d(3, 4, 3, padding=8, dilation=4)], -3.5, 1),
        ([nn.ZeroPad2d(2), nn.Conv2d(3, 4, 2, padding=4, dilation=6)], -2.5, 1),
        ([nn.Conv2d(3, 4, 2, padding=6, dilation=6), nn.ConvTranspose2d(4, 4, 2, stride=2)], -2.75, 0.5),
    ],
    ids=["three taps", "two taps", "enlarged"],
)
def test_what_a_border_leaves_of_a_dilated_field_may_lie_beside_its_unit(layers, first, step):
    found = placements(nn.Sequential(*layers), names=[""], image_size=25, in_chans=3)[""]
    assert found.step == (step, step)
    assert found.first == pytest.approx((first, first), abs=step / 2 if step < 1 else 0)
