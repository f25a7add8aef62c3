"""Figures as a user has them: on her axes, by her settings, in files for a paper, of her own results."""

import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up_curves import MODELS, curve_records
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Page

from vision_attn.figures import Crossover, FittedCurves, Gap, Generalisation, LearningCurve, Summary, Variation
from vision_attn.figures.latex import escaped, latex
from vision_attn.records import Records
from vision_attn.spec import InputError

CURVE, GAP = LearningCurve(), Gap(reference="ResNet")


@pytest.fixture(scope="module")
def records():
    return curve_records(models=MODELS[:2], sizes=(250, 500, 1000))


@pytest.fixture
def axes():
    _, axes = plt.subplots()
    yield axes
    plt.close("all")


def texts_of(svg):
    return {text.strip() for text in re.findall(r">([^<>]+)</text>", svg)}


def test_values_on_an_axis_in_percent_are_percent(records):
    table = CURVE.table(records)
    (panel,) = CURVE.plot(records).axes
    assert panel.get_ylabel() == "test accuracy (%)"
    heights = np.concatenate([line.get_ydata() for line in panel.lines if line.get_marker() in ("o", "s")])
    np.testing.assert_allclose(np.sort(heights), np.sort(100 * table["estimate"]))
    panel.set_yticks([20, 60])
    assert [text.get_text() for text in panel.get_yticklabels()] == ["20", "60"]
    panel.set_yscale("log")
    panel.set_ylim(30, 90)
    assert panel.get_ylim() == (30, 90)


@pytest.mark.parametrize(
    ("figure", "unit"), [(GAP, "points"), (Generalisation(), "%"), (FittedCurves(resamples=20), "%")], ids=str
)
def test_so_are_those_of_other_figures(records, figure, unit):
    panel = figure.plot(records).axes[0]
    assert unit in panel.get_ylabel()
    table = figure.table(records)
    assert np.nanmax(np.abs([line.get_ydata()[0] for line in panel.lines if len(line.get_xdata()) == 3])) > 2
    assert table["estimate"].abs().max() <= 1


def test_a_standard_deviation_in_points_is_drawn_in_points():
    records = curve_records(models=MODELS[:2], sizes=(250,), seeds=(0, 1), subset=(0, 1, 2))
    figure = Variation(reference="ResNet")
    plot = figure.plot(records)
    drawn = sorted(float(line.get_xdata()[0]) for line in plot.axes[0].lines)
    np.testing.assert_allclose(drawn, 100 * np.sort([*plot.table["sd_outer"], *plot.table["sd_inner"]]))


def test_a_figure_is_drawn_on_the_axes_it_is_given_and_on_no_others(records):
    page, (left, right) = plt.subplots(1, 2)
    plot = CURVE.plot(records, ax=right, title="Mine")
    assert plot.axes == [right]
    assert plot.sheet is right
    assert (right.get_title(), right.get_xlabel()) == ("Mine", "number of training images")
    assert right.get_ylabel() == "test accuracy (%)"
    assert [text.get_text() for text in right.get_legend().get_texts()] == list(MODELS[:2])
    assert not left.has_data()
    assert page.legends == []
    plt.close(page)


def test_a_figure_fills_the_part_of_another_one_that_it_is_given(records):
    page = Page(figsize=(9, 4), layout="constrained")
    left, right = page.subfigures(1, 2)
    plot = GAP.plot(records, figure=left)
    assert plot.sheet is left
    assert right.axes == []
    assert tuple(page.get_size_inches()) == (9, 4)
    whole = plt.figure(figsize=(5, 3))
    CURVE.plot(records, figure=whole)
    assert tuple(whole.get_size_inches()) == (5, 3)
    assert len(whole.legends) == 1
    plt.close("all")


def test_several_panels_do_not_fit_on_one_pair_of_axes(axes):
    records = curve_records(models=MODELS[:2], sizes=(250, 500), scale=("1/d", "none"))
    with pytest.raises(InputError, match=r"ax must be left out for a figure of several panels"):
        CURVE.plot(records, ax=axes)
    with pytest.raises(InputError, match=r"ax must be left out where figure is given"):
        CURVE.plot(records, ax=axes, figure=axes.figure)
    with pytest.raises(InputError, match=r"width must be left out where ax or figure has one"):
        CURVE.plot(records, ax=axes, width="column")
    with pytest.raises(InputError, match=r"ax of plot must be one panel of matplotlib, .* Got a ndarray instead"):
        CURVE.plot(records, ax=np.array([axes]))
    with pytest.raises(InputError, match=r"figure of plot must be a figure or subfigure .* Got a Axes instead"):
        CURVE.plot(records, figure=axes)
    with pytest.raises(InputError, match=r"records of plot must be Records, such as .* Got a DataFrame instead"):
        CURVE.plot(records.values)


