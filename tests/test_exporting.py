"""Results for other programs hold what the records hold."""

import pandas as pd
import pytest
from made_up import make_plan, write_store

from vision_attn.cli.command import execute
from vision_attn.cli.running import undrawn
from vision_attn.exporting import planned_figures
from vision_attn.figures import LearningCurve
from vision_attn.plan import Plan
from vision_attn.records import load
from vision_attn.spec import InputError, to_json


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
    ((name, figure),) = planned_figures(plan.replace(**own))
    assert (name, figure.title, type(figure).__name__) == ("CurveOfOnesOwn", "Mine", "CurveOfOnesOwn")
    missing = plan.replace(**own | {"figures": ({"kind": "NotThere"},), "sources": {"NotThere": "0" * 64}})
    with pytest.raises(InputError, match=r"NotThere must be defined by an installed plugin or by mine\.py"):
        list(planned_figures(missing))
