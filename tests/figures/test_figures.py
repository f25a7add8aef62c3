"""Figures: their tables against numbers computed by hand, their drawings against their tables."""

import made_up
import numpy as np
import pandas as pd
import pytest
from frames import make_records
from scipy import stats

from vision_attn import wording
from vision_attn.figures import Figure, Gap, Generalisation, LearningCurve, Matching, lettering, marks, rendering, theme
from vision_attn.figures.matching import MEASURES
from vision_attn.records import Records, load, pick
from vision_attn.spec import InputError, from_json, kinds

FIGURES = (LearningCurve(), Gap(reference="ResNet"), Generalisation(), Matching(reference="ViT"))
SMALL = {"models": ("ViT", "ResNet"), "sizes": (50, 200, 800), "seeds": (0, 1, 2)}

ACCURACY = {
    ("ViT", 50): (0.30, 0.34, 0.38),
    ("ViT", 200): (0.50, 0.50, 0.56),
    ("ViT", 800): (0.80, 0.82, 0.81),
    ("ResNet", 50): (0.40, 0.45, 0.47),
    ("ResNet", 200): (0.60, 0.62, 0.64),
    ("ResNet", 800): (0.81, 0.80, 0.85),
}


def accuracy_rows(probe, factors, index):
    if probe["kind"] == "Size":
        return made_up.rows_of(probe, factors, index)
    value = ACCURACY[factors["model"], factors["train_size"]][factors["seed"]]
    test = {"metric": "accuracy", "split": "test", "value": value}
    return [test, {"metric": "accuracy", "split": "train", "value": min(1.0, value + 0.1)}, {**test, "severity": 2}]


def records_of(root, *, write=lambda cell: True, change=lambda cell, result: None, **plan):
    made = made_up.make_plan(**{**SMALL, **plan})
    made_up.write_store(root, made, write=write, change=change, probe_rows=accuracy_rows)
    return load(made, root)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return records_of(tmp_path_factory.mktemp("store"))


def test_learning_curve_by_hand(records):
    table = LearningCurve().table(records).set_index(["model", "train_size"])
    assert list(table.index) == list(ACCURACY)
    for cell, values in ACCURACY.items():
        row = table.loc[cell]
        half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
        assert (row["estimate"], row["n"], row["planned"]) == (pytest.approx(np.mean(values)), 3, 3)
        assert (row["low"], row["high"]) == pytest.approx((np.mean(values) - half, np.mean(values) + half))


def test_gap_by_hand(records):
    table = Gap(reference="ResNet").table(records).set_index("train_size")
    assert set(table["model"]) == {"ViT"}
    assert dict(table["estimate"].round(12)) == {50: -0.1, 200: -0.1, 800: -0.01}
    oracle = stats.ttest_rel(ACCURACY["ViT", 200], ACCURACY["ResNet", 200]).confidence_interval(0.95)
    assert (table.loc[200, "low"], table.loc[200, "high"]) == pytest.approx((oracle.low, oracle.high))


def test_generalisation_by_hand(records):
    table = Generalisation().table(records).set_index(["model", "train_size", "split"])
    assert table.loc[("ViT", 50, "train"), "estimate"] == pytest.approx(0.44)
    assert table.loc[("ViT", 50, "test"), "estimate"] == pytest.approx(0.34)
    assert len(table) == 2 * 3 * 2


def test_matching_by_hand(records):
    table = Matching(reference="ViT").table(records).set_index("model")
    assert table.loc["ResNet", "params_ratio"] == made_up.PARAMS[1] / made_up.PARAMS[0]
    assert dict(table["verdict"]) == {"ViT": "reference", "ResNet": "inside"}
    assert table.loc["ViT", ["updates_min", "updates_max", "images_seen_min"]].tolist() == [400, 400, 25600]
    assert table.loc["ViT", ["epochs_min", "epochs_max"]].tolist() == [32, 512]
    assert table.loc["ViT", "learning_rate_max"] == 0.002


