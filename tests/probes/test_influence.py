import itertools
import math

import numpy as np
import pytest
import torch
from noise_data import noise, selected, value
from torch import Tensor, nn

from vision_attn.models import DepthwiseConv, ResNet, ViT
from vision_attn.probes import Influence
from vision_attn.probes.capture import grids
from vision_attn.probes.influence import influence_maps, mass_radius, minimum_area, square_area
from vision_attn.probes.lattice import by_cell, pairs, profile, units
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


def all_pairs(*, grid=(8, 8), cells=8, image_size=32):
    return pairs(units(grid, cells=cells, generator=generator()), grid, cells=cells, image_size=image_size)


SIGMA_AND_SIDE = [(5, 1.826, 8.3, 0.755), (10, 2.582, 11.7, 0.557), (20, 3.651, 16.2, 0.394), (40, 5.164, 22.7, 0.281)]


@pytest.mark.parametrize(("depth", "sigma", "side", "ratio"), SIGMA_AND_SIDE)
def test_a_stack_of_uniform_convolutions_has_the_gaussian_field_of_luo(depth, sigma, side, ratio):
    size = 2 * depth + 5
    centre = torch.tensor([[size // 2, size // 2]])
    x = torch.randn(1, 1, size, size, dtype=torch.float64)
    found = influence_maps(box_stack(depth), x, {"blocks.0": centre}, probes=1, generator=generator())
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
    goals = {"blocks.0": units((4, 4), cells=4, generator=generator())}
    found = influence_maps(model, x, goals, probes=300, generator=generator())["blocks.0"]
    cells = by_cell(found, cells=4)
    torch.testing.assert_close(cells, by_cell(exact.double(), cells=4), rtol=0.15, atol=0)
    assert cells.sum().item() == pytest.approx(exact.sum().item(), rel=0.03)


def test_of_one_channel_one_vector_gives_the_jacobian_exactly():
    stack = box_stack(2)
    x = torch.randn(1, 1, 12, 12, dtype=torch.float64)
    goals = {"blocks.0": units((12, 12), cells=12, generator=generator())}
    found = influence_maps(stack, x, goals, probes=1, generator=generator())["blocks.0"]
    exact = torch.autograd.functional.jacobian(stack, x)[0, 0, :, :, 0, 0].flatten(0, 1)
    torch.testing.assert_close(found, exact.square())


BASELINES = [((8, 8), 8, 32, 16.55), ((16, 16), 16, 32, 16.65), ((4, 4), 4, 32, 16.06), ((14, 14), 14, 224, 116.5)]


@pytest.mark.parametrize(("grid", "cells", "size", "expected"), BASELINES)
def test_uniform_influence_has_the_mean_distance_and_is_one_at_every_distance(grid, cells, size, expected):
    between = all_pairs(grid=grid, cells=cells, image_size=size)
    rows = list(profile(torch.full_like(between.distance, 7.0), between, name="influence"))
    assert value(rows, "influence_distance", own="with") == pytest.approx(expected, rel=5e-4)
    places = np.stack(np.meshgrid(*(np.arange(cells),) * 2), -1).reshape(-1, 2) * (size / cells)
    away = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert value(rows, "influence_distance", own="with") == pytest.approx(away.mean())
    assert value(rows, "influence_distance", own="without") == pytest.approx(away[away > 0].mean())
    for own in ("with", "without"):
        assert value(rows, "influence_distance_relative", own=own) == pytest.approx(1)
        assert {round(row["value"], 9) for row in selected(rows, "influence_relative", own=own)} == {1.0}
    assert {row["value"] for row in selected(rows, "influence")} == {7.0}


def test_distances_are_those_from_the_unit_to_the_middle_of_the_cell():
    between = pairs(torch.tensor([[0, 9]]), (16, 16), cells=8, image_size=32)
    assert between.distance[0, 0].item() == pytest.approx(math.hypot(2 - 1, 2 - 19))
    assert between.own[0].nonzero().flatten().tolist() == [4]
    assert between.down[0].tolist() == [row for row in range(8) for _ in range(8)]
    assert between.right[0, :8].tolist() == [column - 4 for column in range(8)]


def test_the_patch_of_a_coarse_unit_owns_all_cells_in_it():
    between = all_pairs(grid=(4, 4))
    assert between.own.sum(dim=1).tolist() == [4] * 16
    assert between.own[5].nonzero().flatten().tolist() == [18, 19, 26, 27]
    between = all_pairs(grid=(1, 1))
    assert between.own.all()
    rows = list(profile(torch.ones(1, 64), between, name="influence"))
    assert not selected(rows, "influence_distance", own="without")


def test_a_fine_grid_is_represented_by_one_unit_of_each_cell_drawn_evenly():
    draws = torch.stack([units((32, 32), cells=8, generator=generator(seed)) for seed in range(400)])
    assert draws.shape == (400, 64, 2)
    cells = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    assert torch.equal(draws // 4, cells.expand(400, -1, -1))
    counts = torch.bincount((draws % 4)[..., 0].flatten() * 4 + (draws % 4)[..., 1].flatten())
    assert len(counts) == 16
    assert counts.min() > 0.85 * 1600
    assert counts.max() < 1.15 * 1600
    assert units((5, 8), cells=8, generator=generator()).tolist() == [[r, c] for r in range(5) for c in range(8)]


def test_in_a_grid_that_the_cells_do_not_divide_the_centre_of_the_unit_lies_in_the_cell():
    found = units((14, 14), cells=8, generator=generator())
    cells = ((found + 0.5) * 8 / 14).floor().long()
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
            outside = max(abs(row["row"]), abs(row["column"])) > layer
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
    found = influence_maps(
        model, x, {name: torch.tensor([at]) for name, at in unit.items()}, probes=1, generator=generator()
    )
    for name, (first, last) in {"stem": (15, 17), "stages.0.0": (13, 19), "stages.1.0": (10, 22)}.items():
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[first : last + 1, first : last + 1] = True
        assert found[name][0][~inside].abs().max() == 0
        assert (found[name][0][inside] > 0).float().mean() > 0.5


def test_an_lstm_decays_with_the_lag_in_the_raster_not_with_distance():
    torch.manual_seed(0)
    model = Layers(nn.Conv2d(3, 16, 4, stride=4), RasterLSTM(16)).eval()
    data = noise(images=4)
    goals = {"blocks.0": units((8, 8), cells=8, generator=generator())}
    maps = influence_maps(model, data.normalise(data.test.images), goals, probes=4, generator=generator())["blocks.0"]
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


def test_minimum_area_of_a_uniform_map_is_the_threshold_and_of_a_peak_its_share_of_a_cell():
    kept = torch.ones(2, 64, dtype=torch.bool)
    for threshold in (0.2, 0.3, 0.5, 0.99):
        assert minimum_area(torch.ones(2, 64), kept, threshold) == pytest.approx(threshold)
    peak = torch.zeros(2, 64)
    peak[:, 10], peak[:, 11] = 3.0, 1.0
    assert minimum_area(peak, kept, 0.5) == pytest.approx(0.5 / 0.75 / 64)
    assert minimum_area(peak, kept, 0.8) == pytest.approx((1 + 0.05 / 0.25) / 64)
    kept[:, 10] = False
    assert minimum_area(peak, kept, 0.5) == pytest.approx(0.5 / 63)


def test_square_area_of_a_uniform_map_is_that_of_replknet():
    pixels, centre = torch.ones(32, 32), torch.tensor([16.5, 16.5])
    for threshold, expected in ((0.2, 0.2197), (0.3, 0.3525), (0.5, 0.5166)):
        assert square_area(pixels, centre, threshold) == pytest.approx(expected, abs=5e-5)
    assert square_area(pixels, centre, 0.99) == 1
    peak = torch.zeros(32, 32)
    peak[18, 16] = 1.0
    assert square_area(peak, centre, 0.5) == 5**2 / 32**2
    assert square_area(peak, torch.tensor([18.0, 18.0]), 0.99) == 4**2 / 32**2


def test_the_mass_radius_holds_its_share():
    between = all_pairs()
    mass = torch.zeros(64, 64)
    mass[:, 0] = (between.distance[:, 0] > 15).float()
    away = between.distance[:, 0][between.distance[:, 0] > 15].sort().values
    for share in (0.5, 0.9):
        expected = away[math.ceil(share * len(away)) - 1].item()
        assert mass_radius(mass, between, own="with", share=share) == pytest.approx(expected)


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
