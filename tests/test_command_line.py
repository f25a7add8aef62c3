"""The command line under attack: what cannot be used is one sentence and exit code 2, never a traceback."""

import errno
import gzip
import io
import json
import os
import stat
import sys

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import make_plan, write_store
from PIL import Image
from rich.console import Console

from vision_attn.cli.command import execute
from vision_attn.cli.output import PACKAGE, count_line, new_table, note
from vision_attn.plan import Plan
from vision_attn.states import State
from vision_attn.store.files import sealed
from vision_attn.tables import read_csv, to_csv

FILE = '''"""Why?"""
from vision_attn import Accuracy, Experiment, LearningCurve, Mnist5k, Recipe, Run, ViT

def run(model, seed):
    model, data = ViT(dim=16, depth=1, patch_size=7), Mnist5k(train_size=50)
    return Run(model=model, data=data, recipe=Recipe(updates=1), seed=seed)

experiment = Experiment(
    question={question}, factors={factors}, run={run}, probes={probes}, presets={presets},
    figures=(LearningCurve(),){extra}
)
{after}
'''
GOOD = {
    "question": "__doc__",
    "factors": '{"model": ("a",), "seed": (0, 1)}',
    "run": "run",
    "probes": "(Accuracy(),)",
    "presets": '{"tiny": {"seed": (0,)}}',
    "extra": "",
    "after": "",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE.format(**GOOD))
    return tmp_path


def said(capsys, *words):
    """The exit code and all that was written."""
    code = execute([str(word) for word in words])
    return code, "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"factors": '{"model": ("a",), "seed": 3}'}, "levels of factor 'seed' must be a tuple or list. Got 3 instead"),
        ({"factors": '{"model": "ab", "seed": (0,)}'}, "Got 'ab' instead: write ('ab',). (mine.py, line 8)"),
        ({"factors": '{"model": ("a",), "seed": (float("nan"),)}'}, "levels of factor 'seed' must be finite"),
        ({"factors": '{"model": ("a\\0",), "seed": (0,)}'}, "characters that can be printed"),
        ({"probes": "Accuracy()"}, "probes of Experiment must be a tuple, each a Probe."),
        ({"probes": "(Accuracy,)"}, "instead: write Accuracy()."),
        ({"question": "3"}, "question of Experiment must be a text"),
        ({"question": "'Why \\ud800?'"}, "Texts must be such as UTF-8 can write."),
        ({"extra": ", figure=()"}, "Experiment has no field 'figure'. Did you mean 'figures'?"),
        ({"presets": '{"tiny": {"sed": (0,)}}'}, "preset 'tiny' must give levels of factors (model, seed)."),
        ({"presets": '{"../x": {}}'}, "name of a preset must be letters"),
        ({"run": "3"}, "run of Experiment must be a function"),
        ({"run": "lambda model, seed: None"}, "run of mine must give a Run for some levels. It gives None for all 2."),
        ({"run": "lambda model, seed: ViT(dimm=3)"}, "ViT has no field 'dimm'. Did you mean 'dim'?"),
        ({"after": "raise SystemExit(0)"}, "mine.py fails: SystemExit: 0 (mine.py, line 12)"),
        ({"after": "raise GeneratorExit"}, "mine.py fails: GeneratorExit (mine.py, line 12)"),
        ({"after": "raise KeyboardInterrupt"}, "Own code ends the command: KeyboardInterrupt (mine.py, line 12)"),
        ({"after": "1 +"}, "SyntaxError: invalid syntax (mine.py, line 12)"),
    ],
)
def test_a_broken_experiment_file_is_one_sentence(place, capsys, changes, sentence):
    (place / "mine.py").write_text(FILE.format(**{**GOOD, **changes}))
    code, text = said(capsys, "plan", "mine.py")
    assert (code, "Traceback" in text) == (2, False)
    assert sentence in text.replace("\n", " ")
    assert "mine.py, line" in text or "It gives None" in text


