"""Figures over methods, such as those of saliency: their tables against numbers worked out by hand."""

import base64
import zlib

import numpy as np
import pytest
from frames import make_records

from vision_attn.figures import MapGallery, MethodPlot, MetricAgreement, overlay

VALUES = {"A": (1.0, 3.0), "B": (2.0, 2.0), "C": (3.0, 1.0), "D": (4.0, 0.0)}
"""What two metrics say of four methods: opposite orders."""


def rows(cell):
    for method, (one, other) in VALUES.items():
        if cell["model"] == "CNN" and method == "A":
            continue
        yield {"metric": "hit_share", "method": method, "value": 0.1 * one + 0.01 * cell["seed"]}
        yield {"metric": "deletion_gap", "method": method, "fill": "mean", "value": other}
        yield {"metric": "deletion_gap", "method": method, "fill": "other", "value": one * cell["seed"] - one}


RECORDS = make_records({"model": ("CNN", "ViT"), "seed": (0, 1, 2)}, rows)


def test_a_method_plot_has_a_row_a_method_and_model_in_the_order_of_the_model_that_has_most():
    figure = MethodPlot()
    table = figure.table(RECORDS)
    assert list(zip(table["model"], table["method"], strict=True)) == [
        *(("CNN", method) for method in "BCD"),
        *(("ViT", method) for method in "ABCD"),
    ]
    assert table["estimate"].tolist() == pytest.approx([0.21, 0.31, 0.41, 0.11, 0.21, 0.31, 0.41])
    assert set(table["n"]) == {3}
    printed = figure.printed(table, RECORDS)
    assert printed["method"].tolist() == list("ABCD")
    assert printed["CNN"].tolist()[0] == "–"


def test_a_method_plot_keeps_to_one_level_of_further_coordinates():
    found = MethodPlot(metric="deletion_gap", at=(("fill", "mean"),)).table(RECORDS)
    assert found.loc[found["model"] == "ViT", "estimate"].tolist() == [3, 2, 1, 0]


def test_agreement_is_the_rank_correlation_over_methods_in_each_run():
    """Seed 0 puts the methods in the opposite order of hit_share, seed 1 makes no difference, seed 2 the same order."""
    table = MetricAgreement(metrics=("hit_share", "deletion_gap")).table(RECORDS)
    own = table[table["model"] == "ViT"].set_index(["one", "other"])
    assert list(dict.fromkeys(table["one"])) == ["hit share", "deletion gap, fill mean", "deletion gap, fill other"]
    assert own.loc[("hit share", "deletion gap, fill mean"), "estimate"] == pytest.approx(-1)
    other = own.loc[("hit share", "deletion gap, fill other")]
    assert (other["estimate"], other["n"]) == (pytest.approx(0), 2)
    assert (own.loc[[(name, name) for name in ("hit share",)], "estimate"] == 1).all()


def gallery_rows(cell):
    for image in range(4):
        given = "cat" if (cell["model"], image) == ("CNN", 2) else "dog"
        names = {"label": "dog", "given": given, "picture": overlay_text(np.zeros((4, 4)))}
        yield {"metric": "gallery_probability", "image": image, **names, "value": 0.5 + 0.1 * cell["seed"]}
        for method in ("attention", "Grad-CAM"):
            text = overlay_text(np.array([[0, 255], [128, 0]]))
            yield {"metric": "gallery_peak", "image": image, "method": method, "map": text, "value": 1.0}


def overlay_text(levels):
    return base64.b64encode(zlib.compress(levels.astype(np.uint8).tobytes())).decode()


def test_a_gallery_shows_one_run_a_model_and_first_what_a_model_gets_wrong():
    records = make_records({"model": ("CNN", "ViT"), "seed": (3, 1)}, gallery_rows)
    figure = MapGallery(images=2)
    table = figure.table(records)
    assert table["image"].tolist() == [0, 2, 0, 2]
    assert table["probability"].tolist() == pytest.approx([0.8] * 4)
    assert table.loc[~table["right"], ["model", "image"]].to_numpy().tolist() == [["CNN", 2]]
    assert figure.caption(table, records).endswith("Wrong among the 2: CNN 1, ViT 0.")


def test_a_map_over_a_picture_is_its_colour_and_the_grey_of_the_picture():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 0] = 255
    found = overlay.blended(picture, np.array([[0, 255], [0, 0]], np.uint8))
    low, high = ((68, 1, 84), (253, 231, 37))  # the ends of viridis
    grey = (1 - overlay.WEIGHT) / 3
    assert found[0, 0] == pytest.approx(overlay.WEIGHT * np.array(low) / 255 + grey, abs=0.003)
    assert found[1, 3] == pytest.approx(overlay.WEIGHT * np.array(high) / 255 + grey, abs=0.003)
    assert (found[:2, 2:] == found[0, 2]).all()
