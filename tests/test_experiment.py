"""Experiments: plans, presets, the files in experiments/."""

import enum
import json
import sys
from pathlib import Path

import pytest

from vision_attn import Accuracy, Experiment, LearningCurve, Mnist5k, Recipe, Run, ViT
from vision_attn.cli.chosen import chosen_plan, parse_levels
from vision_attn.experiment import load, plan, smoke
from vision_attn.experiment_fields import factors
from vision_attn.plan import Plan
from vision_attn.probes import Size
from vision_attn.spec import InputError, from_json

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "experiments").glob("*.py"))


def run(model, seed):
    if model == "none" and seed == 1:
        return None
    return Run(model=ViT(dim=16, depth=1), data=Mnist5k(train_size=50), recipe=Recipe(updates=3), seed=seed)


def experiment(**changes):
    content = {
        "question": "Why?\n\nBecause.",
        "factors": {"model": ("a", "none"), "seed": range(2)},
        "run": run,
        "probes": (Accuracy(),),
        "figures": (LearningCurve(),),
    }
    return Experiment(**{**content, **changes})


def test_a_plan_crosses_the_factors_and_counts_what_is_left_out():
    made = plan(experiment(), name="why")
    assert [cell.factors for cell in made.cells] == [
        {"model": "a", "seed": 0},
        {"model": "a", "seed": 1},
        {"model": "none", "seed": 0},
    ]
    assert made.omitted == ({"model": "none", "seed": 1},)


def test_cells_with_the_same_run_share_it():
    made = plan(experiment(), name="why")
    assert made.cells[0].run == made.cells[2].run
    assert len(made.runs) == 2


def test_planning_twice_gives_the_same_bytes_and_survives_a_round_trip():
    first, second = (json.dumps(plan(experiment(), name="why").to_json()) for _ in range(2))
    assert first == second
    entry = next(iter(Plan.from_json(json.loads(first)).runs.values()))
    assert from_json(entry.run, Run) == run("a", 0)


def test_a_display_label_is_no_part_of_the_run_and_a_probe_neither():
    keys = set(plan(experiment(), name="why").runs)
    renamed = experiment(factors={"model": ("another",), "seed": range(2)}, probes=(Accuracy(), Size()))
    assert set(plan(renamed, name="other").runs) == keys


def test_hints_are_readable_and_stay_in_the_store():
    entry = next(iter(plan(experiment(), name="why").runs.values()))
    assert entry.hint == "vit-selfattention--mnist5k-50--s0"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"question": " "}, "question of Experiment must be a text"),
        ({"factors": {"model": ("a",)}}, "run of Experiment must take one argument for each factor (model)."),
        ({"factors": {"model": (), "seed": (0,)}}, "levels of factor 'model' must be at least one."),
        ({"factors": {"model": ("a", "a"), "seed": (0,)}}, "levels of factor 'model' must differ"),
        ({"factors": {"model": (None,), "seed": (0,)}}, "levels of factor 'model' must be texts or numbers."),
        ({"factors": {"value": (1,), "seed": (0,)}}, "factor must be a name other than"),
        ({"factors": {"n": (1,), "seed": (0,)}}, "factor must be a name other than"),  # a column of every table
        ({"factors": {"learning rate": (1,)}}, "factor must be a name that an argument of run can have: letters,"),
        ({"factors": {"class": (1,)}}, "factor must be a name that an argument of run can have: letters, digits and"),
        (
            {"factors": {"model": {"a": 1}, "seed": (0,)}},
            "levels of factor 'model' must be a tuple or list. Got {'a': 1} instead: write tuple(['a']).",
        ),
        (
            {"presets": {"tiny": {"seed": (0,)}}, "questions": {"tiny": " "}},
            "question of Experiment of the preset 'tiny' must be a text",
        ),
        (
            {"presets": {"tiny": {"seed": (0,)}}, "questions": {"huge": "How?"}},
            "questions of Experiment must be those of presets (tiny). Got 'huge' instead.",
        ),
        (
            {"questions": {"huge": "How?"}},
            "questions of Experiment must be those of presets, of which there are none. Got 'huge' instead.",
        ),
        ({"questions": "How?"}, "questions of Experiment must be a dict. Got 'How?' instead."),
        (
            {"run": lambda model, seed, /: None},
            "run of Experiment must take one argument for each factor (model, seed). Got model, seed, / instead.",
        ),
    ],
)
def test_wrong_experiments_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(InputError) as error:
        experiment(**changes)
    assert str(error.value).startswith(sentence)


