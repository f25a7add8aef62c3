"""The page opens with the verdicts, and their table is written beside it."""

import csv
import re

import pytest
from frames import make_records
from test_report import Reader

from vision_attn.experiment import Experiment, plan
from vision_attn.report.page import write
from vision_attn.spec import to_json
from vision_attn.verdicts import AllOf, BoundVerdict, DifferenceVerdict, cell

FACTORS = {"model": ["attention", "convolution"], "distance": [1, 7], "seed": [0, 1, 2]}


def rows(one):
    value = 0.13 if (one["model"], one["distance"]) == ("convolution", 7) else 0.97
    yield {"metric": "accuracy", "split": "test", "value": value + 0.01 * one["seed"]}


def far(model):
    return cell(model=model, distance=7, split="test")


RULES = (
    DifferenceVerdict(
        claim="C1",
        statement="Attention reaches <farther>.",
        at=far("attention"),
        reference=far("convolution"),
        bound=0.1,
    ),
    AllOf(
        claim="C7",
        statement="Convolution ends at its radius.",
        parts=(
            BoundVerdict(
                claim="C7",
                statement="It sees what is near.",
                at=cell(model="convolution", distance=1, split="test"),
                bound=0.5,
            ),
            BoundVerdict(claim="C7", statement="It guesses far off.", at=far("convolution"), bound=0.1, side="below"),
        ),
    ),
)


def page(tmp_path, **options):
    records = make_records(FACTORS, rows, **{"verdicts": [to_json(rule) for rule in RULES], **options})
    records.runs["train_seconds"] = 1.0
    return write(records, tmp_path).read_text()


def test_the_page_shows_claim_estimate_interval_n_baseline_verdict_and_rule(tmp_path):
    text = Reader(page(tmp_path)).text
    assert (
        "C1 Attention reaches <farther>. Rule Accuracy of attention at distance 7, test images minus accuracy of"
        in text
    )
    assert "+84.0 [+84.0, +84.0] points 3 accuracy of convolution at distance 7, test images: 14.0 % supports" in text
    assert "C7 Convolution ends at its radius. Rule Supports where every part does" in text
    assert "contradicts 1 of 2 parts contradicts it and 1 supports it." in text
    assert "C7.2 It guesses far off." in text
    assert "14.0 [11.5, 16.5] % 3 10.0 % contradicts" in text
    assert "else inconclusive. Simulated with 3 seeds and the scatter found: contradicted in 2." in text


def test_what_holds_by_construction_is_told_from_what_was_measured(tmp_path):
    exact = BoundVerdict(
        claim="C1", statement="It sees 4.", metric="reach", at=cell(), bound=5, side="below", exact=True
    )
    rules = [to_json(exact), to_json(RULES[0])]
    reach = make_records({"seed": [0, 1]}, lambda one: [{"metric": "reach", "value": 4.0}], verdicts=rules)
    text = Reader(write(reach, tmp_path).read_text()).text
    assert "In every run, by construction: were it not so, it would be a fault of the suite." in text
    assert "4 all runs 5 holds by construction" in text
    assert "Simulated with" not in text
    with (tmp_path / "verdicts.csv").open() as file:
        assert next(csv.DictReader(file))["verdict"] == "supports"


def test_a_claim_all_of_whose_parts_hold_by_construction_has_no_support_to_count(tmp_path):
    exact = BoundVerdict(
        claim="C1", statement="It sees 4.", metric="reach", at=cell(), bound=5, side="below", exact=True
    )
    seen = exact.replace(statement="It sees more than 2.", bound=2, side="above")
    measured = seen.replace(statement="It sees more than 3.", bound=3, exact=False)
    rules = [
        AllOf(claim="C1", statement="By its layers.", parts=(exact, seen)),
        AllOf(claim="C2", statement="By its layers, and more.", parts=(exact, measured)),
        exact.replace(claim="C3", statement="It sees less than 3.", bound=3),
    ]
    told = [to_json(rule) for rule in rules]
    reach = make_records({"seed": [0, 1]}, lambda one: [{"metric": "reach", "value": 4.0}], verdicts=told)
    text = write(reach, tmp_path).read_text()
    shown = re.findall(r'<strong class="verdict ([\w-]+)">([\w -]+)</strong>((?:<p class="rule">[^<]*</p>)*)', text)
    assert [(style.replace("-", " "), said) for style, said, _ in shown] == [
        (name.replace("-", " "), name)
        for name in (
            *("holds by construction", "holds by construction", "holds by construction"),
            *("supports", "holds by construction", "supports", "contradicts"),
        )
    ]
    assert shown[0][2] == '<p class="rule">All 2 parts do.</p>'
    assert [row[2] for row in shown[1:3]] == ["", ""]
    assert shown[-1][2] == '<p class="rule">exact, by construction</p>'