def test_settings_of_the_user_win_and_others_are_ours(records):
    ours = CURVE.plot(records)
    cycle = mpl.cycler(color=["#112233", "#445566"])
    with mpl.rc_context({"axes.labelsize": 17, "font.family": ["serif"], "axes.prop_cycle": cycle}):
        theirs = CURVE.plot(records)
    assert [plot.axes[0].xaxis.label.get_size() for plot in (ours, theirs)] == [9.5, 17]
    assert theirs.axes[0].yaxis.label.get_family() == ["serif"]
    colours = {to_hex(line.get_color()) for line in theirs.axes[0].lines if line.get_marker() in ("o", "s")}
    assert colours == {"#112233", "#445566"}
    assert theirs.axes[0].xaxis.get_ticklabels()[0].get_size() == ours.axes[0].xaxis.get_ticklabels()[0].get_size()


def test_axes_of_the_user_keep_her_style(records):
    with mpl.rc_context({"axes.spines.top": True, "axes.labelsize": 13}):
        page, axes = plt.subplots()
        CURVE.plot(records, ax=axes)
        assert axes.spines["top"].get_visible()
        assert axes.xaxis.label.get_size() == 13
        plt.close(page)


def test_a_saved_figure_is_a_pdf_an_svg_with_text_a_png_and_a_table(records, tmp_path):
    labels = {"ViT": "ViT-Ti (ours)", "number of training images": "images"}
    files = CURVE.plot(records).save(tmp_path / "x.pdf", width="column", title="Learning, 50 %", labels=labels)
    assert [file.name for file in files] == ["x.pdf", "x.svg", "x.png", "x.tex"]
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files}
    pdf, svg, png, tex = (file.read_bytes() for file in files)
    assert pdf.startswith(b"%PDF")
    assert png.startswith(b"\x89PNG")
    texts = texts_of(svg.decode())
    assert {"ViT-Ti (ours)", "images", "Learning, 50 %", "test accuracy (%)"} <= texts
    assert not {"ViT", "number of training images"} & texts
    assert b"ViT-Ti (ours)" in tex
    assert b"\\toprule" in tex
    assert float(re.search(rb'width="([\d.]+)pt"', svg)[1]) == pytest.approx(3.25 * 72)


def test_names_that_are_compared_to_are_renamed_too(records, tmp_path):
    summary = Summary(parts=(CURVE, GAP, Crossover(reference="ResNet", resamples=20)))
    for figure in (GAP, summary):
        plot = figure.plot(records, labels={"ResNet": "baseline"})
        assert "to baseline" in plot.caption
        assert "ResNet" not in plot.caption
    np.testing.assert_allclose(
        GAP.plot(records, labels={"ResNet": "baseline"}).table["estimate"], GAP.table(records)["estimate"]
    )


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"Vit": "x"}, "labels must be levels, or the texts of axes ('ResNet', 'ViT', 'number of training images', "),
        ({"ViT": "ResNet"}, "labels must leave the levels of model different. Got ResNet, ResNet instead."),
    ],
)
def test_labels_without_effect_are_refused(records, labels, sentence):
    with pytest.raises(InputError) as error:
        CURVE.plot(records, labels=labels)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(("width", "inches"), [("column", 3.25), ("page", 6.75), (5, 5)])
@pytest.mark.parametrize("figure", [CURVE, Generalisation(), Crossover(reference="ResNet", resamples=20)], ids=str)
def test_a_figure_is_as_wide_as_it_is_told_and_nothing_lies_outside(records, figure, width, inches):
    plot = figure.plot(records, width=width, title="A title")
    wide, high = plot.sheet.get_size_inches()
    assert wide == inches
    assert 0.15 < high / wide < 3
    plot.sheet.draw_without_rendering()
    for axes in plot.axes:
        box = axes.get_tightbbox()
        assert -1 <= box.x0 < box.x1 <= plot.sheet.bbox.width + 1
        assert -1 <= box.y0 < box.y1 <= plot.sheet.bbox.height + 1


def test_a_title_does_not_lie_over_the_legend(records):
    plot = Generalisation().plot(records, title="Above")
    plot.sheet.draw_without_rendering()
    (legend,) = plot.sheet.legends
    assert legend.get_title().get_text() == "Above"
    assert (
        legend.get_title().get_window_extent().y0 >= max(text.get_window_extent().y1 for text in legend.get_texts()) - 1
    )