def test_presets_change_levels_and_nothing_else():
    made = experiment(presets={"tiny": {"seed": (0,)}})
    assert made.preset("tiny").factors == {"model": ("a", "none"), "seed": (0,)}
    with pytest.raises(InputError, match=r"^preset must be one of 'tiny'\. Got 'huge' instead\.$"):
        made.preset("huge")


def test_a_preset_that_asks_something_else_has_a_question_of_its_own():
    """The page of a search's last round told of all families, sizes and trials of the first."""
    presets = {name: {"seed": (0,)} for name in ("tiny", "other")}
    made = experiment(presets=presets, questions={"other": "How?\n\n    So."})
    asked = [plan(made.preset(name), name="why").question for name in presets]
    assert asked == ["Why?\n\nBecause.", "How?\n\nSo."]
    assert plan(smoke(made.preset("other")), name="why").question == asked[1]


def test_smoke_takes_two_levels_of_each_factor_and_two_updates():
    made = smoke(experiment(factors={"model": ("a", "b", "c"), "seed": range(5)}))
    planned = plan(made, name="why")
    assert len(planned.cells) == 4
    assert {entry.run["recipe"]["updates"] for entry in planned.runs.values()} == {2}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_file_plans_twice_alike_with_its_docstring_as_the_question(path):
    name, found = load(path)
    first = plan(found, name=name)
    assert first == plan(load(path)[1], name=name) == Plan.from_json(json.loads(json.dumps(first.to_json())))
    assert first.question.splitlines()[0].endswith("?")
    for preset in found.presets:
        assert plan(found.preset(preset), name=name).cells


def test_a_file_without_an_experiment_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(InputError, match=r"must define `experiment = Experiment\(\.\.\.\)`"):
        load(tmp_path / "empty.py")
    with pytest.raises(InputError, match=r"^No such file: "):
        load(tmp_path / "missing.py")


def test_a_file_may_import_files_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("SIZES = (50, 100)\n")
    (tmp_path / "mine.py").write_text(
        "from beside_it import SIZES\n"
        "from vision_attn import Experiment, Mnist5k, Recipe, Run, ViT\n"
        "experiment = Experiment(question='Why?', factors={'train_size': SIZES}, probes=(), run=lambda train_size:\n"
        "    Run(model=ViT(), data=Mnist5k(train_size=train_size), recipe=Recipe(updates=1), seed=0))\n"
    )
    before = list(sys.path)
    assert load(tmp_path / "mine.py")[1].factors == {"train_size": (50, 100)}
    assert sys.path == before


def test_errors_in_an_experiment_file_are_told_with_file_and_line(tmp_path):
    (tmp_path / "broken.py").write_text("import nonsense_that_is_not_there\n")
    sentence = r"broken\.py fails: ModuleNotFoundError: No module named 'nonsense.*broken\.py, line 1\)$"
    with pytest.raises(InputError, match=sentence):
        load(tmp_path / "broken.py")


@pytest.mark.parametrize("name", ["x/../../elsewhere", "/tmp/x", "..", "a b", "smoke", ""])
def test_a_preset_that_cannot_be_a_part_of_a_folder_is_refused(name):
    with pytest.raises(InputError, match=r"^name of a preset must be letters, digits, _ and -"):
        experiment(presets={name: {"seed": (0,)}})


def test_an_experiment_cannot_have_the_name_of_the_pool(tmp_path):
    (tmp_path / "runs.py").write_text("experiment = None\n")
    with pytest.raises(InputError, match="name of an experiment file must not be runs"):
        load(tmp_path / "runs.py")


def test_levels_that_differ_have_a_folder_of_their_own_and_the_same_ones_the_experiments(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from vision_attn import Experiment, Mnist5k, Recipe, Run, ViT\n"
        "experiment = Experiment(question='Why?', factors={'model': ('ViT, 3x3', 'a'), 'seed': range(3)}, probes=(),\n"
        "    presets={'few': {'seed': (0,)}}, run=lambda model, seed:\n"
        "    Run(model=ViT(), data=Mnist5k(train_size=50), recipe=Recipe(updates=1), seed=seed))\n"
    )

    def folder(*levels, preset=None, smoke=False):
        return chosen_plan(tmp_path / "mine.py", preset, list(levels), smoke)[1]

    assert folder() == folder("seed=0-2") == "mine"
    assert folder(preset="few") == folder("seed=0", preset="few") == "mine-few"
    names = [folder("seed=0"), folder("seed=0,1"), folder("model=ViT, 3x3"), folder("seed=0-2", preset="few")]
    assert len({*names, "mine", "mine-few"}) == 6
    assert folder("seed=0").startswith("mine-seed-0-")
    assert folder("model=ViT, 3x3", smoke=True).startswith("mine-model-ViT_3x3-")
    assert folder("seed=0") == folder("seed=0")
    assert not {"/", " ", ","} & set("".join(names))