@pytest.mark.parametrize(
    ("before", "old", "new", "sentence"),
    [
        (
            "import itertools\ncalls = itertools.count(1)\n",
            "updates=1",
            "updates=next(calls)",
            "run of mine must give the same Run whenever it is called, without a clock or random numbers of its own. "
            "It gives two for {'model': 'a', 'seed': 0}.",
        ),
        (
            "import itertools\ncalls = itertools.count(1)\n",
            "seed=seed",
            "seed=seed if seed == 0 else next(calls)",
            "It gives two for {'model': 'a', 'seed': 1}.",
        ),
        (
            "from vision_attn.probes import Influence\n",
            "(Accuracy(),)",
            "(Influence(layers=('blocks.7',)),)",
            "layers of VisionTransformer must be names of its modules, such as 'patch_embed', ",
        ),
    ],
)
def test_what_would_fail_after_training_or_train_anew_each_time_is_refused(place, capsys, before, old, new, sentence):
    text = FILE.format(**GOOD).replace("def run(", f"{before}\ndef run(").replace(old, new)
    (place / "mine.py").write_text(text)
    code, said_text = said(capsys, "plan", "mine.py")
    assert (code, sentence in said_text) == (2, True), said_text


def test_an_exception_of_own_code_is_shown_with_the_lines_of_the_own_file_and_no_others(place, capsys):
    after = "\ndef broken(model, seed):\n    return {}[model]\n\nexperiment = experiment.__class__(\n"
    after += "    question='Why?', factors={'model': ('a',), 'seed': (0,)}, run=broken, probes=())"
    (place / "mine.py").write_text(FILE.format(**{**GOOD, "after": after}))
    code, text = said(capsys, "plan", "mine.py")
    assert code == 2
    assert "return {}[model]" in text
    assert "KeyError: 'a' (mine.py, line 14)" in text
    assert text.count("File ") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--results", "mine.py"), "results must be a folder, or the place of a new one. Got 'mine.py'"),
        (("--results", "/dev/null"), "results must be a folder"),
        (("--results", "/dev/null/x"), "results must be a folder"),
        (("--results", "loop"), "results must be a path that can be followed. Got 'loop'"),
        (("--results", "x" * 300), "results must be a path of at most 255 bytes a name"),
        (("--results", ""), "must not be empty or hold NUL"),
        (("--results", "a\0b"), "must not be empty or hold NUL"),
        (("--results", "\udcff"), "must be text in UTF-8"),
        (("--levels", "seed=0", "--levels", "seed=1"), "levels of seed must be given once, as seed=a,b."),
        (("--levels", "seed=0-99999999999"), "levels of seed between two numbers must be from the smaller"),
        (("--levels", "seed=1e999"), "levels of factor 'seed' must be finite"),
        (("--levels", "seed=0,0"), "levels of factor 'seed' must differ"),
        (("--preset", "tiny", "--preset", "tiny"), "--preset must be given once."),
    ],
)
def test_a_wrong_command_line_is_one_sentence(place, capsys, words, sentence):
    (place / "loop").symlink_to("loop")
    code, text = said(capsys, "plan", "mine.py", *words)
    assert (code, "Traceback" in text) == (2, False)
    assert sentence in text
    assert sorted(path.name for path in place.iterdir() if path.name != "__pycache__") == ["loop", "mine.py"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("plan", "mine.py", "--save", "pipe.json"), "save must be a file, or the place of a new one. Got 'pipe.json'"),
        (("plan", "mine.py", "--save", "mine.py"), "save must be a file that ends in .json or .json.gz."),
        (("plan", "mine.py", "--save", "mine.py/x.json"), "save must lie in a folder. Got 'mine.py/x.json'"),
        (("plan", "mine.py", "--save", "x" * 300), "save must be a path of at most 255 bytes a name"),
        (("report", "--index", "--readme", "pipe.json"), "readme must be a file, or the place of a new one."),
        (("bench", "--save", "pipe.json"), "save must be a file, or the place of a new one."),
        (("saliency", "mine.py", "--run", "x", "-o", "pipe.json"), "output must be a file, or the place of a new one."),
        (("verify", "."), "store must be a folder of runs, such as results/runs. '.' holds no run."),
        (("plan", "."), "experiment must be a Python file, such as experiments/quickstart.py. '.' is a folder."),
        (
            ("plot", "."),
            "table must be a file in CSV, or an experiment's folder, such as results/quickstart. '.' is neither",
        ),
        (("verify", "x" * 300), "store must be a path of at most 255 bytes a name"),
        (("run-one", "abcdef", "--plan", "x" * 300, "--store", "."), "plan must be a path of at most 255 bytes a name"),
        (("run-one", "abcdef", "--plan", "pipe.json", "--store", "mine.py"), "store must be a folder"),
        (("doctor", "--engine", "slurm", "--store", "mine.py"), "store must be a folder"),
        (("show", "x" * 300), "run must be the folder of one run"),
        (("run", "mine.py", "--timeout", "inf"), "timeout must be a finite number. Got inf instead."),
        (
            ("run", "mine.py", "--device", "tpu"),
            "device must be 'auto', 'cpu', 'cuda', or one GPU of several, such as 'cuda:1'.",
        ),
        (("data", "list", "--data-dir", "mine.py"), "data-dir must be a folder that is there. Got 'mine.py' instead."),
        (("data", "import", "nowhere"), "path must be a folder or an archive"),
        (("data", "import", "mine.py"), "must be a whole tar or zip archive"),
        (("data", "import", ".", "--name", "../x"), "name of a data set must be 1 to 64 of a-z, 0-9"),
        (("data", "fetch", "cifar"), "name must be one of 'cifar10', 'cifar100'. Got 'cifar' instead."),
        (("doctor", "--engine", "sge"), "engine to check must be 'slurm' or 'ray'. Got 'sge' instead."),
        (("doctor", "--store", "."), "store needs --engine slurm or --engine ray. Got '.' alone."),
        (("doctor", "--engine", "slurm", "--address", "x"), "address needs --engine ray. Got 'x' without it."),
        (("run", "mine.py", "--stop-after", "inf"), "stop-after must be a finite number. Got inf instead."),
        (("status", "mine.py", "--watch", "1e300"), "--watch"),
        (("plan", "mine.py", "--json", "--results", "elsewhere"), "results must be left out with --json, which prints"),
        (("plan", "mine.py", "--keys", "--data-dir", "."), "data-dir must be left out with --json and --keys"),
        (("status", "mine.py", "--json", "--all"), "--all must be left out with --json, which names all runs anyway."),
        (("report", ".", "--runs", "typo"), "runs must be a folder that is there. Got 'typo' instead."),
        (("report", ".", "--all", "--runs", "typo"), "runs must be a folder that is there. Got 'typo' instead."),
        (("export", ".", "--to", "csv", "--runs", "mine.py"), "runs must be a folder that is there. Got 'mine.py'"),
        (("report", ".", "--all", "--index"), "--index must be left out with --all, which writes index.html, too."),
        (("report", ".", "--index", "--runs", "."), "--runs must be left out with --index, which reads tables alone."),
        (
            ("doctor", "--engine", "slurm", "--store", ".", "--results", "."),
            "results must be left out with store, which is looked at instead. Got '.'.",
        ),
    ],
)
def test_paths_of_every_verb_are_looked_at_before_anything_is_made_of_them(place, capsys, words, sentence):
    """A file that is written takes the place of what is there, which a pipe or a device would not survive."""
    os.mkfifo("pipe.json")
    code, text = said(capsys, *words)
    assert (code, sentence in text) == (2, True), text
    assert stat.S_ISFIFO(os.stat("pipe.json").st_mode)
    assert (place / "mine.py").read_text() == FILE.format(**GOOD)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ("15,50", "train_size of mnist5k must be a positive multiple of its 10 classes. Got 15 instead."),
        ("-10", "train_size of mnist5k must be a positive multiple of its 10 classes. Got -10 instead."),
        ("50,4010", "train_size of mnist5k must be at most 4000, as class '0' has 400 training images. Got 4010"),
    ],
)
def test_a_size_that_the_data_cannot_have_is_refused_before_any_run_beside_sizes_that_they_can(
    place, capsys, sizes, sentence
):
    changes = {"factors": '{"train_size": (50,), "seed": (0,)}', "presets": "{}"}
    text = FILE.format(**(GOOD | changes)).replace("run(model, ", "run(train_size, ")
    (place / "mine.py").write_text(text.replace("train_size=50", "train_size=train_size"))
    assert said(capsys, "plan", "mine.py")[0] == 0
    for verb in ("plan", "run"):
        code, text = said(capsys, verb, "mine.py", "--levels", f"train_size={sizes}")
        assert (code, sentence in text) == (2, True), text
    assert not list(place.glob("results/runs/??"))


