import itertools
import math

import numpy as np
import pytest
import torch
from noise_data import noise, selected, value
from torch import Tensor, nn

from vision_attn.models import DepthwiseConv, ResNet, SelfAttention, ViT
from vision_attn.probes import Influence, Intervention, ReceptiveField, capture
from vision_attn.probes.capture import grids
from vision_attn.probes.influence import influence_maps, numbers_of_one
from vision_attn.probes.lattice import by_cell, pairs, profile, units
from vision_attn.probes.placement import Placement
from vision_attn.spec import InputError


class Layers(nn.Module):
    """Modules one after the other, the first as the stem, the others as blocks."""

    def __init__(self, stem: nn.Module, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks = stem, nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))


class RasterLSTM(nn.Module):
    """A recurrent net over the tokens of an image (B, C, rows, columns), row after row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.flatten(2).transpose(1, 2))[0].transpose(1, 2).unflatten(2, x.shape[2:])


def built(spec, **shape) -> nn.Module:
    torch.manual_seed(0)
    return spec.build(**{"image_size": 32, "in_chans": 3, "num_classes": 5, **shape}).eval()


def box_stack(depth: int, *, kernel: int = 3) -> nn.Module:
    """Linear convolutions of one channel, every weight 1 / kernel^2."""
    stack = [nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False).double() for _ in range(depth)]
    for conv in stack:
        nn.init.constant_(conv.weight, 1 / kernel**2)
    return Layers(nn.Identity(), nn.Sequential(*stack))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def even(grid, *, image_size=32):
    """Units in the middle of their parts of the image."""
    steps = tuple(image_size / side for side in grid)
    return Placement(first=tuple(step / 2 for step in steps), step=steps)


def all_units(grid, *, cells=8, image_size=32, seed=0):
    return units(grid, even(grid), cells=cells, image_size=image_size, generator=generator(seed))


def all_pairs(*, grid=(8, 8), cells=8, image_size=32):
    where = even(grid, image_size=image_size)
    centres = where.centres(torch.cartesian_prod(*map(torch.arange, grid)).view(-1, 2))
    return pairs(centres, where.step, cells=cells, image_size=image_size)


def maps_of(model, images, goals, *, probes=1, seed=0):
    """The maps of all units of each layer, joined."""
    found: dict = {}
    for name, start, maps in influence_maps(model, images, goals, probes=probes, generator=generator(seed)):
        assert start == sum(map(len, found.get(name, [])))
        found.setdefault(name, []).append(maps)
    return {name: torch.cat(parts) for name, parts in found.items()}


SIGMA_AND_SIDE = [(5, 1.826, 8.3, 0.755), (10, 2.582, 11.7, 0.557), (20, 3.651, 16.2, 0.394), (40, 5.164, 22.7, 0.281)]


@pytest.mark.parametrize(("depth", "sigma", "side", "ratio"), SIGMA_AND_SIDE)
def test_a_stack_of_uniform_convolutions_has_the_gaussian_field_of_luo(depth, sigma, side, ratio):
    size = 2 * depth + 5
    centre = torch.tensor([[size // 2, size // 2]])
    x = torch.randn(1, 1, size, size, dtype=torch.float64)
    found = maps_of(box_stack(depth), x, {"blocks.0": centre})
    field = found["blocks.0"][0].sqrt()
    away = torch.arange(size, dtype=torch.float64) - size // 2
    assert field.sum().item() == pytest.approx(1, abs=1e-9)
    measured = (field.sum(0) * away.square()).sum().sqrt().item()
    assert measured == pytest.approx(math.sqrt(depth * (3**2 - 1) / 12), abs=1e-9)
    assert measured == pytest.approx(sigma, abs=1e-3)
    measured = (field > 0.0455 * field.max()).sum().sqrt().item()
    assert measured == pytest.approx(side, abs=0.06)
    assert measured / (2 * depth + 1) == pytest.approx(ratio, abs=1e-3)


def test_the_estimate_is_the_squared_norm_of_the_exact_jacobian():
    model = built(ViT(dim=12, depth=1), image_size=16, in_chans=1)
    x = torch.randn(1, 1, 16, 16)
    exact = torch.autograd.functional.jacobian(lambda image: grids(model, image, ["blocks.0"])["blocks.0"], x)
    exact = exact[0, :, :, :, 0, 0].square().sum(0).flatten(0, 1)
    goals = {"blocks.0": all_units((4, 4), cells=4, image_size=16)}
    found = maps_of(model, x, goals, probes=500)["blocks.0"]
    cells = by_cell(found, cells=4)
    torch.testing.assert_close(cells, by_cell(exact.double(), cells=4), rtol=0.15, atol=0)
    assert cells.sum().item() == pytest.approx(exact.sum().item(), rel=0.03)


def test_of_one_channel_one_vector_gives_the_jacobian_exactly():
    stack = box_stack(2)
    x = torch.randn(1, 1, 12, 12, dtype=torch.float64)
    goals = {"blocks.0": all_units((12, 12), cells=12, image_size=12)}
    found = maps_of(stack, x, goals)["blocks.0"]
    exact = torch.autograd.functional.jacobian(stack, x)[0, 0, :, :, 0, 0].flatten(0, 1)
    torch.testing.assert_close(found, exact.square())


BASELINES = [((8, 8), 8, 32), ((16, 16), 16, 32), ((4, 4), 4, 32), ((14, 14), 14, 224)]


@pytest.mark.parametrize(("grid", "cells", "size"), BASELINES)
def test_uniform_mass_has_the_mean_distance_of_all_pixels_and_is_one_at_every_distance(grid, cells, size):
    between = all_pairs(grid=grid, cells=cells, image_size=size)
    rows = list(profile(torch.full_like(between.distance, 7.0), between, name="influence"))
    pixels = np.arange(size) + 0.5
    patch = size / grid[0]
    centre = (np.arange(grid[0]) + 0.5) * patch
    away = np.hypot(*np.meshgrid(*[(pixels - centre[:, None]).ravel()] * 2))
    assert value(rows, "influence_distance", own="with") == pytest.approx(away.mean())
    own = np.abs(pixels - centre[:, None]).ravel() < patch / 2
    apart = away[~(own[:, None] & own[None])]
    assert value(rows, "influence_distance", own="without") == pytest.approx(apart.mean())
    for own_cell in ("with", "without"):
        assert value(rows, "influence_distance_relative", own=own_cell) == pytest.approx(1)
        assert {round(row["value"], 9) for row in selected(rows, "influence_relative", own=own_cell)} == {1.0}
    assert {row["value"] for row in selected(rows, "influence")} == {7.0}


def test_distances_are_those_from_the_centre_of_the_unit_to_the_pixels_of_the_cell():
    between = pairs(torch.tensor([[0.5, 16.5]]), (4.0, 4.0), cells=8, image_size=32)
    away = [math.hypot(y - 0.5, x - 16.5) for y in np.arange(4) + 0.5 for x in np.arange(4) + 0.5]
    assert between.distance[0, 0].item() == pytest.approx(np.mean(away))
    assert between.step[0, 0].item() == round(math.hypot(2 - 0.5, 2 - 16.5) / 4)
    assert between.own[0].nonzero().flatten().tolist() == [4]


def test_the_patch_of_a_coarse_unit_owns_all_cells_in_it():
    between = all_pairs(grid=(4, 4))
    assert between.own.sum(dim=1).tolist() == [4] * 16
    assert between.own[5].nonzero().flatten().tolist() == [18, 19, 26, 27]
    between = all_pairs(grid=(1, 1))
    assert between.own.all()
    rows = list(profile(torch.ones(1, 64), between, name="influence"))
    assert not selected(rows, "influence_distance", own="without")
    strided = pairs(torch.tensor([[8.5, 16.5]]), (8.0, 8.0), cells=8, image_size=32)  # sees 4.5 ... 12.5 as its own
    assert strided.own[0].nonzero().flatten().tolist() == [8 * 1 + 3, 8 * 1 + 4, 8 * 2 + 3, 8 * 2 + 4]


def test_a_fine_grid_is_represented_by_one_unit_of_each_cell_drawn_evenly():
    draws = torch.stack([all_units((32, 32), seed=seed) for seed in range(400)])
    assert draws.shape == (400, 64, 2)
    cells = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    assert torch.equal(draws // 4, cells.expand(400, -1, -1))
    counts = torch.bincount((draws % 4)[..., 0].flatten() * 4 + (draws % 4)[..., 1].flatten())
    assert len(counts) == 16
    assert counts.min() > 0.85 * 1600
    assert counts.max() < 1.15 * 1600
    assert all_units((5, 8)).tolist() == [[r, c] for r in range(5) for c in range(8)]


@pytest.mark.parametrize("first", [1.0, 0.5, -0.5])
def test_a_unit_lies_in_the_cell_in_which_its_centre_is(first):
    where = Placement(first=(first, first), step=(16 / 7, 16 / 7))
    found = where.centres(units((14, 14), where, cells=8, image_size=32, generator=generator()))
    cells = (found / 4).floor().clamp(min=0).long()
    assert torch.equal(cells, torch.cartesian_prod(torch.arange(8), torch.arange(8)))


def test_an_untrained_vit_is_flat_off_self():
    rows = list(Influence(images=4)(built(ViT(dim=48, depth=3)), noise()))
    for layer in (1, 2, 3):
        for distance in range(4, 32, 4):
            at = {"layer": layer, "own": "without", "distance": distance}
            assert value(rows, "influence_relative", **at) == pytest.approx(1, abs=0.05)
        assert value(rows, "influence_distance_relative", layer=layer, own="without") == pytest.approx(1, abs=0.02)
        assert value(rows, "influence_relative", layer=layer, own="with", distance=0) > 2


def test_influence_of_a_convolution_falls_with_distance_and_is_exactly_zero_outside_its_support():
    rows = list(Influence(images=2)(built(ViT(dim=24, depth=3, mixer=DepthwiseConv(kernel_size=3))), noise(images=2)))
    for layer in range(4):
        for row in selected(rows, "erf_map", layer=layer):
            outside = max(abs(row["row"]), abs(row["column"])) > layer  # in cells around the unit
            assert (row["value"] == 0) if outside else (row["value"] > 0)
        shown = selected(rows, "influence_relative", layer=layer, own="with")
        assert all(a["distance"] < b["distance"] and a["value"] >= b["value"] for a, b in itertools.pairwise(shown))
    relative = [value(rows, "influence_distance_relative", layer=layer, own="without") for layer in (1, 2, 3)]
    assert relative == sorted(relative)
    assert relative[-1] < 0.5


def test_a_resnet_grows_with_depth_and_stays_within_its_theoretical_radius():
    model = built(ResNet(width=4, blocks=1))
    rows = list(Influence(images=2)(model, noise(images=2)))
    distances = [value(rows, "influence_distance", layer=layer, own="with") for layer in range(4)]
    assert distances == sorted(distances)
    x = noise(images=1)
    x = x.normalise(x.test.images)
    unit = {"stem": (16, 16), "stages.0.0": (16, 16), "stages.1.0": (8, 8)}
    found = maps_of(model, x, {name: torch.tensor([at]) for name, at in unit.items()})
    for name, (first, last) in {"stem": (15, 17), "stages.0.0": (13, 19), "stages.1.0": (10, 22)}.items():
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[first : last + 1, first : last + 1] = True
        assert found[name][0][~inside].abs().max() == 0
        assert (found[name][0][inside] > 0).float().mean() > 0.5


def test_an_lstm_decays_with_the_lag_in_the_raster_not_with_distance():
    torch.manual_seed(0)
    model = Layers(nn.Conv2d(3, 16, 4, stride=4), RasterLSTM(16)).eval()
    data = noise(images=4)
    goals = {"blocks.0": all_units((8, 8))}
    maps = maps_of(model, data.normalise(data.test.images), goals, probes=4)["blocks.0"]
    mass = by_cell(maps, cells=8)
    lag = torch.arange(64)[:, None] - torch.arange(64)[None]
    by_lag = [mass[lag == step].mean().item() for step in range(64)]
    assert mass[lag < 0].abs().max() == 0
    assert all(a > b for a, b in itertools.pairwise(by_lag[:17]))
    assert by_lag[8] < 0.2 * by_lag[2]
    above = mass[torch.arange(8, 64), torch.arange(56)].mean()  # one cell away, 8 steps ago
    left = mass.view(64, 8, 8)[[8 * row + 7 for row in range(8)], range(8), 0].mean()  # seven cells away, 7 steps ago
    assert left > above
    rows = list(Influence(images=4)(model, data))
    relative = [value(rows, "influence_lag", layer=1, lag=lag) for lag in (1, 2, 4, 8, 16, 32)]
    assert all(a > b for a, b in itertools.pairwise(relative))
    off = mass[lag != 0].mean()
    assert relative[1] == pytest.approx((mass[lag.abs() == 2].mean() / off).item(), rel=0.1)
    assert not selected(rows, "influence_lag", layer=0)


def test_a_scaled_layer_leaves_all_but_the_raw_influence_as_it_was():
    torch.manual_seed(0)
    model, data = Layers(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)).eval(), noise(images=2)
    before = list(Influence(images=2)(model, data))
    with torch.no_grad():
        model.blocks[0].weight.mul_(1e6)
    after = list(Influence(images=2)(model, data))
    for old, new in zip(before, after, strict=True):
        factor = 1e12 if old["metric"] == "influence" and old["layer"] == 1 else 1
        assert new["value"] == pytest.approx(old["value"] * factor, rel=1e-4, abs=1e-9)


def squared_box(depth):
    """The squared field of 3 x 3 means of stride 2, one after the other, on a line: what moves a unit, by pixel."""
    field = np.ones(3)
    for _ in range(depth - 1):
        spread = np.zeros(2 * len(field) + 1)
        for tap in range(3):
            shifted = np.zeros(2 * len(field) + 1)
            shifted[2 * np.arange(len(field)) + tap] = field
            spread += shifted
        field = spread
    return (field / 3**depth) ** 2


def strided_means(depth):
    convs = [nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False) for _ in range(depth)]
    for conv in convs:
        nn.init.constant_(conv.weight, 1 / 9)
    return Layers(nn.Identity(), nn.Sequential(*convs))


def test_the_influence_on_a_strided_network_lies_around_the_centre_of_its_field():
    """Units of stride 8 lie in the middle of pixel 8 i, and see 7 pixels to either side of it."""
    line, side, total, moment = squared_box(3), 64, 0.0, 0.0
    assert len(line) == 15
    for row in range(0, side, 8):
        for column in range(0, side, 8):
            for y in range(-7, 8):
                for x in range(-7, 8):
                    if 0 <= row + y < side and 0 <= column + x < side:
                        weight = line[y + 7] * line[x + 7]
                        total, moment = total + weight, moment + weight * math.hypot(y, x)
    data = noise(images=1, image_size=side, in_chans=1)
    rows = list(Influence(images=1, layers=("blocks.0",))(strided_means(3), data))
    assert value(rows, "influence_distance", own="with") == pytest.approx(moment / total, rel=1e-4)


@pytest.mark.parametrize(("depth", "cells"), [(1, 0), (2, 1), (3, 2)])
def test_the_map_of_a_strided_network_is_as_wide_on_one_side_as_on_the_other(depth, cells):
    data = noise(images=1, image_size=64, in_chans=1)
    rows = list(Influence(images=1, layers=("blocks.0",))(strided_means(depth), data))
    radius = (2 * (2**depth - 1) + 1) / 2
    assert cells == math.ceil((radius - 2) / 4)
    for axis in ("row", "column"):
        seen = {row[axis] for row in selected(rows, "erf_map") if row["value"] > 0}
        assert seen == set(range(-cells, cells + 1))


@pytest.mark.slow
def test_the_third_stage_of_a_resnet18_looks_three_pixels_far_not_eleven():
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=5).eval()
    rows = list(Influence(images=4, layers=("layer3",))(model, noise(images=4, image_size=128)))
    assert value(rows, "influence_distance", own="with") == pytest.approx(3.33, abs=0.15)


MODELS = {
    "ResNet": ResNet(width=4, blocks=2),
    "ViT": ViT(dim=12, depth=2, patch_size=4),
    "to radius 1": ViT(dim=12, depth=2, mixer=SelfAttention(num_heads=2, pattern="neighbourhood", pattern_size=1)),
    "3x3 convolution": ViT(dim=12, depth=3, mixer=DepthwiseConv(kernel_size=3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_no_effective_field_is_larger_than_the_theoretical_one(name):
    model, data = built(MODELS[name]), noise(images=2)
    theory = {
        row["layer"]: row["value"]
        for row in ReceptiveField()(model, data)
        if row["metric"] == "receptive_field" and row["mode"] == "architectural"
    }
    rows = list(Influence(images=2)(model, data))
    for layer, largest in theory.items():
        found = selected(rows, "effective_receptive_field", layer=layer)
        assert found
        assert {row["own"] for row in found} <= {"with", "without"}
        for row in found:
            assert 0 < row["value"] <= largest + 1e-9
        half, most = (value(found, "effective_receptive_field", own="with", share=share) for share in (0.5, 0.9))
        assert half <= most


@pytest.mark.parametrize("kind", [Influence, Intervention])
def test_how_many_images_fit_into_memory_changes_nothing_and_no_more_are_taken(kind, monkeypatch):
    model, data, batches = built(ViT(dim=8, depth=1)), noise(images=2), []
    whole = list(kind(images=2)(model, data))
    x = data.normalise(data.test.images)
    names = ["patch_embed", "blocks.0"]
    numbers = numbers_of_one(model, x, names) if kind is Influence else capture.sizes(model, x, names)[1]
    monkeypatch.setattr(capture, "NUMBERS", 5 * numbers)

    def count(module, inputs):
        if module is model:  # not one of its copies
            batches.append(len(inputs[0]))

    model.register_forward_pre_hook(count)
    parts = list(kind(images=2)(model, data))
    assert max(batches) == 5
    for one_row, other in zip(whole, parts, strict=True):
        assert one_row.keys() == other.keys()
        assert other["value"] == pytest.approx(one_row["value"], rel=1e-5, abs=1e-12)


def test_a_model_in_train_mode_is_asked_in_eval_mode_and_keeps_its_mode_and_statistics():
    model, data = built(ResNet(width=2, blocks=1)), noise(images=2)
    expected = list(Influence(images=2)(model, data))
    model.train()
    model.stages[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    assert list(Influence(images=2)(model, data)) == expected
    list(Intervention(images=2)(model, data))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_rows_and_values_are_finite_numbers():
    model, data = built(ResNet(width=2, blocks=1)), noise(images=2)
    first, second = (list(Influence(images=2)(model, data)) for _ in range(2))
    assert first == second
    assert all(type(row["value"]) is float and math.isfinite(row["value"]) for row in first)
    keys = [tuple(sorted((k, v) for k, v in row.items() if k != "value")) for row in first]
    assert len(set(keys)) == len(keys)
    assert first != list(Influence(images=2, seed=1)(model, data))


def test_cells_that_do_not_divide_the_image_are_refused():
    data = noise(image_size=28, images=1)
    model = built(ViT(dim=8, depth=1), image_size=28)
    with pytest.raises(InputError, match="patch_size of Influence must be a divisor of the image size 28"):
        list(Influence(patch_size=8)(model, data))
    rows = list(Influence(images=1)(model, data))
    assert {row["layer"] for row in rows} == {0, 1}
