"""Random crop and flip: the batched form equals the image by image one, and all chance comes from the generator."""

import time

import pytest
import torch

from vision_attn.data.augment import crop, flip


def batch_of(*shape, seed=0):
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def shifted(image, down, right):
    """The image moved by whole pixels, with zeros coming in, pixel by pixel."""
    height, width = image.shape[1:]
    moved = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


@pytest.mark.parametrize("shape", [(16, 3, 8, 8), (5, 1, 7, 7), (1, 2, 6, 9)])
@pytest.mark.parametrize("padding", [1, 2, 4])
def test_every_crop_is_the_image_moved_by_one_offset_of_its_own(shape, padding):
    images = batch_of(*shape)
    cropped = crop(images, padding=padding, generator=generator())
    moves = range(-padding, padding + 1)
    for before, after in zip(images, cropped, strict=True):
        candidates = [shifted(before, down, right) for down in moves for right in moves]
        assert sum(torch.equal(candidate, after) for candidate in candidates) == 1


def test_all_offsets_occur_equally_often():
    point = torch.zeros(4050, 1, 5, 5, dtype=torch.uint8)
    point[:, :, 2, 2] = 255
    places = crop(point, padding=1, generator=generator()).flatten(1).float().argmax(1)
    counts = torch.bincount(places, minlength=25)
    assert counts.nonzero().flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert (counts[counts > 0] - 450).abs().max() < 5 * 450**0.5


def test_offsets_of_rows_and_columns_and_images_are_independent():
    point = torch.zeros(2000, 1, 9, 9, dtype=torch.uint8)
    point[:, :, 4, 4] = 255
    places = crop(point, padding=4, generator=generator()).flatten(1).float().argmax(1)
    rows, columns = (places // 9).float(), (places % 9).float()
    for one, other in ((rows, columns), (rows[1:], rows[:-1]), (columns[1:], columns[:-1])):
        assert abs(torch.corrcoef(torch.stack((one, other)))[0, 1]) < 0.1


def test_crop_without_padding_changes_nothing_and_draws_nothing():
    images, chance = batch_of(4, 3, 8, 8), generator()
    state = chance.get_state()
    assert torch.equal(crop(images, padding=0, generator=chance), images)
    assert torch.equal(chance.get_state(), state)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others():
    images = batch_of(2000, 1, 4, 5)
    flipped = flip(images, generator=generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.5 / 2000**0.5


@pytest.mark.parametrize("augment", [lambda x, g: crop(x, padding=2, generator=g), lambda x, g: flip(x, generator=g)])
def test_the_generator_alone_decides(augment):
    images = batch_of(64, 3, 8, 8)
    torch.manual_seed(1)
    first = augment(images, generator(5))
    torch.manual_seed(2)
    untouched = torch.get_rng_state()
    assert torch.equal(augment(images, generator(5)), first)
    assert not torch.equal(augment(images, generator(6)), first)
    assert torch.equal(torch.get_rng_state(), untouched)


def test_the_batch_that_came_in_is_not_changed():
    images = batch_of(8, 3, 8, 8)
    before = images.clone()
    crop(images, padding=2, generator=generator())
    flip(images, generator=generator())
    assert torch.equal(images, before)


def test_crop_reads_a_batch_that_is_not_contiguous_as_it_is():
    images = batch_of(8, 3, 6, 6)
    strided = images.contiguous(memory_format=torch.channels_last)
    cropped = [crop(each, padding=2, generator=generator()) for each in (images, strided)]
    assert torch.equal(*cropped)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_batch_from_the_same_cpu_generator():
    images = batch_of(16, 3, 8, 8)
    for device in ("cpu", "cuda"):
        found = flip(crop(images.to(device), padding=2, generator=generator()), generator=generator(1))
        assert torch.equal(found.cpu(), flip(crop(images, padding=2, generator=generator()), generator=generator(1)))


@pytest.mark.benchmark
def test_a_thread_augments_a_hundred_thousand_images_a_second():
    images, chance = batch_of(128, 3, 32, 32), generator()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rates = {}
        for name, step in (
            ("crop", lambda: crop(images, padding=4, generator=chance)),
            ("flip", lambda: flip(images, generator=chance)),
            ("crop and flip", lambda: flip(crop(images, padding=4, generator=chance), generator=chance)),
        ):
            step()
            start = time.perf_counter()
            for _ in range(200):
                step()
            rates[name] = 200 * 128 / (time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    print("\n" + "\n".join(f"{name}: {rate:,.0f} images/s" for name, rate in rates.items()))
    assert rates["crop and flip"] > 100_000