def test_an_experiment_that_goes_elsewhere_leaves_paths_where_they_are(place, capsys):
    text = (place / "mine.py").read_text()
    assert text.count("    return Run(") == 1
    (place / "mine.py").write_text(text.replace("    return Run(", "    import os; os.chdir('/')\n    return Run("))
    assert said(capsys, "plan", "mine.py", "--save", "plan.json")[0] == 0
    assert (place / "plan.json").exists()


def test_the_keys_of_the_runs_to_do_are_lines_or_json(place, capsys):
    keys = said(capsys, "plan", "mine.py", "--keys")[1].split()
    assert (len(keys) > 1, json.loads(said(capsys, "plan", "mine.py", "--keys", "--json")[1])) == (True, keys)


@pytest.mark.parametrize("name", ["report.html", "tables"])
def test_a_file_in_the_place_of_a_folder_and_a_folder_in_that_of_a_file_are_named(place, capsys, name):
    folder = place / "results" / "mine"
    folder.mkdir(parents=True)
    said(capsys, "plan", "mine.py", "--save", "plan.json")
    Plan.read_kept(place / "plan.json").write(folder)
    (folder / "report.html").mkdir() if name == "report.html" else (folder / name).write_text("")
    code, text = said(capsys, "report", folder)
    what = "a file where a folder" if name == "tables" else "a folder where a file"
    assert (code, f"'{folder / name}' is {what} is wanted: move it away or rename it." in text) == (2, True), text


