"""Selection: a ring where there was a choice, and searches over recipes along their learning rates."""

import dataclasses

import pandas as pd
import pytest
from frames import make_records

from vision_attn.figures import Selection

RATES = {"a": 3e-4, "b": 1e-3, "c": 3e-3, "d": 1e-2}
TRIALS = [f"{rate}, {decay}, {crop}" for rate in RATES for decay in ("mild", "strong") for crop in ("crop", "whole")]
FACTORS = {"model": ("ViT", "ResNet"), "train_size": (100, 400), "trial": TRIALS, "seed": (0, 1)}


def recipe_of(cell):
    rate, decay, crop = cell["trial"].split(", ")
    # half of the trials have batches of 32, which go with no setting of their own
    found = {"learning_rate": RATES[rate], "batch_size": 32 if (rate in "ab") == (crop == "crop") else 128}
    strong, whole = {"weight_decay": 0.2} if decay == "strong" else {}, {"crop_padding": 0} if crop == "whole" else {}
    return found | strong | whole


def accuracy_of(cell):
    best = "b" if cell["model"] == "ViT" else "c"
    rate, decay, crop = cell["trial"].split(", ")
    off = abs("abcd".index(rate) - "abcd".index(best))
    return 0.5 - 0.1 * off + 0.01 * (decay == "strong") + 0.02 * (crop == "crop")


def searched(recipe=recipe_of, *, factors=FACTORS, state=lambda cell: "done", accuracy=accuracy_of):
    """Records of a search, whose plan has the recipe of every run."""
    records = make_records(
        factors, lambda cell: (), history=lambda cell: [{"update": 9, "val_accuracy": accuracy(cell)}], state=state
    )
    runs = {
        cell.run: dataclasses.replace(records.plan.runs[cell.run], run={"recipe": recipe(cell.factors)})
        for cell in records.plan.cells
    }
    defaults = {"Recipe": {"learning_rate": 1e-3, "weight_decay": 0.05, "crop_padding": 4, "batch_size": 128}}
    return dataclasses.replace(records, plan=records.plan.replace(runs=runs, defaults=defaults))


@pytest.fixture(scope="module")
def search():
    return searched()


def test_trials_lie_along_their_learning_rates_with_two_settings_as_styles(search):
    plot = Selection(choose="trial", by=("train_size",)).plot(search)
    assert [axes.get_title() for axes in plot.axes] == [
        f"{size} images, {model}" for size in (100, 400) for model in FACTORS["model"]
    ]
    for axes in plot.axes:
        assert axes.get_xscale() == "log"
        lines = [line for line in axes.lines if len(line.get_xdata()) > 1]
        assert all(list(line.get_xdata()) == pytest.approx(list(RATES.values())) for line in lines)
        drawn = {(line.get_linestyle(), line.get_markerfacecolor() == "white") for line in lines}
        assert drawn == {(dash, hollow) for dash in ("-", "--") for hollow in (True, False)}
    (legend,) = plot.sheet.legends
    assert {text.get_text() for text in legend.texts} == {
        f"weight decay {decay}, crop padding {crop}" for decay in (0.05, 0.2) for crop in (0, 4)
    }
    assert "lines and marks tell weight decay and crop padding apart" in plot.caption


def test_one_setting_of_two_values_is_told_by_the_mark_too():
    """Of a single rate there is a mark and no line."""
    mild = {**FACTORS, "trial": [trial for trial in TRIALS if "mild" in trial]}
    search = searched(lambda cell: {**recipe_of(cell), "crop_padding": 4}, factors=mild)
    drawn = {
        (line.get_linestyle(), line.get_markerfacecolor() == "white")
        for axes in Selection(choose="trial", by=("train_size",)).plot(search).axes
        for line in axes.lines
        if len(line.get_xdata()) > 1
    }
    assert drawn == {("-", False), ("--", True)}


