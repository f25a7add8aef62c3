"""The report: one page and its tables, from the files alone."""

import base64
import dataclasses
import hashlib
import html.parser
import lzma
import re
import subprocess
import sys
import time
from pathlib import Path

import made_up
import pandas as pd
import pytest
from frames import make_records

from vision_attn.figures import Figure, Gap
from vision_attn.plan import Plan, folders_in
from vision_attn.records import Records, load
from vision_attn.report import build, protocol, provenance
from vision_attn.report.answer import answer
from vision_attn.report.doubts import doubts
from vision_attn.report.drawn import Drawn
from vision_attn.report.evidence import Evidence, Part
from vision_attn.report.html import codes
from vision_attn.report.page import write
from vision_attn.report.scope import scope
from vision_attn.spec import InputError

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"sizes": (50, 200), "seeds": (0, 1)}


@pytest.fixture
def all_files():
    """Asked for by tests of the kinds of files that a figure is written in."""


@pytest.fixture(autouse=True)
def one_file(request, monkeypatch):
    """Drawing is what takes time here: elsewhere a figure is written once."""
    if "all_files" not in request.fixturenames:
        monkeypatch.setattr(Figure, "files", ("svg",))


def made(tmp_path, *, write=lambda cell: True, change=lambda cell, result: None, name="quickstart", **plan):
    """A results folder with a plan and the pool beside it, not yet with a report."""
    planned = made_up.make_plan(**{**SMALL, **plan})
    made_up.write_store(tmp_path / "runs", planned, write=write, change=change)
    folder = tmp_path / name
    folder.mkdir(parents=True)
    planned.write(folder)
    return folder


def page_of(folder):
    return build(folder, folder.parent / "runs").read_text()


