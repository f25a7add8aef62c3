import collections
import itertools

import pytest
import torch
from known_classifiers import BagOfPieces, Constant, Counted, OnePixel, data_of, labelled, noise_images

from vision_attn import Mnist5k, ViT
from vision_attn.probes import PatchShuffle
from vision_attn.probes.patch_shuffle import permutations, shuffled
from vision_attn.spec import InputError


def measured(probe, model, data):
    rows = list(probe(model, data))
    out = {(row["grid"], row["repeat"]): row["value"] for row in rows if row["metric"] == "accuracy"}
    assert len(out) == len(rows)
    return out


def test_a_bag_of_pieces_is_unchanged_at_its_grid_and_at_coarser_ones_only():
    model = BagOfPieces(4)
    values = measured(PatchShuffle(), model, labelled(model, noise_images(60)))
    assert {value for (grid, _), value in values.items() if grid <= 4} == {1.0}
    assert max(value for (grid, _), value in values.items() if grid == 8) < 0.9


def test_a_model_that_reads_one_pixel_falls_to_chance_but_for_the_pieces_that_stay():
    images = noise_images(4000, channels=1, size=8)
    values = measured(PatchShuffle(), OnePixel(), labelled(OnePixel(), images))
    for (grid, _), value in values.items():
        stays = 1 / grid**2
        assert value == pytest.approx(stays + (1 - stays) / 4, abs=0.03)


def test_grid_1_is_measured_once_and_every_other_one_in_each_repeat():
    values = measured(PatchShuffle(repeats=3), Constant(), data_of(noise_images(4), torch.arange(4)))
    assert list(values) == [(1, 0), *itertools.product((2, 4, 8), range(3))]
    assert set(values.values()) == {0.25}


def test_every_image_has_a_permutation_of_its_own_uniform_over_all():
    orders = permutations(2400, 4, generator=torch.Generator().manual_seed(0))
    counts = collections.Counter(map(tuple, orders.tolist()))
    assert set(counts) == set(itertools.permutations(range(4)))
    assert 60 < min(counts.values()) <= max(counts.values()) < 140  # 100 expected, 10 the standard deviation


def test_equal_images_are_shuffled_differently_within_a_batch():
    seen = []

    class Seeing(Constant):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    images = noise_images(1).expand(20, -1, -1, -1)
    list(PatchShuffle(grids=(4,), repeats=2)(Seeing(), data_of(images, torch.zeros(20).long())))
    first, second = (list(map(tuple, batch.flatten(1).tolist())) for batch in seen)
    assert len(set(first) | set(second)) == 40


def test_pieces_go_where_the_order_says():
    images, orders = noise_images(3, size=6), permutations(3, 9, generator=torch.Generator().manual_seed(1))
    out = shuffled(images, orders)
    for image, made, order in zip(images, out, orders.tolist(), strict=True):
        for place, source in enumerate(order):
            (row, column), (from_row, from_column) = divmod(place, 3), divmod(source, 3)
            piece = image[:, 2 * from_row : 2 * from_row + 2, 2 * from_column : 2 * from_column + 2]
            assert torch.equal(made[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2], piece)
    unmoved = torch.arange(9).expand(3, 9)
    assert torch.equal(shuffled(images, unmoved), images)


def test_same_seed_same_rows_other_seed_other_ones():
    data = labelled(OnePixel(), noise_images(50, channels=1))
    first, again, other = (list(PatchShuffle(seed=seed)(OnePixel(), data)) for seed in (0, 0, 1))
    assert first == again != other


def test_16_passes_over_the_images_that_are_asked_for():
    model = Counted(Constant())
    list(PatchShuffle(images=5)(model, data_of(noise_images(20), torch.zeros(20).long())))
    assert model.images == 16 * 5


def test_what_does_not_fit_is_refused_or_skipped():
    with pytest.raises(InputError, match="grids of PatchShuffle must be divisors of the image size 28"):
        list(PatchShuffle()(Constant(), data_of(noise_images(2, size=28), torch.zeros(2).long())))
    with pytest.raises(InputError, match="grids of PatchShuffle must be one or more different numbers"):
        PatchShuffle(grids=(2, 2))
    with pytest.raises(InputError, match="repeats of PatchShuffle must be at least 1"):
        PatchShuffle(repeats=0)
    assert "every token" in PatchShuffle().skip(ViT(pool="none"), Mnist5k())
    assert PatchShuffle().skip(ViT(), Mnist5k()) is None
