"""A researcher's own table as records: the same numbers, useful sentences where it cannot be used."""

import decimal
import zipfile

import numpy as np
import pandas as pd
import pytest

from vision_attn.figures import (
    Crossover,
    DataEquivalence,
    DotPlot,
    ErfMap,
    FittedCurves,
    Gap,
    Generalisation,
    ImagesNeeded,
    LearningCurve,
    MetricCurve,
    Variation,
)
from vision_attn.own_results import read
from vision_attn.records import Records, chance, pick
from vision_attn.spec import InputError
from vision_attn.verdicts import DifferenceVerdict, cell

SIZES = (100, 200, 400, 800, 1600)


def accuracy(model, size, seed):
    return (0.9 if model == "resnet18" else 0.8) - 2 * size**-0.5 + 0.002 * seed * (1 + (model == "vit"))


def frame(**columns):
    rows = [
        {"model": model, "train_size": size, "seed": seed, "accuracy": accuracy(model, size, seed)}
        for model in ("resnet18", "vit")
        for size in reversed(SIZES)
        for seed in range(3)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_a_table_is_read_with_its_names_as_they_stand(tmp_path):
    (tmp_path / "own.csv").write_text("position,seed,accuracy\nNone,0,0.5\nNA,1,NA\nrotary,2,0.6\n")
    read_back = read(tmp_path / "own.csv")
    assert list(read_back["position"]) == ["None", "NA", "rotary"]
    assert list(read_back["accuracy"].isna()) == [False, True, False]
    (tmp_path / "own.csv").write_text("model,seed,seed,accuracy\na,0,1,0.5\n")
    with pytest.raises(InputError, match="Got 'seed' twice"):
        read(tmp_path / "own.csv")
    (tmp_path / "own.csv").write_text("model;seed;accuracy\na;0;0,5\nb;0;0,6\n")
    with pytest.raises(InputError, match="must have its cells separated by commas, and decimal points"):
        read(tmp_path / "own.csv")
    (tmp_path / "own.csv").write_text("model,seed,accuracy\na,0,0.5,\nb,0,0.6,\n")
    with pytest.raises(InputError, match="must have no more cells than its first line has names, 3"):
        read(tmp_path / "own.csv")


def test_names_that_pandas_takes_for_empty_cells_are_levels(tmp_path):
    rows = [f"{window},NA,{seed},{0.5 + 0.1 * seed}" for window in ("None", "4.0") for seed in range(2)]
    (tmp_path / "own.csv").write_text("\n".join(["window,model,seed,accuracy", *rows, "None,NA,2,None"]))
    records = Records.from_frame(read(tmp_path / "own.csv"))
    assert records.plan.factors == {"window": ("None", 4), "model": ("NA",), "seed": (0, 1, 2)}
    assert list(records.runs["state"]) == ["done"] * 4 + ["pending"]


def test_a_missing_number_is_no_level(tmp_path):
    (tmp_path / "own.csv").write_text("model,seed,accuracy\na,0,0.5\na,NaN,0.6\na,,0.7\n")
    with pytest.raises(InputError, match=r"Every row needs a level in column 'seed'\. Row 2 has none\."):
        Records.from_frame(read(tmp_path / "own.csv"))


def test_results_that_are_not_named_are_no_factor_though_some_are_none(tmp_path):
    lines = frame(loss=np.linspace(0.1, 0.9, 30)).to_csv(index=False).splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",None"
    (tmp_path / "own.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="Column 'loss' has 30 different numbers in 30 rows, as a result has"):
        Records.from_frame(read(tmp_path / "own.csv"))


@pytest.mark.parametrize(
    ("written", "levels"),
    [("1.1 1.10", ["1.1", "1.10"]), ("007 8", ["007", "8"]), ("1 2", [1, 2]), ("1.5 2", [1.5, 2])],
)
def test_models_named_by_numbers_keep_their_names(tmp_path, written, levels):
    rows = [f"{model},0.10,0.5" for model in written.split()]
    (tmp_path / "own.csv").write_text("\n".join(["model,dropout,accuracy", *rows]))
    assert Records.from_frame(read(tmp_path / "own.csv")).plan.factors == {"model": tuple(levels), "dropout": (0.1,)}


def test_accuracies_that_may_be_worse_than_guessing_may_be_so_low_beside_others():
    own = frame(pgd_accuracy=[0.93, *[40.0] * 29])
    options = {"value": "pgd_accuracy", "factors": ["model", "train_size", "seed"], "percent": True}
    assert Records.from_frame(own, **options).values["value"].min() == pytest.approx(0.0093)


def test_a_split_that_is_named_as_a_factor_is_one():
    both = pd.concat([frame(split="train", accuracy=0.99), frame(split="test")])
    records = Records.from_frame(both, factors=["model", "train_size", "seed", "split"])
    table = LearningCurve().table(records)
    assert set(table["split"]) == {"train", "test"}
    assert set(table["n"]) == {3}


def test_a_number_among_texts_is_no_number_with_separators():
    rates = Records.from_frame(frame(learning_rate=["0.001", "auto"] * 15)).plan.factors["learning_rate"]
    assert rates == ("0.001", "auto")


def test_a_factor_may_not_take_the_name_of_a_column_of_the_figure():
    own = frame(kind=["u", "v"] * 15)
    with pytest.raises(InputError, match="other names than columns of its own"):
        FittedCurves().plot(Records.from_frame(own))


def test_learning_rates_of_a_table_without_history_have_a_panel_each():
    records = Records.from_frame(pd.concat([frame(learning_rate=rate) for rate in (0.1, 0.01)]))
    assert len(LearningCurve().plot(records).axes) == 2


def test_percent_of_at_most_one_are_believed_where_guessing_is_as_low():
    found = Records.from_frame(frame(accuracy=0.5), percent=True, num_classes=1000)
    assert set(found.values["value"]) == {0.005}


def test_the_curve_of_own_results_is_their_mean_by_pandas():
    table = LearningCurve().table(Records.from_frame(frame())).set_index(["model", "train_size"])
    means = frame().groupby(["model", "train_size"])["accuracy"].agg(["mean", "std"])
    assert len(table) == len(means) == 10
    for key, row in means.iterrows():
        assert (table.loc[key, "estimate"], table.loc[key, "sd"]) == pytest.approx((row["mean"], row["std"]))


@pytest.mark.parametrize(
    "figure",
    [
        Gap(reference="resnet18"),
        FittedCurves(resamples=20),
        Crossover(reference="resnet18", resamples=20),
        DataEquivalence(reference="resnet18", resamples=20),
    ],
    ids=lambda figure: type(figure).__name__,
)
def test_own_results_reach_the_figures_of_curves(figure):
    records = Records.from_frame(frame())
    table = figure.table(records)
    assert table["n"].max() == 3
    assert figure.draw(table, records).axes
    assert "Nothing is measured" not in figure.caption(table, records)


def test_own_results_reach_verdicts():
    rule = DifferenceVerdict(
        claim="mine",
        statement="The ViT is worse.",
        at=cell(model="vit", train_size=400),
        reference=cell(model="resnet18", train_size=400),
        given=cell(split="test"),
        side="below",
    )
    found = rule.decide(Records.from_frame(frame()))
    assert (found.verdict, found.n) == ("supports", 3)
    assert found.estimate == pytest.approx(-0.1 + 0.002)


def test_levels_stand_in_the_order_of_the_table_numbers_by_size():
    plan = Records.from_frame(frame()).plan
    assert plan.factors == {"model": ("resnet18", "vit"), "train_size": SIZES, "seed": (0, 1, 2)}
    named = pd.Categorical(frame()["model"], categories=["vit", "unused", "resnet18"])
    assert Records.from_frame(frame(model=named)).plan.factors["model"] == ("vit", "resnet18")


def test_percent_other_names_and_guessing():
    percent = frame().assign(top1=100 * frame()["accuracy"]).drop(columns="accuracy")
    records = Records.from_frame(percent, value={"top1": "accuracy"}, percent=True, num_classes=10)
    np.testing.assert_allclose(records.values["value"], frame()["accuracy"])
    assert set(records.values["metric"]) == {"accuracy"}
    assert chance(records) == 0.1


def test_a_column_split_tells_training_from_test_images_of_one_run():
    both = pd.concat([frame(split="train", accuracy=0.99), frame(split="test")])
    records = Records.from_frame(both)
    assert len(records.runs) == 30
    table = Generalisation().table(records)
    assert set(table.loc[table["split"] == "train", "estimate"].round(9)) == {0.99}
    assert table["planned"].max() == 3


def test_a_curve_says_where_a_metric_has_values_of_another_split_alone():
    records = Records.from_frame(frame(), split="train")
    caption = LearningCurve().caption(LearningCurve().table(records), records)
    assert "There are values of accuracy of the split train, but none of test." in caption
    assert "There are values" not in LearningCurve(split="train").caption(
        LearningCurve(split="train").table(records), records
    )


@pytest.mark.parametrize(
    "figure",
    [
        Gap(reference="vit"),
        FittedCurves(resamples=20),
        Crossover(reference="vit", resamples=20),
        DotPlot(),
        DotPlot(reference="vit"),
        MetricCurve(),
        Variation(reference="vit", outer="subset"),
        ImagesNeeded(x="subset", resamples=20),
        Generalisation(),
    ],
    ids=lambda figure: type(figure).__name__,
)
def test_other_figures_say_it_too(figure):
    records = Records.from_frame(frame(subset=1), split="validation")
    table = figure.table(records)
    assert figure.is_empty(table)
    none = "train or test" if isinstance(figure, Generalisation) else "test"
    said = f"There are values of accuracy of the split validation, but none of {none}."
    assert said in figure.caption(table, records)


def test_a_figure_says_which_metrics_have_values_where_its_own_has_none():
    def said(records, figure):
        return figure.caption(figure.table(records), records)

    own = frame().rename(columns={"accuracy": "top1"})
    records = Records.from_frame(own, value="top1")
    for figure in (LearningCurve(), DotPlot(), Gap(reference="vit"), Generalisation()):
        assert 'There are values of top1: give metric="top1".' in said(records, figure)
    assert "There are values" not in said(records, LearningCurve(metric="top1"))
    assert "There are values" not in said(records, LearningCurve(split="train"))
    two = Records.from_frame(own.assign(top5=own["top1"]), value=("top1", "top5"))
    assert 'There are values of top1 and top5: give metric="top1" or another of them.' in said(two, LearningCurve())
    nothing = Records.from_frame(own.assign(top1=np.nan), value="top1")
    assert "There are values" not in said(nothing, LearningCurve())


def test_other_columns_are_left_out_where_factors_are_named():
    noisy = frame(seconds=np.linspace(1.0, 9.7, 30), host="a")
    records = Records.from_frame(noisy, factors=["model", "train_size", "seed"])
    assert list(records.plan.factors) == ["model", "train_size", "seed"]
    two = Records.from_frame(noisy, value=("accuracy", "seconds"), factors=["model", "train_size", "seed"])
    assert set(two.values["metric"]) == {"accuracy", "seconds"}


def test_a_row_without_a_value_is_a_run_that_is_not_measured():
    lacking = frame()
    lacking.loc[0, "accuracy"] = np.nan
    records = Records.from_frame(lacking)
    assert records.runs["state"].value_counts().to_dict() == {"done": 29, "pending": 1}
    assert "resnet18, 1.6k images (2 of 3)" in LearningCurve().caption(LearningCurve().table(records), records)


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        (
            frame(),
            {"value": "acc"},
            "value must be a column of the table ('model', 'train_size', 'seed', 'accuracy'). ",
        ),
        (frame(), {"factors": ["network"]}, "factors must be a column of the table ('model', "),
        (frame().to_dict("records"), {}, "frame of from_frame must be a DataFrame of pandas. Got a list instead: give"),
        (frame().iloc[:0], {}, "The table of results has no rows."),
        (frame()[["accuracy"]], {}, "The table needs columns beside accuracy that tell its rows apart, such as model."),
        (
            frame().drop(columns="seed"),
            {},
            "Rows 1 and 2 have the same factors (model=resnet18, train_size=1600). Add a column that tells them apart",
        ),
        (frame(accuracy="good"), {}, "Column 'accuracy' must hold numbers. Got 'good' instead."),
        (
            frame(accuracy="93 %"),
            {},
            "Column 'accuracy' must hold numbers. Got '93 %' instead. Leave the sign out, and say percent=True, or ",
        ),
        (
            frame(accuracy=np.inf),
            {},
            "Column 'accuracy' must hold shares between 0 and 1. Got inf instead. Leave the cell empty where a run di",
        ),
        (
            frame(accuracy=1.0000001),
            {},
            "Column 'accuracy' must hold shares between 0 and 1. Got 1.0000001 instead. If they are percent",
        ),
        (frame(split=[None, *["test"] * 29]), {}, "Every row needs a level in column 'split'. Row 1 has none."),
        (
            frame(split=["Test", "test"] * 15),
            {},
            "Column 'split' must write a level in one way. Got 'Test' and 'test'.",
        ),
        (
            frame(model=["caf\u00e9", "cafe\u0301"] * 15),
            {},
            "Column 'model' must write a level in one way. Got 'caf\\xe9' and 'cafe\\u0301'.",
        ),
        (
            frame(tags=None),
            {},
            "Every row needs a level in column 'tags'. Row 1 has none. Fill the column in, or leave it out by naming",
        ),
        (
            frame(top1_accuracy=[0.93, *[60.0] * 29]),
            {"value": "top1_accuracy", "factors": ["model", "train_size", "seed"], "percent": True},
            "Column 'top1_accuracy' must hold percent. Got 0.93, as if it were a share: write all alike",
        ),
        (
            frame(hit_share=0.93),
            {"value": "hit_share", "factors": ["model", "train_size", "seed"], "percent": True},
            "Column 'hit_share' must hold percent. Got none above 1, as if they were shares: write all alike, and",
        ),
        (
            frame(accuracy=93.2),
            {},
            "Column 'accuracy' must hold shares between 0 and 1. Got 93.2 instead. If they are percent, say so",
        ),
        (frame(accuracy=0.93), {"percent": True}, "Column 'accuracy' must hold percent. Got none above 1, as if"),
        (frame(accuracy=0.93), {"percent": True, "num_classes": 99}, "Column 'accuracy' must hold percent. Got none"),
        (
            frame(accuracy=[0.93, *[60.0] * 29]),
            {"percent": True},
            "Column 'accuracy' must hold percent. Got 0.93, as if it were a share: write all alike",
        ),
        (frame(train_size=["1,000"] * 30), {}, "Column 'train_size' must write numbers with a decimal point and"),
        (frame(model=["0,5"] * 30), {}, "Column 'model' must write numbers with a decimal point and without"),
        (frame(model=["x" * 201] * 30), {}, "Column 'model' must have levels of at most 200 characters. Got 'xxxx"),
        (frame(accuracy=120.0), {"percent": True}, "Column 'accuracy' must hold percent between 0 and 100. Got 120"),
        (frame(model=[None, *["a"] * 29]), {}, "Every row needs a level in column 'model'. Row 1 has none."),
        (
            frame(run="x"),
            {},
            "A column must not be called 'run', as tables of results have one of that name. Rename it (to seed,",
        ),
        (frame(n=5), {}, "A column must not be called 'n', as tables of results have one of that name."),
        (frame(model=[["a"]] * 30), {}, "Column 'model' must hold texts and numbers. Got ['a'] instead."),
        (frame(model="a\x01"), {}, "Column 'model' must have levels of characters that can be printed. Got 'a\\x01'"),
        (frame(model=" "), {}, "Every row needs a level in column 'model'. Row 1 has none."),
        (
            frame(loss=np.inf),
            {"value": ["accuracy", "loss"]},
            "Column 'loss' must hold finite numbers up to 1e100. Got inf inst",
        ),
        (
            frame(loss=1e308),
            {"value": ["accuracy", "loss"]},
            "Column 'loss' must hold finite numbers up to 1e100. Got 1e+308 ",
        ),
        (frame(), {"value": 3}, "value must name columns with results. Got 3 instead."),
        (
            frame(accuracy=["0,5"] * 30),
            {},
            "Column 'accuracy' must hold numbers. Got '0,5' instead. Write a decimal point, and no separators of",
        ),
        (frame(), {"value": []}, "value must name columns with results. Got [] instead."),
        (frame(), {"value": {"accuracy": None}}, "value must give column 'accuracy' the name of a metric. Got None"),
        (frame(), {"num_classes": "10"}, "num_classes must be from 2 to 1,000,000. Got '10' instead."),
        (frame().assign(x=1).rename(columns={"x": "seed"}), {}, "Columns must be named once each. Got 'seed' 2 times."),
        (
            frame(loss=np.linspace(0.1, 0.9, 30)),
            {},
            "Column 'loss' has 30 different numbers in 30 rows, as a result has and a factor has not. Name it",
        ),
    ],
)
def test_what_cannot_be_used_is_said(table, options, sentence):
    with pytest.raises(InputError) as error:
        Records.from_frame(table, **options)
    assert str(error.value).startswith(sentence)


