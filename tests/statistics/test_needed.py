"""Images needed: curves with a known exponent are read off again, and what lies outside the sizes is said."""

import numpy as np
import pandas as pd
import pytest
from frames import make_records, noise

from vision_attn.figures import ImagesNeeded
from vision_attn.spec import InputError
from vision_attn.statistics import sizes_needed

SIZES = (16, 64, 250, 1000, 4000, 16000)
EXPONENTS = {"shared": 0.5, "local": 1.0, "connected": 2.0}
FIGURE = ImagesNeeded(threshold=0.75, resamples=200)


def needed(model, patches):
    return 5 * patches ** EXPONENTS[model]


def accuracy(model, patches, size, seed=0, scatter=0.0):
    """Straight over log n, at 75 % with as many images as are needed."""
    return 0.75 + 0.02 * np.log(size / needed(model, patches)) + scatter * noise(model, patches, size, seed)


def curves(models=EXPONENTS, seeds=range(4), scatter=0.0005):
    return pd.DataFrame(
        {"model": model, "patches": k, "train_size": n, "seed": seed, "value": accuracy(model, k, n, seed, scatter)}
        for model in models
        for k in (4, 16, 64)
        for n in SIZES
        for seed in seeds
    )


def test_without_scatter_the_number_and_the_exponent_are_those_put_in():
    found = sizes_needed(curves(scatter=0.0), by=["model"], x="patches", threshold=0.75, resamples=20)
    local = found[found["model"] == "local"].set_index("patches")
    assert local["estimate"].to_dict() == pytest.approx({4: 20, 16: 80, 64: 320})
    assert set(local["levels"]) == {3}
    assert local["exponent"].iloc[0] == pytest.approx(1)


def test_what_lies_outside_the_sizes_is_a_bound_and_no_part_of_the_slope():
    found = sizes_needed(curves(scatter=0.0), by=["model"], x="patches", threshold=0.75, resamples=20)
    shared, connected = (found[found["model"] == name].set_index("patches") for name in ("shared", "connected"))
    assert shared.loc[4, "estimate"] == 0
    assert connected.loc[64, "estimate"] == np.inf
    for rows, exponent in ((shared, 0.5), (connected, 2)):
        assert (rows["levels"].iloc[0], rows["of_levels"].iloc[0]) == (2, 3)
        assert rows["exponent"].iloc[0] == pytest.approx(exponent)


def test_the_caption_says_over_how_many_levels_an_exponent_is():
    def rows(cell):
        value = accuracy(cell["model"], cell["patches"], cell["train_size"])
        yield {"metric": "accuracy", "split": "test", "value": value}

    factors = {"model": [*EXPONENTS], "patches": [4, 16, 64], "train_size": [*SIZES], "seed": [0, 1]}
    records = make_records(factors, rows)
    said = FIGURE.caption(FIGURE.table(records), records)
    assert "shared 0.50 [0.50, 0.50] over 2 of 3 levels; local 1.00 [1.00, 1.00] and connected" in said


def test_a_mean_that_only_rounding_keeps_from_the_threshold_reaches_it():
    values = {100: (0.5, 0.5, 0.5), 1000: (0.7, 0.8, 0.9)}  # the mean of these is 0.7999999999999999
    rows = [("ViT", 4, n, seed, one) for n, own in values.items() for seed, one in enumerate(own)]
    frame = pd.DataFrame(rows, columns=["model", "patches", "train_size", "seed", "value"])
    found = sizes_needed(frame, by=["model"], x="patches", threshold=0.8, resamples=20)
    assert found["estimate"].item() == pytest.approx(1000)


def test_intervals_hold_the_truth_and_there_are_none_of_one_seed():
    found = sizes_needed(curves(["local"]), by=["model"], x="patches", threshold=0.75, resamples=400)
    assert (found["exponent_low"] < 1).all()
    assert (found["exponent_high"] > 1).all()
    assert (found["exponent_high"] - found["exponent_low"] < 0.5).all()
    one = sizes_needed(curves(["local"], seeds=[0]), by=["model"], x="patches", threshold=0.75, resamples=20)
    assert one[["low", "high", "exponent_low", "exponent_high"]].isna().all(axis=None)
    assert one["exponent"].notna().all()


def test_one_level_alone_has_no_exponent():
    frame = curves(["local"], scatter=0.0)
    found = sizes_needed(frame[frame["patches"] == 16], by=["model"], x="patches", threshold=0.75, resamples=20)
    assert np.isnan(found["exponent"].item())


def records(**options):
    def rows(cell):
        value = accuracy(cell["model"], cell["patches"], cell["train_size"], cell["seed"], 0.0005)
        yield {"metric": "accuracy", "split": "test", "value": value}

    factors = {"model": tuple(EXPONENTS), "patches": (4, 16, 64), "train_size": SIZES, "seed": range(4)}
    return make_records(factors, rows, **options)


def test_the_figure_says_exponents_and_what_is_never_reached():
    table = FIGURE.table(made := records())
    assert len(table) == 9
    never = table[(table["model"] == "connected") & (table["patches"] == 64)].iloc[0]
    assert (never["censored"], never["largest"]) == ("above", 16000)
    assert np.isnan(never["estimate"])
    printed = FIGURE.printed(table, made).set_index("model")
    assert printed.loc["connected", "patches 64"] == "more than 16,000"
    assert printed.loc["connected", "levels"] == "2 of 3"
    assert float(printed.loc["local", "exponent"].split()[0]) == pytest.approx(1, abs=0.2)
    assert "connected, patches 64 (more than 16,000)" in FIGURE.caption(table, made)


def test_a_level_without_runs_is_a_row_without_a_number():
    made = records(state=lambda cell: "pending" if cell["patches"] == 64 else "done")
    rows = FIGURE.table(made).query("patches == 64")
    assert (rows["n"] == 0).all()
    assert (rows["planned"] == 4).all()
    assert (FIGURE.printed(FIGURE.table(made), made)["patches 64"] == "–").all()


def test_wrong_fields_are_refused_in_a_sentence():
    for wrong in ({"threshold": 80}, {"x": "train_size"}, {"metric": "loss"}, {"resamples": 5}):
        with pytest.raises(InputError, match=f"^{next(iter(wrong))} of ImagesNeeded must be"):
            ImagesNeeded(**wrong)
    with pytest.raises(InputError, match="size of ImagesNeeded must be a factor of positive numbers"):
        ImagesNeeded(size="model").table(records())
