import collections
import hashlib
import itertools
import time

import numpy as np
import pytest
import torch

from vision_attn.data import CuedRecall, Split, Stream
from vision_attn.data.cued_recall import bag_ceiling, multiset_baseline
from vision_attn.data.generated import SAMPLE
from vision_attn.data.lattice import glyphs
from vision_attn.spec import InputError

# What a reader of the images knows: a step of each colour, and the border clockwise from its upper left pixel.
STEPS = {(True, False, False): (0, 1), (False, True, False): (0, -1), (False, False, True): (1, 0)}
STEPS[(True, True, False)] = (-1, 0)
BORDER = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1), (3, 0), (2, 0), (1, 0)]
TASKS = [
    CuedRecall(distance=distance, variant=variant, aligned=aligned)
    for distance, variant, aligned in itertools.product((0, 1, 4, 6, None), ("popout", "filled"), (True, False))
]


def drawn(task: CuedRecall, number: int, seed: int = 0) -> Split:
    return task.draw(number, generator=torch.Generator().manual_seed(seed))


def name(task: CuedRecall) -> str:
    return task.label


def read(image: np.ndarray, *, distance: int | None) -> tuple[int, tuple[int, int], int]:
    """From pixels alone: the glyph that the cue points at, the cue's upper left pixel, the distance."""
    tinted = (image != image.min(0)).any(0)
    rows, columns = np.nonzero(tinted)
    top, left = rows.min(), columns.min()
    border = tinted[top : top + 4, left : left + 4]
    colour = tuple(bool(channel) for channel in (image - image.min(0))[:, tinted][:, 0] > 0)
    gaps = [place for place, pixel in enumerate(BORDER) if not border[pixel]]
    steps = gaps[0] if distance is None else distance
    row, column = (top + 4 * steps * STEPS[colour][0], left + 4 * steps * STEPS[colour][1])
    patch = image.min(0)[row : row + 4, column : column + 4]  # the tint never lies on all three channels
    (label,) = [k for k, glyph in enumerate(glyphs(8).numpy()) if (glyph == patch).all()]
    return label, (int(top), int(left)), steps