def test_the_cell_that_is_no_number_is_named():
    cells = [0.5] * 29
    with pytest.raises(InputError, match=r"Column 'accuracy' must hold numbers\. Got 'n/a' instead\."):
        Records.from_frame(frame(accuracy=["0.25", *cells[1:], "n/a"]))


def test_ends_of_lines_within_a_level_are_spaces():
    assert Records.from_frame(frame(model="a\r\nb", seed=range(30))).plan.levels("model") == ["a b"]


def test_an_index_that_pandas_has_written_and_spaces_after_commas_are_no_part_of_the_table(tmp_path):
    frame().to_csv(tmp_path / "x.csv")
    text = (tmp_path / "x.csv").read_text()
    (tmp_path / "y.csv").write_text(text.replace(",", ", "))
    assert list(read(tmp_path / "x.csv")) == list(read(tmp_path / "y.csv")) == list(frame())


LONG = pytest.param(
    "9" * 400, marks=pytest.mark.skipif(int(pd.__version__.split(".")[0]) < 3, reason="pandas 2 reads it as a name")
)


@pytest.mark.parametrize("level", ["inf", "-inf", "1e300", LONG])
def test_levels_that_no_plan_can_hold_are_refused(tmp_path, level):
    (tmp_path / "x.csv").write_text(f"model,train_size,accuracy\na,{level},0.5\nb,50,0.5\n")
    with pytest.raises(InputError, match=r"Column 'train_size' must have levels between -2\*\*63 and 2\*\*63\. Got "):
        Records.from_frame(read(tmp_path / "x.csv"))


