"""The figure of scatter, against a scatter made up by hand."""

import numpy as np
import pytest
from made_up_curves import curve_records

from vision_attn.figures import Figure, LearningCurve, Variation, rendering, theme
from vision_attn.spec import InputError, from_json, to_json
from vision_attn.statistics import hierarchical_interval
from vision_attn.tables import read_csv, to_csv

FIGURE = Variation(reference="ResNet")
SHARED = {0: -0.04, 1: 0.0, 2: 0.04}
OWN = {(0, 0): 0.003, (0, 1): -0.003, (1, 0): -0.003, (1, 1): 0.003, (2, 0): 0.003, (2, 1): -0.003}


def value(cell):
    """Subsets move all models alike by 4 points, seeds move the ViT alone by 0.3."""
    moved = SHARED[cell["subset"]]
    return 0.6 + moved if cell["model"] == "ResNet" else 0.5 + moved + OWN[cell["subset"], cell["seed"]]


def records_of(**options):
    plan = {"models": ("ResNet", "ViT"), "sizes": (500,), "seeds": (0, 1), "subset": (0, 1, 2), "value": value}
    return curve_records(**plan | options)


def test_both_scatters_are_found_and_pairs_take_the_common_one_away():
    table = FIGURE.table(records_of()).set_index(["model", "of"])
    assert list(table.index) == [("ResNet", "value"), ("ViT", "value"), ("ViT", "difference")]
    assert table.loc[("ResNet", "value"), "sd_outer"] == pytest.approx(0.04)
    assert table.loc[("ResNet", "value"), "sd_inner"] == 0
    assert table.loc[("ViT", "value"), "sd_outer"] == pytest.approx(0.04, rel=0.01)
    assert table.loc[("ViT", "value"), "sd_inner"] == pytest.approx(np.sqrt(6 * 0.003**2 / 3))
    gap = table.loc[("ViT", "difference")]
    assert (gap["estimate"], gap["sd_outer"]) == (pytest.approx(-0.1), 0)
    assert gap["sd_inner"] == pytest.approx(np.sqrt(6 * 0.003**2 / 3))
    assert (gap["n"], gap["units"], gap["planned"], gap["reference"]) == (6, 3, 6, "ResNet")


@pytest.mark.parametrize("models", [(1, 2), (0.5, 1.5), (False, True)])
def test_models_may_be_numbers(models):
    def named(cell):
        return value({**cell, "model": ("ResNet", "ViT")[models.index(cell["model"])]})

    records = records_of(models=models, value=named)
    table = FIGURE.replace(reference=models[0]).table(records)
    assert list(table["reference"]) == ["", "", models[0]]
    assert list(table["estimate"]) == pytest.approx(list(FIGURE.table(records_of())["estimate"]))


def test_the_mean_has_the_interval_of_two_levels():
    records = records_of()
    row = FIGURE.table(records).set_index(["model", "of"]).loc[("ViT", "value")]
    own = records.values[(records.values["model"] == "ViT") & (records.values["split"] == "test")]
    oracle = hierarchical_interval(own, by=["split"], outer="subset").iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((oracle["low"], oracle["high"]))


def test_the_caption_says_what_pairing_is_worth():
    records = records_of()
    said = FIGURE.caption(FIGURE.table(records), records)
    assert "6 runs a model on 3 subsets" in said
    assert "ViT minus ResNet scatters by 0.4 points in pairs, by 5.7 points if they were independent." in said


def test_what_pairing_is_worth_is_said_of_every_panel_by_its_name():
    records = records_of(sizes=(500, 1000))
    said = FIGURE.caption(FIGURE.table(records), records)
    for panel in ("500 images", "1k images"):
        assert f" {panel}: ViT minus ResNet scatters by 0.4 points in pairs" in said


def test_every_scatter_is_drawn_where_the_table_has_it():
    records = records_of(arm=("a", "b"))
    table = FIGURE.table(records)
    for axes, (_, own) in zip(FIGURE.draw(table, records).axes, theme.panels(table, ["arm"]), strict=True):
        drawn = sorted(float(line.get_xdata()[0]) for line in axes.lines)
        np.testing.assert_allclose(drawn, 100 * np.sort([*own["sd_outer"], *own["sd_inner"]]))
    left = FIGURE.draw(table, records).axes[0]
    assert [text.get_text() for text in left.get_yticklabels()] == ["ResNet", "ViT", "ViT − ResNet"]


@pytest.mark.parametrize("options", [{"state": lambda cell: "pending"}, {"seeds": (0,)}], ids=["none", "one seed"])
def test_what_is_not_known_is_said_and_drawn_empty(options):
    records = records_of(**options)
    table = FIGURE.table(records)
    assert table["sd_inner"].isna().all()
    assert rendering.rendered(FIGURE.draw(table, records))["png"]
    said = FIGURE.caption(table, records)
    assert said in ("Nothing is measured yet.", "There is one seed a subset: nothing to tell.")
    assert len(FIGURE.printed(table, records)) == 3


def test_a_reference_without_results_leaves_the_differences_empty():
    records = records_of(state=lambda cell: "failed" if cell["model"] == "ResNet" else "done")
    table = FIGURE.table(records).set_index(["model", "of"])
    assert table.loc[("ViT", "value"), "n"] == 6
    assert table.loc[("ViT", "difference"), "n"] == 0
    assert rendering.rendered(FIGURE.draw(FIGURE.table(records), records))["png"]
    assert "in pairs" not in FIGURE.caption(FIGURE.table(records), records)


def test_it_survives_json_and_csv_and_is_drawn_to_the_same_bytes(tmp_path):
    records = records_of()
    table = FIGURE.table(records)
    assert from_json(to_json(FIGURE), Figure) == FIGURE
    (tmp_path / "table.csv").write_bytes(to_csv(table))
    assert list(read_csv(tmp_path / "table.csv").columns) == list(table.columns)
    assert rendering.rendered(FIGURE.draw(table, records)) == rendering.rendered(FIGURE.draw(table, records))


def test_it_is_left_out_where_there_is_one_subset_and_asks_for_known_names():
    assert not FIGURE.applies(records_of(subset=(0,)).plan)
    assert FIGURE.applies(records_of().plan)
    for figure, sentence in (
        (Variation(reference="VGG"), "reference of Variation must be a level of model ('ResNet', 'ViT'). Got 'VGG'"),
        (Variation(reference="ViT", outer="batch"), "outer of Variation must be a factor of the experiment (model, "),
    ):
        with pytest.raises(InputError) as error:
            figure.table(records_of())
        assert str(error.value).startswith(sentence)
    with pytest.raises(InputError, match="outer of Variation must be a factor other than hue and over"):
        Variation(reference="ViT", outer="model")


def test_learning_curves_keep_to_given_levels_and_settle_a_learning_rate():
    records = records_of()
    whole, part = (figure.table(records) for figure in (LearningCurve(), LearningCurve(given=(("subset", 2),))))
    assert "subset" not in part
    rows = whole[whole["subset"] == 2].drop(columns="subset").reset_index(drop=True)
    np.testing.assert_allclose(part["estimate"], rows["estimate"])

    def history(cell):
        return [{"update": 9, "val_accuracy": cell["learning_rate"]}]

    rates = {"learning_rate": (0.1, 0.2), "subset": (2,), "history": history}
    selected = LearningCurve().table(records_of(**rates))
    assert "learning_rate" not in selected
    np.testing.assert_allclose(selected["estimate"], rows["estimate"])
