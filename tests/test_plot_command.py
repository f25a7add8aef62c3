"""`vision-attn plot`: figures of one's own table from the command line."""

import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from vision_attn.cli.command import app
from vision_attn.figures import Figure
from vision_attn.probes import Probe
from vision_attn.records import Records
from vision_attn.spec import InputError, kinds

RESULTS = Path(__file__).parent.parent / "results"


@pytest.fixture
def table(tmp_path):
    rows = [
        {"model": model, "train_size": size, "seed": seed, "accuracy": 0.5 + 0.1 * i + 0.01 * seed + size / 10_000}
        for i, model in enumerate(("vit", "resnet18"))
        for size in (100, 200, 400)
        for seed in range(3)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "results.csv", index=False)
    return tmp_path / "results.csv"


def plot(*words):
    return CliRunner().invoke(app, ["plot", *map(str, words)])


def test_a_model_named_by_a_number_is_the_reference_by_its_text(table, tmp_path):
    table.write_text(table.read_text().replace("vit", "1").replace("resnet18", "2"))
    ended = plot(table, "--figure", "Gap", "--reference", "2", "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    assert "Difference in test accuracy to 2, paired by seed" in ended.output.replace("\n", " ")


@pytest.mark.parametrize("name", ["$x_$", "$\\frac{1}$", "cafe\u0301"])
def test_a_reference_may_have_any_name(table, tmp_path, name):
    table.write_text(table.read_text().replace("vit", name))
    typed = unicodedata.normalize("NFC", name)
    words = ("--figure", "Gap", "--figure", "DotPlot", "--figure", "DataEquivalence", "--reference", typed)
    ended = plot(table, *words, "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    assert {file.stem for file in (tmp_path / "out").iterdir()} == {"Gap", "DotPlot", "DataEquivalence"}


def test_a_file_in_the_place_of_a_folder_is_said(table):
    ended = plot(table, "--out", table)
    said = f"out must be a folder, or the place of a new one. Got '{table}', which is no folder."
    assert str(ended.exception) == said


def test_two_figures_of_ones_own_table(table, tmp_path):
    words = ("--figure", "LearningCurve", "--figure", "Gap", "--reference", "resnet18", "--out", tmp_path / "out")
    ended = plot(table, *words, "--width", "column", "--label", "vit=ViT (ours)", "--classes", "10")
    assert ended.exit_code == 0, ended.output
    names = {f"{figure}.{kind}" for figure in ("LearningCurve", "Gap") for kind in ("pdf", "svg", "png", "tex")}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    assert "Difference in test accuracy to resnet18, paired by seed" in ended.output.replace("\n", " ")
    assert "ViT (ours)" in (tmp_path / "out" / "Gap.tex").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--figure", "Gap"), "Gap compares models with one of them. Name it: --reference MODEL ('vit', 'resnet18')."),
        (
            ("--figure", "Gap", "--reference", "vgg"),
            "reference of Gap must be a level of model ('vit', 'resnet18')",
        ),
        (("--figure", "learning_curve"), "figure must be one of 'LearningCurve', "),
        (
            ("--figure", "LearningCurve", "--value", "acc"),
            "value must be a column of the table ('model', 'train_si",
        ),
        (
            ("--figure", "LearningCurve", "--x", "size"),
            "x of LearningCurve must be a factor of the experiment (mod",
        ),
        *(
            (("--figure", "LearningCurve", "--width", width), "width must be 'column', 'page' or a number of inches f")
            for width in ("wide", "nan", "inf", "1e9", "0", "0.01", "")
        ),
        (("--figure", "LearningCurve", "--x", "model"), "hue of LearningCurve must be another column than x. Both are"),
        (("--figure", "LearningCurve", "--classes", 10**30), "num_classes must be from 2 to 1,000,000. Got 1000"),
        (
            ("--figure", "LearningCurve", "--factor", "model", "--factor", "model"),
            "Columns must be named once each. Got 'model' 2 times.",
        ),
        (
            ("--percent", "--value", "accuracy=loss"),
            "--percent is for shares, such as accuracy. loss is none.",
        ),
        (
            ("--value", "accuracy=accuracy", "--value", "train_size=accuracy"),
            "value must name one column a metric. Got 'accuracy' and 'train_size' for 'accuracy'.",
        ),
        (
            ("--value", "accuracy=accuracy", "--value", "accuracy=loss"),
            "value must give a column once. Got 'accuracy' as accuracy and as loss.",
        ),
        (
            ("--figure", "ErfMap"),
            "ErfMap draws what the probe Influence measures of a network, of which the table has n",
        ),
        (
            ("--figure", "Summary"),
            "Summary must be drawn in Python, by its method plot: its field 'parts' is no option",
        ),
        (
            ("--figure", "LearningCurve", "--label", "vit=A", "--label", "vit=B"),
            "label must give a name once. Got 'vit' as A and as B.",
        ),
        (("--figure", "LearningCurve", "--label", "vit"), "label must be NAME=TEXT. Got 'vit' instead."),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_sentence(table, words, sentence):
    ended = plot(table, *words)
    assert isinstance(ended.exception, InputError)
    assert str(ended.exception).startswith(sentence)


def test_every_figure_shows_something_of_the_table_or_says_what_it_needs(table, tmp_path):
    for kind, made in kinds(Figure).items():
        reference = (
            ("--reference", "vit") if hasattr(made, "reference") or "reference" in made.__dataclass_fields__ else ()
        )
        ended = plot(table, "--figure", kind, *reference, "--out", tmp_path / kind)
        is_drawn = ended.exit_code == 0 and "Nothing is measured yet" not in ended.output
        assert is_drawn == (tmp_path / kind).exists(), kind
        assert is_drawn or isinstance(ended.exception, InputError), kind
        assert not made.measured_by or made.measured_by in kinds(Probe), kind


def test_columns_of_other_names_are_asked_for_at_once(table):
    named = {"model": "net", "train_size": "images", "seed": "rep", "accuracy": "top1"}
    pd.read_csv(table).rename(columns=named).to_csv(table, index=False)
    ended = plot(table, "--figure", "LearningCurve")
    assert str(ended.exception) == (
        "No column of the table is called accuracy. Say which is: --value COLUMN=accuracy (net, images, rep, top1)."
    )
    ended = plot(table, "--figure", "LearningCurve", "--value", "top1=accuracy", "--hue", "net")
    assert str(ended.exception) == (
        "LearningCurve looks for train_size, seed, which the table does not have (net, images, rep). Say which columns "
        "are meant: --x COLUMN --over COLUMN, or add a column seed of zeros where nothing was repeated."
    )


def test_a_column_whose_name_has_a_sign_of_equality_is_a_value(table, tmp_path):
    pd.read_csv(table).rename(columns={"accuracy": "acc=top1"}).to_csv(table, index=False)
    ended = plot(table, "--value", "acc=top1=accuracy", "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.output


def test_a_wide_table_is_told_how_to_become_a_long_one(tmp_path):
    (tmp_path / "wide.csv").write_text("model,seed,100,1000\nvit,0,0.3,0.4\nresnet,0,0.4,0.6\n")
    ended = plot(tmp_path / "wide.csv")
    assert str(ended.exception).endswith(
        "wide.csv must have a row per trained model, with its accuracy in one column, such as pandas.melt makes them. "
        "Got columns named 100, 1000."
    )


@pytest.fixture
def folder(tmp_path):
    """A report as a clone has it: tables, and no pool of runs beside them."""
    return shutil.copytree(RESULTS / "quickstart", tmp_path / "results" / "quickstart")


def test_figures_of_a_report_are_drawn_anew_for_a_paper(folder, tmp_path):
    words = ("--figure", "Gap", "--width", "column", "--label", "ViT=Attention", "--out", tmp_path / "out")
    ended = plot(folder, *words)
    assert ended.exit_code == 0, ended.output
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"Gap.{kind}" for kind in ("pdf", "svg", "png", "tex")
    }
    assert "Attention" in (tmp_path / "out" / "Gap.tex").read_text()
    assert Records.from_folder(folder).values.equals(Records.from_folder(str(folder)).values)


def test_a_figure_of_a_report_has_the_reference_that_is_typed(folder, tmp_path):
    ended = plot(folder, "--figure", "Gap", "--reference", "logistic regression", "--out", tmp_path / "out")
    assert "Difference in test accuracy to logistic regression" in ended.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("place", "words", "sentence"),
    [
        ("records.csv.xz", (), "belongs to a report. Give the report's folder: '"),
        ("tables/Gap.csv", (), "belongs to a report. Give the report's folder: '"),
        ("", ("--value", "loss"), "value must be left out: it is about a table in CSV. '"),
        ("", ("--figure", "Gap", "--reference", "vgg"), "reference of Gap must be a level of model ('ResNet', "),
        ("", ("--figure", "Gap", "--label", "vgg=VGG"), "labels must be"),
    ],
)
def test_what_a_report_does_not_have_is_said_in_one_sentence(folder, place, words, sentence):
    ended = plot(folder / place, *words)
    assert isinstance(ended.exception, InputError)
    assert sentence in str(ended.exception)
