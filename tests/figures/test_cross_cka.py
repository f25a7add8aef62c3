"""Layers of pairs of networks, from signs whose agreement is known."""

import base64
import math

import numpy as np
import pytest
from frames import make_records

from vision_attn.figures import CrossCKA, DeletionCurves

BITS = 64


def text(differing):
    """Signs that differ from those of 0 in so many of 64 places."""
    return base64.b64encode(np.packbits(np.arange(BITS) < differing).tobytes()).decode()


def rows(cell):
    """Layer 1 is the same in all networks; the second of "B" is 16 signs away, half a right angle, the third 48."""
    differing = {"A": (0,), "B": (0, 16, 48)}[cell["model"]]
    for layer, number in enumerate(differing, start=1):
        for estimator, more in (("unbiased", 0), ("biased", 2 * cell["seed"])):
            at = {"layer": layer, "estimator": estimator, "signs": text(number + more)}
            yield {"metric": "hsic", **at, "value": 1.0}


def records(**options):
    return make_records({"model": ["A", "B"], "seed": [0, 1, 2]}, rows, **options)


def test_pairs_of_layers_are_as_alike_as_the_angle_that_their_signs_tell():
    figure, own = CrossCKA(), records()
    table = figure.table(own)
    found = table.set_index(["first", "second", "layer", "other"])["estimate"]
    assert [found["A", "B", 1, other] for other in (1, 2, 3)] == pytest.approx(
        [1, math.cos(math.pi / 4), -math.sqrt(0.5)]
    )
    assert found["B", "B", 2, 3] == pytest.approx(0, abs=1e-12)
    assert ("A", "B", 2, 1) not in found
    assert set(table["n"]) == {3}
    assert "standard error of 0.2 at most" in figure.caption(table, own)
    printed = figure.printed(table, own)
    assert printed["pair"].tolist() == ["A, another seed", "A and B", *["B, another seed"] * 3]
    assert printed["with layer 2"].tolist()[0] == "–"


def test_networks_of_one_seed_are_held_against_each_other_and_of_one_model_those_of_the_next():
    found = CrossCKA(estimator="biased").table(records()).set_index(["first", "second", "layer", "other"])["estimate"]
    assert found["A", "B", 1, 1] == pytest.approx(1)  # one seed: as many more signs in both
    away = [math.cos(math.pi * differing / BITS) for differing in (2, 2, 4)]
    assert found["A", "A", 1, 1] == pytest.approx(sum(away) / 3)


def test_a_network_that_is_missing_is_named():
    late = records(state=lambda cell: "failed" if (cell["model"], cell["seed"]) == ("B", 2) else "done")
    table = CrossCKA().table(late).set_index(["first", "second", "layer", "other"])
    assert table.loc[("A", "B", 1, 1), "n"] == 2
    assert "(2 of 3)" in CrossCKA().caption(table.reset_index(), late)


def test_curves_of_methods_have_a_row_a_share_in_the_order_of_the_model_that_has_most():
    def measured(cell):
        for method in ("attention", "random") if cell["model"] == "A" else ("random",):
            for share in (0.0, 0.5, 1.0):
                at = {"method": method, "fill": "other", "share": share}
                yield {"metric": "insertion_probability", **at, "value": share * (1 + cell["seed"])}

    own, figure = (
        make_records({"model": ["A", "B"], "seed": [0, 1]}, measured),
        DeletionCurves(order="insertion", fill="other"),
    )
    table = figure.table(own)
    assert table[["model", "method", "share"]].to_numpy().tolist() == [
        [model, method, share]
        for model, method in (("A", "attention"), ("A", "random"), ("B", "random"))
        for share in (0.0, 0.5, 1.0)
    ]
    assert table["estimate"].tolist() == [0, 0.75, 1.5] * 3
    printed = figure.printed(table, own)
    assert printed["patches put back (%)"].tolist() == ["0", "50", "100"] * 2
    assert printed["attention"].tolist()[3:] == ["–"] * 3
