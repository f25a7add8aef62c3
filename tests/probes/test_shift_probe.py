import pytest
import torch
from known_classifiers import Constant, Counted, InFloat64, MeanColour, OnePixel, data_of, labelled, noise_images
from torch import Tensor, nn

from vision_attn import DepthwiseConv, Mnist5k, ResNet, SelfAttention, ViT
from vision_attn.probes import ShiftConsistency
from vision_attn.probes.shift import shifted, shifted_each
from vision_attn.spec import InputError


def measured(probe, model, data):
    """Values by metric, border, axis and shift."""
    rows = list(probe(model, data))
    names = ("metric", "border", "axis", "shift")
    out = {tuple(row.get(name) for name in names): row["value"] for row in rows}
    assert len(out) == len(rows)
    return out


def logit_changes(model, *, size=16):
    """The largest change of a logit by shift, circular, both axes."""
    data = data_of(noise_images(12, size=size), torch.zeros(12, dtype=torch.int64))
    values = measured(ShiftConsistency(), model, data)
    axes = ("vertical", "horizontal")
    return [max(values["logit_change_max", "circular", axis, shift] for axis in axes) for shift in range(9)]


def vit(**fields) -> nn.Module:
    """A ViT with patches of 4 pixels and large random weights, in float64."""
    torch.manual_seed(0)
    spec = ViT(dim=16, depth=2, patch_size=4, mixer=SelfAttention(num_heads=2), **fields)
    model = spec.build(image_size=16, in_chans=3, num_classes=4)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return InFloat64(model).eval()


