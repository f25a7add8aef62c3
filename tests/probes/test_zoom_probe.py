import numpy as np
import pytest
import torch
from known_classifiers import Constant, Counted, MeanColour, OnePixel, data_of, labelled, noise_images
from PIL import Image

from vision_attn import Mnist5k, ViT
from vision_attn.probes import Zoom
from vision_attn.probes.zoom import CORNERS, side_at, zoomed
from vision_attn.spec import InputError

FILL = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)


def measured(probe, model, data):
    rows = list(probe(model, data))
    out = {(row["metric"], row["scale"], row["place"]): row["value"] for row in rows}
    assert len(out) == len(rows)
    return out


def test_scale_1_is_the_clean_accuracy_and_consistent():
    labels = torch.arange(40) % 4
    images = noise_images(40, channels=1)
    values = measured(Zoom(), OnePixel(), data_of(images, labels))
    clean = (images[:, 0, 0, 0].long() // 64 == labels).double().mean().item()
    assert values["accuracy", 1.0, "centre"] == pytest.approx(clean)
    assert values["consistency", 1.0, "centre"] == 1.0


def test_every_scale_has_a_centre_and_those_below_1_have_corners():
    labels = torch.arange(4).repeat_interleave(4)
    values = measured(Zoom(), Constant(), data_of(noise_images(16), labels))
    for scale in Zoom().scales:
        at = side_at(scale, 16) / 16
        places = {place for metric, other, place in values if metric == "accuracy" and other == at}
        assert places == {"centre", *(CORNERS if scale < 1 else ())}
    assert {value for (metric, *_), value in values.items() if metric == "accuracy"} == {0.25}


def test_rows_have_the_scale_that_comes_out_and_each_side_once():
    data = data_of(noise_images(4, size=28), torch.arange(4))
    values = measured(Zoom(scales=(1.15, 1.14, 0.6)), Constant(), data)
    assert {scale for _, scale, _ in values} == {32 / 28, 16 / 28}


def test_every_image_takes_one_corner_and_each_corner_as_many():
    """A pixel of the upper left corner tells which images lie there: they are every fourth."""
    images = torch.full((20, 1, 16, 16), 224, dtype=torch.uint8)
    out = zoomed(images, side=8, places=[*CORNERS], fill=torch.zeros(1, 1, 1, dtype=torch.uint8))
    for number, (down, right) in enumerate(CORNERS.values()):
        there = out[:, 0, 15 * down, 15 * right] == 224
        assert there.nonzero().flatten().tolist() == list(range(number, 20, 4))


@pytest.mark.parametrize("place", ["centre", *CORNERS])
def test_the_canvas_goes_on_in_the_colours_of_the_edge(place):
    image = noise_images(1)
    out = zoomed(image, side=8, places=[place], fill=None)[0]
    top, left = (4, 4) if place == "centre" else (8 * far for far in CORNERS[place])
    small = out[:, top : top + 8, left : left + 8]
    for row in range(16):
        for column in range(16):
            nearest = small[:, min(max(row - top, 0), 7), min(max(column - left, 0), 7)]
            assert torch.equal(out[:, row, column], nearest)


def test_a_model_that_reads_the_border_is_blind_to_a_smaller_scale_of_what_has_no_border():
    """Digits on black: with the edge going on the frame is black too, in the mean colour it is grey."""
    images = torch.zeros(8, 1, 16, 16, dtype=torch.uint8)
    images[:, :, 4:12, 4:12] = 200
    data = data_of(images, torch.zeros(8).long())
    for fill, expected in (("edge", 1.0), ("mean", 0.0)):
        values = measured(Zoom(scales=(0.75,), fill=fill), OnePixel(), data)
        assert values["consistency", 0.75, "centre"] == expected


def test_a_pixel_of_a_corner_sees_the_image_only_there_and_the_mean_colour_elsewhere():
    """Images of one grey level: the corner pixel has it where the image lies, else the canvas's 128 (class 2)."""
    levels = torch.tensor([32, 96, 160, 224]).repeat_interleave(4)
    images = levels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
    values = measured(Zoom(scales=(0.5, 2), fill="mean"), OnePixel(), data_of(images, levels // 64))
    assert values["accuracy", 0.5, "top left"] == 1.0
    for place in ("centre", "top right", "bottom left", "bottom right"):
        assert values["accuracy", 0.5, place] == 0.25
        assert values["consistency", 0.5, place] == 0.25
    assert values["accuracy", 2.0, "centre"] == 1.0


def test_a_model_of_the_mean_colour_is_consistent_over_places_though_not_over_scales():
    data = labelled(MeanColour(), noise_images(15).repeat_interleave(4, dim=0))
    values = measured(Zoom(scales=(0.5, 0.75), fill="mean"), MeanColour(), data)
    for scale in (0.5, 0.75):
        assert len({values["consistency", scale, place] for place in ("centre", *CORNERS)}) == 1


@pytest.mark.parametrize("place", ["centre", *CORNERS])
def test_a_small_image_is_the_resized_one_on_the_canvas(place):
    images = noise_images(2)
    out = zoomed(images, side=8, places=[place], fill=FILL)
    top, left = (4, 4) if place == "centre" else (8 * ("bottom" in place), 8 * ("right" in place))
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[top : top + 8, left : left + 8] = True
    assert torch.equal(out[..., ~inside], FILL.flatten(1).expand(2, 3, 192))
    for image, made in zip(images, out, strict=True):
        oracle = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((8, 8), Image.Resampling.BILINEAR)
        found = made[:, top : top + 8, left : left + 8].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(found - np.asarray(oracle).astype(int)).max() <= 1


def test_a_large_image_is_cut_to_the_centre_of_the_resized_one():
    image = noise_images(1)
    found = zoomed(image, side=32, places=["centre"], fill=FILL)[0].permute(1, 2, 0).numpy().astype(int)
    oracle = Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(found - np.asarray(oracle).astype(int)[8:24, 8:24]).max() <= 1


@pytest.mark.parametrize("canvas", [8, 16, 28, 32, 33, 224])
def test_sides_are_near_the_scale_and_leave_equal_margins(canvas):
    for scale in (0.01, *Zoom().scales, 3.0):
        side = side_at(scale, canvas)
        assert side >= 1
        assert (canvas - side) % 2 == 0
        assert abs(side - scale * canvas) <= 2
    assert side_at(1.0, canvas) == canvas


def test_symmetric_images_stay_symmetric():
    image = noise_images(1)
    image = torch.cat([image[..., :8], image[..., :8].flip(3)], dim=3)
    for scale in Zoom().scales:
        out = zoomed(image, side=side_at(scale, 16), places=["centre"], fill=None)
        torch.testing.assert_close(out.int(), out.flip(3).int(), atol=1, rtol=0)


def test_13_passes_over_the_images_that_are_asked_for():
    model = Counted(Constant())
    list(Zoom(images=5)(model, data_of(noise_images(20), torch.zeros(20).long())))
    assert model.images == 13 * 5


def test_twice_gives_the_same_rows_and_leaves_the_images_alone():
    data = data_of(noise_images(30, channels=1), torch.arange(30) % 4)
    before = data.test.images.clone()
    assert list(Zoom()(OnePixel(), data)) == list(Zoom()(OnePixel(), data))
    assert torch.equal(data.test.images, before)


def test_what_does_not_fit_is_refused_or_skipped():
    with pytest.raises(InputError, match="scales of Zoom must be one or more different numbers above 0"):
        Zoom(scales=(0, 1))
    with pytest.raises(InputError, match="images of Zoom must be None or at least 1"):
        Zoom(images=0)
    assert "every token" in Zoom().skip(ViT(pool="none"), Mnist5k())
    assert Zoom().skip(ViT(), Mnist5k()) is None