class Reader(html.parser.HTMLParser):
    """The tags and the text of a page; raises where tags do not close in order."""

    VOID = ("meta", "img", "br", "link", "hr")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.texts, self.ids, self.links = [], [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def test_a_full_sweep_gives_all_files_and_a_page_that_names_what_matters(tmp_path, all_files):
    folder = made(tmp_path)
    read = Reader(page_of(folder))
    names = ("LearningCurve", "Gap", "Generalisation", "Matching")
    for name in names:
        assert (folder / "tables" / f"{name}.csv").stat().st_size
        assert (folder / "figures" / f"{name}.svg").stat().st_size
        assert (folder / "figures" / f"{name}.png").stat().st_size
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f"tables/{name}.csv" in read.links
    for text in (
        "12 of 12 done",
        "mnist5k",
        "95 %, of the kind that each caption and rule names",
        "122,506 (×1.012)",
        "2.13.0+cpu",
    ):
        assert text in read.text
    assert "vision-attn run experiments/quickstart.py" in read.text
    assert "Nothing: every planned run is done." in read.text
    assert "note" not in re.findall('role="([a-z]+)"', page_of(folder))
    assert ">test accuracy (%)</text>" in (folder / "figures" / "LearningCurve.svg").read_text()


def test_the_page_knows_of_every_mark_where_it_lies_and_its_mean_interval_and_n(tmp_path):
    folder = made(tmp_path)
    (told, *_) = re.findall(r'data-told="([^"]*)"', page_of(folder))
    marks = [mark.split(" ", 2) for mark in told.split("|")]
    assert len(marks) == len(pd.read_csv(folder / "tables" / "LearningCurve.csv"))
    for x, y, text in marks:
        assert 0 < float(x) < 100
        assert 0 < float(y) < 100
        assert re.fullmatch(r"(ViT|ResNet|ViT, .*): [\d.]+ \[[−\d.]+, [\d.]+\], n = 2", text)


def test_a_sentence_stands_in_the_place_of_a_drawing_that_would_show_nothing(tmp_path):
    figures = ({"kind": "Crossover", "reference": "ResNet", "resamples": 20}, {"kind": "LearningCurve"})
    folder = made(tmp_path, figures=figures, write=lambda cell: cell["model"] != "ResNet")
    page = page_of(folder)
    assert '<p class="instead">Nothing is measured yet.</p>' in page
    assert page.count("<img") == 1
    assert '<th scope="col">ViT</th>' in page
    assert '<th scope="col">ResNet</th>' not in page  # all dashes
    assert not list((folder / "figures").glob("Crossover.*"))
    assert (folder / "tables" / "Crossover.csv").is_file()


def test_the_title_is_the_first_sentence_of_the_question(tmp_path):
    page = page_of(made(tmp_path))
    assert "<title>How does self-attention compare with convolution on a few thousand digits?</title>" in page
    assert protocol.sentences("Why\nso? Because.\nYes.\n\nMore.") == ("Why so?", ["Because. Yes.", "More."])


def test_what_stands_in_backticks_is_code_and_all_is_escaped():
    assert codes("a `b<c>` & `d`; e`") == "a <code>b&lt;c&gt;</code> &amp; <code>d</code>; e`"


def test_the_policy_of_the_page_allows_its_own_script_and_no_other(tmp_path):
    page = page_of(made(tmp_path))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (allowed,) = re.findall(r"script-src 'sha256-([^']+)'", page)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == allowed
    assert "default-src 'none'" in page


def test_the_page_begins_with_the_answer_and_ends_with_how_to_do_it_again(tmp_path):
    page = page_of(made(tmp_path))
    places = [
        page.index(part) for part in ('class="answer"', 'id="LearningCurve"', "<nav", 'id="Gap"', 'id="reproduce"')
    ]
    assert places == sorted(places)


def test_the_answer_is_the_difference_to_the_reference_at_the_largest_size(tmp_path):
    folder = made(tmp_path)
    records = load(Plan.read(folder), tmp_path / "runs")
    test = records.values[(records.values["metric"] == "accuracy") & (records.values["split"] == "test")]
    means = test[test["train_size"] == 200].groupby("model", observed=True)["value"].mean()
    points = 100 * (means["ViT"] - means["ResNet"])
    side = "behind" if points < 0 else "ahead of"
    said = answer(records, [])
    assert said.startswith(f"With 200 training images ViT is {abs(points):.1f} [")
    assert f"points {side} ResNet in test accuracy" in said
    assert "2 seeds." in said
    assert "Speaks for 0.12 million parameters; 50 to 200 training images of mnist5k, 28 px; " in said


def test_the_answer_of_a_gap_in_panels_is_of_the_last_and_says_so():
    def measured(cell):
        lead = {"1 TFLOPs": 0.1, "4 TFLOPs": 0.3}[cell["compute"]] + cell["dim"] / 1000 + cell["seed"] / 100
        return [{"metric": "accuracy", "split": "test", "value": 0.2 + lead * (cell["model"] == "twin")}]

    factors = {"model": ["ViT", "twin"], "seed": [0, 1, 2], "compute": ["1 TFLOPs", "4 TFLOPs"], "dim": [50, 100]}
    records = make_records(factors, measured)
    figures = ({"kind": "Gap", "reference": "ViT", "x": "dim"},)
    records = dataclasses.replace(records, plan=records.plan.replace(figures=figures))
    assert answer(records, []).startswith("With dim 100 and 4 TFLOPs twin is 41.0 [")


def test_numbers_of_training_images_may_have_names(tmp_path):
    plan, names = made_up.make_plan(**SMALL), {50: "few", 200: "all"}
    made_up.write_store(tmp_path / "runs", plan)
    cells = tuple(
        dataclasses.replace(cell, factors={**cell.factors, "train_size": names[cell.factors["train_size"]]})
        for cell in plan.cells
    )
    folder = tmp_path / "quickstart"
    folder.mkdir()
    plan.replace(factors={**plan.factors, "train_size": tuple(names.values())}, cells=cells).write(folder)
    assert "With all training images ViT is" in Reader(page_of(folder)).text


@pytest.mark.parametrize(("seeds", "said"), [(3, "best mean test accuracy is that of ViT"), (2, "not said")])
def test_means_over_unequal_sets_of_seeds_are_not_compared(seeds, said):
    """T30: of the ViT the worst seed may be missing."""

    def measured(cell):
        return [{"metric": "accuracy", "split": "test", "value": (cell["model"] == "ViT") - cell["seed"] / 10}]

    def became(cell):
        return "failed" if cell["model"] == "ViT" and cell["seed"] >= seeds else "done"

    records = make_records({"model": ["ViT", "ResNet"], "seed": [0, 1, 2]}, measured, state=became)
    assert said in answer(records, [])


def test_what_is_supported_of_the_first_question_is_the_answer_though_a_later_rule_decides():
    def part(rule, verdict, effect="", n=0):
        return Part(rule, f"Statement {rule}.", verdict, effect, n, "accuracy", is_exact=False)

    parts = (part("C2.1", "inconclusive", "-0.1", 5), part("C2.2", "supports", "-5.5 points", 5))
    first = Evidence("data_size", "data_size", part("C2", "inconclusive"), parts, "")
    second = Evidence("data_size", "data_size", part("used", "contradicts", "-2.0 points", 5), (), "")
    records = make_records({"model": ["ViT"], "seed": [0]}, lambda one: [{"metric": "accuracy", "value": 0.5}])
    told = "1 of 2 parts supports it: -5.5 points for “Statement C2.2”, 5 seeds. 1 more rule below: 1 contradicted."
    assert answer(records, [first, second]).startswith(f"Undecided as a whole: Statement C2. But {told}")
    decided = "Contradicted: Statement used; -2.0 points, 5 seeds. 1 more rule below: 1 undecided."
    assert answer(records, [dataclasses.replace(first, parts=()), second]).startswith(decided)


def test_parts_that_contradict_an_undecided_rule_are_told_beside_those_that_support_it():
    def part(rule, verdict, effect, p=1.0):
        return Part(rule, f"Statement {rule}.", verdict, effect, 5, "accuracy", is_exact=False, p_holm=p)

    parts = [part("C2.1", "contradicts", "-0.7 points", 0.07), part("C2.2", "supports", "-12.1 points"),
             part("C2.3", "contradicts", "+0.5 points", 0.06)]  # fmt: skip
    one = Evidence("online", "online", part("C2", "inconclusive", ""), tuple(parts[:2]), "")
    records = make_records({"model": ["ViT"], "seed": [0]}, lambda one: [{"metric": "accuracy", "value": 0.5}])
    supports = "1 of 2 parts supports it: -12.1 points for “Statement C2.2”, 5 seeds"
    both = f"But {supports}, and 1 contradicts it: -0.7 points for “Statement C2.1”, 5 seeds."
    assert answer(records, [one]).startswith(f"Undecided as a whole: Statement C2. {both}")
    without = dataclasses.replace(one, parts=(parts[0], parts[2], part("C2.4", "inconclusive", "")))
    alone = "But 2 of 3 parts contradict it: +0.5 points for “Statement C2.3”, 5 seeds."
    assert answer(records, [without]).startswith(f"Undecided as a whole: Statement C2. {alone}")
    assert one.divided_text == (
        "1 of 2 parts supports it: -12.1 points (n = 5): Statement C2.2. "
        "1 contradicts it: -0.7 points (n = 5): Statement C2.1."
    )


def test_the_answer_of_a_search_is_what_its_winners_have_on_validation_images():
    best = {"ViT": 0.003, "ResNet": 0.01}

    def trained(cell):
        share = 0.5 + 0.1 * (cell["model"] == "ResNet") + 0.05 * (cell["train_size"] > 100)
        return [{"update": 9, "val_accuracy": share - 0.2 * (cell["rate"] != best[cell["model"]])}]

    factors = {"model": ["ViT", "ResNet"], "rate": [0.003, 0.01], "train_size": [100, 200], "seed": [0, 1]}
    tested = [{"metric": "accuracy", "split": "test", "value": 0.9}]
    figures = [{"kind": "Selection", "choose": "rate", "by": ["train_size"]}]
    records = make_records(factors, lambda cell: tested, history=trained, figures=figures)
    said = "Best on validation images with 200 training images: ResNet 65.0 %; ViT 55.0 %."
    assert answer(records, []).startswith(said)
    assert "runs are done" not in answer(records, [])
    part = make_records(
        factors,
        lambda cell: tested,
        history=trained,
        figures=figures,
        state=lambda cell: "done" if cell["seed"] == 0 else "pending",
    )
    assert answer(part, []).startswith(f"{said} Only 8 of 16 runs are done.")


def test_the_answer_on_mistakes_is_how_many_two_models_share_beside_two_seeds_of_one():
    def measured(cell):
        wrong = {"ViT": (0, 1), "twin": (0, 2), "ResNet": (5, 6)}[cell["model"]]
        return [{"metric": "correct", "image": image, "value": image not in wrong} for image in range(8)]

    factors = {"model": ["ViT", "twin", "ResNet"], "seed": [0, 1, 2]}
    records = make_records(factors, measured, figures=[{"kind": "ErrorConsistency"}])
    said = answer(records, [])
    assert "ViT and ResNet −0.333 [−0.333, −0.333]; two seeds of ViT 1 [1, 1]; two seeds of ResNet 1 [1, 1]; 3" in said


def test_networks_that_are_not_trained_have_no_number_of_training_images_in_their_range():
    def seen(images):
        rows = [{"metric": "accuracy", "split": "test", "value": 0.1}]
        own = make_records({"model": ["ViT"], "seed": [0, 1]}, lambda cell: rows)
        about = {"images_seen": images, "dataset": "parity", "train_size": 10, "image_size": 32}
        return scope(dataclasses.replace(own, runs=own.runs.assign(**about)))

    assert seen(0) == ["networks before training"]
    assert seen(640)[:2] == ["10 training images of parity, 32 px", "640 images seen in training"]


@pytest.mark.parametrize(
    ("fitting", "said"),
    [
        ((0.99, 0.8), "limited by the data in all 2 cells, in 1 of them perhaps by the size of the network"),
        ((0.99, 0.99), "limited by the data"),
        (
            (0.8, None),
            "limited by the data in 1 of 2 cells, in 1 of them perhaps by the size of the network, by the "
            "training budget in the others",
        ),
        ((None, None), "limited by the training budget, not by the data"),
    ],
)
def test_the_range_says_in_how_many_cells_the_size_of_the_network_may_be_the_limit(fitting, said):
    """Of every model its accuracy on training images, where more training gains nothing; None gains 20 points."""
    factors = {"model": ["ViT", "ResNet"], "images_seen": [100, 400], "seed": [0, 1, 2]}
    known = dict(zip(factors["model"], fitting, strict=True))

    def rows(cell):
        found = known[cell["model"]]
        gain = 0.2 if found is None and cell["images_seen"] == 400 else 0
        yield {"metric": "accuracy", "split": "test", "value": 0.3 + gain + 0.001 * cell["seed"]}
        yield {"metric": "accuracy", "split": "train", "value": found or 0.5}

    own = make_records(factors, rows)
    runs = own.runs.assign(measured_images_seen=own.runs["images_seen"], train_size=50)
    assert scope(dataclasses.replace(own, runs=runs))[-1] == said


def test_columns_of_words_are_told_from_those_of_numbers():
    rows = (("16", "dot product", "89.5 [88.8, 90.2]", "–"), ("16", "–", "–", "none up to 8"))
    assert Drawn("x", "X", rows=rows).texts == {1, 3}


def test_a_sheet_of_figures_that_are_on_the_page_is_written_and_not_shown_again(tmp_path, all_files):
    curve, gap = {"kind": "LearningCurve"}, {"kind": "Gap", "reference": "ViT"}
    sheet = {"kind": "Summary", "parts": [curve, gap]}
    for name, figures, images in (("both", (curve, gap, sheet), 2), ("one", (curve, sheet), 2)):
        folder = made(tmp_path, name=name, figures=figures)
        page = page_of(folder)
        assert page.count('src="data:image') == images
        assert ("on one sheet" in page) == (name == "both")
        assert (folder / "figures" / "Summary.pdf").stat().st_size
        assert (folder / "tables" / "Summary.csv").stat().st_size


def test_a_smoke_run_and_one_without_runs_have_no_answer(tmp_path):
    plan = made_up.make_plan(**SMALL)
    assert answer(load(plan, tmp_path), []) == "No answer yet: no run is done."
    said = answer(load(plan.replace(smoke=True), tmp_path), [])
    assert said == "No answer: this is a smoke run, with two updates a run, and its numbers mean nothing."


def test_titles_say_in_words_what_tells_two_figures_of_a_kind_apart(tmp_path):
    figures = ({"kind": "Gap", "reference": "ViT"}, {"kind": "Gap", "reference": "ViT", "metric": "val_accuracy"})
    text = Reader(page_of(made(tmp_path, figures=figures))).text
    assert "Gap to the reference: reference ViT, val accuracy" in text


def test_networks_that_do_not_fit_their_images_are_a_notice(tmp_path):
    folder = made(tmp_path)
    records = load(Plan.read(folder), tmp_path / "runs")
    is_train = (records.values["metric"] == "accuracy") & (records.values["split"] == "train")
    short = is_train & (records.values["model"] == "ViT")
    records.values.loc[is_train, "value"] = 1.0
    assert [notice for notice in doubts(records) if "training ended" in notice.text] == []
    records.values.loc[short, "value"] = 0.5
    (notice,) = doubts(records)
    assert notice.text.startswith("In 2 of 6 cells training ended before the data were used up (ViT): ")


def test_seeds_that_learn_from_the_same_images_are_a_notice(tmp_path):
    def change(cell, result):
        if cell["train_size"] == 200:
            result["data"]["subset_sha256"] = "a" * 64

    said = "learn from the same training images: intervals are over initial weights and the order of images"
    folder = made(tmp_path, change=change)
    (notice,) = [one for one in doubts(load(Plan.read(folder), tmp_path / "runs")) if said in one.text]
    assert notice.text.startswith("In 3 of 6 cells all seeds learn from")
    assert not notice.loud


def test_the_page_says_of_how_many_images_a_probe_that_takes_a_part_is(tmp_path):
    folder = made(tmp_path, figures=({"kind": "ShiftSawtooth"},))
    plan = Plan.read(folder)
    asked = ({"kind": "ShiftConsistency", "images": 200},)
    plan.replace(probes=(*plan.probes, *asked)).write(folder)
    text = Reader(page_of(folder)).text
    assert "On 200 test images, the same for all seeds: intervals leave out what others would change." in text
    assert "ShiftConsistency(images=200)" in text


def test_names_of_files_in_the_question_are_set_as_code(tmp_path):
    folder = made(tmp_path)
    Plan.read(folder).replace(question="Why? As in `a<b>.py` here.").write(folder)
    assert "<p>As in <code>a&lt;b&gt;.py</code> here.</p>" in page_of(folder)


def test_the_page_stands_alone(tmp_path):
    page = page_of(made(tmp_path))
    read = Reader(page)
    assert read.tags.count("script") == 1
    assert "link" not in read.tags
    assert not [link for link in read.links if re.match(r"(https?:)?//", link)]
    assert len(read.ids) == len(set(read.ids))
    assert "@import" not in page
    assert not re.search(r"url\((?!%23)", page)  # of a part of the same drawing
    pictures = [link for link in read.links if link.startswith("data:")]
    assert len(pictures) == len(set(pictures)) == 4


def test_the_same_records_give_the_same_bytes(tmp_path, all_files):
    folder = made(tmp_path)
    contents = []
    for _ in range(2):
        build(folder, tmp_path / "runs")
        contents.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 1 + 3 + 4 * 4 + 1 + 1


def test_a_clone_without_the_pool_gives_the_same_tables_and_figures(tmp_path):
    folder = made(tmp_path)
    first = Reader(page_of(folder)).text
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".html"}
    build(folder, tmp_path / "nowhere")
    assert before == {path: path.read_bytes() for path in before}
    said = "12 runs are taken from the tables beside this page."
    page = build(folder, tmp_path / "nowhere").read_text()
    assert Reader(page).text.replace(f"{said} ", "") == first
    assert 'class="notice' not in page  # it changes nothing in how the results are read
    assert page.index(said) > page.index('id="provenance"')


