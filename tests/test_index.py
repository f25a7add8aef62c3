"""The verdict page: every claim of the tutorials against all results, and the same table in the README."""

import dataclasses
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from frames import make_records
from test_report import Reader
from typer.testing import CliRunner

from vision_attn.cli.command import app
from vision_attn.plan import Plan
from vision_attn.records import Records
from vision_attn.report import build_all, conclusions, index, page, withdrawals
from vision_attn.report.claims import claim_of, claims
from vision_attn.report.conclusions import Conclusion, Reference
from vision_attn.report.decisions import decisions
from vision_attn.report.evidence import Evidence, Judged, Part, judged, markdown
from vision_attn.report.ranges import looked_at, runs_of
from vision_attn.report.scope import in_brief, scope
from vision_attn.spec import InputError, to_json
from vision_attn.verdicts import AllOf, BoundVerdict, DifferenceVerdict, cell, findings

ROOT = Path(__file__).resolve().parents[1]
FACTORS = {"model": ["ViT", "ResNet"], "train_size": [100, 400], "seed": [0, 1, 2]}


def rows(one):
    gap = 0.2 if one["model"] == "ResNet" else 0.0
    yield {"metric": "accuracy", "split": "test", "value": 0.5 + gap + 0.01 * one["seed"] * (1 + gap)}
    yield {"metric": "accuracy", "split": "train", "value": 1.0 if one["train_size"] == 100 else 0.6}
    yield {"metric": "params", "value": 210_000.0}


def at(model, size):
    return cell(model=model, train_size=size, split="test")


def worse(size, side="below"):
    of = {"at": at("ViT", size), "reference": at("ResNet", size), "side": side}
    return DifferenceVerdict(claim="C2", statement=f"With {size} images it is {side}.", **of)


SMALL = AllOf(claim="C2", statement="On small data it is worse.", parts=(worse(100), worse(400)))
MORE = AllOf(claim="C3", statement="With more data it is not.", parts=(worse(100), worse(400, "above")))
OWN = BoundVerdict(claim="H1", statement="My <own> claim.", at=at("ViT", 100), bound=0.1)


def results(tmp_path, log="", **plans):
    """A folder of results with an experiment for every keyword, each with its rules."""
    for name, rules in plans.items():
        verdicts = tuple(to_json(rule) for rule in rules)
        records = make_records(FACTORS, rows, verdicts=verdicts, figures=({"kind": "LearningCurve"},))
        records.runs[["images_seen", "image_size"]] = [48_000, 32]
        records.runs["train_seconds"] = 1.0
        page.write(records, tmp_path / name)
        records.plan.replace(experiment=f"experiments/{name}.py").write(tmp_path / name)
    if log:
        (tmp_path / "LOG.md").write_text(log)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    log = "## 2026-01-02 · Gone\n\n- Withdrawn: `second` C3: a fault\n  of ours.\n- Qualified: `first` C2: tiny.\n"
    return results(tmp_path_factory.mktemp("results"), log, first=(SMALL, OWN), second=(SMALL, MORE))


def row_of(folder, claim):
    return next(row for row in judged(folder) if row.id == claim)


def test_there_are_the_twelve_claims_each_quoted_and_translated():
    assert [claim.id for claim in claims()] == [f"C{i}" for i in range(1, 13)]
    for claim in claims():
        assert re.search("[\u4e00-\u9fff]{4}", claim.original), claim.id
        assert claim.statement.endswith(".")
        assert set(claim.advice) == {"supports", "contradicts", "otherwise"}
        assert claim.not_tested
        assert claim.experiments


def test_several_rules_and_parts_belong_to_one_claim():
    assert [claim_of(rule) for rule in ("C4", "C4a", "C4b.2", "C10.1", "H1", "C1x2")] == [
        "C4",
        "C4",
        "C4",
        "C10",
        "H1",
        "C1x2",
    ]


def test_two_experiments_of_one_claim_stand_side_by_side(folder):
    row = row_of(folder, "C2")
    assert [(one.folder, one.verdict) for one in row.evidence] == [("first", "supports"), ("second", "supports")]
    assert row.verdict == "supports"
    assert row.advice == row.claim.advice["supports"]