@pytest.mark.parametrize("kind", ["csv.gz", "csv.xz", "csv.bz2", "zip", "tar.gz"])
def test_an_archive_is_read_where_it_is_whole_and_has_one_table(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    frame().to_csv(path, index=False)
    pd.testing.assert_frame_equal(read(path), frame(), check_dtype=False)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"model,seed,accuracy\n"):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"must be a CSV, or a whole archive with one CSV in it and nothing else\. It"
        ):
            read(path)


def test_an_archive_of_several_tables_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.csv", frame().to_csv(index=False))
        archive.writestr("__MACOSX/._a.csv", "")
    with pytest.raises(InputError, match=r"must be a CSV, or a whole archive .* Multiple files found in ZIP file"):
        read(tmp_path / "x.zip")


def test_a_table_with_semicolons_is_refused(tmp_path):
    for mark in (";", "\t", "|"):
        frame().to_csv(tmp_path / "x.csv", index=False, sep=mark)
        with pytest.raises(InputError, match="must have its cells separated by commas, and decimal points") as error:
            read(tmp_path / "x.csv")
        assert f"Got {mark!r} instead." in str(error.value)


def test_spaces_behind_cells_and_empty_columns_without_a_name_are_no_part_of_the_table(tmp_path):
    text = frame().to_csv(index=False)
    (tmp_path / "x.csv").write_text(text.replace("vit,", "vit  ,").replace("seed,", "seed ,").replace("\n", ",\n"))
    assert list(read(tmp_path / "x.csv")) == list(frame())
    assert Records.from_frame(read(tmp_path / "x.csv")).plan.levels("model") == ["resnet18", "vit"]