def test_hostile_names_are_text(tmp_path):
    name = "<script>alert(1)</script>"
    folder = made(tmp_path, models=("ViT", name, '=HYPERLINK("x")', "$x_2$ & \\alpha"), figures=made_up.FIGURES[::2])
    page = page_of(folder)
    read = Reader(page)
    assert page.count("<script") == 1
    assert "alert(1)" not in page[page.index("<script") :]
    assert name in read.text
    assert "'=HYPERLINK(" in lzma.decompress((folder / "records.csv.xz").read_bytes()).decode()
    for path in (folder / "tables").glob("*.csv"):
        assert not re.search(r'(^|,)"?=HYPER', path.read_text())


def test_what_failed_is_named_with_reason_and_log(tmp_path):
    def change(cell, result):
        if cell == {"model": "ViT", "train_size": 50, "seed": 1}:
            result.update(state="diverged", diverged_at=120)

    folder = made(tmp_path, change=change, write=lambda cell: cell != {"model": "ResNet", "train_size": 200, "seed": 0})
    read = Reader(page_of(folder))
    assert "10 of 12 done (1 diverged, 1 pending)" in read.text
    assert "ViT, train size 50 1 diverged loss or gradient not finite at update 120" in read.text
    assert "ResNet, train size 200 0 pending" in read.text
    (log,) = [link for link in read.links if link.endswith("log.txt")]
    assert (folder / log).is_file()


