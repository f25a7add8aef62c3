"""What holds of every kind of rule; a new one is found by itself and made from the types of its fields."""

import dataclasses
import inspect
import json
import typing
from pathlib import Path

import numpy as np
import pytest
from frames import make_records

from vision_attn.plan import folders_in
from vision_attn.report.decisions import decisions
from vision_attn.spec import from_json, kinds, to_json
from vision_attn.store import read_json
from vision_attn.verdicts import BoundVerdict, Verdict, cell, findings, table
from vision_attn.verdicts.base import Answer
from vision_attn.verdicts.seeds import Cell, SeedVerdict, Terms

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["ViT, 3×3 注意力", "réseau <b>"]
AT, REFERENCE = (cell(model=model) for model in MODELS)
SAID = {"claim": "C1", "statement": "Größer als <null>."}
OF_TYPE = {
    str: "C1",
    float: 0.5,
    Cell: AT,
    Terms: ((1.0, AT), (-0.5, REFERENCE)),
    tuple[Verdict, ...]: tuple(BoundVerdict(**SAID, at=at, bound=0.5) for at in (AT, REFERENCE)),
}
KINDS = {name: kind for name, kind in kinds(Verdict).items() if kind.__module__.startswith("vision_attn.")}


def made(kind, **changes):
    """A rule with a value for every field that has no default; numbers a seed come from two models."""
    hints = typing.get_type_hints(kind)
    needed = [field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    values = {field.name: OF_TYPE[hints[field.name]] for field in needed} | {"statement": SAID["statement"]}
    return kind(**values | ({"reference": REFERENCE} if "reference" in values else {}) | changes)


def records(seeds=5, *, value=lambda one: 0.5 + 0.1 * np.sin(7 * one["seed"]), along=(), **options):
    factors, places = {"model": MODELS, "seed": list(range(seeds))}, dict.fromkeys(along, 0)
    return make_records(factors, lambda one: [{"metric": "accuracy", "value": value(one), **places}], **options)


MADE_UP = {
    "five seeds": records(),
    "one seed": records(1),
    "two seeds": records(2),
    "no spread": records(value=lambda one: 0.5),
    "no number": records(value=lambda one: float("nan")),
    "nothing yet": records(state=lambda one: "pending"),
    "one model failed": records(state=lambda one: "failed" if one["model"] == MODELS[0] else "done"),
    "no such metric": make_records({"model": MODELS, "seed": [0, 1]}, lambda one: [{"metric": "loss", "value": 1.0}]),
    "another reference": make_records(
        {"model": MODELS[:1], "seed": [0, 1]}, lambda one: [{"metric": "accuracy", "value": 0.4 + one["seed"] / 10}]
    ),
    "no such factor": make_records({"seed": [0, 1]}, lambda one: [{"metric": "accuracy", "value": 0.5}]),
}


def test_there_are_kinds_to_test():
    assert {"AllOf", "BoundVerdict", "ShareVerdict"} <= set(KINDS)
    assert not [kind for kind in KINDS.values() if inspect.isabstract(kind)]


@pytest.mark.parametrize("name", KINDS)
def test_a_rule_comes_back_from_its_json_and_says_itself_in_words(name):
    rule = made(KINDS[name])
    assert from_json(json.loads(json.dumps(to_json(rule))), Verdict) == rule
    assert rule.rule.endswith(".")
    assert rule.rule[0] == rule.rule[0].upper()
    assert inspect.getdoc(KINDS[name])


@pytest.mark.parametrize("situation", MADE_UP)
@pytest.mark.parametrize("name", KINDS)
def test_a_rule_answers_whatever_the_records_are_and_the_page_shows_it(name, situation):
    own = MADE_UP[situation]
    planned = dataclasses.replace(own, plan=own.plan.replace(verdicts=(to_json(made(KINDS[name])),)))
    found = findings(planned)
    assert all(one.verdict in typing.get_args(Answer) for one in found)
    shown = decisions(found)
    assert len(shown) == len(table(found))
    assert all(isinstance(value, str | bool) for one in shown for value in dataclasses.asdict(one).values())
    if situation not in ("five seeds", "two seeds", "no spread"):
        assert not {one.verdict for one in found} & {"supports", "contradicts"}


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if issubclass(kind, SeedVerdict)])
def test_no_kind_decides_with_fewer_seeds_than_it_asks_for(name):
    value = {"value": lambda one: 0.9 if one["model"] == MODELS[0] else 0.1}
    rule = made(KINDS[name], min_seeds=6)
    found = rule.decide(records(5, along=rule.along, **value))
    assert (found.verdict, found.n) == ("inconclusive", 5)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if issubclass(kind, SeedVerdict)])
def test_supporting_and_contradicting_exclude_each_other(name):
    """Of ten thousand made-up samples none does both, and both occur."""
    rule, generator = made(KINDS[name]), np.random.default_rng(0)
    centre = generator.uniform(-1.5, 1.5, (10_000, 1))
    supports, p = rule.test(centre + generator.normal(0, 0.2, (10_000, 6)))
    contradicts = p < 1 - rule.level
    assert not (supports & contradicts).any()
    assert supports.any()
    assert contradicts.any()
    assert p.min() >= 0
    assert p.max() <= 1


@pytest.mark.parametrize("folder", folders_in(ROOT / "results"), ids=lambda folder: folder.name)
def test_rules_of_committed_plans_are_read_and_written_as_they_are(folder):
    for data in read_json(folder / "plan.json.gz").get("verdicts", []):
        assert to_json(from_json(data, Verdict)) == data