def test_the_deciding_number_is_that_of_the_part_that_contradicts(folder):
    (one,) = row_of(folder, "C3").evidence
    assert one.whole.verdict == "contradicts"
    assert one.decisive.statement == "With 400 images it is above."
    assert re.fullmatch(r"−20\.2 \[−20\.\d, −\d+\.\d\] points", one.decisive.effect)
    assert one.decisive.n == 3


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        ("inconclusive", "2 of 3 parts support it: −6.0 points (n = 5): is worse"),
        ("contradicts", ""),
        ("supports", ""),
    ],
)
def test_what_is_supported_of_an_undecided_rule_is_told_beside_it(whole, said):
    verdicts = {"is open": "inconclusive", "is worse": "supports", "is worse, too": "supports"}
    parts = [
        Part(f"C2.{i}", name, verdict, "−6.0 points", 5, "accuracy", False)
        for i, (name, verdict) in enumerate(verdicts.items())
    ]
    one = Evidence("x", "x.py", Part("C2", "all", whole, "", 0, "", False), tuple(parts), "")
    assert one.divided_text == said
    (claim,) = [row.claim for row in judged(Path("nowhere")) if row.id == "C2"]
    row = Judged("C2", claim, (one,))
    assert row.advice.startswith("Not decided as a whole") == bool(said)
    text = markdown([row], page="x", link="y")
    assert ("<br>" + said in text) == bool(said)
    assert "−6.0 points (n = 5): is open" in text or whole != "inconclusive"


def test_of_what_is_supported_a_part_about_the_same_measure_is_told():
    known = Part("C11.1", "is known by heart", "supports", "100.0 %", 5, "accuracy", False)
    far = Part("C11.2", "is far", "inconclusive", "+0.3", 5, "correlation", False)
    near = Part("C11.3", "is near", "supports", "+0.1", 5, "correlation", False)
    whole = Part("C11", "all", "inconclusive", "", 0, "", False)
    assert Evidence("x", "x.py", whole, (known, far, near), "").divided_text == (
        "2 of 3 parts support it: +0.1 (n = 5): is near"
    )
    assert Evidence("x", "x.py", whole, (known, far), "").divided_text.endswith("100.0 % (n = 5): is known by heart")
    exact = Part("C11.4", "is a theorem", "supports", "1", 5, "correlation", True)
    assert Evidence("x", "x.py", whole, (known, exact, far), "").divided_text.startswith(
        "1 of 2 measured parts supports it"
    )


def test_an_interval_that_only_the_budget_leaves_open_says_so():
    part = Part("C3.1", "has caught up", "budget-limited", "−8.1 [−9.7, −6.5] points", 5, "accuracy", False)
    one = Evidence("x", "x.py", Part("C3", "all", "inconclusive", "", 0, "", False), (part,), "")
    assert one.decisive.told == "−8.1 [−9.7, −6.5] points (n = 5, budget-limited): has caught up"


def test_what_the_log_withdraws_is_withdrawn_and_decides_nothing(folder):
    row = row_of(folder, "C3")
    (one,) = row.evidence
    assert (row.verdict, one.verdict, one.entry.reason, one.entry.date) == (
        "withdrawn",
        "withdrawn",
        "a fault of ours.",
        "2026-01-02",
    )
    assert row.advice.startswith("None:")
    assert not row_of(folder, "C2").evidence[0].is_withdrawn


def test_what_is_withdrawn_is_told_last(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "LOG.md").write_text("## 2026-01-02 · A fault\n\n- Withdrawn: `first` C2: a fault of ours.\n")
    row = row_of(copy, "C2")
    assert [(one.folder, one.verdict) for one in row.evidence] == [("second", "supports"), ("first", "withdrawn")]