def test_a_log_outside_of_the_folder_of_the_page_and_its_pool_is_no_link(tmp_path):
    def change(cell, result):
        result.update(state="diverged", diverged_at=120)

    folder = made(tmp_path / "elsewhere", change=change)
    away = tmp_path / "results" / folder.name
    away.parent.mkdir()
    folder.rename(away)
    read = Reader(build(away, tmp_path / "elsewhere" / "runs").read_text())
    assert "ViT, train size 50 0, 1 diverged loss or gradient not finite at update 120" in read.text
    assert [link for link in read.links if "log.txt" in link] == []


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_nothing_done_yet_is_a_valid_page_that_says_so(tmp_path, seeds):
    read = Reader(page_of(made(tmp_path, write=lambda cell: False, seeds=seeds)))
    assert "No run is done yet" in read.text
    assert f"0 of {6 * len(seeds)} done" in read.text
    assert "No run has ended yet, so nothing is known." in read.text


def test_one_seed_is_said_to_have_no_interval(tmp_path):
    assert "One seed a point, so there is no interval." in Reader(page_of(made(tmp_path, seeds=(0,)))).text


def test_different_data_are_a_loud_warning(tmp_path):
    def change(cell, result):
        if cell["model"] == "ResNet":
            result["data"]["fingerprint"] = "ab" * 32

    page = page_of(made(tmp_path, change=change))
    (loud,) = re.findall(r'<p class="notice loud"[^>]*>([^<]*)', page)
    assert loud.startswith("The runs on mnist5k saw different data: ")
    assert "abababababab… (4 runs). Their numbers must not be compared." in loud