def test_matching_says_how_large_what_mixers_add_is_before_training():
    """Of a ResNet, which has none, nothing; of a twin the layer that adds least and the one that adds most."""
    layers = {"ViT": (0.44, 0.47), "twin": (0.43, 0.49), "ResNet": ()}

    def rows(cell):
        yield {"metric": "params", "value": 1000.0}
        yield {"metric": "flops", "value": 2000.0}
        for layer, sd in enumerate(layers[cell["model"]], start=1):
            yield {"metric": "branch_sd", "layer": layer, "value": sd + 0.01 * cell["seed"]}

    records = make_records({"model": list(layers), "train_size": [100, 200], "seed": [0, 2]}, rows)
    figure = Matching(reference="ViT")
    plot = figure.plot(records)
    found = plot.table.set_index("model")
    assert found.loc["twin", ["branch_sd_min", "branch_sd_max"]].tolist() == pytest.approx([0.44, 0.50])
    assert found.loc["ResNet", ["branch_sd_min", "branch_sd_max"]].isna().all()
    assert list(plot.printed["scale of the mixers"]) == ["0.45–0.48", "0.44–0.5", "–"]
    assert "smallest to largest of the layers" in plot.caption


@pytest.mark.parametrize("figure", [LearningCurve(x="flag"), Gap(reference="a", x="flag"), Generalisation(x="flag")])
def test_levels_along_x_may_be_false_and_true(figure):
    def rows(cell):
        for split in ("train", "test"):
            yield {"metric": "accuracy", "split": split, "value": 0.5 + 0.1 * cell["flag"] + 0.01 * cell["seed"]}

    plot = figure.plot(make_records({"flag": [False, True], "model": ["a", "b"], "seed": [0, 1]}, rows))
    assert plot.rendered(kinds=("svg",))
    if isinstance(figure, LearningCurve):
        assert plot.table.set_index(["model", "flag"])["estimate"].round(9).tolist() == [0.505, 0.605] * 2


@pytest.mark.parametrize("share", [0.97, 0.75, 0.67, 0.58, 0.52, 0.45, 0.3])
@pytest.mark.parametrize("largest", [4200.0, 40_000.0])
def test_no_size_that_is_printed_beside_a_model_stands_on_the_line_of_the_reference(share, largest):
    sizes = {"ViT": (1000.0, 2000.0), "twin": (1030.0, 1730.0), "stem": (1e3 * share, 2400.0), "ResNet": (950, largest)}

    def rows(cell):
        return [
            {"metric": metric, "value": value} for metric, value in zip(MEASURES, sizes[cell["model"]], strict=True)
        ]

    records = make_records({"model": list(sizes), "seed": [0, 1]}, rows)
    matching = Matching(reference="ViT")
    figure = matching.draw(matching.table(records), records)
    figure.canvas.draw()
    (axes,) = figure.axes
    line = axes.transData.transform((1, 0))[0]
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert len(boxes) == 8
    assert not [text for text, box in boxes.items() if box.x0 < line < box.x1 or box.x0 < axes.bbox.x0]
    assert all(box.x1 < figure.bbox.x1 for box in boxes.values())


@pytest.mark.parametrize(
    ("reference", "ratios", "printed"),
    [
        ("constant", [1.0, 194_400, 1.0, np.inf], "2M (×∞)"),
        ("ViT", [1 / 194_400, 1.0, 0.0, 1.0], "2M (×1.000)"),
    ],
)
def test_a_model_without_any_operations_is_matched_with_none_that_has_some(reference, ratios, printed):
    sizes = {"constant": (10.0, 0.0), "ViT": (1_944_000.0, 2e6)}

    def rows(cell):
        return [
            {"metric": metric, "value": value} for metric, value in zip(MEASURES, sizes[cell["model"]], strict=True)
        ]

    plot = Matching(reference=reference).plot(make_records({"model": list(sizes), "seed": [0, 1]}, rows))
    found = plot.table.set_index("model")
    assert [found.loc[name, f"{metric}_ratio"] for metric in MEASURES for name in sizes] == pytest.approx(ratios)
    assert set(found["verdict"]) == {"reference", "outside"}
    assert plot.printed.set_index("model").loc["ViT", "FLOPs an image"] == printed


@pytest.mark.parametrize(
    ("on", "tolerance", "verdict"),
    [(("params",), 0.013, "inside"), (("params",), 0.012, "outside"), (("params", "flops"), 0.05, "outside")],
)
def test_the_verdict_takes_every_measure_asked_for(records, on, tolerance, verdict):
    table = Matching(reference="ViT", on=on, tolerance=tolerance).table(records)
    assert table.set_index("model").loc["ResNet", "verdict"] == verdict


@pytest.mark.parametrize("figure", [LearningCurve(), LearningCurve(split="train"), Generalisation()])
def test_the_sum_of_n_is_the_number_of_records_used(records, figure):
    splits = ("train", "test") if isinstance(figure, Generalisation) else (figure.split,)
    used = sum(len(pick(records, "accuracy", at={"split": split})) for split in splits)
    assert figure.table(records)["n"].sum() == used == 18 * len(splits)


