"""Results for other programs hold what the records hold."""

import re
import sys

import pandas as pd
import pytest
from made_up import make_plan, write_store

from vision_attn import Quantity, cell, claim
from vision_attn.cli.command import execute
from vision_attn.cli.running import undrawn
from vision_attn.exporting import of_one_type, planned_figures
from vision_attn.figures import LearningCurve
from vision_attn.plan import Plan
from vision_attn.records import load
from vision_attn.spec import to_json

WRITER = """
import itertools, pathlib

class Writer:
    number = itertools.count()

    def __init__(self, folder):
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        self.file = open(f"{folder}/events.out.tfevents.{next(self.number)}", "w")

    def add_scalar(self, name, value, step):
        self.file.write(f"{name} {value} {step}\\n")

    def close(self):
        self.file.close()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    plan = make_plan(models=("ViT", "ResNet"), sizes=(50, 100), seeds=(0, 1))
    write_store(tmp_path / "results" / "runs", plan)
    (tmp_path / "results" / "quickstart").mkdir()
    plan.write(tmp_path / "results" / "quickstart")
    return tmp_path


def said(capsys, *arguments):
    code = execute(["export", "results/quickstart", *arguments])
    out, err = capsys.readouterr()
    return code, out + err


def records(place):
    return load(Plan.read(place / "results" / "quickstart"), place / "results" / "runs")


def test_a_csv_has_every_number(place, capsys):
    code, text = said(capsys, "--to", "csv")
    assert (code, text.split()) == (0, [f"quickstart-csv/{name}.csv" for name in ("records", "history", "runs")])
    found = pd.read_csv(place / "quickstart-csv" / "records.csv")
    assert list(found["value"]) == pytest.approx(list(records(place).values["value"].astype(float)))


def test_every_figure_is_a_table_in_latex_and_a_pdf(place, capsys):
    code, _ = said(capsys, "--to", "latex", "--out", "paper")
    names = {"LearningCurve", "Gap", "Generalisation", "Matching"}
    assert (code, {path.stem for path in (place / "paper").glob("*.tex")}) == (0, names)
    assert r"\toprule" in (place / "paper" / "Gap.tex").read_text()
    code, _ = said(capsys, "--to", "pdf", "--out", "paper", "--width", "column")
    assert (code, {path.stem for path in (place / "paper").glob("*.pdf")}) == (0, names)


def test_numbers_of_verdicts_are_read_in_latex_and_stand_on_the_right(place, capsys):
    folder = place / "results" / "quickstart"
    plan = Plan.read(folder)
    accuracy = Quantity("accuracy", given=cell(split="test", train_size=100))
    rule = claim("mine", "The ViT is worse.", (accuracy(model="ViT") - accuracy(model="ResNet")).below(0))
    plan.replace(verdicts=(to_json(rule),)).write(folder)
    assert said(capsys, "--to", "latex", "--out", "paper")[0] == 0
    text = (place / "paper" / "verdicts.tex").read_text()
    assert r"\begin{tabular}{llrrrrl}" in text
    assert not re.search(r"\d{6}", text)
    assert re.search(r"The ViT is worse\. & \$-\$0\.\d{3,4} & ", text), text


@pytest.mark.parametrize("to", ["latex", "pdf"])
def test_a_figure_that_names_no_factor_costs_no_other(place, capsys, to):
    folder = place / "results" / "quickstart"
    plan = Plan.read(folder)
    plan.replace(figures=(to_json(LearningCurve(x="width")), *plan.figures)).write(folder)
    code, text = said(capsys, "--to", to, "--out", "paper")
    assert code == 2
    assert "All else is written. x of LearningCurve must be a factor of the experiment (model, train_size, " in text
    assert len(list((place / "paper").iterdir())) == len(plan.figures)


def test_plan_names_the_figures_that_have_no_factor(place):
    plan = Plan.read(place / "results" / "quickstart")
    assert undrawn(plan) == []
    (sentence,) = undrawn(plan.replace(figures=(to_json(LearningCurve(x="width")), *plan.figures)))
    assert sentence.startswith("x of LearningCurve must be a factor of the experiment (model, train_size, ")


def test_parquet_and_tensorboard_say_which_package_they_need_or_have_every_number(place, capsys):
    for to, package in (("parquet", "pyarrow"), ("tensorboard", "tensorboard")):
        try:
            __import__(package)
        except ImportError:
            code, text = said(capsys, "--to", to)
            assert (code, f"{to} needs the package {package}" in text) == (2, True)
            assert not (place / f"quickstart-{to}").exists()
        else:
            assert said(capsys, "--to", to)[0] == 0
    if (place / "quickstart-parquet").exists():
        assert len(pd.read_parquet(place / "quickstart-parquet" / "records.parquet")) == len(records(place).values)
    if (place / "quickstart-tensorboard").exists():
        assert len(list((place / "quickstart-tensorboard").rglob("events.*"))) == 8


def test_what_cannot_be_exported_is_one_sentence(place, capsys):
    assert "must be one of csv, parquet, latex, pdf, tensorboard. Got 'xls'" in said(capsys, "--to", "xls")[1]
    assert said(capsys, "--to", "csv", "--width", "page")[0] == 2
    assert execute(["export", "results/nothing", "--to", "csv"]) == 2


def test_a_figure_of_ones_own_is_found_in_its_experiment_file(place):
    """As the report finds it: `plot FOLDER` and `export` read the plan, and no experiment."""
    text = "from vision_attn.figures import LearningCurve\nfrom vision_attn.spec import spec\n"
    (place / "mine.py").write_text(f"{text}\n@spec\nclass CurveOfOnesOwn(LearningCurve):\n    title = 'Mine'\n")
    plan = Plan.read(place / "results" / "quickstart")
    own = {"figures": ({"kind": "CurveOfOnesOwn"},), "sources": {"CurveOfOnesOwn": "0" * 64}, "experiment": "mine.py"}
    ((name, figure),) = planned_figures(plan.replace(**own), [])
    assert (name, figure.title, type(figure).__name__) == ("CurveOfOnesOwn", "Mine", "CurveOfOnesOwn")
    missing = plan.replace(**own | {"figures": ({"kind": "NotThere"},), "sources": {"NotThere": "0" * 64}})
    lost = []
    assert list(planned_figures(missing, lost)) == []
    assert lost[0].startswith("NotThere must be defined by an installed plugin or by mine.py")


@pytest.mark.parametrize("verb", [("export", "--to", "latex"), ("export", "--to", "pdf"), ("plot",)])
def test_a_figure_of_ones_own_that_fails_or_is_not_here_costs_no_other(place, capsys, verb):
    name = f"Breaks{verb[-1].title()}"
    text = "from vision_attn.figures import LearningCurve\nfrom vision_attn.spec import spec\n"
    broken = f"@spec\nclass {name}(LearningCurve):\n    def table(self, records):\n        return 1 / 0\n"
    (place / "mine.py").write_text(f"{text}\n{broken}")
    folder = place / "results" / "quickstart"
    plan = Plan.read(folder)
    figures = ({"kind": name}, {"kind": "NotThere"}, plan.figures[0])
    own = {"sources": {name: "0" * 64, "NotThere": "0" * 64}, "experiment": "mine.py"}
    plan.replace(figures=figures, **own).write(folder)
    code = execute([verb[0], "results/quickstart", *verb[1:], "--out", "paper"])
    complaint = capsys.readouterr().err
    assert (code, "Traceback" in complaint) == (2, False)
    assert f"{name} fails: ZeroDivisionError: division by zero (mine.py, line 7)." in complaint
    assert "NotThere must be defined by" in complaint
    assert {path.stem for path in (place / "paper").iterdir()} == {"LearningCurve"}


def test_levels_that_are_numbers_and_texts_are_texts_in_a_column_of_one_type():
    mixed = pd.DataFrame(
        {"train_size": pd.Categorical([20, "all"], categories=[20, "all"], ordered=True), "value": 0.5}
    )
    found = of_one_type(mixed)
    assert (list(found["train_size"]), found["value"].dtype) == (["20", "all"], float)


def test_every_run_has_its_folder_for_tensorboard_and_every_number_is_there_once(place, capsys, monkeypatch):
    """By a stand-in: TensorBoard is not installed everywhere."""
    (place / "tensorboard").mkdir()
    (place / "tensorboard" / "__init__.py").touch()
    (place / "tensorboard" / "summary.py").write_text(WRITER)
    monkeypatch.syspath_prepend(place)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    plan = make_plan(models=("a/b", "a?b"), sizes=(50,), seeds=(0,))
    write_store(place / "results" / "runs", plan)
    plan.write(place / "results" / "quickstart")
    for _ in range(2):
        code, text = said(capsys, "--to", "tensorboard", "--out", "board")
        assert (code, len(set(text.split()))) == (0, 2), text
    files = sorted((place / "board").rglob("events.*"))
    assert [file.relative_to(place / "board").parts[0] for file in files] == ["model=a%2Fb", "model=a%3Fb"]
    numbers = records(place).history[["learning_rate", "train_loss", "epoch", "images_seen", "seconds"]]
    assert [len(file.read_text().splitlines()) for file in files] == [numbers.size / 2] * 2