def test_a_plan_that_has_another_run_for_a_key_is_refused_before_it_gets_into_the_pool(place, capsys):
    assert said(capsys, "plan", "mine.py", "--save", "plan.json")[0] == 0
    plan = json.loads((place / "plan.json").read_text())
    del plan["sha256"]
    key, other = plan["runs"]
    plan["runs"][key] = plan["runs"][other]
    (place / "other.json").write_bytes(sealed(plan))
    code, text = said(capsys, "run-one", key, "--plan", "other.json", "--store", "pool")
    assert (code, "key of a run must be its digest." in text) == (2, True), text
    assert not (place / "pool").exists()
    wrong = [("zz", "means none of them"), (f"{key},", "Got '' instead"), (key[:5], "at least 6")]
    for text, sentence in wrong:
        code, output = said(capsys, "run-one", text, "--plan", "plan.json", "--store", "pool")
        assert (code, sentence in output) == (2, True), output
    code, output = said(capsys, "run-one", key, "--plan", "plan.json", "--store", "pool", "--experiment", "no.py")
    assert (code, "experiment must be the file that defines" in output) == (2, True), output


def test_decoded_data_are_verified_and_a_damage_is_exit_code_1(place, capsys, monkeypatch):
    monkeypatch.setenv("VISION_ATTN_CACHE", str(place / "cache"))
    for split in ("train", "test"):
        for label in "ab":
            (place / "images" / split / label).mkdir(parents=True)
            Image.new("RGB", (8, 8), (ord(label), 0, 0)).save(place / "images" / split / label / "0.png")
    assert said(capsys, "data", "import", "images", "--name", "mine")[0] == 0
    code, text = said(capsys, "data", "verify")
    assert (code, text.split()[0]) == (0, "ok")
    for path in (place / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-7])
    code, text = said(capsys, "data", "verify", "--json")
    assert (code, [row["ok"] for row in json.loads(text)]) == (1, [False])
    assert said(capsys, "data", "verify")[1].startswith("damaged  mine")


