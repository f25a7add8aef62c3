"""Influence, its maps, attention distance and receptive fields: tables against hand numbers."""

import layout
import made_up_fields as made_up
import numpy as np
import pytest
from frames import make_records

from vision_attn.figures import (
    AttentionDistanceByHead,
    ErfMap,
    Figure,
    InfluenceProfile,
    MinimumHeadDistance,
    ReceptiveFieldByLayer,
    rendering,
)
from vision_attn.records import pick
from vision_attn.spec import InputError, from_json, to_json

FIGURES = (InfluenceProfile(), ErfMap(), AttentionDistanceByHead(), MinimumHeadDistance(), ReceptiveFieldByLayer())


def name(figure):
    return type(figure).__name__


@pytest.fixture(scope="module")
def records():
    return made_up.image_records(models=made_up.MODELS[:3], sizes=(50, 500))


def test_influence_by_hand(records):
    table = InfluenceProfile().table(records)
    own = {"metric": "influence_relative", "layer": 2, "distance": 8.0, "own": "without"}
    values = [
        row["value"]
        for seed in made_up.SEEDS
        for row in made_up.influence_rows("convolution, radius 2", seed)
        if own.items() <= row.items()
    ]
    row = table[(table["model"] == "convolution, radius 2") & (table["layer"] == 2) & (table["distance_px"] == 8)]
    assert row["estimate"].tolist() == pytest.approx([np.mean(values)] * 2)
    used = pick(records, "influence_relative", at={"own": "without"}, along=("layer", "distance"))
    assert table["n"].sum() == len(used)


def test_influence_of_some_layers_and_untrained_dashed():
    records = made_up.image_records(
        models=made_up.MODELS[:2], sizes=(500,), factors={"weights": ["untrained", "trained"]}
    )
    figure = InfluenceProfile(dashed="weights", layers=(2,))
    table = figure.table(records)
    assert set(table["layer"]) == {2}
    drawing = figure.draw(table, records)
    (axes,) = drawing.axes
    assert axes.get_yscale() == "log"
    lines = [line for line in axes.lines if len(line.get_xdata()) == 8]
    assert sorted(line.get_linestyle() for line in lines) == ["-", "-", "--", "--"]
    assert [text.get_text() for text in drawing.legends[0].get_texts()][-2:] == ["untrained", "trained"]


def test_the_only_level_of_what_is_dashed_is_drawn_as_usual():
    records = made_up.image_records(models=made_up.MODELS[:1], sizes=(500,), factors={"weights": ["trained"]})
    figure = InfluenceProfile(dashed="weights", layers=(2,))
    drawing = figure.draw(figure.table(records), records)
    (axes,) = drawing.axes
    assert {line.get_linestyle() for line in axes.lines if len(line.get_xdata()) == 8} == {"-"}
    assert not any(text.get_text() == "trained" for legend in drawing.legends for text in legend.get_texts())


def test_distance_in_pixels_is_told_from_a_factor_called_distance():
    records = made_up.recall_records(models=made_up.MODELS[:2], distances=(1, 2))
    table = InfluenceProfile().table(records)
    assert set(table["distance"]) == {1, 2}
    assert set(table["distance_px"]) == set(range(4, 33, 4))


def test_influence_of_zero_is_in_the_table_and_not_on_the_logarithmic_axis():
    def rows(cell):
        for distance, value in ((4.0, 1.9), (8.0, 0.1), (12.0, 0.0)):
            yield {"metric": "influence_relative", "layer": 1, "own": "without", "distance": distance, "value": value}

    records = make_records({"model": ["a"], "seed": [0, 1]}, rows)
    figure = InfluenceProfile()
    table = figure.table(records)
    assert table["estimate"].tolist() == [1.9, 0.1, 0.0]
    (axes,) = figure.draw(table, records).axes
    assert axes.get_ylim()[0] == pytest.approx(0.05)
    assert "(1 points)" in figure.caption(table, records)


def test_a_map_is_a_mean_over_seeds_divided_by_its_largest(records):
    table = ErfMap(layers=(1,)).table(records)
    one = table[(table["model"] == "attention") & (table["train_size"] == 50)]
    assert len(one) == 81
    centre = one[(one["row"] == 0) & (one["column"] == 0)].iloc[0]
    values = [
        row["value"]
        for seed in made_up.SEEDS
        for row in made_up.map_rows("attention", seed)
        if (row["layer"], row["row"], row["column"]) == (1, 0, 0)
    ]
    assert centre["estimate"] == pytest.approx(np.mean(values))
    assert one["of_largest"].max() == 1
    assert np.isnan(centre["of_largest"])
    whole = ErfMap(layers=(1,), own="with").table(records)
    assert whole.loc[centre.name, "of_largest"] > 0.9