def test_a_report_from_inside_its_folder_knows_the_log_and_the_pool(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy" / "second")
    written = page.build(Path(), Path("nowhere")).read_text()
    assert ">withdrawn<" in written
    assert page.build(tmp_path / "copy" / "second", Path("nowhere")).read_text() == written
    pools = []
    monkeypatch.setattr("vision_attn.records.load", lambda plan, pool, committed: pools.append(pool))
    Records.from_folder(".")
    assert pools == [tmp_path / "copy" / "runs"]


def test_the_newest_line_of_the_log_holds(tmp_path):
    (tmp_path / "LOG.md").write_text(
        "## 2026-03-01 · Again\n- Decided anew: `x` C1.\n## 2026-01-01 · Gone\n- Withdrawn: `x` C1, C2b: why: so.\n"
    )
    said = withdrawals.read(tmp_path)
    assert {key: (one.word, one.reason) for key, one in said.items()} == {
        ("x", "C1"): ("Decided anew", ""),
        ("x", "C2b"): ("Withdrawn", "why: so."),
    }
    assert withdrawals.read(tmp_path / "nowhere") == {}
    (tmp_path / "LOG.md").write_bytes(b"\xff\xfe\0")
    with pytest.raises(InputError, match=r"LOG\.md must be text in UTF-8"):
        withdrawals.read(tmp_path)


@pytest.mark.parametrize("line", ["- Withdrawn: x C1", "- Withdrawn `x` C1: so", "- Qualified: `x`: so"])
def test_a_line_of_the_log_that_cannot_be_read_is_refused(tmp_path, line):
    (tmp_path / "LOG.md").write_text(f"## 2026-01-01 · Gone\n{line}\n")
    with pytest.raises(InputError, match=r"must be like '- Withdrawn: `data_size` C2, C3: why\.' Got '- "):
        withdrawals.read(tmp_path)


def judged_by(*verdicts):
    """A claim with one piece of evidence a verdict."""
    parts = [
        Part(f"C2{letter}", "", verdict, "", 5, "accuracy", False)
        for letter, verdict in zip("ab", verdicts, strict=False)
    ]
    return Judged("C2", None, tuple(Evidence("x", "", part, (), "") for part in parts))


def test_what_a_small_budget_leaves_open_says_nothing_against_what_a_larger_one_decides():
    assert judged_by("budget-limited", "supports").verdict == "supports"
    assert judged_by("budget-limited", "not measured").verdict == "budget-limited"
    assert judged_by("contradicts", "supports").verdict == "mixed"


def test_a_claim_on_which_rules_differ_has_advice_as_long_as_its_conclusion_holds():
    (claim,) = [one for one in claims() if one.id == "C2"]
    row = dataclasses.replace(judged_by("contradicts", "supports"), claim=claim, conclusion=Conclusion(("So so.",)))
    assert row.verdict == "mixed"
    assert row.advice == claim.advice["otherwise"]
    gone = dataclasses.replace(row, changed=(Reference("x", "C2a", "supports", ""),))
    assert gone.advice == "The rules do not agree: go by the statements beside, each for itself."
    assert dataclasses.replace(row, claim=None).advice == ""


def test_verdicts_that_differ_are_mixed_and_stand_each_for_itself(tmp_path):
    folder = results(tmp_path, first=(SMALL,), second=(SMALL.replace(parts=(worse(100, "above"), worse(400))),))
    row = row_of(folder, "C2")
    assert row.verdict == "mixed"
    assert row.advice == "The rules do not agree: go by the statements beside, each for itself."
    lines = markdown(judged(folder), page="x", link="y").splitlines()
    assert [line.split("]")[0] for line in lines[2:]] == [f"| [C{i}" for i in range(1, 13)]
    _, words, verdict, numbers, pages = (cell.strip() for cell in lines[3].strip("|").split("|"))
    assert (words, verdict) == (row.claim.short, "mixed")
    # The ResNet is 20 points ahead of the ViT at both sizes, and 0.2 more for each seed.
    contradicts, supports = numbers.split("<br>")
    assert contradicts.startswith("contradicts: −20.2 [")
    assert contradicts.endswith(" points (n = 3): With 100 images it is above.")
    assert supports.startswith("supports: −20.2 [")
    assert supports.endswith(" points (n = 3): With 100 images it is below.")
    assert pages == "[`first`](y/first/report.html) (3 seeds); [`second`](y/second/report.html) (3 seeds)"
    with_range = markdown(judged(folder), page="x", link="y", ranges={("C2", "first"): ["0.2 million parameters"]})
    assert "[`first`](y/first/report.html) (3 seeds, 0.2 million parameters); [`second`]" in with_range


def exact(verdict="supports", letter="a"):
    """A rule all of whose parts hold by construction."""
    parts = tuple(Part(f"C2{letter}.{i}", "", "supports", "", 5, "", True) for i in range(2))
    return Evidence("x", "", Part(f"C2{letter}", "", verdict, "", 5, "", False), parts, "")


def test_theorems_alone_support_no_claim():
    (claim,) = [one for one in claims() if one.id == "C2"]
    row = Judged("C2", claim, (exact(), exact(letter="b")))
    assert (row.verdict, row.shown, row.advice) == ("supports", "holds by construction", claim.advice["supports"])
    assert [(one.shown, one.kind, one.parts[0].shown) for one in row.evidence] == [
        ("holds by construction", "", "holds by construction")
    ] * 2
    assert "| holds by construction |" in markdown([row], page="x", link="y")
    assert index.summary([row]) == "Of 1 claims: 1 true by construction."
    gone = dataclasses.replace(exact(), entry=withdrawals.Entry("Withdrawn", "", ""))
    assert (gone.shown, gone.said_before, gone.kind) == ("withdrawn", "holds by construction", "exact, by construction")
    assert exact("not measured").shown == "not measured"


def test_a_claim_that_rests_on_theorems_and_on_measurements_is_supported_by_these():
    measured = judged_by("supports").evidence
    assert Judged("C2", None, (exact(), *measured)).shown == "supports"
    mixed = Judged("C2", claims()[1], (exact(), *judged_by("contradicts").evidence))
    assert (mixed.verdict, mixed.shown) == ("mixed", "mixed")
    assert re.search(r"contradicts: .*<br>holds by construction: ", markdown([mixed], page="x", link="y"))


def test_a_page_shows_what_holds_by_construction_and_the_table_keeps_the_answer(tmp_path):
    theorem = AllOf(claim="C12", statement="By its layers.", parts=(OWN.replace(exact=True),) * 2)
    folder = results(tmp_path, first=(theorem,))
    build_all(folder, pages=False)
    text = (folder / "index.html").read_text()
    assert (
        re.findall(r'class="verdict (\S+)">(holds by construction|supports)<', text)
        == [("holds-by-construction", "holds by construction")] * 2
    )
    assert Reader(text).text.count(": holds by construction") == 2
    assert [row.split(",")[0] for row in (folder / "first" / "verdicts.csv").read_text().splitlines()[1:]] == [
        "C12",
        "C12.1",
        "C12.2",
    ]
    assert row_of(folder, "C12").verdict == "supports"


def test_the_page_has_every_claim_its_range_and_the_command_that_measures_what_is_missing(folder):
    build_all(folder, pages=False)
    text = (folder / "index.html").read_text()
    read = Reader(text)
    assert "script" not in read.tags
    assert not [link for link in read.links if re.match(r"(https?:)?//", link)]
    assert [f"C{i}" for i in range(1, 13)] == [one for one in read.ids if re.fullmatch(r"C\d+", one)]
    assert "Of 12 claims: 10 not measured, 1 supported and 1 withdrawn." in read.text
    assert "vision-attn run experiments/score_scale.py" in read.text
    assert "0.21 million parameters" in read.text
    assert "limited by the data in 2 of 4 cells, by the training budget in the others" in read.text
    assert "Withdrawn 2026-01-02: a fault of ours." in read.text
    assert "Qualified 2026-01-02: tiny." in read.text
    assert "My <own> claim." in read.text
    assert {"first/report.html#LearningCurve", "second/report.html#verdicts", "first/report.html"} <= set(read.links)
    assert claims()[0].original in read.text


def test_a_claim_speaks_for_the_cells_that_its_rules_look_at_and_not_for_the_whole_page(tmp_path):
    small, more = worse(100).replace(claim="C2"), worse(400).replace(claim="C3")
    folder = results(tmp_path, first=(small, more), second=(SMALL, more.replace(claim="C2")))
    size = "3 seeds, 0.21 million parameters, {} training images, 48,000 images seen"
    told = {row.split("]")[0][-2:]: row for row in index.table(folder).splitlines()[2:]}
    assert re.findall(r"\(([^()]+ seeds[^()]*)\)", told["C2"]) == [size.format("100"), size.format("100 to 400")]
    assert re.findall(r"\(([^()]+ seeds[^()]*)\)", told["C3"]) == [size.format("400")]
    build_all(folder, pages=False)
    text = (folder / "index.html").read_text()
    ranges = {
        re.search(r">(\w+), C", row)[1] + re.search(r", (C\w+)<", row)[1]: re.findall(
            r"<li>([^<]+)</li></ul></td>", row
        )
        for row in text.split("<tr>")
        if 'data-label="speaks for"' in row
    }
    assert ranges == {
        "firstC2": ["limited by the data"],
        "firstC3": ["limited by the training budget, not by the data"],
        "secondC2a": ["limited by the data in 2 of 4 cells, by the training budget in the others"],
        "secondC2b": ["limited by the training budget, not by the data"],
    }


def test_what_limits_a_cell_at_its_largest_budget_is_told_by_the_smaller_ones():
    """Accuracy does not grow from 100 to 400 images seen: data limit the cell, though its images are not all known."""

    def flat(one):
        yield from ({"metric": "accuracy", "split": split, "value": 0.5} for split in ("train", "test"))

    records = make_records({"model": ["ViT"], "train_size": [100], "images_seen": [100, 400], "seed": [0, 1]}, flat)
    records.runs["measured_images_seen"] = records.runs["images_seen"]

    def at_budget(seen):
        return frozenset(records.runs.loc[records.runs["images_seen"] == seen, "run"])

    said = "limited by the data in all 1 cells, in 1 of them perhaps by the size of the network"
    assert scope(records, at_budget(400))[1:] == ["400 images seen in training", said]
    assert scope(records, at_budget(100))[1:] == [
        "100 images seen in training",
        "limited by the training budget, not by the data",
    ]


def test_rules_of_one_page_about_two_claims_have_ranges_of_their_own():
    folder = ROOT / "results" / "data_size"
    records = Records.from_folder(folder)
    own = [one for row in judged(ROOT / "results") for one in row.evidence if one.folder == folder.name]
    known = looked_at(records, own)
    assert set(known) == {part.rule for one in own for part in (one.whole, *one.parts)}
    told = {one.whole.rule: in_brief(records, runs_of([one], known)) for one in own}
    size = "0.19 to 0.21 million parameters"
    assert told["C2"] == [size, "250 to 4,000 training images", "768,000 images seen"]
    assert told["C3"] == [size, "8,000 training images", "768,000 to 3,072,000 images seen"]


def test_a_rule_that_cannot_tell_its_cells_speaks_for_the_whole_page(folder):
    (one,) = [one for one in row_of(folder, "C2").evidence if one.folder == "first"]
    known = looked_at(Records.from_folder(folder / "first"), [one])
    assert len(runs_of([one], known)) == 12
    assert len(runs_of([dataclasses.replace(one, parts=one.parts[:1])], known)) == 6
    del known["C2.2"]
    assert runs_of([one], known) is None


def test_parts_that_the_budget_leaves_open_are_none_that_a_decided_rule_speaks_for():
    parts = [Part(f"C2.{i}", "", verdict, "", 5, "", False) for i, verdict in enumerate(("supports", "budget-limited"))]
    known = {"C2.0": frozenset("a"), "C2.1": frozenset("b")}
    for whole, runs in (("supports", "a"), ("budget-limited", "ab")):
        one = Evidence("x", "", Part("C2", "", whole, "", 0, "", False), tuple(parts), "")
        assert runs_of([one], known) == frozenset(runs)


def test_a_page_that_only_the_words_about_a_claim_cite_stands_beside_it_with_the_range_of_what_they_cite(tmp_path):
    other = SMALL.replace(claim="Speed")
    folder = results(tmp_path, first=(SMALL,), other=(other, worse(400).replace(claim="More")))
    (own,) = row_of(folder, "Speed").evidence
    text = f"It is behind (`first` C2, supports), fast, too (`other` Speed.1, supports: {own.parts[0].effect}).\n"
    (folder / "CONCLUSIONS.md").write_text(f"## C2\n{text}")
    row = row_of(folder, "C2")
    assert [(one.folder, one.whole.rule, [part.rule for part in one.parts]) for one in row.cited] == [
        ("other", "Speed", ["Speed.1"])
    ]
    assert row.verdict == "supports"
    said = "3 seeds, 0.21 million parameters, 100 training images, 48,000 images seen"
    assert f"; [`other`]({folder.name}/other/report.html) (cited only, {said})" in index.table(folder)
    build_all(folder, pages=False)
    assert f"Cited, and not in the verdict: other, Speed ({said})" in Reader((folder / "index.html").read_text()).text
    (folder / "CONCLUSIONS.md").write_text(f"## C2\n{text.replace('Speed.1, supports', 'Speed.1, contradicts')}")
    assert row_of(folder, "C2").cited == ()


def test_the_page_holds_every_picture_once_and_shows_it_wherever_it_is_asked_for(folder):
    build_all(folder, pages=False)
    text = (folder / "index.html").read_text()
    held = re.findall(r'<image id="(\S+)"[^>]*href="(data:image/webp[^"]+)"', text)
    shown = re.findall(r'<use href="#(\S+)"', text)
    assert len({name for name, _ in held}) == len({image for _, image in held}) == len(held)
    assert set(shown) == {name for name, _ in held}
    assert len(shown) > len(held)
    assert text.count("data:image") == len(held)


@pytest.mark.parametrize(
    ("metric", "asked", "name"),
    [
        ("latency_seconds", "(part mixer, passes forward and backward, quantile 0.5)", "MetricCurve-2"),
        ("latency_seconds", "at passes forward (part mixer, quantile 0.5)", "MetricCurve"),
        ("time_slope", "at passes forward (part blocks)", "MetricCurve-6"),
    ],
)
def test_the_picture_of_a_rule_is_of_its_metric_at_its_levels(metric, asked, name):
    part = Part("C8", "", "supports", "", 5, metric, False, asked=asked)
    assert index.nearest(Plan.read(ROOT / "results" / "cost"), part)[0][0] == name


def test_the_picture_of_a_rule_about_images_is_of_images_as_they_are():
    part = Part("C4", "", "supports", "", 5, "accuracy", False, asked="Accuracy of ViT at arrangement intact")
    names = [name for name, _ in index.nearest(Plan.read(ROOT / "results" / "priors-short"), part)]
    assert names.index("ArmCurve") < names.index("ZoomCurve")


def test_a_page_says_what_the_log_says_of_its_verdicts(tmp_path):
    folder = results(tmp_path, "## 2026-01-02 · Gone\n- Withdrawn: `second` C2: a fault.\n", second=(MORE,))
    build_all(folder)
    said = "second/report.html"
    assert "is withdrawn" not in (folder / said).read_text()
    (folder / "LOG.md").write_text("## 2026-01-02 · Gone\n- Withdrawn: `second` C3: a fault.\n")
    build_all(folder)
    text = Reader((folder / said).read_text()).text
    assert "C3 is withdrawn (2026-01-02): a fault." in text
    assert text.count("withdrawn Said before: ") == 3  # the rule and its two parts
    assert "No answer: the verdicts of these runs are withdrawn." in text


def test_the_table_goes_between_the_marks_of_a_readme(folder, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- claims -->\nold\n<!-- /claims -->\nafter\n")
    ended = CliRunner().invoke(app, ["report", str(folder), "--index", "--readme", str(readme)])
    assert ended.exit_code == 0, ended.output
    text = readme.read_text()
    assert text.startswith("before\n<!-- claims -->\n| claim |")
    assert text.endswith("|\n<!-- /claims -->\nafter\n")
    assert index.table(folder) in text
    assert "| withdrawn |" in text
    readme.write_text("no marks")
    with pytest.raises(InputError, match=r"must have the lines <!-- claims --> and <!-- /claims -->"):
        index.write_table(readme, folder)


def test_a_folder_without_experiments_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"has no experiment with a plan\. Give the folder of all"):
        build_all(tmp_path)


def concluded(folder, text, tmp_path):
    """The row of C2 in a copy of a folder of results in which `text` concludes."""
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "CONCLUSIONS.md").write_text(text)
    return row_of(tmp_path / "copy", "C2")