def test_a_setting_that_some_trials_do_without_is_told_apart():
    def recipe(cell):
        found = {name: value for name, value in recipe_of(cell).items() if name in ("learning_rate", "weight_decay")}
        return found | ({"rand_augment": 9} if cell["trial"].endswith("crop") else {})

    (legend,) = Selection(choose="trial").plot(searched(recipe)).sheet.legends
    assert {text.get_text() for text in legend.texts} == {
        f"weight decay {decay}, {augment}" for decay in (0.05, 0.2) for augment in ("no rand augment", "rand augment 9")
    }


def test_a_ring_lies_on_the_best_rate_of_every_model(search):
    plot = Selection(choose="trial").plot(search)
    rings = [[line for line in axes.lines if line.get_markerfacecolor() == "none"] for axes in plot.axes]
    assert [[list(ring.get_xdata()) for ring in own] for own in rings] == [[[1e-3]], [[3e-3]]]


def test_only_the_best_of_several_that_are_measured_is_called_chosen():
    def state(cell):
        return "done" if cell["model"] == "ViT" or cell["trial"] == TRIALS[5] else "pending"

    records = searched(state=state)
    figure = Selection(choose="trial")
    plot = figure.plot(records)
    printed = figure.printed(plot.table, records).set_index("trial")  # long names are rows
    assert list(printed) == ["ViT", "ResNet"]
    assert not printed["ResNet"].str.contains("chosen").any()
    assert printed["ViT"].str.contains("chosen").sum() == 1
    counts = [sum(line.get_markerfacecolor() == "none" for line in axes.lines) for axes in plot.axes]
    assert counts == [1, 0]


def test_a_group_of_which_nothing_is_measured_keeps_the_others_in_their_columns():
    def state(cell):
        return "pending" if (cell["train_size"], cell["model"]) == (100, "ViT") else "done"

    plot = Selection(choose="trial", by=("train_size",)).plot(searched(state=state))
    titles = [axes.get_title() for axes in plot.axes]
    assert titles == [f"{size} images, {model}" for size in (100, 400) for model in FACTORS["model"]]
    assert [axes.get_subplotspec().colspan.start for axes in plot.axes] == [0, 1, 0, 1]
    assert [text.get_text() for text in plot.axes[0].texts] == ["nothing measured yet"]
    assert not plot.axes[0].lines


@pytest.mark.parametrize(
    "recipe",
    [
        lambda cell: {"learning_rate": 1e-3},  # nothing to lay out
        lambda cell: {"learning_rate": RATES[cell["trial"][0]] * (1 + cell["seed"])},  # no one rate a trial
        lambda cell: {},
        lambda cell: recipe_of(cell) | {"learning_rate": 1e-3 if cell["trial"][0] in "ab" else 1e-2},  # two at a place
    ],
)
def test_without_a_rate_of_their_own_trials_are_rows(recipe):
    (axes, *_) = Selection(choose="trial").plot(searched(recipe)).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == TRIALS


def test_marks_that_would_lie_on_one_another_are_moved_apart_in_their_row():
    """Of two models within a tenth of a percent the first was hidden but for two corners."""
    records = searched(lambda cell: {})
    is_first = records.history["trial"] == TRIALS[0]
    history = records.history.assign(val_accuracy=records.history["val_accuracy"].mask(is_first, 0.4))
    (axes,) = Selection(choose="trial").plot(dataclasses.replace(records, history=history)).axes
    dots = [line for line in axes.lines if line.get_markerfacecolor() != "none"]
    rows = {}
    for line in dots:
        (x,), (y,) = line.get_data()
        rows.setdefault(TRIALS[round(y)], []).append((x, y))
    (x, y), (same, below) = rows.pop(TRIALS[0])
    assert x == same == pytest.approx(40)
    assert below - y == pytest.approx(0.34)
    assert all(len(places) == 2 and {y % 1 for _, y in places} == {0} for places in rows.values())


EDGE = (
    "The chosen learning rate does not lie between two worse ones with all else equal, so that another may do better: "
)
PASSED = "Of other settings tried at several rates the best may do better at another: "


def of_one_batch(cell):
    return recipe_of(cell) | {"batch_size": 128}