def test_a_plan_waits_for_data_that_are_not_here_and_refuses_those_that_cannot_be_used(place, capsys, monkeypatch):
    monkeypatch.setenv("VISION_ATTN_DATA", os.pathsep.join([str(place / "data")] * 2))
    monkeypatch.setenv("VISION_ATTN_CACHE", str(place / "cache"))
    text = FILE.format(**GOOD).replace("Mnist5k(train_size=50)", "ImageFolder(name='mine')")
    (place / "mine.py").write_text(text.replace("Mnist5k,", "ImageFolder,"))
    code, text = said(capsys, "plan", "mine.py")
    assert (code, f"as data are missing: Data set 'mine' not found in '{place / 'data'}'. Pass" in text) == (0, True), (
        text
    )
    (place / "data" / "mine" / "train" / "a").mkdir(parents=True)
    (place / "data" / "mine" / "train" / "a" / "0.png").write_text("no image")
    code, text = said(capsys, "plan", "mine.py")
    assert (code, "Image 'train/a/0.png' of" in text) == (2, True), text


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("run", "mine.py", "--jobs", "two"), "'two'"),
        (("run", "mine.py", "-j4x"), "'4x'"),
        (("run", "mine.py", "--timeout", "1h"), "'1h'"),
        (("plot", "mine.py", "--classes", "1"), "'1'"),
        (("data", "import", ".", "--image-size", "8.5"), "'8.5'"),
    ],
)
def test_a_value_of_another_type_is_named(place, capsys, words, given):
    code, text = said(capsys, *words)
    assert (code, f"Got {given} instead." in " ".join(text.replace("\u2502", " ").split())) == (2, True), text


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_place_that_cannot_be_written_is_exit_code_1_whatever_forbids_it(place, capsys, monkeypatch, number):
    """A file system that is mounted to be read alone, the rights of a user, a folder that is immutable."""

    def refuse(old, new):
        raise OSError(number, os.strerror(number), str(old), None, str(new))

    monkeypatch.setattr(os, "replace", refuse)
    said_of_it = f"Error: {os.strerror(number)}: '{place / 'plan.json'}'. What was finished is kept.\n"
    assert said(capsys, "plan", "mine.py", "--save", place / "plan.json") == (1, said_of_it)


def test_where_the_current_folder_is_gone_a_sentence_says_so(place, capsys, monkeypatch):
    (place / "gone").mkdir()
    monkeypatch.chdir(place / "gone")
    (place / "gone").rmdir()
    assert said(capsys, "list") == (
        2,
        "Error: The current folder must be there. It is not any more: change to another one.\n",
    )


@pytest.mark.parametrize("after", ["import os; os.chdir('/')", "import sys; sys.path.pop(0)"])
def test_an_experiment_file_that_goes_elsewhere_leaves_the_paths_of_the_command_line_as_they_are(place, capsys, after):
    (place / "mine.py").write_text(FILE.format(**{**GOOD, "after": after}))
    assert said(capsys, "plan", "mine.py", "--save", "new/plan.json")[0] == 0
    assert Plan.read_kept(place / "new" / "plan.json").levels("model") == ["a"]


@pytest.mark.parametrize("name", ["plan.json.gz", "plan.json"])
def test_a_damaged_plan_and_a_folder_in_its_place_are_one_sentence(place, capsys, name):
    whole = gzip.compress(sealed({"schema": 2}), mtime=0)
    for i, content in enumerate((b"", b"{}", b"\xff", b"[" * 9999, whole[:-9], whole[:20] + b"\0" + whole[21:], None)):
        folder = place / f"results-{i}"
        folder.mkdir()
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
        for verb in ("status", "report"):
            code, text = said(capsys, verb, folder)
            assert (code, "Traceback" in text, name in text) == (2, False, True), text