def test_a_conclusion_stands_on_the_page_and_in_the_readme_with_its_numbers_linked(folder, tmp_path):
    effect = row_of(folder, "C2").evidence[0].parts[0].effect
    row = concluded(
        folder, f"# Conclusions\n\nWords.\n\n## C2\n\nIt is\nbehind (`first` C2.1, supports: {effect}).\n", tmp_path
    )
    assert row.in_short is not None
    assert row.advice == row.claim.advice["supports"]
    assert f"| It is behind ([{effect}](x/first/report.html)). |" in markdown([row], page="y", link="x")
    build_all(tmp_path / "copy", pages=False)
    read = Reader((tmp_path / "copy" / "index.html").read_text())
    assert re.search(rf"It is behind \(\s*{re.escape(effect)}\s*\)\.", read.text)
    assert "What was concluded" not in read.text


def test_the_readme_has_the_first_paragraph_and_the_page_all(folder, tmp_path):
    words = "It is behind (`first` C2, supports).\n\nFar\nbehind.\n\nSo (`first` C2, supports)."
    row = concluded(folder, f"## C2\n\n{words}\n", tmp_path)
    assert "| It is behind ([supports](x/first/report.html)). [More](y#C2). |" in markdown([row], page="y", link="x")
    build_all(tmp_path / "copy", pages=False)
    page = (tmp_path / "copy" / "index.html").read_text()
    assert page.count('<p class="conclusion">') == 3
    assert "Far behind." in page