def test_data_that_the_seed_draws_anew_are_no_different_data_of_one_kind(tmp_path):
    def change(cell, result):
        result["data"]["fingerprint"] = "ab"[cell["seed"]] * 64

    folder = made(tmp_path, change=change)
    records = load(Plan.read(folder), tmp_path / "runs")
    assert any("saw different data" in one.text for one in provenance.notices(records))
    for entry in records.plan.runs.values():
        entry.run["data"]["pair_seed"] = entry.run["seed"]
    assert not any("saw different data" in one.text for one in provenance.notices(records))


def test_different_subsets_of_a_seed_are_a_loud_warning(tmp_path):
    def change(cell, result):
        if cell["model"] == "ResNet" and cell["train_size"] == 50:
            result["data"]["subset_sha256"] = "cd" * 32

    page = page_of(made(tmp_path, change=change))
    assert "In 2 of 4 cells the models did not learn from the same training subset." in page
    assert "though not the same training subset in every pair" in page


def test_runs_that_differ_in_threads_are_counted_and_warned_of(tmp_path):
    def change(cell, result):
        if cell["seed"] == 1:
            result["choices"]["threads"] = 2

    folder = made(tmp_path, change=change)
    assert "Runs differ in threads: 1 (6 runs), 2 (6 runs)." in Reader(page_of(folder)).text


def test_several_things_in_which_runs_differ_are_one_notice_and_the_data_set_another():
    differing = [provenance.Origin(name, (("a", 6), ("b", 6)), True) for name in ("data set", "threads", "commit")]
    assert [one.text for one in provenance._about_origins(differing)] == [
        "Runs differ in data set: a (6 runs), b (6 runs).",
        "Runs differ in threads (2) and commit (2): see the values under Provenance.",
    ]
    assert [one.text for one in provenance._about_origins(differing[2:])] == [
        "Made with 2 versions of the code: a (6 runs), b (6 runs)."
    ]


def test_a_choice_may_follow_from_the_model_but_not_vary_within_it(tmp_path):
    plan = made_up.make_plan(**SMALL)
    made_up.write_store(tmp_path / "by model", plan)

    def change(cell, result):
        result["choices"]["compile"] = cell["seed"] == 1

    made_up.write_store(tmp_path / "within", plan, change=change)
    assert provenance.notices(load(plan, tmp_path / "by model")) == []
    (notice,) = provenance.notices(load(plan, tmp_path / "within"))
    assert notice == provenance.Notice("Runs differ in compiled: no (6 runs), yes (6 runs).")


def test_damaged_files_are_named(tmp_path):
    folder = made(tmp_path)
    victim = next((tmp_path / "runs").glob("*/result.json"))
    victim.write_text("{")
    assert (
        f"Files that are damaged or cannot be read, counted as absent: {victim.parent.name}/result.json."
        in Reader(page_of(folder)).text
    )


def test_probes_that_were_skipped_are_listed_with_the_reason(tmp_path):
    skips = {"ResNet": {"AttentionDistance": "ResNet has no attention"}}
    probes = (*made_up.PROBES, {"kind": "AttentionDistance"})
    read = Reader(page_of(made(tmp_path, skips=skips, probes=probes)))
    assert "AttentionDistance ResNet (4) ResNet has no attention" in read.text


def test_a_figure_that_cannot_be_drawn_says_why_and_spares_the_others(tmp_path):
    renamed = {"kind": "Choice", "choose": "model", "hue": "size"}
    figures = ({"kind": "Gap", "reference": "ViT", "x": "size"}, {"kind": "Nonsense"}, renamed, *made_up.FIGURES)
    read = Reader(page_of(made(tmp_path, figures=figures)))
    assert "Choice on validation images This figure could not be drawn: hue of Selection" in read.text
    assert "This figure could not be drawn: x of Gap must be a factor of the experiment" in read.text
    assert "kind of Figure must be one of" in read.text
    assert "tables/LearningCurve.csv" in read.links
    assert "tables/Gap-2.csv" in read.links


def test_a_figure_that_takes_one_factor_for_two_ends_says_so_and_spares_the_page(tmp_path):
    figures = ({"kind": "Gap", "reference": "ViT", "x": "model"}, *made_up.FIGURES)
    read = Reader(page_of(made(tmp_path, figures=figures)))
    assert "hue of Gap must be another factor than x. Both are 'model'." in read.text
    assert "With 200 training images ViT is" in read.text


def test_a_figure_that_fails_by_itself_spares_the_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(Gap, "table", lambda self, records: 1 / 0)
    read = Reader(page_of(made(tmp_path)))
    assert "This figure could not be drawn: ZeroDivisionError: division by zero" in read.text
    assert "The best mean test accuracy is that of" in read.text


def test_a_figure_whose_reference_is_not_planned_is_named_as_left_out(tmp_path):
    figures = ({"kind": "Gap", "reference": "VGG"}, {"kind": "Matching", "reference": "VGG"}, *made_up.FIGURES)
    read = Reader(page_of(made(tmp_path, figures=figures)))
    assert "for which this plan lacks levels are left out: Gap and Matching." in read.text
    assert "could not be drawn" not in read.text
    assert "left out" not in Reader(page_of(made(tmp_path, name="whole"))).text


def test_the_protocol_shows_what_models_share_once_and_what_differs_each(tmp_path):
    plan = made_up.make_plan(**SMALL)
    plan = plan.replace(defaults={"Recipe": {"optimizer": "adamw", "batch_size": 128}})
    for entry in plan.runs.values():
        if entry.run["data"]["subset_seed"] == 0:
            del entry.run["data"]["subset_seed"]
        if entry.run["model"]["name"] == "ResNet":
            entry.run["recipe"]["optimizer"] = "sgd"
    rows = {row.name: row for row in protocol.settings(load(plan, tmp_path))}
    assert rows["optimizer"].values == ("adamw", "adamw", "sgd")
    assert not rows["optimizer"].common
    assert rows["batch size"].values == ("64",) * 3
    assert rows["batch size"].common
    assert rows["data"].values == ("Mnist5k(train_size=…, subset_seed=…)",) * 3