def test_options_that_would_be_ignored_are_refused(place, capsys):
    (place / "results").mkdir()
    code, text = said(capsys, "status", "results", "--levels", "seed=0")
    assert (code, "levels must be left out where a folder is given" in text) == (2, True)


def test_json_stays_json_where_the_output_takes_ascii_alone(place, capsys, monkeypatch, tmp_path):
    (place / "mine.py").write_text(FILE.format(**{**GOOD, "factors": '{"model": ("\u00e9\u2192",), "seed": (0,)}'}))
    with open(tmp_path / "out", "w+", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert execute(["plan", "mine.py", "--json"]) == 0
        monkeypatch.undo()
    assert Plan.from_json(json.loads((tmp_path / "out").read_text())).levels("model") == ["\u00e9\u2192"]


def test_init_writes_a_file_that_plans_and_never_over_another(place, capsys):
    assert said(capsys, "init", "new/mine_too.py")[0] == 0
    code, text = said(capsys, "plan", "new/mine_too.py", "--preset", "quick")
    assert (code, "4 cells, 4 runs, 1,600 updates in all" in text) == (0, True), text
    code, text = said(capsys, "init", "mine.py")
    assert (code, "'mine.py' is there already." in text) == (2, True)
    assert said(capsys, "init", "Mine.py")[0] == said(capsys, "init", "runs.py")[0] == 2


def test_one_run_is_not_counted_and_more_are_by_their_states():
    done, failed = State("done"), State("failed")
    assert count_line({"a": done}) == "1 run: done"
    assert count_line({"a": done, "b": failed, "c": done}) == "3 runs: 2 done, 1 failed"


def test_failed_runs_of_a_smoke_test_can_be_retried(place, capsys):
    words = ("mine.py", "--preset", "tiny", "--results", "elsewhere", "--smoke")
    code, text = said(capsys, "retry", *words)
    assert (code, "results must be a folder that is there" in text) == (2, True)
    (place / "elsewhere").mkdir()
    assert said(capsys, "retry", *words) == (0, f"0 runs will be tried again by: vision-attn run {' '.join(words)}\n")


def test_list_shows_every_experiment_file_and_what_is_wrong_with_one(place, capsys):
    (place / "other.py").write_text("open('made', 'w').write('by a script that is none of ours')\n")
    code, text = said(capsys, "list", ".", "--json")
    rows = {row["experiment"]: row for row in json.loads(text)}
    assert code == 0
    assert rows["mine.py"] == {"experiment": "mine.py", "runs": 2, "done": 0, "presets": "tiny", "question": "Why?"}
    assert "must define `experiment = Experiment(...)`" in rows["other.py"]["question"]
    assert not (place / "made").exists()


def test_results_that_are_not_there_are_told_from_empty_ones(place, capsys):
    code, text = said(capsys, "status", "mine.py", "--results", "resluts")
    assert (code, "'resluts' is not there yet: nothing has been run with it." in text) == (75, True)
    (place / "resluts").mkdir()
    assert "not there" not in said(capsys, "status", "mine.py", "--results", "resluts")[1]


@pytest.mark.parametrize("name", ["a b.py", "-x.py", f"{'x' * 65}.py"])
def test_the_name_of_an_experiment_file_is_refused_with_all_that_it_may_be(place, capsys, name):
    (place / name).write_text(FILE.format(**GOOD))
    for verb in ("plan", "init"):
        code, text = said(capsys, verb, "--", name)
        assert (code, "1 to 64 lower-case letters, digits, - and _, the first a letter or digit" in text) == (2, True)


def test_a_path_that_is_printed_is_whole_whatever_stands_in_it(place, capsys):
    results = place / "[red]"
    plan = make_plan(models=("ViT",), sizes=(50,), seeds=(0,), figures=())
    write_store(results / "runs", plan)
    folder = results / ("a" * 150)
    folder.mkdir()
    plan.write(folder)
    assert said(capsys, "report", folder) == (0, f"{folder / 'report.html'}\n")


def test_a_table_cuts_nothing_off():
    table = new_table("name", "place")
    table.add_row("a", "x" * 60)
    console = Console(width=30, file=io.StringIO())
    console.print(table)
    assert console.file.getvalue().count("x") == 60


def test_show_finds_a_run_by_the_beginning_of_its_key(place, capsys):
    plan = make_plan(models=("ViT",), sizes=(50,), seeds=(0, 1))
    write_store(place / "results" / "runs", plan)
    first, _ = plan.runs
    code, text = said(capsys, "show", first[:8], "--json")
    shown = json.loads(text)
    assert (code, shown["state"], shown["run"]) == (0, "done", plan.runs[first].run)
    assert {row["metric"] for rows in shown["probes"].values() for row in rows} >= {"accuracy"}
    assert "recipe: " in said(capsys, "show", shown["folder"])[1]
    assert said(capsys, "show", "nothing")[0] == 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("'=+-@\t\r\nx1", min_size=1), min_size=1, max_size=5), st.text("'=+-@x", min_size=1))