@pytest.mark.parametrize("task", TASKS, ids=name)
def test_following_the_cue_in_the_pixels_gives_the_label_at_the_token_of_its_centre(task):
    split = drawn(task, 60)
    for image, labels, distance in zip(split.images.numpy(), split.labels, split.attributes["distance"], strict=True):
        label, (top, left), steps = read(image, distance=task.distance)
        assert steps == distance
        expected = torch.full((8, 8), -100)
        expected[(top + 2) // 4, (left + 2) // 4] = label
        assert torch.equal(labels, expected)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("distance", [0, 3, None])
def test_of_several_cues_in_a_training_image_each_has_its_own_label(distance, aligned):
    task = CuedRecall(distance=distance, aligned=aligned, train_cues=5)
    split = task.draw_training(40, generator=torch.Generator().manual_seed(0))
    assert split.attributes == {}
    labelled = (split.labels != -100).flatten(1).sum(1)
    assert labelled.max() == 5
    tinted = (split.images.amax(1) != split.images.amin(1)).flatten(1).sum(1)
    assert torch.equal(tinted, labelled * (12 if distance is not None else 11))
    assert labelled.double().mean() > 4.5
    for image, labels in zip(split.images.numpy(), split.labels, strict=True):
        found = torch.full((8, 8), -100)
        for row, column in (labels != -100).nonzero().tolist():
            label, (top, left), _ = read(alone(image, row, column), distance=distance)
            found[(top + 2) // 4, (left + 2) // 4] = label
        assert torch.equal(found, labels)


def alone(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """The image with no tint but that of the cue whose centre lies in the token (row, column)."""
    grey, tinted = image.min(0), (image != image.min(0)).any(0)
    lattice = [(np.nonzero((grey != 96).any(axis))[0][0]) for axis in (1, 0)]
    top, left = (int(o + 4 * ((4 * token - o + 1) // 4)) for token, o in zip((row, column), lattice, strict=True))
    assert tinted[top : top + 4, left : left + 4].sum() >= 11
    out = np.broadcast_to(grey, image.shape).copy()
    out[:, top : top + 4, left : left + 4] = image[:, top : top + 4, left : left + 4]
    return out


def test_validation_and_test_images_hold_one_cue_whatever_the_training_images_hold():
    data = CuedRecall(distance=3, train_cues=6, val_size=50, test_size=60).load()
    for split in (data.val, data.test):
        assert ((split.labels != -100).flatten(1).sum(1) == 1).all()
    assert (data.train.sample.labels != -100).flatten(1).sum(1).max() == 6
    one = CuedRecall(distance=3, val_size=50, test_size=60).load()
    assert torch.equal(one.test.images, data.test.images)


def test_a_pooled_task_has_the_same_images_and_one_label_an_image():
    task = CuedRecall(distance=3)
    dense, pooled = drawn(task, 50), drawn(task.replace(pooled=True), 50)
    assert torch.equal(dense.images, pooled.images)
    assert pooled.labels.shape == (50,)
    assert torch.equal(dense.labels.flatten(1).amax(1), pooled.labels)


@pytest.mark.parametrize("aligned", [True, False])
def test_in_popout_two_cells_hold_glyphs_and_filled_all_do(aligned):
    side = 8 if aligned else 7
    blank = glyphs(8).numpy().mean()  # half of the pixels lie above and half below
    for variant, cells in (("popout", 2), ("filled", side**2)):
        images = drawn(CuedRecall(distance=2, variant=variant, aligned=aligned), 50).images
        assert ((images != blank).all(1).sum((1, 2)) >= 16 * (cells - 1)).all()
        assert ((images != blank).any(1).sum((1, 2)) == 16 * cells).all()


@pytest.mark.parametrize("distance", [0, 3, 7])
def test_cues_are_uniform_over_the_places_from_which_the_target_exists(distance):
    number = 40_000
    split = drawn(CuedRecall(distance=distance, directions="horizontal"), number)
    _, rows, columns = (split.labels != -100).nonzero(as_tuple=True)
    for direction, allowed in ((0, range(8 - distance)), (1, range(distance, 8))):
        here = split.attributes["direction"] == direction
        counts = torch.zeros(8, 8).index_put_((rows[here], columns[here]), torch.tensor(1.0), accumulate=True)
        outside = [column for column in range(8) if column not in allowed]
        assert counts[:, outside].sum() == 0
        expected = number / 2 / (8 * len(allowed))
        assert (counts[:, list(allowed)] - expected).abs().max() < 5 * expected**0.5


def pairs_of(split: Split) -> collections.Counter[tuple[int, int, int, int]]:
    """How often each distance, direction and cell of the cue occurs, the cells read from the pixels."""
    grey, tinted = split.images.amin(1), (split.images != split.images.amin(1, keepdim=True)).any(1)
    cells = []
    for axis in (2, 1):
        corner, cue = ((part != blank).any(axis).int().argmax(1) for part, blank in ((grey, 96), (tinted, False)))
        cells.append((cue - corner) // 4)
    parts = (split.attributes["distance"], split.attributes["direction"], *cells)
    return collections.Counter(zip(*(part.tolist() for part in parts), strict=True))


@pytest.mark.parametrize(
    ("aligned", "directions", "number"), [(True, "all", 32), (False, "all", 28), (True, "vertical", 16)]
)
@pytest.mark.parametrize("distance", [0, 1, 4, 6, None])
def test_every_distance_has_the_same_number_of_pairs_equally_many_in_each_direction(
    distance, aligned, directions, number
):
    task = CuedRecall(distance=distance, aligned=aligned, directions=directions, num_pairs=number, pair_seed=3)
    distances = [distance] if distance is not None else range(task.side)
    counts = pairs_of(drawn(task, 3000 * len(distances)))
    assert {key[0] for key in counts} == set(distances)
    for steps in distances:
        own = {key: count for key, count in counts.items() if key[0] == steps}
        assert len(own) == number
        ways = collections.Counter(direction for _, direction, _, _ in own)
        assert set(ways.values()) == {number // (4 if directions == "all" else 2)}
        assert min(own.values()) > 3000 / number / 2


def test_all_splits_and_all_cues_of_a_task_keep_to_the_same_pairs_and_another_seed_has_others():
    fields = {"distance": 2, "num_pairs": 32, "val_size": 800, "test_size": 800}
    data = CuedRecall(**fields).load()
    test, val = pairs_of(data.test), pairs_of(data.val)
    assert set(test) == set(val)
    cells = {key[2:] for key in test}
    many = CuedRecall(**fields, train_cues=8).draw_training(400, generator=torch.Generator().manual_seed(1))
    assert {(row, column) for _, row, column in (many.labels != -100).nonzero().tolist()} == cells
    other = pairs_of(CuedRecall(**fields, pair_seed=1).load().test)
    assert len(set(test) & set(other)) < 20


def test_as_many_pairs_as_there_are_are_all_of_them():
    number = 20_000
    split = drawn(CuedRecall(distance=7, num_pairs=32), number)
    assert set(pairs_of(split)) == set(pairs_of(drawn(CuedRecall(distance=7), number)))


@pytest.mark.parametrize("variant", ["popout", "filled"])
def test_labels_are_uniform_whatever_the_place_the_direction_and_the_distance(variant):
    split = drawn(CuedRecall(distance=None, variant=variant), 80_000)
    labels = split.labels.flatten(1).amax(1)
    _, rows, columns = (split.labels != -100).nonzero(as_tuple=True)
    for attribute in (rows, columns, split.attributes["direction"], split.attributes["distance"]):
        for value in attribute.unique():
            counts = torch.bincount(labels[attribute == value], minlength=8).double()
            expected = counts.sum() / 8
            assert ((counts - expected).abs() < 5 * expected**0.5).all()


def test_mixed_distances_and_directions_come_equally_often():
    attributes = drawn(CuedRecall(distance=None), 64_000).attributes
    for attribute, levels in (("distance", 8), ("direction", 4)):
        counts = torch.bincount(attributes[attribute], minlength=levels)
        assert len(counts) == levels
        assert (counts - 64_000 / levels).abs().max() < 5 * (64_000 / levels) ** 0.5


@pytest.mark.parametrize(
    ("directions", "allowed"), [("all", {0, 1, 2, 3}), ("horizontal", {0, 1}), ("vertical", {2, 3})]
)
def test_only_the_asked_for_directions_are_drawn(directions, allowed):
    assert set(drawn(CuedRecall(distance=2, directions=directions), 200).attributes["direction"].tolist()) == allowed


def test_glyphs_are_the_same_for_ever_balanced_and_far_apart():
    found = glyphs(32)
    assert hashlib.sha256(found.numpy().tobytes()).hexdigest()[:16] == "79080dfce90bacf0"
    assert torch.equal(glyphs(8), found[:8])
    bright = (found > 96).flatten(1)
    assert (bright.sum(1) == 8).all()
    apart = (bright[:, None] != bright[None]).sum(2) + 16 * torch.eye(32, dtype=torch.int64)
    assert apart.min() >= 6


def test_splits_are_repeatable_and_share_no_image():
    task = CuedRecall(distance=3, val_size=100, test_size=200)
    first, second = task.load(), task.load()
    assert isinstance(first.train, Stream)
    splits = (first.train.sample, first.val, first.test, first.train.draw(100, generator=torch.Generator()))
    assert [len(split) for split in splits] == [SAMPLE, 100, 200, 100]
    assert torch.equal(first.test.images, second.test.images)
    assert (first.fingerprint, first.subset_sha256) == (second.fingerprint, second.subset_sha256)
    images = [image.numpy().tobytes() for split in splits for image in split.images]
    assert len(set(images)) == len(images)


def test_a_training_size_asks_for_fixed_images_drawn_with_the_subset_seed():
    task = CuedRecall(distance=3, train_size=30, val_size=0)
    zero, one = task.load(), task.replace(subset_seed=1).load()
    assert isinstance(zero.train, Split)
    assert zero.val is None
    assert zero.train_size == len(zero.train) == 30
    assert torch.equal(zero.train.images, task.load().train_sample.images)
    assert not torch.equal(zero.train.images, one.train_sample.images)
    assert zero.subset_sha256 != one.subset_sha256
    assert zero.fingerprint == one.fingerprint


def test_normalised_a_blank_cell_is_zero_and_a_glyph_plus_and_minus_an_eighth():
    data = CuedRecall(distance=3, variant="popout", test_size=20).load()
    levels = data.normalise(data.test.images).unique()
    assert torch.isclose(levels[:, None], torch.tensor([-1 / 8, 0.0, 1 / 8]), atol=1e-3).any(0).all()


def test_what_says_no_more_than_how_often_each_glyph_is_there_reaches_the_multiset_baseline():
    def brute(others: int, kinds: int) -> float:
        counts = [max(map(cells.count, cells)) for cells in itertools.product(range(kinds), repeat=others)]
        return sum(counts) / len(counts) / others

    for others, kinds in ((1, 3), (4, 2), (5, 3)):
        assert multiset_baseline(kinds, num_others=others) == pytest.approx(brute(others, kinds), rel=1e-12)
    assert multiset_baseline() == pytest.approx(0.192, abs=5e-4)


@pytest.mark.parametrize(("aligned", "number"), [(True, 63), (False, 48)])
def test_guessing_the_commonest_glyph_of_the_images_scores_the_bag_ceiling(aligned, number):
    task = CuedRecall(distance=4, aligned=aligned, pooled=True)
    split = drawn(task, 20_000)
    side = 8 if aligned else 7
    grey = split.images.amin(1)
    if not aligned:  # crop the lattice out, image by image
        inside = grey != 96
        top, left = inside.any(2).int().argmax(1), inside.any(1).int().argmax(1)
        grey = torch.stack([g[t : t + 28, x : x + 28] for g, t, x in zip(grey, top, left, strict=True)])
    cells = grey.unflatten(1, (side, 4)).unflatten(3, (side, 4)).transpose(2, 3).flatten(3).flatten(1, 2)
    is_glyph = (cells[:, :, None] == glyphs(8).flatten(1)).all(3)  # (N, cells, K)
    tinted = (split.images != split.images[:, :1]).any(1)
    assert (tinted.flatten(1).sum(1) == 12).all()
    counts = is_glyph.sum(1)
    assert (counts.sum(1) == number + 1).all()
    ceiling = bag_ceiling(task)
    assert ceiling == multiset_baseline(num_others=number)
    hits = (counts.argmax(1) == split.labels).double().mean().item()
    assert abs(hits - ceiling) < 0.012  # the cue's own glyph is counted here, which costs half a point


def test_the_bag_tells_all_in_popout_and_at_distance_0_and_an_eighth_of_that_where_distances_are_mixed():
    filled = multiset_baseline()
    assert bag_ceiling(CuedRecall(distance=5, variant="popout", pooled=True)) == 1
    assert bag_ceiling(CuedRecall(distance=0, pooled=True)) == 1
    assert bag_ceiling(CuedRecall(distance=None, pooled=True)) == pytest.approx(1 / 8 + 7 / 8 * filled)


@pytest.mark.parametrize("task", [CuedRecall(distance=3), CuedRecall(distance=None, aligned=False)], ids=name)
def test_fifty_thousand_images_take_less_than_two_seconds(task):
    def seconds() -> float:
        begun = time.process_time()
        drawn(task, 50_000)
        return time.process_time() - begun

    assert min(seconds() for _ in range(3)) < 2


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"distance": 8}, "distance of CuedRecall must be None or from 0 to 7. Got 8 instead."),
        ({"distance": 7, "aligned": False}, "distance of CuedRecall must be None or from 0 to 6. Got 7 instead."),
        ({"distance": -1}, "distance of CuedRecall must be None or from 0 to 7. Got -1 instead."),
        ({"distance": 1, "num_glyphs": 1}, "num_glyphs of CuedRecall must be from 2 to 32. Got 1 instead."),
        (
            {"distance": 1, "train_cues": 2, "variant": "popout"},
            "train_cues of CuedRecall must be 1, or more where every cell is filled and not pooled. Got 2 instead.",
        ),
        (
            {"distance": 7, "num_pairs": 36},
            "num_pairs of CuedRecall must be None or a multiple of 4 up to 32. Got 36 instead.",
        ),
        (
            {"distance": None, "aligned": False, "num_pairs": 30},
            "num_pairs of CuedRecall must be None or a multiple of 4 up to 28. Got 30 instead.",
        ),
        ({"distance": 1, "train_size": 0}, "train_size of CuedRecall must be None or at least 1. Got 0 instead."),
        ({"distance": 1, "test_size": 0}, "test_size of CuedRecall must be at least 1. Got 0 instead."),
        ({"distance": 1, "val_size": -1}, "val_size of CuedRecall must be at least 0. Got -1 instead."),
    ],
)
def test_fields_out_of_range_are_refused_with_a_sentence(fields, sentence):
    with pytest.raises(InputError) as caught:
        CuedRecall(**fields)
    assert str(caught.value) == sentence
