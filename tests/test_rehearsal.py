"""Own figures and rules, tried on made-up records when an experiment is planned."""

import re

import pytest
from own_files import FILE

from vision_attn import rehearsal, sweep
from vision_attn.experiment import load, plan
from vision_attn.spec import InputError

FIGURE = """@spec
class {name}(Figure):
    title = "Mine"
    def table(self, records):
        {table}
    def draw(self, table, records, *, into=None):
        {draw}
    def caption(self, table, records):
        {caption}

MODEL = ViT(dim=16, depth=1, patch_size=7)
"""
SOUND = {
    "table": 'return records.values.groupby("train_size")["value"].mean().reset_index()',
    "draw": "from vision_attn.figures import theme; return theme.canvas(1, into=into)[0]",
    "caption": 'return "Mine."',
}
VERDICT = """from vision_attn.verdicts import Finding, Verdict

@spec
class {name}(Verdict):
    @property
    def rule(self):
        return "The mean accuracy is above {name}."
    def decide(self, records):
        {decide}

MODEL = ViT(dim=16, depth=1, patch_size=7)
"""


def rehearsed(tmp_path, own, part, *, probes="Size()"):
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(own=own, probes=probes).replace("run=run,", f"run=run, {part},"))
    name, experiment = load(path)
    planned = plan(experiment, name=name)
    return sweep.check(planned, list(planned.runs))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"table": 'return records.values["nothing"]'},
            r"table of {name} fails on made-up records: KeyError: .nothing. \(.*mine\.py, line 13\)$",
        ),
        ({"table": "pass"}, r"table of {name} must be a DataFrame \(.*mine\.py, line 12\)\. Got None instead\.$"),
        ({"draw": "1 / 0"}, r"draw of {name} fails .* ZeroDivisionError: division by zero \(.*mine\.py, line 15\)$"),
        ({"draw": "pass"}, r"draw of {name} must be the sheet that it has drawn on, .* Got None instead\.$"),
        (
            {"draw": "from vision_attn.figures import theme; return theme.canvas(1, into=into)[1][0]"},
            r"draw of {name} must be the sheet that it has drawn on, a Figure of matplotlib .* Got <Axes: > instead",
        ),
        (
            {"table": 'return records.values.groupby("train_size")["value"].mean().to_frame()'},
            r"table of {name} must be a DataFrame without an index of its own: add \.reset_index\(\) \(.*line 12\)\. "
            r"Got the index train_size",
        ),
        (
            {"table": 'return records.values[["value", "value"]]'},
            r"table of {name} must be a DataFrame whose columns are named by texts, once each .* \['value', 'value'\]",
        ),
        (
            {"caption": 'return "Mine."\n    def instead(self, table, records): pass'},
            r"instead of {name} must be a text \(.*mine\.py, line 18\)\. Got None instead\.$",
        ),
        (
            {"caption": 'return "Mine."\n    def is_empty(self, table): return table["value"] == 0'},
            r"is_empty of {name} must be True or False \(.*mine\.py, line 18\)\. Got 0 False",
        ),
        (
            {"draw": 'table["value"] = 0; from vision_attn.figures import theme; return theme.canvas(1, into=into)[0]'},
            r"{name} must work on copies, such as records\.values\.copy\(\) \(.*\)\. It changes the table\.$",
        ),
        ({"caption": "return 3"}, r"caption of {name} must be a text \(.*mine\.py, line 16\)\. Got 3 instead\.$"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_a_fault_in_an_own_figure_is_told_with_file_and_line_when_it_is_planned(change, sentence, tmp_path):
    name = f"Faulty{abs(hash(sentence))}Figure"
    with pytest.raises(InputError, match=sentence.format(name=name)):
        rehearsed(tmp_path, FIGURE.format(name=name, **SOUND | change), f"figures=({name}(),)")


def test_an_own_figure_that_is_sound_or_says_itself_what_it_lacks_is_planned(tmp_path):
    assert rehearsed(tmp_path, FIGURE.format(name="SoundFigure", **SOUND), "figures=(SoundFigure(),)") == []
    refuses = SOUND | {"table": 'from vision_attn.spec import InputError; raise InputError("Not of one size.")'}
    assert rehearsed(tmp_path, FIGURE.format(name="ChoosyFigure", **refuses), "figures=(ChoosyFigure(),)") == []


@pytest.mark.parametrize(
    ("found", "changed", "sentence"),
    [
        ('title = "Mine"', "pass", r"^title of Untitled1 must be a text\. Got None instead\.$"),
        (
            ", *, into=None",
            "",
            r"draw of Untitled2 fails .* unexpected keyword argument 'into' \(.*mine\.py, line 14\)$",
        ),
    ],
)
def test_a_figure_without_a_title_or_a_place_to_be_drawn_into_is_refused(found, changed, sentence, tmp_path):
    name = re.search(r"Untitled\d", sentence)[0]
    with pytest.raises(InputError, match=sentence):
        rehearsed(tmp_path, FIGURE.format(name=name, **SOUND).replace(found, changed), f"figures=({name}(),)")


@pytest.mark.parametrize(
    ("decide", "sentence"),
    [
        ("return records.nothing", r"decide of {name} fails .* AttributeError: .*nothing. \(.*mine\.py, line 17\)$"),
        ("return True", r"decide of {name} must be a Finding \(.*mine\.py, line 16\)\. Got True instead\.$"),
        (
            'return Finding(self.claim, self.statement, self.rule, "yes")',
            r"verdict of the Finding of {name} must be one of 'supports', .* \(.*, line 16\)\. Got 'yes' instead\.",
        ),
        (
            'return Finding(self.claim, self.statement, self.rule, "supports", estimate="0.5")',
            r"estimate of the Finding of {name} must be a number \(.*mine\.py, line 16\)\. Got '0\.5' instead\.$",
        ),
        (
            'records.values["value"] = 1.0; return Finding(self.claim, self.statement, self.rule, "supports")',
            r"{name} must work on copies, such as records\.values\.copy\(\) \(.*\)\. It changes records\.values\.$",
        ),
        ('return Finding(self.claim, self.statement, self.rule, "supports")', None),
    ],
    ids=["attribute", "bool", "unknown", "text", "changing", "sound"],
)
def test_a_fault_in_an_own_rule_is_told_with_file_and_line_when_it_is_planned(decide, sentence, tmp_path):
    name = f"Own{abs(hash(decide))}Rule"
    part = f'verdicts=({name}(claim="C1", statement="So."),)'
    own = VERDICT.format(name=name, decide=decide)
    if sentence is None:
        assert rehearsed(tmp_path, own, part) == []
    else:
        with pytest.raises(InputError, match=sentence.format(name=name)):
            rehearsed(tmp_path, own, part)


def test_made_up_records_have_what_those_of_finished_runs_have(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(own=FIGURE.format(name="UnaskedFigure", **SOUND), probes="Accuracy()"))
    name, experiment = load(path)
    records = rehearsal.made_up(plan(experiment, name=name))
    assert set(records.values["metric"]) == {"accuracy", "loss"}
    assert list(records.runs["state"]) == ["done"]
    assert {"dataset", "num_classes", "measured_train_size", "subset_sha256"} <= set(records.runs)
    assert {"update", "train_loss", "learning_rate"} <= set(records.history)