def test_a_level_written_in_two_ways_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text(frame().to_csv(index=False).replace("vit,1600", "ViT,1600"))
    with pytest.raises(InputError, match=r"Column 'model' must write a level in one way\. Got 'ViT' and 'vit'\."):
        Records.from_frame(read(tmp_path / "x.csv"))


@pytest.mark.parametrize(
    ("levels", "said"),
    [(["vit", "vit "], "'vit' and 'vit '"), ([1, "1"], "1 and '1'"), (["ViT", "vit"], "'ViT' and 'vit'")],
)
@pytest.mark.parametrize("kind", [object, "category"])
def test_levels_that_print_alike_are_refused(levels, said, kind):
    table = frame(model=pd.Series(levels * 15, dtype=kind))
    with pytest.raises(InputError, match=rf"Column 'model' must write a level in one way\. Got {said}\."):
        Records.from_frame(table)


def test_decimals_are_numbers():
    table = frame(train_size=[decimal.Decimal(int(size)) for size in frame()["train_size"]])
    assert Records.from_frame(table).plan.factors["train_size"] == SIZES


def test_a_frame_of_another_library_is_told_how_to_become_one():
    other = type("DataFrame", (), {"__module__": "polars.dataframe.frame", "to_pandas": frame})
    for given, said in (
        (other(), r"a DataFrame of polars instead: give frame\.to_pandas\(\)\."),
        ([], r"a list instead: give pandas\.DataFrame\(rows\)\."),
        (frame()["seed"], r"a Series of pandas instead: give series\.reset_index\(\)\."),
        (3, r"a int instead\."),
    ):
        with pytest.raises(InputError, match=rf"frame of from_frame must be a DataFrame of pandas\. Got {said}$"):
            Records.from_frame(given)