@pytest.mark.parametrize(
    "named",
    [
        "`first` C2.1, contradicts: EFFECT",
        "`first` C2.1, supports: 1",
        "`first` C2.9, supports",
        "`second` C3, supports",
    ],
)
def test_a_conclusion_whose_verdict_is_another_now_is_left_out_and_says_so(named, folder, tmp_path):
    effect = row_of(folder, "C2").evidence[0].parts[0].effect
    row = concluded(folder, f"## C2\nIt is behind ({named.replace('EFFECT', effect)}).\n", tmp_path)
    assert [str(one) for one in row.changed] == [named.replace("EFFECT", effect).replace("`", "")]
    assert "It is behind" not in markdown([row], page="y", link="x")
    build_all(tmp_path / "copy", pages=False)
    text = Reader((tmp_path / "copy" / "index.html").read_text()).text
    assert "What was concluded is left out" in text
    assert "It is behind" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("## C2\nIt is behind.\n", "CONCLUSIONS.md, C2, must name the verdicts that it rests on"),
        ("## C2\nIt is behind.\n\nBy (`first` C2, supports).\n", "CONCLUSIONS.md, C2, must name the verdicts that it"),
        ("## C2\nIt is (`first` C2, proves) behind.\n", "CONCLUSIONS.md, C2, must name the verdicts"),
        ("## C2\nIt is (`first` C2, supports).\n" * 2, r"must have one section a claim\. Got two about C2\."),
        ("## C99\nIt is (`first` C2, supports).\n", r"must be about claims of rules\. Got C99"),
    ],
)
def test_a_conclusion_without_verdicts_or_about_no_rule_is_refused(text, said, folder, tmp_path):
    with pytest.raises(InputError, match=said):
        concluded(folder, text, tmp_path)