def test_texts_and_headers_survive_a_csv_and_none_of_them_is_a_formula(tmp_path_factory, cells, header):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(to_csv(pd.DataFrame({header: pd.Series(["x", *cells], dtype=object)})))
    frame = read_csv(path)
    assert (list(frame.columns), list(frame[header])) == ([header], ["x", *cells])
    assert not pd.read_csv(path, dtype=str).columns[0].startswith(("=", "+", "-", "@"))


VERBS = ("plan", "status", "models", "retry", "report", "doctor", "verify", "bogus")
WORDS = st.one_of(
    st.sampled_from(("mine.py", "--preset", "tiny", "--levels", "seed=0", "model=a", "--results", "x", "--json", ".")),
    st.sampled_from(("--smoke", "--data-dir", "/dev/null", "/", "..", "x" * 300, "seed=", "=", "seed=0-", "-", "--")),
    st.text(max_size=6),
)
VALUES = st.sampled_from(
    [
        *("3", "None", "()", "{}", "'ab'", "('a',)", "(0, 1)", "object()", "run", "Accuracy", "(Accuracy(),)"),
        *("{'model': ('a',), 'seed': (0,)}", "{'model': 3}", "{3: (1,)}", "10**400", "float('inf')", "1/0"),
        *("(x for x in 'a')", "b'a'", "'\\ud800'", "[[1]]", "lambda **k: None", "lambda model, seed: 3", "print"),
    ]
)


def attack_words(words):
    assert execute(words) in (0, 1, 2, 75)


def attack_file(place, changes):
    (place / "mine.py").write_text(FILE.format(**{**GOOD, **changes}))
    assert execute(["plan", "mine.py"]) in (0, 2)


LOOSE = {"deadline": None, "suppress_health_check": list(HealthCheck)}
LINES = st.builds(lambda verb, words: [verb, *words], st.sampled_from(VERBS[:4]), st.lists(WORDS, max_size=4))
CHANGES = st.dictionaries(st.sampled_from(("question", "factors", "run", "probes", "presets")), VALUES, min_size=1)


@settings(max_examples=15, **LOOSE)
@given(words=LINES, changes=CHANGES)
def test_generated_command_lines_and_files_give_no_traceback(place, words, changes):
    attack_file(place, changes)
    attack_words(words)


@pytest.mark.slow
@settings(max_examples=600, **LOOSE)
@given(words=st.builds(lambda v, w: [v, *w], st.sampled_from(VERBS), st.lists(WORDS, max_size=6)), changes=CHANGES)
def test_many_generated_command_lines_and_files_give_no_traceback(place, words, changes):
    attack_file(place, changes)
    attack_words(words)


def test_a_warning_of_the_package_is_a_sentence_and_another_one_names_its_line(capsys):
    note(UserWarning("No font has it."), UserWarning, str(PACKAGE / "figures" / "plot.py"), 3)
    assert capsys.readouterr().err == "Note: No font has it.\n"
    note(UserWarning("No font has it."), UserWarning, "/home/own.py", 3)
    assert capsys.readouterr().err.startswith("/home/own.py:3: UserWarning: No font has it.")