def test_a_column_that_is_no_factor_may_be_written_in_any_way(tmp_path):
    table = frame(note=["OK", "ok"] * 15)
    table.to_csv(tmp_path / "x.csv", index=False)
    records = Records.from_frame(read(tmp_path / "x.csv"), factors=["model", "train_size", "seed"])
    assert len(records.values) == len(table)


def test_names_that_differ_by_a_space_are_one_column_named_twice(tmp_path):
    (tmp_path / "x.csv").write_text("model,seed,accuracy,accuracy \nvit,0,0.5,0.6\n")
    with pytest.raises(InputError, match=r"x\.csv must be named once each\. Got 'accuracy' twice\."):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("column", ["date", "id"])
def test_a_column_that_numbers_the_rows_would_leave_one_seed_a_point(column):
    table = frame(**{column: [f"run {i}" for i in range(30)] if column == "date" else range(30)})
    with pytest.raises(InputError) as error:
        Records.from_frame(table)
    assert str(error.value) == (
        f"Column {column!r} has another level in every row, so that no mean over others is left. Leave it out by "
        "naming the factors: factors=[...], or --factor model --factor train_size --factor seed."
    )
    assert len(Records.from_frame(table, factors=["model", "train_size", "seed"]).values) == 30
    own = table.drop_duplicates("model").drop(columns=["seed", "train_size"])  # one row a model: both tell them apart
    assert len(Records.from_frame(own).values) == 2


