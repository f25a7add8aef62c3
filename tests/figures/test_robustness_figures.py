"""Figures of altered images: averages within a run by hand, intervals over runs, drawings against tables."""

import itertools

import made_up
import numpy as np
import pytest
from scipy import stats

from vision_attn.figures import (
    Figure,
    OcclusionCurve,
    QuadrantAccuracy,
    ShiftSawtooth,
    ShuffleCurve,
    ZoomCurve,
    rendering,
)
from vision_attn.records import load
from vision_attn.spec import InputError, from_json, to_json
from vision_attn.tables import read_csv, to_csv

FIGURES = (
    ShiftSawtooth(),
    ZoomCurve(),
    ZoomCurve(place="corner"),
    ShuffleCurve(),
    OcclusionCurve(),
    QuadrantAccuracy(),
)
SMALL = {"models": ("ViT", "ResNet"), "sizes": (200,), "seeds": (0, 1, 2)}
KINDS = ("Accuracy", "ShiftConsistency", "Zoom", "PatchShuffle", "Occlusion", "AccuracyBy")
PROBES = tuple({"kind": kind} for kind in KINDS)
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def rows_of(probe, factors, index):
    """Values that differ by model, seed and every coordinate."""
    base = 0.9 - 0.2 * index + 0.01 * factors["seed"]

    def row(metric, value, **coordinates):
        return {"metric": metric, "split": "test", "value": value, **coordinates}

    match probe["kind"]:
        case "Accuracy":
            yield row("accuracy", base)
        case "ShiftConsistency":
            for shift, axis, border in itertools.product(range(5), range(2), ("circular", "padded")):
                value = 1 - (0.1 + 0.05 * axis + 0.02 * factors["seed"]) * (shift % 4 > 0) - 0.2 * (border == "padded")
                where = {"shift": shift, "axis": ("vertical", "horizontal")[axis], "border": border}
                yield row("consistency", value, **where)
                yield row("accuracy", 0.5 * value, **where)
                yield row("logit_change_max", 2 * (1 - value), **where)
            yield row("random_shift_consistency", 0.9, border="circular")
        case "AccuracyBy":
            for quadrant in range(4):
                yield row("accuracy", base - 0.15 * (quadrant > 0), quadrant=quadrant)
        case "Zoom":
            for scale in (0.5, 1.0, 2.0):
                yield row("accuracy", base - 0.1 * abs(scale - 1), scale=scale, place="centre")
            for place, corner in enumerate(CORNERS):
                yield row("accuracy", base - 0.1 * (place + 1), scale=0.5, place=corner)
        case "PatchShuffle":
            for grid, repeat in [(1, 0), *itertools.product((2, 4), range(3))]:
                yield row(
                    "accuracy", base - 0.1 * (grid - 1) + 0.03 * (repeat - 1) * (grid > 1), grid=grid, repeat=repeat
                )
        case "Occlusion":
            for share, fill, repeat in itertools.product((0.0, 0.5), ("mean", "other"), range(2)):
                value = base - share * (0.5 if fill == "mean" else 0.8) + 0.02 * repeat * (share > 0)
                yield row("accuracy", value, share=share, fill=fill, repeat=repeat)


def records_of(root, *, write=lambda cell: True, rows=rows_of, **plan):
    made = made_up.make_plan(**{**SMALL, "probes": PROBES, **plan})
    made_up.write_store(root, made, write=write, probe_rows=lambda *given: list(rows(*given)))
    return load(made, root)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return records_of(tmp_path_factory.mktemp("store"))


def estimates(figure, records, *, model="ViT"):
    table = figure.table(records)
    rows = table[table["model"] == model]
    return dict(zip(rows.iloc[:, list(table.columns).index("estimate") - 1], rows["estimate"].round(9), strict=True))


def test_the_sawtooth_averages_both_axes_and_keeps_borders_apart(records):
    dip = 0.1 + 0.025 + 0.02
    assert estimates(ShiftSawtooth(), records) == pytest.approx({0: 1, 1: 1 - dip, 2: 1 - dip, 3: 1 - dip, 4: 1})
    assert estimates(ShiftSawtooth(border="padded"), records)[4] == pytest.approx(0.8)
    assert estimates(ShiftSawtooth(metric="accuracy"), records)[1] == pytest.approx((1 - dip) / 2)
    assert estimates(ShiftSawtooth(metric="logit_change_max"), records)[1] == pytest.approx(2 * dip)


def test_a_figure_keeps_to_the_levels_it_is_given(tmp_path):
    both = records_of(tmp_path, sizes=(100, 200))
    figure = ShiftSawtooth(given=(("train_size", 200),))
    table = figure.table(both)
    whole = ShiftSawtooth().table(both)
    assert "train_size" not in table
    own = whole[whole["train_size"] == 200].drop(columns="train_size").reset_index(drop=True)
    assert table[own.columns].equals(own)
    assert len(figure.draw(table, both).axes) == 1
    assert "train size" not in figure.caption(table, both)
    applies = [ShiftSawtooth(given=(("train_size", size),)).applies(both.plan) for size in (100, 200, 400)]
    assert applies == [True, True, False]