def test_what_is_fitted_has_no_recipe_and_numbers_stand_in_their_order(tmp_path):
    plan = made_up.make_plan(**SMALL)
    for cell in plan.cells:
        run = plan.runs[cell.run].run
        run["recipe"].update(batch_size=1024 if cell.factors["seed"] == 0 else 64, updates=cell.factors["train_size"])
        if cell.factors["model"] == "ResNet":
            run["model"] = {"kind": "LogisticRegression"}
            run["recipe"].update(updates=0)
    rows = {row.name: row for row in protocol.settings(load(plan, tmp_path))}
    assert rows["batch size"].common
    assert rows["batch size"].values == ("64, 1,024",) * 3
    plan.runs[plan.cells[0].run].run["recipe"]["batch_size"] = 8
    rows = {row.name: row for row in protocol.settings(load(plan, tmp_path))}
    assert not rows["batch size"].common
    assert rows["batch size"].values == ("8, 64, 1,024", "64, 1,024", "–")


def test_seeds_of_a_cell_that_are_missing_for_one_reason_are_one_row(tmp_path):
    folder = made(tmp_path, write=lambda cell: (cell["model"], cell["train_size"]) != ("ResNet", 200))
    (row,) = protocol.missing(load(Plan.read(folder), tmp_path / "runs"), page=folder)
    assert (row.cell, row.seeds, row.state, row.log) == ("ResNet, train size 200", "0, 1", "pending", "")
    assert "2 of 12 cells are not in the figures" in Reader(page_of(folder)).text


def test_where_runs_fill_several_cells_the_page_says_how_many_of_each_there_are(tmp_path):
    plan = made_up.make_plan(**SMALL)
    shared = {cell.factors["seed"]: cell.run for cell in plan.cells if cell.factors["model"] == "ResNet"}
    cells = [
        dataclasses.replace(one, run=shared[one.factors["seed"]]) if one.factors["model"] == "ResNet" else one
        for one in plan.cells
    ]
    kept = {cell.run: plan.runs[cell.run] for cell in cells}
    made_up.write_store(tmp_path / "runs", plan, write=lambda cell: cell["model"] != "ViT")
    folder = tmp_path / "quickstart"
    folder.mkdir()
    plan.replace(cells=tuple(cells), runs=kept).write(folder)
    text = Reader(page_of(folder)).text
    told = "combinations of levels, seeds included; some of the 10 runs fill several"
    assert "Runs 6 of 10 done (4 pending)" in text
    assert f"Cells 12: {told}" in text
    assert f"4 of 12 cells ({told}) are not in the figures" in text
    assert "Cells: 4 pending." in text
    assert "combinations of levels" not in Reader(page_of(made(tmp_path / "one"))).text


def test_a_run_that_some_probes_are_still_to_measure_is_drawn_and_told(tmp_path):
    folder = made(tmp_path, write=lambda cell: (cell["model"], cell["train_size"]) != ("ResNet", 200))
    records = load(Plan.read(folder), tmp_path / "runs")
    runs = records.runs.copy()
    runs.loc[runs["state"] == "done", "device"] = "cpu"
    open_run = runs.loc[runs["state"] == "done", "run"].iloc[0]
    runs.loc[runs["run"] == open_run, ["state", "reason", "device"]] = ["pending", "trained, to be measured", "cuda"]
    records = dataclasses.replace(records, runs=runs)
    (device,) = [one for one in provenance.origins(records) if one.name == "device"]
    assert dict(device.values) == {"cpu": 9, "cuda": 1}
    text = Reader(write(records, folder).read_text()).text
    assert "2 of 12 cells are not in the figures, and 1 only with what some of the probes have measured" in text


@pytest.mark.parametrize(
    ("asked", "allowed", "said"),
    [
        (True, True, "yes"),
        (True, False, "no, as the data forbid it"),
        (True, None, "yes, where the data allow it"),
        (False, True, "no"),
        (False, False, "no"),
    ],
)
def test_flips_are_said_as_they_were_done(tmp_path, asked, allowed, said):
    """`allowed` is what a run notes of its data; runs of earlier versions note nothing."""
    plan = made_up.make_plan(**SMALL).replace(defaults={"Recipe": {"flip": asked}})

    def change(cell, result):
        result["data"].update({} if allowed is None else {"flip": allowed})

    made_up.write_store(tmp_path, plan, change=change)
    rows = {row.name: row for row in protocol.settings(load(plan, tmp_path))}
    assert rows["flip"].values == (said,) * 3


def test_runs_that_were_still_learning_when_their_updates_ran_out_are_counted(tmp_path):
    plan = made_up.make_plan(**SMALL)
    name = "runs ended by the cap, not by a stall"
    assert name not in {row.name for row in protocol.settings(load(plan, tmp_path))}
    for entry in plan.runs.values():
        entry.run["recipe"]["patience"] = 5
    (row,) = [row for row in protocol.settings(load(plan, tmp_path)) if row.name == name]
    assert row.values == ("none has ended",) * 3

    def change(cell, result):
        result["ended"] = "budget" if (cell["model"], cell["seed"]) == ("ViT", 0) else "stalled"

    made_up.write_store(tmp_path, plan, change=change)
    (row,) = [row for row in protocol.settings(load(plan, tmp_path)) if row.name == name]
    runs = {model: [cell for cell in plan.cells if cell.factors["model"] == model] for model in plan.factors["model"]}
    capped = sum(cell.factors["seed"] == 0 for cell in runs["ViT"])
    expected = {model: f"{capped if model == 'ViT' else 0} of {len(cells)}" for model, cells in runs.items()}
    sizes, seeds = plan.factors["train_size"], len(plan.factors["seed"])
    expected["ViT"] += ": " + ", ".join(f"{size} images (1 of {seeds})" for size in sizes)
    assert row.values == tuple(expected.values())
    assert capped == len(sizes) > 1