def test_a_model_named_by_a_number_can_be_the_reference():
    table = Records.from_frame(frame(model=[1, 2] * 15, seed=range(30)))
    assert table.plan.levels("model") == [1, 2]
    assert Gap(reference=1).view(table).plan.levels("model") == [1, 2]


@pytest.mark.parametrize(
    ("content", "kind", "function"),
    [
        (b"PAR1\x15\x04\x15", "Parquet", "read_parquet"),
        (b"PK\x03\x04" + bytes(60), "Excel", "read_excel"),
        (b'\xef\xbb\xbf[\n  {"model": "a", "accuracy": 0.5}]', "JSON", "read_json"),
        (b'{"model": "a", "accuracy": 0.5}\n', "JSON", "read_json"),
    ],
)
def test_a_table_of_another_kind_is_named_with_what_reads_it(tmp_path, content, kind, function):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        read(tmp_path / "x.csv")
    told = f"{tmp_path / 'x.csv'} must be a table in CSV. Got one in {kind}: write it anew by pandas.{function}(...)"
    assert str(error.value).startswith(told)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zip"])
@pytest.mark.parametrize("name", ["x.csv", "x.txt"])
def test_a_compressed_table_has_the_ending_of_its_compression(tmp_path, ending, name):
    frame().to_csv(tmp_path / f"x.csv{ending}", index=False)
    pd.testing.assert_frame_equal(read(tmp_path / f"x.csv{ending}"), frame())
    (tmp_path / f"x.csv{ending}").rename(tmp_path / name)
    with pytest.raises(InputError) as error:
        read(tmp_path / name)
    assert f"must have a name that ends in '{ending}', as it is compressed. Got '{name}' instead." in str(error.value)