def barely(tmp_path, level=0.95):
    """Results of a rule of two parts: the first contradicts by itself, p = 0.03, but 0.06 corrected for both."""

    def noisy(one):
        yield {"metric": "accuracy", "split": "test", "value": 0.02 + 0.0061 * (one["seed"] - 1)}

    own = {"at": at("ViT", 100), "bound": 0, "level": level}
    low, high = (BoundVerdict(claim="C2", statement=f"It is {side}.", side=side, **own) for side in ("below", "above"))
    rule = AllOf(claim="C2", statement="So.", parts=(low, high))
    records = make_records(FACTORS, noisy, verdicts=(to_json(rule),))
    records.runs["train_seconds"] = 1.0
    page.write(records, tmp_path / "first")
    records.plan.write(tmp_path / "first")
    return tmp_path


def test_a_part_that_contradicts_only_uncorrected_says_so_wherever_it_stands(tmp_path):
    folder = barely(tmp_path)
    (one,) = row_of(folder, "C2").evidence
    assert one.whole.verdict == "inconclusive"
    assert [(part.verdict, part.shown) for part in one.parts] == [
        ("contradicts", "contradicts, uncorrected"),
        ("supports", "supports"),
    ]
    effect = one.parts[0].effect
    (folder / "CONCLUSIONS.md").write_text(f"## C2\nNot low (`first` C2.1, contradicts uncorrected: {effect}).\n")
    row = row_of(folder, "C2")
    assert [str(named) for named in row.conclusion.references] == [f"first C2.1, contradicts uncorrected: {effect}"]
    said = f"Not low ([{effect}](y/first/report.html), [uncorrected](x#uncorrected))."
    assert said in markdown([row], page="x", link="y")
    build_all(folder, pages=False)
    read = Reader((folder / "index.html").read_text())
    assert re.search(rf"Not low \(\s*{re.escape(effect)}\s*, uncorrected\s*\)\.", read.text)
    assert "n = 3: contradicts, uncorrected" in read.text
    assert "#uncorrected" in read.links
    assert "uncorrected" in read.ids
    (shown, _) = decisions(findings(Records.from_folder(folder / "first")))[1:]
    assert (shown.verdict, shown.words) == (
        "contradicts",
        "Uncorrected: p = 0.059 after Holm's correction for the number of parts.",
    )


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("C2.1, contradicts", "“contradicts uncorrected” of `first` C2.1: it contradicts by itself, but not with its"),
        ("C2.2, supports uncorrected", "“supports” of `first` C2.2: its verdict does not depend on a correction"),
    ],
)
def test_words_that_hide_a_missing_correction_or_claim_one_are_refused(named, said, tmp_path):
    folder = barely(tmp_path)
    effect = row_of(folder, "C2").evidence[0].parts[0].effect
    (folder / "CONCLUSIONS.md").write_text(f"## C2\nSo (`first` {named}: {effect}).\n")
    with pytest.raises(InputError, match=rf"CONCLUSIONS\.md, C2, must say {said}"):
        judged(folder)