@pytest.mark.parametrize("name", ["$x_2$ & \\alpha", "50 % of $", "a_b", "$\\nosuch{$", "注意力"])
def test_any_name_of_a_model_can_be_drawn(name, tmp_path):
    records = curve_records(models=MODELS[:2], sizes=(250, 500))
    plot = CURVE.plot(records, labels={"ViT": name})
    assert plot.save(tmp_path / "x", formats=("png", "tex"))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        *(
            ({"width": width}, f"width must be 'column', 'page' or a number of inches from 1.5 to 100. Got {width!r} i")
            for width in ("wide", -1, 0.01, 1.49, 1e6, float("inf"), float("nan"), True, [3])
        ),
        ({"labels": ["a"]}, "labels must be a dict, such as {'ViT': 'ours'}. Got ['a'] instead."),
        ({"title": 3}, "title must be a text. Got 3 instead."),
        (
            {"formats": "pdf"},
            "formats must be a tuple of some of 'pdf', 'svg', 'png', 'tex'. Got 'pdf' instead: write ('pdf',).",
        ),
        ({"formats": 3}, "formats must be a tuple of some of 'pdf', 'svg', 'png', 'tex'. Got 3 instead."),
        ({"formats": ("gif",)}, "formats must be among 'pdf', 'svg', 'png', 'tex'. Got 'gif' instead."),
    ],
)
def test_what_cannot_be_saved_is_said(records, tmp_path, wrong, sentence):
    with pytest.raises(InputError) as error:
        CURVE.plot(records).save(tmp_path / "x.pdf", **wrong)
    assert str(error.value).startswith(sentence)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"labels": ["a"]}, {"title": 3}, {"width": 1e6}], ids=str)
def test_what_cannot_be_drawn_is_said(records, wrong):
    with pytest.raises(InputError, match=rf"^{next(iter(wrong))} must be "):
        CURVE.plot(records, **wrong)


@pytest.mark.parametrize("path", ["", ".", "..", "/", 3, b"x"])
def test_a_path_that_is_none_of_a_file_is_said(records, path):
    with pytest.raises(InputError) as error:
        CURVE.plot(records).save(path)
    assert str(error.value) == f"path must be that of a file, such as 'figure.pdf'. Got {path!r} instead."


@pytest.mark.parametrize("kinds", ["svg", ("tex",)])
def test_kinds_that_are_not_rendered_are_said(records, kinds):
    with pytest.raises(InputError, match=r"^kinds must be .*'svg', 'png', 'pdf'\. Got .* instead"):
        CURVE.plot(records).rendered(kinds=kinds)


@pytest.mark.parametrize("width", [1.5, 100])
def test_figures_are_drawn_at_the_narrowest_and_the_widest(records, tmp_path, width):
    plot = CURVE.plot(records, width=width)
    plot.rendered(kinds=("svg",))
    assert min(axes.get_window_extent().width for axes in plot.axes) > 30


def test_formats_may_be_counted_off_and_labels_be_numbers(records, tmp_path):
    plot = CURVE.plot(records, labels={"ViT": 1, "number of training images": 2})
    assert plot.axes[0].get_xlabel() == "2"
    assert [file.name for file in plot.save(tmp_path / "x", formats=iter(("svg",)))] == ["x.svg"]


def test_a_format_that_is_not_written_is_refused_and_other_names_have_dots(records, tmp_path):
    with pytest.raises(InputError, match=r"path must end in \.pdf, \.svg, \.png, \.tex or in none\. Got '.*x\.jpg'\."):
        CURVE.plot(records).save(tmp_path / "x.jpg")
    assert [path.name for path in CURVE.plot(records).save(tmp_path / "figure.2", formats=("png",))] == ["figure.2.png"]


def test_signs_of_latex_are_written_as_what_they_show():
    assert escaped("q·k / √d") == r"q·k / $\surd$d"
    assert escaped("50 % & a_b^2 {−1} #") == r"50 \% \& a\_b\textasciicircum{}2 \{$-$1\} \#"
    table = latex(pd.DataFrame({"model": ["A & B"], "accuracy": ["−1.5 [−2, 3]"]}))
    assert r"\begin{tabular}{lr}" in table
    assert r"A \& B & $-$1.5 [$-$2, 3] \\" in table


def test_own_results_are_three_lines_from_a_figure(tmp_path):
    rows = [
        {"model": model, "train_size": size, "seed": seed, "accuracy": 0.1 * i + 0.001 * size + 0.01 * seed}
        for i, model in enumerate(("resnet18", "vit_tiny"))
        for size in (100, 200)
        for seed in range(3)
    ]
    records = Records.from_frame(pd.DataFrame(rows))
    plot = Gap(reference="resnet18").plot(records)
    assert plot.table["estimate"].round(9).tolist() == [0.1, 0.1]
    assert plot.save(tmp_path / "gap")