class CircularConv(nn.Module):
    """Circular convolutions and the mean over all places."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        conv = {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}
        self.first, self.second = nn.Conv2d(3, 8, stride=stride, **conv), nn.Conv2d(8, 4, **conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu()).relu().mean((2, 3))


def test_attention_without_positions_is_exact_at_whole_patches_and_only_there():
    changes = logit_changes(vit(position="none"))
    assert max(changes[shift] for shift in (0, 4, 8)) < 1e-12
    assert min(changes[shift] for shift in (1, 2, 3, 5, 6, 7)) > 0.01


def test_a_learned_position_breaks_the_exact_points():
    assert min(logit_changes(vit(position="learned"))[1:]) > 0.01


def test_a_circular_convolution_of_stride_1_is_exact_everywhere_and_of_stride_2_at_even_shifts():
    assert max(logit_changes(InFloat64(CircularConv(1)))) < 1e-12
    changes = logit_changes(InFloat64(CircularConv(2)))
    assert max(changes[::2]) < 1e-12
    assert min(changes[1::2]) > 1e-3


def test_the_mean_colour_survives_every_circular_shift_and_no_padded_one_is_exact():
    data = labelled(MeanColour(), noise_images(40))
    values = measured(ShiftConsistency(), MeanColour(), data)
    for (metric, border, _, shift), value in values.items():
        if border == "circular":
            assert value == (0 if metric.startswith("logit_change") else 1)
        elif metric == "logit_change_max" and shift:
            assert value > 0


def test_a_model_that_reads_one_pixel_by_hand():
    images = noise_images(30, channels=1)
    labels = torch.arange(30) % 4
    values = measured(ShiftConsistency(), OnePixel(5, 3), data_of(images, labels))
    bins = images[:, 0].long() // 64
    before = bins[:, 5, 3]
    right = before == labels
    for shift in range(9):
        sources = {
            ("circular", "vertical"): bins[:, (5 - shift) % 16, 3],
            ("circular", "horizontal"): bins[:, 5, (3 - shift) % 16],
            ("padded", "vertical"): bins[:, abs(5 - shift), 3],
            ("padded", "horizontal"): bins[:, 5, abs(3 - shift)],
        }
        for where, after in sources.items():
            share = {
                "accuracy": (after == labels).double().mean(),
                "consistency": (after == before).double().mean(),
                "correct_consistency": (after == before)[right].double().mean(),
            }
            for metric, value in share.items():
                assert values[metric, *where, shift] == pytest.approx(value.item())


def test_random_shifts_of_one_pixel_of_noise_agree_by_chance():
    images = noise_images(4000, channels=1, size=12)
    values = measured(ShiftConsistency(pixels=(0, 8)), OnePixel(), data_of(images, torch.zeros(4000).long()))
    same_offset = 1 / 81
    expected = same_offset + (1 - same_offset) / 4
    assert values["random_shift_consistency", "circular", None, None] == pytest.approx(expected, abs=0.03)
    assert values["correct_random_shift_consistency", "circular", None, None] == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("off_grid", [2, 4, 9])
def test_shifts_off_the_grid_differ_by_no_multiple_of_it(off_grid):
    probe = ShiftConsistency(off_grid=off_grid, random_images=2000)
    steps = torch.arange(16).repeat(16, 1)[None, None] * 16  # every column of every image has a colour of its own
    images = (steps + steps.transpose(2, 3) // 16).to(torch.uint8).expand(2000, 1, 16, 16)
    split = data_of(images, torch.zeros(2000).long()).test
    first, second = (pair[:, 0, 12, 12].long() for pair in probe._pair(split, "circular"))
    apart = torch.stack([first // 16 - second // 16, first % 16 - second % 16])
    assert (apart.abs() <= 8).all()
    assert (apart % off_grid != 0).all()
    assert {abs(one) for one in apart.flatten().tolist()} == {one for one in range(9) if one % off_grid}


def test_random_shifts_may_be_asked_of_more_images_than_the_others():
    model = Counted(Constant())
    list(ShiftConsistency(images=5, random_images=20)(model, data_of(noise_images(20), torch.zeros(20).long())))
    assert model.images == 33 * 5 + 4 * 20


def test_classes_that_are_left_out_by_an_infinite_logit_do_not_change():
    class Masked(Constant):
        def forward(self, x):
            return super().forward(x).index_fill(1, torch.tensor([3]), -torch.inf)

    values = measured(ShiftConsistency(), Masked(), data_of(noise_images(8), torch.zeros(8).long()))
    assert {value for key, value in values.items() if key[0].startswith("logit_change")} == {0.0}


def test_a_constant_classifier_is_consistent_on_all_images_and_on_its_right_ones():
    labels = torch.arange(8) % 4
    values = measured(ShiftConsistency(), Constant(), data_of(noise_images(8), labels))
    for (metric, *_), value in values.items():
        assert value == {"accuracy": 0.25}.get(metric, 0.0 if metric.startswith("logit") else 1.0)
    never_right = data_of(noise_images(8), torch.zeros(8).long())
    assert not [key for key in measured(ShiftConsistency(), Constant(), never_right) if key[0].startswith("correct")]


def test_circular_shifts_are_those_of_torch_and_padded_ones_mirror_at_the_edge():
    images = noise_images(3, size=8)
    assert torch.equal(shifted(images, down=3, right=2, border="circular"), images.roll((3, 2), (2, 3)))
    padded = nn.functional.pad(images.float(), (2, 0, 3, 0), mode="reflect")[..., :8, :8].to(torch.uint8)
    assert torch.equal(shifted(images, down=3, right=2, border="padded"), padded)


@pytest.mark.parametrize("border", ["circular", "padded"])
def test_shifting_each_image_by_its_own_pixels_is_shifting_them_one_by_one(border):
    images, down, right = noise_images(5, size=8), torch.tensor([0, 3, 7, 1, 2]), torch.tensor([4, 0, 6, 6, 1])
    together = shifted_each(images, down=down, right=right, border=border)
    for i in range(5):
        alone = shifted(images[i : i + 1], down=int(down[i]), right=int(right[i]), border=border)
        assert torch.equal(together[i : i + 1], alone)


def test_same_seed_same_rows_other_seed_other_random_shifts():
    data = data_of(noise_images(50, channels=1), torch.arange(50) % 4)
    first, again, other = (list(ShiftConsistency(seed=seed)(OnePixel(), data)) for seed in (0, 0, 1))
    assert first == again
    differing = {a["metric"] for a, b in zip(first, other, strict=True) if a != b}
    assert differing
    assert all("random_shift" in metric for metric in differing)


def test_37_passes_over_the_images_that_are_asked_for():
    model = Counted(Constant())
    list(ShiftConsistency(images=5)(model, data_of(noise_images(20), torch.zeros(20).long())))
    assert model.images == 37 * 5


def test_evenly_spaced_images_are_looked_at():
    images, labels = noise_images(10, channels=1), torch.arange(10) % 4
    chosen = [0, 2, 5, 7]
    data, part = data_of(images, labels), data_of(images[chosen], labels[chosen])
    assert list(ShiftConsistency(images=4)(OnePixel(), data)) == list(ShiftConsistency()(OnePixel(), part))


def test_models_that_answer_at_every_token_are_skipped():
    assert "every token" in ShiftConsistency().skip(ViT(pool="none"), Mnist5k())
    for model in (ViT(), ViT(mixer=DepthwiseConv()), ResNet()):
        assert ShiftConsistency().skip(model, Mnist5k()) is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="pixels of ShiftConsistency must be one or more different numbers"):
        ShiftConsistency(pixels=(-1, 0))
    with pytest.raises(InputError, match="pixels of ShiftConsistency must be less than the image size 8"):
        list(ShiftConsistency()(Constant(), data_of(noise_images(2, size=8), torch.zeros(2).long())))
    with pytest.raises(InputError, match="off_grid of ShiftConsistency must be None or at least 2"):
        ShiftConsistency(off_grid=1)
    with pytest.raises(InputError, match="off_grid of ShiftConsistency must be None where no pixel is shifted"):
        ShiftConsistency(pixels=(0,), off_grid=4)
    with pytest.raises(InputError, match="random_images of ShiftConsistency must be None or at least 1"):
        ShiftConsistency(random_images=0)
