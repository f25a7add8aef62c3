import numpy as np
import pytest
import torch

from vision_attn.data import Parity, Split
from vision_attn.data.lattice import glyphs
from vision_attn.spec import InputError


def drawn(task: Parity, number: int, seed: int = 0) -> Split:
    return task.draw(number, generator=torch.Generator().manual_seed(seed))


def found(image: np.ndarray) -> list[tuple[int, int, int]]:
    """Where in the image a glyph lies, from pixels alone: its kind and upper left pixel, in raster order."""
    windows = np.lib.stride_tricks.sliding_window_view(image[0], (4, 4))
    places = [
        (int(r), int(c), kind)
        for kind, g in enumerate(glyphs(2).numpy())
        for r, c in np.argwhere((windows == g).all((2, 3)))
    ]
    return sorted(places)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("distance", [1, 4, 6])
def test_two_glyphs_lie_the_distance_apart_and_the_label_is_their_parity(distance, aligned):
    split = drawn(Parity(distance=distance, aligned=aligned), 100)
    for image, label, direction in zip(split.images.numpy(), split.labels, split.attributes["direction"], strict=True):
        (row, column, a), (row_b, column_b, b) = found(image)
        assert (row_b - row, column_b - column) == ((0, 4 * distance) if direction == 0 else (4 * distance, 0))
        assert not aligned or (row % 4, column % 4) == (0, 0)
        assert label == (a + b) % 2
    assert set(split.attributes["direction"].tolist()) == {0, 2}


def test_off_the_grid_every_offset_of_the_cells_occurs():
    offsets = {
        (r % 4, c % 4)
        for image in drawn(Parity(distance=3, aligned=False), 300).images.numpy()
        for r, c, _ in found(image)
    }
    assert len(offsets) == 16


def test_the_dense_label_lies_at_the_left_or_upper_glyph():
    task = Parity(distance=3, pooled=False)
    dense, pooled = drawn(task, 100), drawn(task.replace(pooled=True), 100)
    assert torch.equal(dense.images, pooled.images)
    for image, labels, label in zip(dense.images.numpy(), dense.labels, pooled.labels, strict=True):
        row, column, _ = found(image)[0]
        expected = torch.full((8, 8), -100)
        expected[row // 4, column // 4] = label
        assert torch.equal(labels, expected)


def test_the_best_weight_of_the_number_of_ones_is_none_and_no_threshold_gets_more_than_three_quarters():
    split = drawn(Parity(distance=4), 20_000)
    ones = torch.tensor([sum(kind for *_, kind in found(image)) for image in split.images[:2000].numpy()]).double()
    labels = split.labels[:2000].double()
    assert abs(float(((ones - ones.mean()) * (labels - labels.mean())).mean())) < 0.05
    thresholds = [float(((ones >= t) == labels).double().mean()) for t in (0, 1, 2, 3)]
    assert max(thresholds) == pytest.approx(0.75, abs=0.04)
    assert abs(float(split.labels.double().mean()) - 0.5) < 0.02


def test_a_layer_norm_behind_the_pooling_lets_a_bag_of_cells_tell_the_parity():
    start, per_one = torch.tensor([-4.0, 1.0, 2.0, 1.0]).double(), torch.tensor([4.0, -1.0, 3.0, -2.0]).double()
    pooled = start + torch.arange(3.0).double()[:, None] * per_one  # n = 0, 1, 2 ones
    wanted = torch.tensor([-1.0, 1.0, -1.0]).double()

    def error(features: torch.Tensor) -> float:
        affine = torch.cat([features, torch.ones(3, 1).double()], 1)
        return float((affine @ torch.linalg.pinv(affine) @ wanted - wanted).abs().max())

    assert error(pooled) > 0.5
    assert error(torch.nn.functional.layer_norm(pooled, (4,))) < 1e-9


def test_the_distance_must_fit_the_lattice():
    for fields, allowed in (({"distance": 0}, "from 1 to 7"), ({"distance": 7, "aligned": False}, "from 1 to 6")):
        with pytest.raises(InputError, match=f"distance of Parity must be {allowed}"):
            Parity(**fields)