def test_lines_of_commas_alone_are_no_part_of_a_table_and_lines_before_it_are_told(tmp_path):
    text = frame().to_csv(index=False)
    (tmp_path / "x.csv").write_text(f"{text},,,\n,,,\n")
    assert len(read(tmp_path / "x.csv")) == len(frame())
    (tmp_path / "x.csv").write_text(f"# one\n# two\n{text}")
    with pytest.raises(InputError, match=r"in every line: 1 in the first\. Line 3 has 4\."):
        read(tmp_path / "x.csv")


def test_named_levels_of_the_index_and_columns_named_by_numbers_are_columns():
    indexed = Records.from_frame(frame().set_index(["model", "train_size", "seed"]))
    assert indexed.plan.factors == Records.from_frame(frame()).plan.factors
    assert Records.from_frame(frame().rename(columns={"seed": 0})).plan.levels("0") == [0, 1, 2]
    once = frame().drop_duplicates("model")
    assert Records.from_frame(once, factors="model").plan.levels("model") == ["resnet18", "vit"]


def test_whole_numbers_beyond_those_of_floats_stay_apart():
    sizes = [2**53 + i for i in range(30)]
    assert Records.from_frame(frame(train_size=sizes), factors=["train_size"]).plan.levels("train_size") == sizes


def test_a_file_that_is_no_table_is_said(tmp_path):
    with pytest.raises(InputError, match="No such file: "):
        read(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="cannot be read as a table in CSV: No columns to parse from file"):
        read(tmp_path / "empty.csv")
    for encoding in ("latin1", "utf-16"):
        (tmp_path / "other.csv").write_text(frame(model="é").to_csv(index=False), encoding=encoding)
        with pytest.raises(InputError, match=r"other\.csv must be a table in CSV, as text in UTF-8"):
            read(tmp_path / "other.csv")


ROWS = pd.DataFrame(
    {
        "probe": ["Accuracy", "Influence", "Influence"],
        "metric": ["accuracy", "erf_map", "erf_map"],
        "value": [0.5, 2.0, 1.0],
        "split": ["test", np.nan, np.nan],
        "layer": [np.nan, 1, 1],
        "row": [np.nan, 0, 0],
        "column": [np.nan, 0, 1],
    }
)


def test_what_was_measured_of_models_becomes_figures_by_label():
    records = Records.from_measured({"one": ROWS, "two": [ROWS, ROWS.assign(value=ROWS["value"] * 2)]})
    assert records.plan.factors == {"model": ("one", "two"), "seed": (0, 1)}
    table = ErfMap(own="with").table(records)
    expected = {("one", 0.0): 2.0, ("one", 1.0): 1.0, ("two", 0.0): 3.0, ("two", 1.0): 1.5}
    assert {(row.model, row.column): row.estimate for row in table.itertuples()} == expected
    assert list(table["n"]) == [1, 1, 2, 2]
    assert pick(records, "accuracy", at={"split": "test"})["value"].tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "measured must be frames of measure() by label: {'mine': rows}. Got {} instead."),
        (ROWS, "measured must be frames of measure() by label: {'mine': rows}. Got a frame of the columns probe, "),
        (
            {"a": 3 * [1]},
            "measured of 'a' must be a frame that measure() gave, with the columns metric and value. Got 1",
        ),
        ({"a": ROWS[["value"]]}, "with the columns metric and value. Got a frame of the columns value instead."),
    ],
)
def test_what_was_not_measured_is_refused_with_a_sentence(given, sentence):
    with pytest.raises(InputError) as error:
        Records.from_measured(given)
    assert sentence in str(error.value)
