"""Fields around units: areas, squares and radii of maps that are known."""

import math

import pytest
import torch
from noise_data import selected, value

from vision_attn.probes.fields import Field, minimum_area, square


def field(maps, centres, *, own="with", step=4.0, cells=8):
    made = Field(own=own, cells=cells, image_size=maps.shape[-1], step=(step, step))
    made.add(maps.double(), torch.tensor(centres, dtype=torch.float64))
    return made


def test_minimum_area_of_even_mass_is_the_threshold_and_of_a_peak_its_share_of_a_cell():
    area = torch.ones(8, 8)
    for threshold in (0.2, 0.3, 0.5, 0.99):
        assert minimum_area(torch.ones(8, 8), area, threshold) == pytest.approx(threshold)
    peak = torch.zeros(8, 8)
    peak[1, 2], peak[1, 3] = 3.0, 1.0
    assert minimum_area(peak, area, 0.5) == pytest.approx(0.5 / 0.75 / 64)
    assert minimum_area(peak, area, 0.8) == pytest.approx((1 + 0.05 / 0.25) / 64)
    area[1, 2] = 0.5  # a cell that the border cuts in half, and no less dense for it
    assert minimum_area(peak, area, 0.5) == pytest.approx(0.5 * 0.5 / 0.75 / 63.5)


def test_the_square_around_a_centre_of_an_even_map_is_that_of_replknet():
    size = 32
    at = (torch.arange(size) + 0.5).double() - 16.5
    nearest = torch.maximum(at.abs()[:, None], at.abs()[None])
    for share, expected in ((0.2, 0.2197), (0.3, 0.3525), (0.5, 0.5166), (0.99, 1)):
        found = square(torch.ones(size, size, dtype=torch.float64), nearest, share).double().mean().item()
        assert found == pytest.approx(expected, abs=5e-5)
    peak = torch.zeros(size, size, dtype=torch.float64)
    peak[18, 16] = 1
    assert square(peak, nearest, 0.5).sum() == 5**2


@pytest.mark.parametrize("centre", [(16, 16), (18, 14), (2, 2)])
def test_even_influence_is_one_everywhere_and_has_the_mean_distance(centre):
    rows = list(field(torch.ones(1, 32, 32), [centre]).rows())
    pixels = torch.arange(32) + 0.5
    away = torch.hypot(pixels[:, None] - centre[0], pixels[None] - centre[1])
    assert {round(row["value"], 9) for row in selected(rows, "influence_relative")} == {1.0}
    assert {round(row["value"], 9) for row in selected(rows, "influence")} == {16.0}  # of the 16 pixels of a cell
    assert value(rows, "influence_distance") == pytest.approx(away.mean().item())
    assert value(rows, "influence_distance_relative") == pytest.approx(1)
    for threshold in (0.2, 0.5):
        assert value(rows, "minimum_area", threshold=threshold) == pytest.approx(threshold)
    within = away.flatten().sort().values[511].item()
    assert value(rows, "d50") == pytest.approx(within, abs=1 / 16)


@pytest.mark.parametrize(("first", "last"), [(14, 18), (15, 18), (13, 21), (16, 16)])
def test_what_is_as_wide_on_either_side_of_a_unit_looks_so_wherever_between_pixels_it_lies(first, last):
    maps, centre = torch.zeros(1, 40, 40), (first + last + 1) / 2
    maps[0, first : last + 1, first : last + 1] = 1
    rows = list(field(maps, [(centre, centre)], cells=10).map_rows())
    found = {(row["row"], row["column"]): row["value"] for row in rows}
    for (row, column), mean in found.items():
        if (-row, -column) in found:
            assert mean == pytest.approx(found[-row, -column], abs=1e-12)
    width, full = last - first + 1, (last - first + 1) ** 2 / 40**2
    assert found[0, 0] == pytest.approx(min(width, 4) ** 2 / 16 / full)
    assert found[0, 1] == pytest.approx(min(width, 4) * min(max(0, (width - 4) / 2), 4) / 16 / full)


def test_the_own_cell_is_as_large_as_the_step_to_the_next_unit():
    maps = torch.zeros(1, 32, 32)
    maps[0, 13:20, 13:20] = 1  # 3.5 pixels to each side of the centre of pixel 16
    for step, left in ((4.0, 49 - 16), (6.0, 49 - 36), (8.0, 0)):
        made = field(maps, [(16.5, 16.5)], own="without", step=step)
        assert made.moments[0, 0].item() == pytest.approx(left)
        assert made.moments[1, 0].item() == pytest.approx(32**2 - max(step, 4) ** 2)


def test_the_map_is_that_of_the_offsets_from_the_unit():
    maps = torch.zeros(2, 32, 32)
    maps[0, 20, 7], maps[1, 12, 23] = 1, 3  # each 8 below and 4 left of its unit
    rows = list(field(maps, [(12.5, 11.5), (4.5, 27.5)]).map_rows())
    found = {(row["row"], row["column"]): row["value"] for row in rows if row["value"] > 0}
    mean = 4 / (2 * 32**2)
    both = 2 * 4 * 4  # all of the cell at this offset lies in the image, for both units
    assert found == {(2, -1): pytest.approx(4 / both / mean)}
    assert {row["row"] for row in rows} == set(range(-3, 5))


def test_the_effective_field_is_the_side_of_the_square_that_holds_the_share():
    maps = torch.zeros(2, 32, 32)
    maps[:, 16, 16] = 3
    maps[:, 16, 20] = 7
    rows = list(field(maps, [(16.5, 16.5), (16.5, 0.5)]).rows())
    # the second unit has the left half of its square outside of the image: 33 rows, cut to 32, by 17 columns
    sides = [9.0, math.sqrt(32 * 21)]
    assert value(rows, "effective_receptive_field", share=0.5) == pytest.approx(sum(sides) / 2)