def test_the_verdicts_stand_above_the_figures_and_below_the_answer(tmp_path):
    text = page(tmp_path, figures=[{"kind": "RecallByDistance"}])
    assert (
        text.index('class="answer"')
        < text.index('<section id="verdicts">')
        < text.index('<section id="RecallByDistance">')
    )


def test_the_table_of_verdicts_is_written(tmp_path):
    page(tmp_path)
    with (tmp_path / "verdicts.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["claim"] for row in found] == ["C1", "C7", "C7.1", "C7.2"]
    assert [row["verdict"] for row in found] == ["supports", "contradicts", "supports", "contradicts"]
    assert float(found[0]["estimate"]) == pytest.approx(0.84)
    assert found[1]["estimate"] == ""
    assert all(row["rule"] for row in found)


def test_an_experiment_without_verdicts_has_no_such_section(tmp_path):
    text = page(tmp_path, verdicts=[])
    assert 'id="verdicts"' not in text
    assert not (tmp_path / "verdicts.csv").exists()


def test_nothing_measured_yet_is_said_of_every_claim(tmp_path):
    text = Reader(page(tmp_path, state=lambda one: "pending")).text
    assert text.count("not measured") >= 4
    assert "0 of 3 planned seeds are in." in text


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ({"metric": "acuracy"}, "There is no metric 'acuracy' among accuracy"),
        ({"metric": "acuracy", "at": cell(mdl="attention")}, "There is no factor 'mdl' among model"),
    ],
)
def test_a_rule_about_what_nobody_measures_says_so_on_the_page(tmp_path, rule, hint):
    rule = BoundVerdict(claim="C1", statement="Typo.", bound=0.1, **{"at": far("attention"), **rule})
    text = Reader(page(tmp_path, verdicts=[to_json(rule)])).text
    assert f"0 of 3 planned seeds are in. {hint}" in text


def experiment(**changes):
    from vision_attn import Accuracy, Mnist5k, Recipe, Run, ViT

    def run(model, seed):
        return Run(model=ViT(dim=16, depth=1), data=Mnist5k(train_size=50), recipe=Recipe(updates=3), seed=seed)

    factors = {"model": ("a",), "seed": range(2)}
    return Experiment(question="Why?", factors=factors, run=run, probes=(Accuracy(),), **changes)


def test_the_plan_keeps_the_rules():
    assert plan(experiment(verdicts=RULES), name="why").verdicts == tuple(to_json(rule) for rule in RULES)
    assert plan(experiment(), name="why").verdicts == ()


def test_data_sets_may_follow_the_factors_but_models_must_share_them():
    from vision_attn.report import provenance

    def named(name):
        records = make_records(FACTORS, rows)
        records.runs["dataset"] = [name(one) for one in records.runs.to_dict("records")]
        return [notice.text for notice in provenance.notices(records)]

    assert named(lambda one: f"recall-{one['distance']}") == []
    (said,) = named(lambda one: f"recall-{one['model']}")
    assert said.startswith("Runs differ in data set: ")


def test_many_data_sets_are_counted_in_a_caption():
    from vision_attn import wording

    records = make_records({"model": ["a"], "distance": [1, 2, 3, 4], "seed": [0]}, rows=lambda one: [])
    records.runs["dataset"] = [f"cued-recall-{one}" for one in records.runs["distance"]]
    assert wording.data_text(records) == " on cued-recall (4 data sets)"


def test_figures_of_one_kind_are_told_apart_by_what_was_asked_of_them(tmp_path):
    kind = "ReceptiveFieldByLayer"
    figures = [{"kind": kind}, {"kind": kind, "given": [["distance", 7]], "own": "without"}]
    assert "Receptive field by layer: distance 7, own without" in Reader(page(tmp_path, figures=figures)).text


def test_levels_in_a_title_are_words_in_whichever_field_they_stand(tmp_path):
    layer = {"kind": "DotPlot", "metric": "bias_effect", "split": None, "at": [["layer", 1], ["projection", "q"]]}
    read = Reader(page(tmp_path, figures=[{"kind": "DotPlot"}, layer]))
    assert "Bias effect (layer 1, projection q)" in read.text