def test_a_missing_cell_is_a_row_breaks_the_line_and_is_named(tmp_path):
    records = records_of(tmp_path, write=lambda cell: (cell["model"], cell["train_size"]) != ("ViT", 200))
    figure = LearningCurve()
    table = figure.table(records)
    row = table[(table["model"] == "ViT") & (table["train_size"] == 200)].iloc[0]
    assert (row["n"], row["planned"]) == (0, 3)
    (axes,) = figure.draw(table, records).axes
    colour = theme.styles(records.plan, "model")["ViT"].colour
    (line,) = [line for line in axes.lines if line.get_color() == colour and len(line.get_ydata()) == 3]
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]
    assert "ViT, 200 images (0 of 3)" in figure.caption(table, records)


def test_unequal_seeds_are_said(tmp_path):
    records = records_of(tmp_path, write=lambda cell: not (cell["model"] == "ResNet" and cell["seed"] == 2))
    for figure in (LearningCurve(), Generalisation()):
        assert "ResNet, 50 images (2 of 3)" in figure.caption(figure.table(records), records)
    gap = Gap(reference="ResNet")
    table = gap.table(records)
    assert set(table["n"]) == {2}
    assert set(table["dropped_pairs"]) == {"seed=2 (without ResNet)"}
    said = "3 values have no partner and are left out: ViT, 50 images, seed=2 (without ResNet); ViT, 200 images, seed="
    assert said in gap.caption(table, records)
    first = table.head(1)
    text = "1 value has no partner and is left out: ViT, 50 images, seed=2 (without ResNet)."
    assert wording.alone_text(first, ["model", "train_size"]) == text


def test_generalisation_without_training_images_speaks_of_no_gap():
    values = pd.DataFrame({"model": "a", "train_size": [50, 200] * 2, "seed": [0, 0, 1, 1], "accuracy": 0.5})
    records = Records.from_frame(values)
    figure = Generalisation()
    table = figure.table(records)
    caption = figure.caption(table, records)
    assert caption.startswith("Accuracy on the test images. Nothing is known of the training images. Mean over 2")
    (legend,) = figure.draw(table, records).legends
    assert [text.get_text() for text in legend.get_texts()] == ["test images"]


def test_one_seed_draws_points_without_interval(tmp_path):
    records = records_of(tmp_path, seeds=(0,))
    for figure in FIGURES[:3]:
        table = figure.table(records)
        assert table["low"].isna().all()
        caption = figure.caption(table, records)
        assert "One seed a point, so there is no interval." in caption
        assert "Student" not in caption
        for axes in figure.draw(table, records).axes:
            assert not [
                part for part in axes.collections if type(part).__name__ == "LineCollection" and part.get_paths()
            ]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_what_is_drawn_is_in_the_table(records, figure):
    table = figure.table(records)
    scale = 1 if isinstance(figure, Matching) else 100
    numbers = set(np.round(scale * table.select_dtypes("number").to_numpy(float).ravel(), 7))
    for axes in figure.draw(table, records).axes:
        for line in axes.lines:
            at = line.get_xdata() if isinstance(figure, Matching) else line.get_ydata()
            if line.get_marker() not in ("None", None, ""):
                assert set(np.round(np.asarray(at, float), 7)) <= numbers


def test_intervals_are_drawn_from_low_to_high(records):
    figure = LearningCurve()
    table = figure.table(records)
    (axes,) = figure.draw(table, records).axes
    segments = [s for part in axes.collections if hasattr(part, "get_segments") for s in part.get_segments()]
    drawn = sorted((round(s[0][1], 7), round(s[1][1], 7)) for s in segments)
    assert drawn == sorted(zip((100 * table["low"]).round(7), (100 * table["high"]).round(7), strict=True))


def test_the_axis_ends_at_0_and_100_percent_and_the_caption_says_what_is_cut(tmp_path, records):
    figure = LearningCurve()
    two = records_of(tmp_path, seeds=(0, 2), sizes=(50,))
    table = figure.table(two)
    assert table["low"].min() < -0.02
    (axes,) = figure.draw(table, two).axes
    assert axes.get_ylim()[0] == -2
    assert "Intervals are clipped to 0–100 %" in figure.caption(table, two)
    assert "Intervals are drawn" not in figure.caption(figure.table(records), records)