def test_what_is_chosen_at_an_end_of_the_rates_that_its_optimiser_has_tried_is_said():
    assert EDGE not in Selection(choose="trial").plot(searched(of_one_batch)).caption

    def recipe(cell):
        """Rates above 0.001 belong to another optimiser: what the ResNet does best with is the lowest of its own."""
        other = {"optimizer": "nadamuon"} if cell["trial"][0] in "cd" else {}
        return of_one_batch(cell) | other

    caption = Selection(choose="trial", by=("train_size",)).plot(searched(recipe)).caption
    said = [f"{model}, {size} images" for size in (100, 400) for model in ("ViT", "ResNet")]
    ends = dict(zip(said, 2 * ["0.001, none higher tried", "0.003, none lower tried"], strict=True))
    assert EDGE + "; ".join(f"{name} ({end})" for name, end in ends.items()) + "." in caption


def test_a_rate_that_comes_with_another_batch_size_or_another_model_is_no_neighbour(search):
    """On the page of the longest round two trials were called the lowest and the highest that differed in both."""
    caption = Selection(choose="trial").plot(search).caption  # rates a and b have one batch size, c and d the other
    assert f"{EDGE}ViT (0.001, none higher tried); ResNet (0.003, none lower tried)." in caption
    records = searched(of_one_batch)
    runs = {
        cell.run: dataclasses.replace(
            records.plan.runs[cell.run],
            run=records.plan.runs[cell.run].run
            | {"model": {"kind": "ViT", "dim": 8 * (ord(cell.factors["trial"][0]))}},
        )
        for cell in records.plan.cells
    }
    other = dataclasses.replace(records, plan=records.plan.replace(runs=runs))
    assert (
        "ViT (0.001, no other tried); ResNet (0.003, no other tried)." in Selection(choose="trial").plot(other).caption
    )


def test_other_settings_of_which_the_best_rate_is_at_an_end_are_said_to_be_passed_over():
    """With another batch size two models had two rates, and what each did best with was never between two."""

    def few(cell):
        is_other = cell["trial"].endswith("whole") or "mild" in cell["trial"]
        return "pending" if is_other and cell["trial"] not in ("a, strong, whole", "b, strong, whole") else "done"

    caption = Selection(choose="trial").plot(searched(of_one_batch, state=few)).caption
    assert EDGE not in caption
    ends = [f"{model} (b, strong, whole: 0.001, none higher tried)" for model in FACTORS["model"]]
    assert caption.endswith(f"{PASSED}{'; '.join(ends)}.")


def test_a_rate_that_does_as_well_is_none_that_did_worse():
    def state(cell):
        return "done" if cell["trial"] in ("a, mild, crop", "b, mild, crop") else "pending"

    records = searched(of_one_batch, state=state)
    records = dataclasses.replace(records, history=records.history.assign(val_accuracy=0.5))
    assert (
        "ViT (0.0003, none lower tried and no higher one did worse)" in Selection(choose="trial").plot(records).caption
    )


def test_of_rates_that_are_not_measured_none_is_an_end(search):
    def state(cell):
        return "done" if cell["trial"][0] in "bc" and cell["model"] == "ViT" else "pending"

    caption = Selection(choose="trial").plot(searched(of_one_batch, state=state)).caption
    assert f"{EDGE}ViT (0.001, none lower tried)." in caption


def test_a_rate_that_is_the_factor_itself_is_at_an_end_too():
    factors = {"model": ("ViT", "ResNet"), "learning_rate": tuple(RATES.values()), "seed": (0, 1)}

    def history(cell):
        best = {"ViT": 1e-2, "ResNet": 1e-3}[cell["model"]]
        return [{"update": 9, "val_accuracy": 0.9 if cell["learning_rate"] == best else 0.5}]

    records = make_records(factors, lambda cell: (), history=history)
    runs = {
        cell.run: dataclasses.replace(
            records.plan.runs[cell.run], run={"recipe": {"learning_rate": cell.factors["learning_rate"]}}
        )
        for cell in records.plan.cells
    }
    records = dataclasses.replace(records, plan=records.plan.replace(runs=runs))
    assert Selection().plot(records).caption.endswith("may do better: ViT (0.01, none higher tried).")