@pytest.mark.parametrize("wrapped", ['Gap(reference="{}")', 'Summary(parts=(Gap(reference="{}"),))'])
def test_a_reference_that_no_preset_has_is_refused_before_anything_runs(wrapped, tmp_path):
    text = """\"\"\"Why?\"\"\"
from vision_attn import Accuracy, Experiment, Gap
from vision_attn.figures import Summary
factors, presets = {{"model": ("ViT", "ResNet")}}, {{"cnn": {{"model": ("VGG",)}}}}
run = lambda model: None
experiment = Experiment(
    question=__doc__, factors=factors, presets=presets, run=run, probes=(Accuracy(),), figures=({},)
)
"""
    (tmp_path / "good.py").write_text(text.format(wrapped.format("VGG")))
    assert load(tmp_path / "good.py")[0] == "good"
    (tmp_path / "bad.py").write_text(text.format(wrapped.format("VIT")))
    sentence = r"^reference of Gap must be a level of model \('ViT', 'ResNet', 'VGG'\)\. Got 'VIT' instead\.$"
    with pytest.raises(InputError, match=sentence):
        load(tmp_path / "bad.py")


@pytest.mark.parametrize(("model", "size"), [("VIT", "40"), ("ViT", "'40'")])
def test_a_level_of_a_rule_that_no_preset_has_is_refused_before_anything_runs(model, size, tmp_path):
    """The page would leave the rule out, as it does in presets of fewer levels."""
    text = """\"\"\"Why?\"\"\"
from vision_attn import Accuracy, Experiment, Quantity, claim
accuracy = Quantity("accuracy")
parts = (accuracy(model="ViT", train_size=40).above(0.5), accuracy(model="{}", train_size={}, layer=3).above(0.5))
experiment = Experiment(
    question=__doc__, factors={{"model": ("ViT",), "train_size": (40,)}}, run=lambda model, train_size: None,
    probes=(Accuracy(),), verdicts=(claim("C1", "So.", *parts),),
)
"""
    (tmp_path / "good.py").write_text(text.format("ViT", "40"))
    assert load(tmp_path / "good.py")[0] == "good"
    (tmp_path / "bad.py").write_text(text.format(model, size))
    with pytest.raises(InputError, match=r" of a rule of C1 must be a level of \w+ \(.*\)\. Got '\w+' instead\.$"):
        load(tmp_path / "bad.py")


def test_levels_of_truth_values_are_given_as_they_are_printed():
    """`--levels aligned=False`, of a factor that is neither text nor number."""
    made = experiment(factors={"aligned": (True, False), "seed": (0,)}, run=lambda aligned, seed: None)
    assert parse_levels("aligned=False", made) == ("aligned", (False,))
    assert parse_levels("aligned=False,True", made) == ("aligned", (False, True))
    with pytest.raises(InputError, match=r"level of aligned must be one of True, False\. Got 'no'"):
        parse_levels("aligned=no", made)


def test_levels_may_be_quoted_where_they_have_commas():
    made = experiment(factors={"model": ("ViT", "ViT, wider"), "seed": (0,)}, run=lambda model, seed: None)
    for text in ("ViT,ViT, wider", 'ViT,"ViT, wider"', '"ViT",ViT, wider'):
        assert parse_levels(f"model={text}", made) == ("model", ("ViT", "ViT, wider"))


def test_levels_of_derived_classes_are_plain_texts_and_numbers():
    text, number = enum.StrEnum("Text", {"A": "a"}).A, enum.IntEnum("Number", {"ONE": 1}).ONE
    found = factors("factors", {"model": (text,), "size": (number, 2.5, 3)})
    assert found == {"model": ("a",), "size": (1, 2.5, 3)}
    assert [type(level) for own in found.values() for level in own] == [str, int, float, int]