def test_every_panel_shows_all_its_points(tmp_path):
    plan = made_up.make_plan(**SMALL, factors={"noise": ["none", "much"]})

    def rows(probe, factors, index):
        value = (0.9 if factors["noise"] == "none" else 0.2) + 0.01 * factors["seed"]
        splits = ("train", "test") if probe["kind"] == "Accuracy" else ()
        return [{"metric": "accuracy", "split": split, "value": value} for split in splits]

    made_up.write_store(tmp_path, plan, probe_rows=rows)
    records = load(plan, tmp_path)
    for figure in (LearningCurve(), Generalisation()):
        table = figure.table(records)
        for axes in figure.draw(table, records).axes:
            low, high = axes.get_ylim()
            assert low < 100 * table["estimate"].min()
            assert 100 * table["estimate"].max() < high


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_drawing_twice_gives_the_same_bytes(records, figure):
    table = figure.table(records)
    first, second = (rendering.rendered(figure.draw(table, records)) for _ in range(2))
    assert first == second
    assert b"<dc:date>" not in first["svg"]
    assert first["png"].startswith(b"\x89PNG")


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_nothing_measured_yet_gives_an_empty_figure(tmp_path, figure):
    records = load(made_up.make_plan(**SMALL), tmp_path)
    table = figure.table(records)
    assert len(table)
    assert rendering.rendered(figure.draw(table, records))["svg"]
    assert "measured yet" in figure.caption(table, records)
    assert len(figure.printed(table, records))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: type(figure).__name__)
def test_another_factor_of_several_levels_is_never_pooled(tmp_path, figure):
    records = records_of(tmp_path, factors={"scale": ["1/d", "none"]})
    table = figure.table(records)
    if not isinstance(figure, Matching):
        assert "scale" in table
        assert set(table["n"]) == {3}
    drawing = figure.draw(table, records)
    titles = " ".join(axes.get_title() for axes in drawing.axes)
    assert isinstance(figure, Matching) or ("1/d" in titles and "none" in titles)


def test_matching_keeps_sizes_apart_that_depend_on_another_factor(tmp_path):
    plan = made_up.make_plan(**SMALL, factors={"scale": ["small", "large"]})

    def rows(probe, factors, index):
        params = (1000, 1010)[index] * (1 if factors["scale"] == "small" else 5)
        sizes = {"params": params, "flops": params * 100} if probe["kind"] == "Size" else {}
        return [{"metric": metric, "value": value} for metric, value in sizes.items()]

    made_up.write_store(tmp_path, plan, probe_rows=rows)
    table = Matching(reference="ViT").table(load(plan, tmp_path))
    assert dict(zip(zip(table["scale"], table["model"], strict=True), table["params_ratio"], strict=True)) == {
        ("small", "ViT"): 1.0,
        ("small", "ResNet"): 1.01,
        ("large", "ViT"): 1.0,
        ("large", "ResNet"): 1.01,
    }


def test_matching_lists_a_model_once_unless_its_size_changes(tmp_path):
    plan = made_up.make_plan(**{**SMALL, "models": ("ViT", "ResNet", "later")})

    def rows(probe, factors, index):
        params = 1000 if index == 0 or factors["train_size"] < 800 else 2000
        sizes = {"params": params, "flops": params * 100} if probe["kind"] == "Size" else {}
        return [{"metric": metric, "value": value} for metric, value in sizes.items()]

    made_up.write_store(tmp_path, plan, write=lambda cell: cell["model"] != "later", probe_rows=rows)
    table = Matching(reference="ViT").table(load(plan, tmp_path))
    assert table[["model", "train_size", "params_ratio"]].fillna(0).values.tolist() == [
        ["ViT", "all levels", 1.0],
        ["ResNet", "50 images and 200 images", 1.0],
        ["ResNet", 800, 2.0],
        ["later", "all levels", 0.0],
    ]


def test_colours_follow_names_and_the_plan_not_what_is_drawn(tmp_path, records):
    assert theme.styles(records.plan, "model")["ResNet"] == theme.Style(theme.COLOURS[0], theme.MARKERS[0])
    figure = LearningCurve()
    partial = records_of(tmp_path, write=lambda cell: cell["model"] == "ResNet")
    (axes,) = figure.draw(figure.table(partial), partial).axes
    drawn = {line.get_color() for line in axes.lines if not np.isnan(np.asarray(line.get_ydata(), float)).all()}
    assert theme.COLOURS[0] in drawn
    assert theme.COLOURS[1] not in drawn