def test_maps_are_drawn_with_rows_downwards_models_in_columns_and_one_scale():
    def rows(cell):
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                value = {(1, 0): 4.0, (0, 1): 2.0}.get((row, column), 0.0) * (1 if cell["model"] == "a" else 10)
                yield {"metric": "erf_map", "layer": 1, "row": row, "column": column, "value": value}

    records = make_records({"model": ["a", "b"], "seed": [0, 1]}, rows)
    figure = ErfMap()
    table = figure.table(records)
    first, second = (axes.images[0] for axes in figure.draw(table, records).axes[:2])
    expected = np.full((3, 3), 1e-3)
    expected[2, 1], expected[1, 2], expected[1, 1] = 1.0, 0.5, np.nan
    assert np.asarray(first.get_array()) == pytest.approx(expected, nan_ok=True)
    assert np.asarray(second.get_array()) == pytest.approx(expected, nan_ok=True)
    assert first.get_extent() == [-1.5, 1.5, 1.5, -1.5]
    assert (first.norm.vmin, first.norm.vmax) == (second.norm.vmin, second.norm.vmax) == (1e-3, 1)
    assert figure.printed(table, records)["area of 50 %"].tolist() == ["12.5 %", "12.5 %"]


def test_a_model_with_fewer_layers_leaves_a_blank_place():
    def rows(cell):
        for layer in (1, 2) if cell["model"] == "a" else (1,):
            yield {"metric": "erf_map", "layer": layer, "row": 0, "column": 0, "value": 1.0}

    records = make_records({"model": ["a", "b"], "seed": [0, 1]}, rows)
    figure = ErfMap(own="with", layers=(1, 2))
    axes = figure.draw(figure.table(records), records).axes
    assert [len(each.images) for each in axes[:4]] == [1, 1, 1, 0]


def test_models_of_any_depth_are_shown_at_their_first_middle_and_last_layer():
    depths = {"a": 7, "b": 3, "c": 4}

    def rows(cell):
        for layer in range(1, 1 + depths[cell["model"]]):
            yield {"metric": "erf_map", "layer": layer, "row": 0, "column": 0, "value": 1.0}
            at = {"layer": layer, "distance": 4.0, "own": "without"}
            yield {"metric": "influence_relative", **at, "value": float(layer)}

    records = make_records({"model": list(depths), "seed": [0, 1]}, rows)
    figure = ErfMap(own="with")
    axes = figure.draw(figure.table(records), records).axes
    assert [len(each.images) for each in axes[:9]] == [1] * 9
    assert [each.get_xlabel() for each in axes[:9]] == [f"layer {n}" for n in (1, 1, 1, 4, 2, 2, 7, 3, 4)]
    profile = InfluenceProfile()
    panels = profile.draw(profile.table(records), records).axes
    assert [each.get_title() for each in panels] == ["layer 1", "middle layer", "last layer"]
    drawn = [[float(line.get_ydata()[0]) for line in each.lines if len(line.get_xdata()) == 1] for each in panels]
    assert drawn == [[1, 1, 1], [4, 2, 2], [7, 3, 4]]
    assert len(profile.table(records)) == sum(depths.values())


def test_heads_are_sorted_in_every_run_before_seeds_are_averaged():
    distances = ((3.0, 9.0), (8.0, 5.0))

    def rows(cell):
        yield {"metric": "attention_distance_uniform", "layer": 1, "value": 16.5}
        for head, value in enumerate(distances[cell["seed"]]):
            at = {"layer": 1, "head": head, "images": "true"}
            yield {"metric": "attention_distance", **at, "value": value}

    records = make_records({"model": ["a"], "train_size": [50], "seed": [0, 1]}, rows)
    figure = AttentionDistanceByHead()
    table = figure.table(records)
    assert table["estimate"].tolist() == [4.0, 8.5]
    assert table["rank"].tolist() == [1, 2]
    assert set(table["uniform"]) == {16.5}
    nearest = MinimumHeadDistance().table(records)
    assert nearest["estimate"].tolist() == [4.0]
    assert nearest["n"].tolist() == [2]