def test_the_device_of_every_model_is_told_where_runs_were_made_on_several(tmp_path):
    plan = made_up.make_plan(**SMALL)

    def change(cell, result):
        is_on_gpu = cell["model"] == "ViT" or (cell["model"] == "ResNet" and cell["seed"] == 1)
        result["environment"].update({"gpu": "NVIDIA H200"} if is_on_gpu and many else {})
        result["choices"].update(device="cuda" if is_on_gpu and many else "cpu")

    for many in (False, True):
        made_up.write_store(tmp_path / str(many), plan, change=change)
        rows = {row.name: row for row in protocol.settings(load(plan, tmp_path / str(many)))}
        assert ("device" in rows) == many
    told = dict(zip(plan.factors["model"], rows["device"].values, strict=True))
    assert told["ViT"] == "cuda (NVIDIA H200)"
    assert told["ResNet"] == "cpu, 2 runs; cuda (NVIDIA H200), 2 runs"
    assert [text for model, text in told.items() if model not in ("ViT", "ResNet")] == ["cpu"]


def test_a_model_without_attention_has_no_unknown_kernel(tmp_path):
    def change(cell, result):
        result["choices"]["attention"] = "math" if cell["model"] == "ViT" else None

    read = Reader(page_of(made(tmp_path, change=change)))
    assert "attention kernel none, as the model has no attention (8 runs), math (4 runs)" in read.text
    assert "unknown" not in read.text
    assert "Runs differ in attention" not in read.text


def test_no_number_on_the_page_has_more_digits_than_one_reads(tmp_path):
    sizes, ratio = (50, 200), 1 / 3
    figures = (*made_up.FIGURES, {"kind": "LearningCurve", "given": [["ratio", ratio]]})
    plan = made_up.make_plan(sizes=sizes, seeds=(0, 1), factors={"ratio": [ratio, 0.5]}, figures=figures)
    plan = plan.replace(defaults={"Recipe": {"warmup_fraction": 1 / 24}}, given_levels={"ratio": [ratio]})
    made_up.write_store(tmp_path / "runs", plan, write=lambda cell: cell["seed"] == 0)
    plan.write(tmp_path)
    read = Reader(build(tmp_path, tmp_path / "runs").read_text())
    exact = "--levels ratio=0.3333333333333333"
    assert exact in read.text  # what is to be typed is exact
    assert "0.333333" in read.text
    assert "0.0416667" in read.text
    words = re.sub(r"\w+\([^()]*\)", "", read.text.replace(exact, ""))  # specs are Python
    assert re.findall(r"\d\.\d{8,}", words) == []


def test_the_levels_of_intervals_are_those_of_the_figures_drawn(tmp_path):
    figures = ({"kind": "LearningCurve", "level": 0.9}, {"kind": "Gap", "reference": "VGG", "level": 0.5})
    assert "Intervals 90 %, of the kind" in Reader(page_of(made(tmp_path, figures=figures))).text
    figures = ({"kind": "Matching", "reference": "ViT"},)
    assert "Intervals" not in Reader(page_of(made(tmp_path, figures=figures, name="other"))).text


@pytest.mark.parametrize(
    ("name", "typed", "command"),
    [
        ("quickstart", {}, "vision-attn run experiments/quickstart.py"),
        ("quickstart-small", {"preset": "small"}, "vision-attn run experiments/quickstart.py --preset small"),
        (
            "quickstart-very-small-smoke",
            {"preset": "very-small", "smoke": True},
            "vision-attn run experiments/quickstart.py --preset very-small --smoke",
        ),
    ],
)
def test_the_command_that_does_it_again(name, typed, command):
    found = protocol.commands(made_up.make_plan(**SMALL).replace(**typed), Path("results") / name)
    assert found == [command, f"vision-attn report results/{name}"]


def test_the_command_names_the_levels_that_were_asked_for():
    given = {"model": ("ViT, 3x3 convolution",), "seed": (0, 1)}
    plan = made_up.make_plan(**SMALL).replace(given_levels=given, smoke=True)
    command, _ = protocol.commands(plan, Path("results") / "quickstart-smoke")
    levels = "--levels 'model=ViT, 3x3 convolution' --levels seed=0,1"
    assert command == f"vision-attn run experiments/quickstart.py {levels} --smoke"


def test_what_an_earlier_report_had_and_this_one_has_not_is_gone(tmp_path, all_files):
    folder = made(tmp_path)
    page_of(folder)
    (folder / "tables" / "my own.csv").write_text("kept")
    (folder / "verdicts.csv").write_text("of a rule that is gone")
    (folder / "tables" / "RecallByDistance-2.csv").write_text("of a figure under the name that it is stored by")
    plan = Plan.read(folder)
    plan.replace(figures=tuple(one for one in plan.figures if one["kind"] != "Gap")).write(folder)
    page_of(folder)
    left = sorted(path.name for path in folder.glob("*/*"))
    assert not [name for name in left if name.startswith(("Gap", "RecallByDistance"))]
    assert {"my own.csv", "LearningCurve.csv", "LearningCurve.png"} <= set(left)
    assert not (folder / "verdicts.csv").exists()


def test_a_long_table_of_a_figure_is_compressed_and_takes_the_place_of_the_plain_one(tmp_path, monkeypatch):
    folder = made(tmp_path)
    page_of(folder)
    plain = pd.read_csv(folder / "tables" / "Gap.csv")
    monkeypatch.setattr("vision_attn.report.drawn.LONG", (folder / "tables" / "Gap.csv").stat().st_size - 1)
    read = Reader(page_of(folder))
    pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "Gap.csv.xz"), plain)
    assert not (folder / "tables" / "Gap.csv").exists()
    assert "tables/Gap.csv.xz" in read.links
    assert "tables/Gap.csv" not in read.links
    assert "tables/Gap.csv.xz" in (folder / "SHA256SUMS").read_text()
    monkeypatch.undo()
    page_of(folder)
    assert not (folder / "tables" / "Gap.csv.xz").exists()