def test_data_without_such_a_coordinate_have_no_row_and_those_that_failed_have_one_but_no_panel(tmp_path):
    def rows(probe, factors, index):
        if probe["kind"] != "AccuracyBy" or factors["train_size"] > 100:
            yield from rows_of(probe, factors, index)

    def all_but_one(cell):
        return cell["train_size"] != 400

    some = records_of(tmp_path, sizes=(100, 200, 400), rows=rows, write=all_but_one)
    figure = QuadrantAccuracy()
    table = figure.table(some)
    assert list(table["train_size"].unique()) == [200, 400]
    assert table.loc[table["train_size"] == 400, "n"].sum() == 0
    assert [axes.get_title() for axes in figure.draw(table, some).axes] == ["200 images"]
    assert list(ShuffleCurve().table(some)["train_size"].unique()) == [100, 200, 400]


def test_quadrants_stand_side_by_side(records):
    assert estimates(QuadrantAccuracy(), records) == pytest.approx({0: 0.91, 1: 0.76, 2: 0.76, 3: 0.76})


def test_repeats_and_places_are_averaged_within_a_run(records):
    assert estimates(ZoomCurve(), records) == pytest.approx({0.5: 0.86, 1.0: 0.91, 2.0: 0.81})
    assert estimates(ZoomCurve(place="corner"), records) == pytest.approx({0.5: 0.91 - 0.25})
    assert estimates(ShuffleCurve(), records, model="ResNet") == pytest.approx({1: 0.71, 2: 0.61, 4: 0.41})
    assert estimates(OcclusionCurve(), records) == pytest.approx({0.0: 0.91, 0.5: 0.67})
    assert estimates(OcclusionCurve(fill="other"), records) == pytest.approx({0.0: 0.91, 0.5: 0.52})


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_the_interval_is_over_seeds_whatever_the_number_of_repeats(records, figure):
    table = figure.table(records)
    assert set(table["n"]) == {3}
    spread = table[(table["sd"] > 1e-9)]
    assert len(spread)
    half = stats.t.ppf(0.975, 2) * spread["sd"] / np.sqrt(3)
    assert np.allclose(spread["high"] - spread["estimate"], half)
    assert set(spread["sd"].round(9)) <= {0.01, 0.02}


def test_accuracies_of_altered_images_do_not_mix(tmp_path, records):
    for figure in FIGURES[1:]:
        assert len(figure.table(records)) == 2 * len(estimates(figure, records))


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_what_is_drawn_is_in_the_table(records, figure):
    table = figure.table(records)
    (axes,) = figure.draw(table, records).axes
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert sorted(np.concatenate(drawn).round(7)) == sorted((100 * table["estimate"]).round(7))
    caption = figure.caption(table, records)
    assert "Mean over 3 seeds." in caption
    assert "on mnist5k" in caption


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_nothing_measured_yet_gives_an_empty_figure(tmp_path, figure):
    records = load(made_up.make_plan(**SMALL, probes=PROBES), tmp_path)
    table = figure.table(records)
    assert len(table) == 2
    assert rendering.rendered(figure.draw(table, records))["svg"]
    assert "Nothing is measured yet." in figure.caption(table, records)
    assert (figure.printed(table, records)[["ViT", "ResNet"]] == "–").all(axis=None)


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_a_missing_model_is_a_row_and_named_once(tmp_path, figure):
    records = records_of(tmp_path, write=lambda cell: cell["model"] == "ViT" or cell["seed"] == 0)
    table = figure.table(records)
    assert set(table[table["model"] == "ResNet"]["n"]) == {1}
    assert "Not all planned seeds are in: ResNet (1 of 3)." in figure.caption(table, records)


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_sizes_have_panels_of_their_own(tmp_path, figure):
    records = records_of(tmp_path, sizes=(50, 200))
    table = figure.table(records)
    assert set(table["n"]) == {3}
    assert [axes.get_title() for axes in figure.draw(table, records).axes] == ["50 images", "200 images"]


def test_a_factor_may_have_the_name_of_a_coordinate(tmp_path):
    records = records_of(tmp_path, factors={"scale": ["1/d", "none"]})
    table = ZoomCurve().table(records)
    assert set(table["scale"]) == {"1/d", "none"}
    assert set(table["measured_scale"]) == {0.5, 1.0, 2.0}
    assert len(ZoomCurve().draw(table, records).axes) == 2


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_records_that_went_through_the_committed_tables_give_the_same_table(tmp_path, records, figure):
    for name, frame in (("records", records.values), ("runs", records.runs), ("history", records.history)):
        (tmp_path / f"{name}.csv").write_bytes(to_csv(frame))
    assert len(read_csv(tmp_path / "records.csv")) == len(records.values)
    again = load(records.plan, tmp_path / "nowhere", committed=tmp_path)
    assert to_csv(figure.table(again)) == to_csv(figure.table(records))


@pytest.mark.parametrize("figure", FIGURES, ids=str)
def test_figures_survive_json_and_are_drawn_to_the_same_bytes(records, figure):
    assert from_json(to_json(figure), Figure) == figure
    table = figure.table(records)
    first, second = (rendering.rendered(figure.draw(table, records)) for _ in range(2))
    assert first == second


def test_what_does_not_fit_is_refused(records):
    with pytest.raises(InputError, match="level of ZoomCurve must be between 0 and 1"):
        ZoomCurve(level=1)
    with pytest.raises(InputError, match="hue of ShuffleCurve must be a factor of the experiment"):
        ShuffleCurve(hue="depth").table(records)
    with pytest.raises(InputError, match="border of ShiftSawtooth must be one of 'circular', 'padded'"):
        ShiftSawtooth(border="zero")
