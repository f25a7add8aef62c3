"""The page of several figures: parts, letters, one legend, honest gaps."""

import pandas as pd
import pytest
from made_up_curves import MODELS, SIZES, curve_records
from matplotlib.figure import Figure as Page

from vision_attn.figures import (
    ConditionCurve,
    Crossover,
    Figure,
    FittedCurves,
    Gap,
    Generalisation,
    LearningCurve,
    OcclusionCurve,
    Selection,
    Summary,
    rendering,
)
from vision_attn.spec import InputError, from_json, to_json
from vision_attn.tables import to_csv

PARTS = (
    LearningCurve(),
    FittedCurves(resamples=20),
    Gap(reference="ResNet"),
    Crossover(reference="ResNet", resamples=20),
    Generalisation(),
)
SUMMARY = Summary(parts=PARTS)


@pytest.fixture(scope="module")
def records():
    return curve_records(models=MODELS[:2], sizes=SIZES[:5])


@pytest.fixture(scope="module")
def table(records):
    return SUMMARY.table(records)


def leaves(sheet):
    """The parts of a page, the ones that are not divided further."""
    return [leaf for part in sheet.subfigs for leaf in leaves(part)] if sheet.subfigs else [sheet]


def test_the_table_is_that_of_the_parts_one_below_the_other(records, table):
    for letter, part in zip("abcde", PARTS, strict=True):
        own = part.table(records)
        rows = table[table["part"] == letter].reset_index(drop=True)
        assert set(rows["figure"]) == {type(part).__name__}
        pd.testing.assert_series_equal(rows["estimate"].astype(float), own["estimate"].astype(float))
    assert len(table) == sum(len(part.table(records)) for part in PARTS)
    assert to_csv(table)


def test_parts_are_lettered_in_order_and_share_one_legend(records, table):
    page = SUMMARY.draw(table, records)
    parts = leaves(page)
    titles = [place.get_suptitle() for band in page.subfigs for place in band.subfigs]
    assert [title.split()[0] for title in titles] == list("abcde")
    (shared,) = page.legends
    assert [text.get_text() for text in shared.get_texts()] == list(MODELS[:2])
    assert [len(part.legends) for part in parts] == [0, 0, 0, 0, 1]
    assert [text.get_text() for text in parts[4].legends[0].get_texts()] == ["training images", "test images"]


def test_a_title_does_not_lie_over_a_legend(records, table):
    page = SUMMARY.draw(table, records)
    page.draw_without_rendering()
    place = page.subfigs[-1].subfigs[0]
    (legend,) = place.subfigs[0].legends
    assert place.get_suptitle().endswith("Training against test")
    assert legend.get_window_extent().y1 <= place._suptitle.get_window_extent().y0 + 1


def test_small_parts_stand_side_by_side_and_rows_of_panels_alone(records, table):
    page = SUMMARY.draw(table, records)
    page.draw_without_rendering()
    boxes = [part.bbox.bounds for part in leaves(page)]
    width = page.bbox.width
    assert [round(box[2] / width, 2) for box in boxes] == [0.5, 0.5, 0.5, 0.5, 1.0]
    tops = [box[1] + box[3] for box in boxes]
    assert tops == sorted(tops, reverse=True)


def test_a_part_shows_what_the_figure_shows_alone(records, table):
    for part, place in zip(PARTS, leaves(SUMMARY.draw(table, records)), strict=True):
        alone = part.draw(part.table(records), records)
        assert isinstance(alone, Page)
        for ours, theirs in zip(place.axes, alone.axes, strict=True):
            assert len(ours.lines) == len(theirs.lines)
            for mine, other in zip(ours.lines, theirs.lines, strict=True):
                assert list(map(str, mine.get_ydata())) == list(map(str, other.get_ydata()))


def test_the_page_fits_a_sheet_of_paper_and_grows_for_many_panels(records, table):
    width, height = SUMMARY.draw(table, records).get_size_inches()
    assert 7 <= width <= 8
    assert height <= 11
    few = curve_records(sizes=SIZES[:3], seeds=(0, 1), arrangement=("intact", "permuted"), scale=("1/d", "none"))
    many = Summary(parts=(*PARTS, ConditionCurve(condition="arrangement", baseline="intact")))
    assert many.draw(pd.DataFrame(), few).get_size_inches()[1] > 11


def test_what_does_not_apply_is_said_in_its_place(records):
    summary = Summary(parts=(LearningCurve(), Gap(reference="ViT", x="size"), Selection(), OcclusionCurve()))
    table = summary.table(records)
    assert "x of Gap must be a factor of the experiment" in table.loc[table["part"] == "b", "problem"].iloc[0]
    places = leaves(summary.draw(table, records))
    said = [" ".join(text.get_text() for axes in place.axes for text in axes.texts) for place in places]
    assert "x of Gap" in said[1].replace("\n", " ")
    assert "nothing measured yet" in said[3]
    caption = summary.caption(table, records)
    assert caption.startswith("(a) Learning curve: Test accuracy")
    assert "(b) Gap to the reference: x of Gap must be" in caption
    assert list(summary.printed(table, records)["part"]) == list("abcd")


def test_parts_about_what_a_preset_lacks_leave_no_gap(records):
    absent = Gap(reference="of another preset")
    summary, short = Summary(parts=(absent, LearningCurve(), absent)), Summary(parts=(LearningCurve(),))
    table = summary.table(records)
    pd.testing.assert_frame_equal(table, short.table(records))
    assert len(leaves(summary.draw(table, records))) == 1
    caption = summary.caption(table, records)
    assert caption.startswith("(a) Learning curve: Test accuracy")
    said = "Left out, as the experiment does not have what they are about: "
    assert caption.endswith(f"{said}{absent.title}, {absent.title}.")
    assert "Left out" not in short.caption(table, records)


def test_a_part_that_does_not_apply_to_the_plan_is_said():
    records = curve_records(sizes=SIZES[:2], learning_rate=(0.1,))
    summary = Summary(parts=(Selection(),))
    table = summary.table(records)
    assert list(table["problem"]) == ["The experiment does not have what this figure is about."]
    assert rendering.rendered(summary.draw(table, records))["svg"]


def test_a_page_of_nothing_yet_is_drawn():
    records = curve_records(sizes=SIZES[:3], state=lambda cell: "pending")
    table = SUMMARY.table(records)
    assert rendering.rendered(SUMMARY.draw(table, records))["svg"]
    assert SUMMARY.caption(table, records).count("Nothing is measured yet.") == 5


def test_the_page_survives_json_and_is_written_to_the_same_bytes(records, table):
    assert from_json(to_json(SUMMARY), Figure) == SUMMARY
    few = Summary(parts=PARTS[1:4:2])
    first, second = (rendering.rendered(few.draw(table, records), kinds=few.files) for _ in range(2))
    assert first == second
    assert set(first) == {"svg", "png", "pdf"}
    assert first["pdf"].startswith(b"%PDF")


def test_a_page_of_pages_and_an_empty_page_are_refused():
    with pytest.raises(InputError, match="parts of Summary must be 1 to 12 figures"):
        Summary(parts=())
    with pytest.raises(InputError, match="parts of Summary must be figures other than Summary"):
        Summary(parts=(SUMMARY,))