def test_a_folder_without_a_plan_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"^'.*' has no plan\.json\.gz\. Give one experiment's folder"):
        build(tmp_path, tmp_path)


def loaded_after_a_report(folder, before=""):
    code = f"""
import sys
from pathlib import Path
{before}
from vision_attn.report import build
build(Path({str(folder)!r}), Path({str(folder.parent / "runs")!r}))
print("torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return run.stdout.strip()


def test_a_report_is_built_without_torch(tmp_path):
    folder = made(tmp_path)
    assert loaded_after_a_report(folder) == "False"
    assert (folder / "report.html").is_file()


def test_the_check_for_torch_can_fail(tmp_path):
    assert loaded_after_a_report(made(tmp_path), before="import torch") == "True"


@pytest.mark.slow
def test_a_report_of_1000_runs_takes_less_than_10_seconds(tmp_path):
    probes = tuple({"kind": kind} for kind in ("Accuracy", "Size", "A", "B", "C"))
    seeds = tuple(range(48))
    folder = made(tmp_path, seeds=seeds, sizes=made_up.SIZES, probes=probes)
    begun = time.perf_counter()
    assert loaded_after_a_report(folder) == "False"
    seconds = time.perf_counter() - begun
    print(f"\n{3 * 7 * len(seeds)} runs, {len(probes)} probes each: {seconds:.1f} s, start of Python included")
    assert seconds < 10


def test_a_figure_that_would_end_the_process_costs_only_itself(tmp_path, monkeypatch):
    from vision_attn.figures import LearningCurve

    monkeypatch.setattr(LearningCurve, "caption", lambda *arguments: sys.exit("enough"))
    read = Reader(page_of(made(tmp_path)))
    assert "This figure could not be drawn: SystemExit: enough (" in read.text
    assert "tables/Gap.csv" in read.links


@pytest.mark.parametrize("method", ["applies", "table", "draw", "caption", "printed"])
def test_any_exception_in_a_figure_stands_in_its_place_and_the_rest_is_written(tmp_path, monkeypatch, method):
    from vision_attn.figures import LearningCurve

    def broken(self, *arguments, **options):
        return {}["what is not there"]

    folder = made(tmp_path)
    monkeypatch.setattr(LearningCurve, method, broken)
    with pytest.warns(UserWarning, match="LearningCurve of .* is not drawn: KeyError: 'what is not there'"):
        read = Reader(page_of(folder))
    assert "This figure could not be drawn: KeyError: 'what is not there' (" in read.text
    assert "test_report.py, line" in read.text
    assert "tables/Gap.csv" in read.links
    is_kept = method != "table"
    assert ("tables/LearningCurve.csv" in read.links) == is_kept
    assert (folder / "tables" / "LearningCurve.csv").is_file() == is_kept
    assert {"records.csv.xz", "runs.csv.xz"} <= {path.name for path in folder.iterdir()}


def test_a_factor_that_does_not_say_what_was_measured_is_loud(tmp_path):
    def change(cell, result):
        if cell["train_size"] == 200:
            result["data"]["train_size"] = 150

    folder = made(tmp_path, change=change)
    records = load(Plan.read(folder), tmp_path / "runs")
    (notice,) = doubts(records)
    assert notice.loud
    assert notice.text == (
        "The factor train_size is not the train size that was measured in 6 cells: 150 where it says 200."
    )
    assert doubts(load(Plan.read(made(tmp_path / "right")), tmp_path / "right" / "runs")) == []


@pytest.mark.parametrize(
    ("name", "levels", "measured", "said"),
    [
        ("params", (5_000, 10_000), (5_050, 12_000), "12,000 where it says 10,000"),
        ("flops", (10, 20), (10, 20), ""),
    ],
)
def test_a_factor_that_does_not_say_what_a_probe_has_measured_is_loud(name, levels, measured, said):
    """But for the two percent to which sizes are matched."""
    frame = pd.DataFrame({name: levels, "seed": [0, 0], "accuracy": [0.5, 0.6]})
    records = Records.from_frame(frame)
    rows = records.values.assign(metric=name, value=[float(one) for one in measured], split=None)
    texts = [notice.text for notice in doubts(dataclasses.replace(records, values=rows)) if notice.loud]
    assert texts == ([f"The factor {name} is not the {name} that was measured in 1 cell: {said}."] if said else [])


@pytest.mark.parametrize("folder", folders_in(ROOT / "results"), ids=lambda folder: folder.name)
def test_factors_of_the_committed_results_say_what_was_measured(folder, tmp_path):
    found = doubts(load(Plan.read(folder), tmp_path, committed=folder))
    assert [notice for notice in found if notice.loud] == []


def test_runs_of_one_label_from_different_sources_are_loud(tmp_path):
    def change(cell, result):
        if cell["model"] == "ViT":
            result["environment"]["sources"] = {"Mine": ("a" if cell["seed"] else "b") * 64}
        if cell["model"] == "ResNet":
            result["environment"]["sources"] = {"Other": "c" * 64}

    folder = made(tmp_path, change=change)
    plan = Plan.read(folder).replace(sources={"Mine": "a" * 64, "Other": "d" * 64})
    texts = [notice.text for notice in doubts(load(plan, tmp_path / "runs"))]
    assert texts == [
        "Runs of ViT come from different sources of Mine: bbbbbbbbbbbb (2 runs), aaaaaaaaaaaa (2 runs). "
        "They must not be taken together.",
        "Other has changed since the runs of ResNet: they come from its source cccccccccccc, now it is dddddddddddd.",
    ]