def test_whether_a_part_holds_corrected_is_asked_at_its_own_level(tmp_path):
    (one,) = row_of(barely(tmp_path, level=0.9), "C2").evidence
    assert [part.shown for part in (one.whole, *one.parts)] == ["contradicts", "contradicts", "supports"]


def test_what_holds_by_construction_is_cited_as_that_where_it_has_no_number(tmp_path):
    theorem = AllOf(claim="C2", statement="By its layers.", parts=(OWN.replace(exact=True),) * 2)
    row = concluded(results(tmp_path, first=(theorem,)), "## C2\nSo (`first` C2, supports).\n", tmp_path)
    assert "So ([holds by construction](y/first/report.html))." in markdown([row], page="x", link="y")


def test_every_claim_has_a_conclusion_that_stands_on_the_committed_verdicts():
    rows = [row for row in judged(ROOT / "results") if row.claim is not None]
    assert {row.id: row.changed for row in rows} == {claim.id: () for claim in claims()}
    assert [row.id for row in rows if row.conclusion is None] == []


def test_the_committed_words_say_of_every_part_that_contradicts_uncorrected_only_that_it_does():
    marks = {True: set(), False: set()}
    for claim in conclusions.read(ROOT / "results").values():
        for one in claim.references:
            table = pd.read_csv(ROOT / "results" / one.folder / "verdicts.csv").set_index("claim")
            if one.verdict == "contradicts" and "." in one.rule:
                marks[bool(table.loc[one.rule, "p_holm"] >= 0.05)].add(one)
    assert [str(one) for one in marks[True] if not one.is_uncorrected] == []
    assert [str(one) for one in marks[False] if one.is_uncorrected] == []
    assert marks[False]


def test_the_table_of_the_readme_is_that_of_the_committed_results():
    text = (ROOT / "README.md").read_text()
    whole = text[text.index(index.BEGIN) + len(index.BEGIN) : text.index(index.END)]
    assert whole == index.table(ROOT / "results")
    for row in whole.splitlines()[2:]:
        about = row.rpartition(" | [`")[2]
        assert re.search(r"\d seeds", about) or row.startswith("| [C12]")  # which holds by construction alone
        assert "parameters" in about
        assert re.search(r"images seen|networks before training", about)