PLACES = {"model": ("ViT", "ResNet"), "train_size": (100, 400), "trial": ("best", "second"), "seed": (0, 1)}


def ranked(*, models=lambda cell: {}):
    """A round of which each model, size and place has a recipe of its own, as rounds before have left it."""

    def recipe(cell):
        is_best = cell["trial"] == "best"
        rate = 1e-3 if (cell["model"] == "ViT") == is_best else 3e-3
        return {"learning_rate": rate, "batch_size": 32 if cell["train_size"] == 100 else 128, "warmup_fraction": 0.1}

    records = searched(recipe, factors=PLACES, accuracy=lambda cell: 0.4 + 0.1 * (cell["trial"] == "best"))
    runs = {
        cell.run: dataclasses.replace(
            records.plan.runs[cell.run], run=records.plan.runs[cell.run].run | {"model": models(cell.factors)}
        )
        for cell in records.plan.cells
    }
    return dataclasses.replace(records, plan=records.plan.replace(runs=runs))


def test_where_a_name_is_another_recipe_for_every_model_the_table_says_what_each_sets():
    """Pages said that the second was best, and nowhere what it was."""
    plot = Selection(choose="trial", by=("train_size",)).plot(ranked())
    settings = {"learning_rate": [1e-3, 3e-3, 3e-3, 1e-3] * 2, "batch_size": [32] * 4 + [128] * 4}
    assert list(plot.table) == ["train_size", "model", "trial", "estimate", "n", "chosen", *settings]
    assert plot.table[list(settings)].to_dict("list") == settings
    assert plot.printed.iloc[1].to_dict() == {
        "number of training images": "100",
        "model": "ViT",
        "trial": "second",
        "learning rate": "0.003",
        "batch size": "32",
        "validation accuracy (%)": "40.0",
    }
    assert plot.printed.iloc[0].iloc[-1] == "50.0 (chosen)"


def test_in_what_the_models_of_one_family_differ_is_said_too():
    def model(cell):
        own = {"position": "sincos2d"} if cell["trial"] == "best" else {}
        part = {"mixer": {"kind": "Convolution" if cell["train_size"] == 100 else "Pooling"}}
        return {"kind": "ViT", "depth": 4, **own, **part} if cell["model"] == "ViT" else {"kind": "ResNet"}

    figure = Selection(choose="trial", by=("train_size",))
    texts = [
        f"position {position}, mixer {m}" for m in ("Convolution", "Pooling") for position in ("sincos2d", "default")
    ]
    expected = [*texts[:2], "–", "–", *texts[2:], "–", "–"]
    assert list(figure.plot(ranked(models=model)).printed["construction"]) == expected
    assert "position sincos2d, mixer Convolution; position sincos2d, mixer Pooling" in set(
        Selection(choose="trial").plot(ranked(models=model)).table["construction"].dropna()
    )


def test_names_that_are_the_same_recipe_for_all_stand_in_one_column_a_model(search):
    plot = Selection(choose="trial", by=("train_size",)).plot(search)
    assert list(plot.printed) == ["number of training images", "trial", "ViT", "ResNet"]
    assert list(plot.table) == ["train_size", "model", "trial", "estimate", "n", "chosen"]


def test_names_of_several_recipes_lie_along_their_rates_as_well(search):
    """Where each has a rate of its own, the table that is drawn has it already."""

    def recipe(cell):
        return of_one_batch(cell) | ({"warmup_fraction": 0.1} if cell["model"] == "ViT" else {})

    plot = Selection(choose="trial").plot(searched(recipe))
    assert plot.axes[0].get_xscale() == "log"
    assert pd.api.types.is_float_dtype(plot.table["learning_rate"])
    lines = [[line for line in axes.lines if len(line.get_xdata()) > 1] for axes in plot.axes]
    assert [len(own) for own in lines] == [4, 4]