def test_sixty_four_levels_look_different():
    styles = theme.styles(made_up.make_plan(models=[f"m{i}" for i in range(64)], sizes=(50,), seeds=(0,)), "model")
    assert len(set(styles.values())) == 64


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 10])
def test_a_legend_of_long_names_is_as_wide_as_the_figure_at_most(count):
    figure, _ = theme.canvas(1)
    names = ["ResNet", "ConvNeXt", *(f"ViT, a mixer called {i}" for i in range(8))][:count]
    style = theme.Style(theme.INK, "o")
    with theme.style():
        lettering.legend(figure, {name: marks.handle(style) for name in names})
        figure.draw_without_rendering()
        (drawn,) = figure.legends
        box = drawn.get_window_extent()
    assert [text.get_text() for text in drawn.get_texts()] == names
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert figure.axes[0].get_tightbbox().y1 <= box.y0 < box.y1 <= figure.bbox.height


@pytest.mark.parametrize(
    ("figure", "sentence"),
    [
        (
            LearningCurve(x="epochs"),
            "x of LearningCurve must be a factor of the experiment (model, train_size, seed). ",
        ),
        (Gap(reference="VGG"), "reference of Gap must be a level of model ('ViT', 'ResNet'). Got 'VGG' instead."),
        (Matching(reference="VGG"), "reference of Matching must be a level of model ('ViT', 'ResNet'). Got 'VGG'"),
        (Generalisation(hue="depth"), "hue of Generalisation must be a factor of the experiment"),
    ],
)
def test_figures_refuse_what_the_experiment_does_not_have(records, figure, sentence):
    with pytest.raises(InputError) as error:
        figure.table(records)
    assert str(error.value).startswith(sentence)


def test_figures_survive_a_round_trip_through_json():
    from vision_attn.spec import to_json

    assert set(kinds(Figure)) >= {"LearningCurve", "Gap", "Generalisation", "Matching"}
    assert to_json(LearningCurve()) == {"kind": "LearningCurve"}
    for figure in FIGURES:
        assert from_json(to_json(figure), Figure) == figure


@pytest.mark.parametrize(
    ("value", "text"),
    [(50, "50"), (1000, "1k"), (1500, "1.5k"), (121_034, "121k"), (48_100_000, "48.1M"), (0.5, "0.5")],
)
def test_numbers_in_few_characters(value, text):
    assert wording.short(value) == text


def test_numbers_in_tables():
    assert wording.number(0.9124, metric="accuracy") == "91.2"
    assert wording.number(-0.0124, metric="accuracy", signed=True) == "−1.2"
    assert wording.number(1.2345, metric="loss") == "1.23"
    assert wording.number(np.nan) == "–"
    assert [wording.number(n) for n in (1018.4, -25_123, 999.6)] == ["1,020", "−25,100", "1,000"]
    row = {"estimate": 0.5, "low": 0.4, "high": 0.6, "n": 3, "planned": 3}
    assert wording.interval(row, metric="accuracy") == "50.0 [40.0, 60.0]"
    assert wording.interval({**row, "n": 2}, metric="accuracy") == "50.0 [40.0, 60.0] (n = 2)"
    assert wording.interval({**row, "low": np.nan}, metric="accuracy") == "50.0"
    timed = {**row, "estimate": -0.0134, "low": -0.0143, "high": -0.0125}
    assert wording.interval(timed, metric="latency_seconds", signed=True) == "−13.4 [−14.3, −12.5] ms"
    assert wording.number(1.25, metric="latency_seconds") == "1.25 s"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"
    assert [wording.exact(n) for n in (250, 1500, 1936, 4000, 48_000, 3_072_000, 2**20)] == [
        *("250", "1.5k", "1,936", "4k", "48k", "3.072M", "1,048,576")
    ]
    assert wording.listing(["a, b", "c", "d", "e"], most=3) == "a, b; c and 2 others"


@pytest.mark.parametrize(
    ("n", "planned", "said"),
    [
        ((3, 3), (3, 3), "Mean over 3 seeds."),
        ((6, 3), (6, 3), "Mean over 3 to 6 seeds."),
        ((6, 2), (6, 3), "Mean over 2 to 6 seeds. Not all planned seeds are in: ViT (2 of 3)."),
        ((6, 1), (6, 3), "Mean over 1 to 6 seeds. Not all planned seeds are in: ViT (1 of 3)."),
        ((6, 0), (6, 3), "Mean over 6 seeds. Not all planned seeds are in: ViT (0 of 3)."),
        ((1, 1), (1, 1), "One seed a point, so there is no interval."),
        ((0, 0), (3, 3), "Nothing is measured yet."),
    ],
)
def test_the_numbers_of_seeds_in_words(n, planned, said):
    table = pd.DataFrame({"model": ["ResNet", "ViT"], "n": n, "planned": planned})
    assert wording.seeds_text(table, ["model"]) == said