def test_models_without_attention_are_named_not_drawn(records):
    for figure in (AttentionDistanceByHead(), MinimumHeadDistance()):
        table = figure.table(records)
        assert "convolution, radius 2" in figure.caption(table, records).split("Without attention weights")[1]
        assert "convolution, radius 2" in set(table["model"])
    titles = [
        axes.get_title()
        for axes in AttentionDistanceByHead().draw(AttentionDistanceByHead().table(records), records).axes
    ]
    assert not any("convolution" in title for title in titles)


def test_the_nearest_head_comes_nearer_with_more_images(records):
    table = MinimumHeadDistance().table(records)
    own = table[table["model"] == "attention"].set_index("train_size")["estimate"]
    assert own[50] - own[500] == pytest.approx(1.5, abs=1e-9)


def test_theory_beside_the_square_that_holds_half_of_the_influence(records):
    whole = ReceptiveFieldByLayer().table(records).set_index(["train_size", "model", "kind", "layer"])
    table, extent = whole["estimate"], whole["extent"]
    assert extent[50, "convolution, radius 2", "theoretical", 2] == "exact"
    assert extent[50, "attention", "theoretical", 1] == "global"
    printed = ReceptiveFieldByLayer().printed(ReceptiveFieldByLayer().table(records), records)
    assert "32 [32, 32] (global)" in " ".join(printed["theoretical (px)"])
    assert table[50, "convolution, radius 2", "theoretical", 2] == 20
    assert table[50, "convolution, radius 2", "effective", 2] == pytest.approx(2 * (16 - 20 * 0.5), abs=0.4)
    assert table[50, "attention", "theoretical", 1] == 32


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_drawing_twice_gives_the_same_bytes(records, figure):
    first, second = (rendering.rendered(figure.draw(figure.table(records), records)) for _ in range(2))
    assert first == second
    assert len(figure.printed(figure.table(records), records))


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_nothing_measured_yet_gives_an_empty_figure(figure):
    records = made_up.image_records(models=made_up.MODELS[:3], sizes=(50, 500), state=lambda cell: "pending")
    table = figure.table(records)
    assert len(table)
    assert rendering.rendered(figure.draw(table, records))["svg"]
    assert "measured yet" in figure.caption(table, records)
    assert len(figure.printed(table, records))


def test_a_figure_may_keep_to_one_level_of_a_factor(records):
    whole, part = InfluenceProfile().table(records), InfluenceProfile(given=(("train_size", 500),)).table(records)
    own = whole[whole["train_size"] == 500].drop(columns="train_size").reset_index(drop=True)
    assert part.equals(own)
    with pytest.raises(
        InputError, match=r"^given of a figure must be a level of train_size \(50, 500\)\. Got 7 instead"
    ):
        InfluenceProfile(given=(("train_size", 7),)).table(records)


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_missing_seeds_are_named(figure):
    def state(cell):
        return "pending" if (cell["model"], cell["seed"]) == ("attention", 2) else "done"

    records = made_up.image_records(models=made_up.MODELS[:2], sizes=(50,), state=state)
    assert "attention" in figure.caption(figure.table(records), records).split("Not all planned seeds are in: ")[1]


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_another_factor_of_several_levels_is_never_pooled(records, figure):
    table = figure.table(records)
    assert set(table["train_size"]) == {50, 500}
    assert set(table["n"]) <= {0, 3}


@pytest.mark.parametrize("figure", FIGURES, ids=name)
def test_figures_refuse_what_the_experiment_does_not_have(figure):
    records = make_records({"network": ["a"], "seed": [0], "train_size": [50]}, lambda cell: [])
    with pytest.raises(InputError, match=f"^hue of {name(figure)} must be a factor of the experiment"):
        figure.table(records)


@pytest.mark.parametrize("figure", [*FIGURES, InfluenceProfile(layers=(1, 2), dashed="weights")], ids=name)
def test_figures_survive_a_round_trip_through_json(figure):
    assert from_json(to_json(figure), Figure) == figure


@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("sizes", [(50,), (50, 500)])
def test_maps_that_are_saved_cut_no_name_of_a_layer(models, sizes):
    records = made_up.image_records(models=made_up.MODELS[:models], sizes=sizes)
    plot = ErfMap().plot(records)
    plot.rendered(kinds=("png",))
    assert layout.faults(plot.sheet) == []
