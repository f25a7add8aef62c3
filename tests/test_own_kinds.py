"""Kinds from outside the package: an experiment file's own, those of modules beside it, those of installed packages."""

import gzip
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from own_files import FILE
from torch import nn
from typer.testing import CliRunner

from vision_attn import ViT, sources, sweep
from vision_attn.cli.command import app
from vision_attn.data import Data
from vision_attn.experiment import load, plan
from vision_attn.models import as_mixer, as_model
from vision_attn.plan import Plan, folders_in
from vision_attn.probes import Probe
from vision_attn.probes.asking import answers
from vision_attn.spec import InputError, Spec, from_json, kinds, spec, to_json
from vision_attn.store import Store

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "experiments" / "examples").glob("own_*.py"))
KIND = {"own_model": "Perceptron", "own_mixer": "MatrixMixer", "own_data": "Lines"}
KIND |= {"own_probe": "Confidence", "own_figure": "LossCurve"}
NETWORK = """@as_model
def {name}(image_size, in_chans, num_classes):
    return {module}

MODEL = {name}()
"""
FLAT = "nn.Sequential(nn.Flatten(), nn.Linear(in_chans * image_size**2, {outputs}))"
MODULE = """import torch

class Inner(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(784, classes)
        {held}

    def forward(self, x):
        {body}
    {more}

@as_model
def {name}(num_classes):
    return Inner(num_classes)

MODEL = {name}()
"""
LINEAR = "return self.head(x.flatten(1))"
PROBE = """@spec
class {name}(Probe):
    def __call__(self, model, data):
        {body}

MODEL = ViT(dim=16, depth=1, patch_size=7)
"""


def command(*arguments, place, path=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *map(str, path)]), "CI": "true"}
    environment |= {"OMP_NUM_THREADS": "1", "VISION_ATTN_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "vision_attn.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
        timeout=250,
    )
    return run.returncode, run.stdout + run.stderr


def tried(tmp_path, own, *, probes="Size()"):
    """What planning a file says, as the command `plan` does."""
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(own=own, probes=probes))
    name, experiment = load(path)
    planned = plan(experiment, name=name)
    sweep.check(planned, list(planned.runs))
    return planned


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if place else [])
        for place, path in enumerate(EXAMPLES)
    ],
)
def test_an_example_of_under_40_lines_runs_to_a_report_that_names_the_source_of_its_kind(path, tmp_path):
    assert len(path.read_text().splitlines()) < 40
    options = ["--levels", "seed=0,1", "--smoke", "--jobs", "1", "--results", tmp_path, "--stack", "2"]
    options += ["--levels", "train_size=50"] if "train_size" in path.read_text().partition("factors")[2] else []
    code, output = command("run", path, *options, place=ROOT)
    assert code == 0, output
    (folder,) = folders_in(tmp_path)
    page, planned = (folder / "report.html").read_text(), Plan.read(folder)
    assert "could not be drawn" not in page
    assert planned.experiment == f"experiments/examples/{path.name}"
    kind = KIND[path.stem]
    sha256 = planned.sources[kind]
    if path.stem != "own_figure":
        assert f"{kind} {sha256[:12]}" in page
    found = [one.result()["environment"].get("sources", {}) for one in Store(tmp_path / "runs").index().values()]
    if path.stem in ("own_model", "own_mixer", "own_data"):
        assert {kind: sha256} in found
    assert "import" not in gzip.decompress((folder / "plan.json.gz").read_bytes()).decode()
    if path.stem == "own_figure":
        assert (folder / "tables" / "LossCurve.csv").exists()
        code, _ = command("report", folder, place=tmp_path)
        assert code == 0
        sentence = "LossCurve must be defined by an installed plugin or by experiments/examples/own_figure.py"
        assert sentence in (folder / "report.html").read_text()
        assert command("report", folder, place=ROOT)[0] == 0
        assert (folder / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("own", "probes", "sentence"),
    [
        ("import nonsense_that_is_not_there", "Size()", r"ModuleNotFoundError: No module named .*mine\.py, line 9\)"),
        ("MODEL = (", "Size()", r"SyntaxError: .*mine\.py, line \d+\)"),
        (
            NETWORK.format(name="Absent", module="nn.Linear(self_is_absent, 2)"),
            "Size()",
            r"build of Absent fails: NameError: name 'self_is_absent' is not defined \(.*mine\.py, line 11\)",
        ),
        (
            NETWORK.format(name="Narrow", module=FLAT.format(outputs=7)),
            "Size()",
            r"logits of Narrow must have the shape \(2, 10\) for two images \(.*mine\.py, line 9\)\. Got \(2, 7\)",
        ),
        (
            NETWORK.format(name="Unfit", module="nn.Sequential(nn.Flatten(), nn.Linear(5, num_classes))"),
            "Size()",
            r"forward of Unfit for two images fails: RuntimeError: mat1 and mat2 [^/]* \(.*mine\.py, line 9\)$",
        ),
        (
            NETWORK.format(name="Numb", module="'no module'"),
            "Size()",
            r"build of Numb must return a module with parameters to be trained .* Got 'no module' instead\.",
        ),
        (
            MODULE.format(
                name="Varying", held="", body="return self.head(x.flatten(1)).put_(X, X.float())", more=""
            ).replace("import torch", "import torch\nX = torch.tensor([0])"),
            "Accuracy()",
            r"^forward of Varying for two images fails: RuntimeError: put_ does not have a deterministic.* line 19\)$",
        ),
        (
            MODULE.format(name="Squeezing", held="", body="return self.head(x.flatten(1)).squeeze()", more=""),
            "Accuracy()",
            r"logits of Squeezing must have the shape \(1, 10\) for one image \(.*mine\.py, line 21\)\. Got \(10,\)",
        ),
        (
            MODULE.format(name="OfTwo", held="", body="return self.head(x.view(2, 784))", more=""),
            "Accuracy()",
            r"^forward of OfTwo for one image fails: RuntimeError: shape .* \(.*mine\.py, line 18\)$",
        ),
        (
            MODULE.format(
                name="Noting", held="", body=LINEAR, more="def get_extra_state(self):\n        return {'calls': 0}"
            ),
            "Accuracy()",
            r"^state_dict of Noting must hold tensors alone, .*mine\.py, line 22\)\. Got \{'calls': 0\} as _extra",
        ),
        (
            MODULE.format(
                name="Spread", held="self.scale = nn.Parameter(torch.ones(1).expand(9))", body=LINEAR, more=""
            ),
            "Accuracy()",
            r"^scale of Spread must have numbers with a place of their own in memory, .* \(.*mine\.py, line 21\)\. Got",
        ),
        (
            MODULE.format(
                name="Growing",
                held="self.register_buffer('seen', torch.zeros(0))",
                body="self.seen = torch.cat([self.seen, x.mean()[None]]) if self.training else self.seen; " + LINEAR,
                more="",
            ),
            "Accuracy()",
            r"^loading the weights of Growing fails: RuntimeError: .* mismatch for seen: .* \(.*mine\.py, line 21\)$",
        ),
        (
            MODULE.format(
                name="Sparse", held="self.register_buffer('eye', torch.eye(3).to_sparse())", body=LINEAR, more=""
            ),
            "Accuracy()",
            r"^storing the weights of Sparse fails: .* \(.*mine\.py, line 21\)$",
        ),
        (
            MODULE.format(
                name="Viewing",
                held="self.convs = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1))",
                body="return self.head(self.convs[1](self.convs[0](x).view(-1, 8, 28, 28)).view(len(x), -1))"
                ".add(self.convs[0](x).view(len(x), -1).mean())",
                more="",
            ),
            "Accuracy()",
            r"^training of Viewing fails: RuntimeError: view size is not compatible .* \(.*mine\.py, line 18\)$",
        ),
        (
            PROBE.format(name="Misspelt", body="yield {'metric': 'a', 'value': model.widht}"),
            "Misspelt()",
            r"Misspelt on ViT fails: AttributeError: .*'widht' \(.*mine\.py, line 12\)",
        ),
        (
            PROBE.format(name="Enclosing", body="yield {'metric': 'a', 'value': [1, 2]}"),
            "Enclosing()",
            r"Enclosing must yield flat rows: value a text or a number \(.*mine\.py, line 11\)\. Got \[1, 2\]",
        ),
        (
            "@as_mixer\ndef Unasked(dim):\n    return nn.MultiheadAttention(dim, 1)\n"
            "MODEL = ViT(dim=16, depth=1, patch_size=7, mixer=Unasked())",
            "Size()",
            r"forward of ViT for two images fails: TypeError: MultiheadAttention.* missing .* \(.*mine\.py, line 9\)$",
        ),
        (
            "@spec\nclass Misfit(Model):\n    def build(self, size):\n        return None\nMODEL = Misfit()",
            "Size()",
            r"build of Misfit fails: TypeError: .*unexpected keyword argument 'image_size' \(.*mine\.py, line 11\)$",
        ),
        (
            PROBE.format(
                name="Tabular", body="import pandas; return pandas.DataFrame({'metric': ['a'], 'value': [1]})"
            ),
            "Tabular()",
            r"Tabular must yield rows, each a dict, such as those of frame\.to_dict\('records'\) .* Got 'a DataFrame'",
        ),
        (
            PROBE.format(name="Spoiling", body="model.head.bias.data += 1; yield {'metric': 'a', 'value': 1.0}"),
            "Spoiling()",
            r"Spoiling must leave the model, the images and the process as they are: .* Got 'other head.bias'",
        ),
        (
            PROBE.format(name="Blanking", body="data.test.images.zero_(); yield {'metric': 'a', 'value': 1.0}"),
            "Blanking()",
            r"Blanking must leave the model, the images and the process as they are: .* Got 'other test images'",
        ),
        (
            PROBE.format(name="Relabelling", body="data.test.labels.zero_(); yield {'metric': 'a', 'value': 1.0}"),
            "Relabelling()",
            r"^Relabelling must leave the model, the images and the process as they are: .* Got 'other test labels'",
        ),
        (
            PROBE.format(
                name="Hooked",
                body="model.head.register_forward_hook(lambda *given: given[2] * 0); yield {'metric': 'a', 'value': 1}",
            ),
            "Hooked()",
            r"^Hooked must leave the model, .* Got 'other hooks of head' instead\.",
        ),
        (
            PROBE.format(name="Threaded", body="torch.set_num_threads(3); yield {'metric': 'a', 'value': 1}").replace(
                "@spec", "import torch\n@spec"
            ),
            "Threaded()",
            r"^Threaded must leave the model, .* Got 'other number of threads' instead\.",
        ),
        (
            PROBE.format(name="Settled", body="yield {'metric': 'a', 'value': 1}").replace(
                "    def", "    width: int = 1\n    def"
            ),
            "Settled(), Settled(width=2)",
            r"^Settled\(width=2\) and Settled\(width=1\) must not measure the same\. Both give a\.",
        ),
        (
            PROBE.format(name="Skipping", body="yield {'metric': 'a', 'value': 1}").replace(
                "    def", "    def skip(self, model, data):\n        return 3\n    def"
            ),
            "Skipping()",
            r"^skip of Skipping must return the reason as a text, or None \(.*mine\.py, line 11\)\. Got 3 instead\.",
        ),
        (
            PROBE.format(name="Unsaid", body="raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})"),
            "Unsaid()",
            r"^Unsaid on ViT fails: Odd \(.*mine\.py, line 12\)$",
        ),
        (
            PROBE.format(name="Bracketed", body="return ()").replace("@spec", "@spec()"),
            "Bracketed()",
            r"TypeError: @spec must stand without brackets: @spec\. Got @spec\(\) instead\. \(.*mine\.py, line 9\)",
        ),
        (
            PROBE.format(name="Unfinished", body="return ()").replace("__call__", "call"),
            "Unfinished()",
            r"^class Unfinished must define __call__, as every Probe does\. It does not\. \(.*mine\.py, line",
        ),
        (
            PROBE.format(name="Doubly", body="return ()").replace(
                "@spec", "import dataclasses\n@spec\n@dataclasses.dataclass(frozen=True)"
            ),
            "Doubly()",
            r"TypeError: class Doubly must be decorated once, with @spec alone\. It is a dataclass already\.",
        ),
        (
            "@spec\nclass Keyed(Model):\n    sizes: dict = {}\n    def build(self, **shape):\n        return None",
            "Size()",
            r"default of the field sizes of Keyed must be a number, .* Got \{\} instead\. \(.*mine\.py, line 9\)",
        ),
        (PROBE.format(name="Mute", body="yield from ()"), "Mute()", r"Mute must yield a row .*mine\.py, line 11\)"),
        (
            PROBE.format(name="Diverging", body="yield {'metric': 'a', 'value': float('nan')}"),
            "Diverging()",
            r"Diverging must yield finite numbers: value is none \(.*mine\.py, line 11\)\. Got nan instead\.",
        ),
        (
            PROBE.format(name="Worded", body="yield {'metric': 'a', 'value': '0.5'}"),
            "Worded()",
            r"Worded must yield rows with a finite number as value .* Got '0\.5' instead\.",
        ),
        (
            PROBE.format(name="Returning", body="return {'metric': 'a', 'value': 1.0}"),
            "Returning()",
            r"Returning must yield rows, each a dict with metric and value .* Got \{'metric': 'a', 'value': 1\.0\}",
        ),
        (
            PROBE.format(name="Repeating", body="yield from [{'metric': 'a', 'value': 1.0}] * 2"),
            "Repeating()",
            r"Repeating must tell its rows apart by metric or another column .*mine\.py, line 11\)",
        ),
        (
            PROBE.format(name="Plain", body="yield {'metric': 'a', 'value': 1.0}").replace("@spec", ""),
            "Plain()",
            r"^class Plain must be decorated with @spec\. It is not\. \(.*mine\.py, line 20\)",
        ),
        (
            PROBE.format(name="Listing", body="return").replace("    def", "    sizes: list[int] = ()\n    def"),
            "Listing()",
            r"type of the field sizes of Listing must be int, .* Got list\[int\] instead\. \(.*mine\.py",
        ),
        (
            "@as_mixer\ndef Pooled(dim):\n    return nn.AdaptiveAvgPool2d((1, dim))\n"
            "MODEL = ViT(dim=16, depth=1, patch_size=7, mixer=Pooled())",
            "Size()",
            r"^Pooled must return tokens of the shape that it is given, .*2, 16, 16\) \(.*, line 9\)\. Got .*1, 16",
        ),
        (
            NETWORK.format(name="Kept", module=FLAT.format(outputs="num_classes")).replace(
                "@as_model", "import functools\n@as_model\n@functools.lru_cache"
            ),
            "Size()",
            r"build of Kept must return a module of its own in every call.* Got one twice: other runs would begin",
        ),
        (
            "LAYER = nn.Linear(16, 16)\n@as_mixer\ndef Shared(dim):\n    return LAYER\n"
            "MODEL = ViT(dim=16, depth=1, patch_size=7, mixer=Shared())",
            "Size()",
            r"build of ViT must return a module of its own in every call.* Got one twice: other runs would begin",
        ),
        (
            "@spec\ndef measured(width=3):\n    return None",
            "Size()",
            r"@spec must stand before a class of a kind, .* Got measured instead\. A function becomes a Model",
        ),
        (
            PROBE.format(name="Accurate", body="yield {'metric': 'accuracy', 'split': 'test', 'value': 1.0}"),
            "Accurate(), Accuracy()",
            r"^Accuracy and Accurate must not measure the same\. Both give accuracy, split=test\.",
        ),
        (
            "@spec\nclass Typeless(Probe):\n    width = 3\n    def __call__(self, model, data):\n        return ()",
            "Typeless(width=4)",
            r"^Typeless has no field 'width'\. Give it a type: width: int = 3\. Its fields are none\.",
        ),
        (
            "@spec\nclass Kindless:\n    width: int = 3",
            "Size()",
            r"@spec must stand .* Got Kindless instead\. \(.*mine",
        ),
        (
            PROBE.format(name="Foreign", body="yield {'metric': 'a', 'value': 1.0}").replace(
                "@spec", "import dataclasses\n@dataclasses.dataclass(frozen=True)"
            ),
            "Foreign()",
            r"^class Foreign must be decorated with @spec\. It is not\. \(.*mine\.py, line",
        ),
        (
            "MODEL = ViT(dim=16, depth=1, patch_size=7)",
            "PatchShuffle()",
            r"grids of PatchShuffle must be divisors of the image size 28\. Got 8 instead\.",
        ),
    ],
)
def test_a_fault_is_told_before_anything_runs_with_its_file_and_line(tmp_path, own, probes, sentence):
    with pytest.raises(InputError) as error:
        tried(tmp_path, own, probes=probes)
    assert re.search(sentence, str(error.value)), error.value
    assert "\n" not in str(error.value)


def test_a_model_whose_parameters_get_their_shape_from_the_first_images_is_planned_and_sized(tmp_path):
    module = "nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))"
    planned = tried(tmp_path, NETWORK.format(name="Lazily", module=module), probes="Accuracy()")
    (size,) = sweep.sizes(planned).values()
    assert size["params"] == 7850


def test_a_model_that_multiplies_nothing_has_a_size_without_a_ratio_to_it(tmp_path):
    own = """@as_model
class Prior(nn.Module):
    def __init__(self, image_size, in_chans, num_classes):
        super().__init__()
        self.scores = nn.Parameter(nn.init.zeros_(nn.Linear(1, num_classes).bias))

    def forward(self, x):
        return self.scores.expand(len(x), -1)

MODEL = Prior()"""
    (tmp_path / "mine.py").write_text(FILE.format(own=own, probes="Size()"))
    said = CliRunner().invoke(app, ["models", str(tmp_path / "mine.py")])
    assert said.exit_code == 0, said.output
    assert said.output.splitlines()[-1].split() == ["Prior", "10", "1.000", "0", "-", "Prior()"]


def test_a_learning_rate_that_a_model_does_not_bear_is_no_fault_of_the_model(tmp_path):
    own = MODULE.format(name="Bearing", held="", body="return self.head(x.flatten(1)).exp()", more="")
    path = tmp_path / "mine.py"
    text = FILE.format(own=own, probes="Accuracy()")
    path.write_text(text.replace("updates=1, batch_size=8", "updates=1, batch_size=8, learning_rate=1e9"))
    planned = plan(load(path)[1], name="mine")
    sweep.check(planned, list(planned.runs))


@pytest.mark.parametrize("held", ["self.tied = nn.Linear(784, 10); self.tied.weight = self.head.weight", "pass"])
def test_planning_a_model_leaves_the_random_numbers_alone(tmp_path, held):
    torch.manual_seed(0)
    random.seed(0)
    before = torch.get_rng_state(), random.getstate()
    name = "Tying" if "tied" in held else "Untying"
    tried(tmp_path, MODULE.format(name=name, held=held, body=LINEAR, more=""), probes="Accuracy()")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_the_module_spec_decorates_as_the_decorator_in_it_does(tmp_path):
    own = "from vision_attn import spec\n" + PROBE.format(name="ByModule", body="yield {'metric': 'a', 'value': 1.0}")
    assert len(tried(tmp_path, own, probes="ByModule()").runs) == 1


def test_scalars_of_numpy_and_torch_are_numbers():
    class Counting(Probe):
        def __call__(self, model, data):
            yield {"metric": "a", "value": np.float32(0.5), "size": torch.tensor(3)}

    data = Data.from_tensors(torch.rand(4, 1, 2, 2), torch.arange(4))
    (row,) = answers(spec(Counting)(), nn.Linear(1, 1), data)
    assert row == {"metric": "a", "value": 0.5, "size": 3}
    assert {type(cell) for cell in row.values()} == {str, float, int}


def test_what_an_own_probe_draws_without_a_generator_is_the_same_whenever_it_is_asked():
    class Drawing(Probe):
        def __call__(self, model, data):
            yield {"metric": "a", "value": torch.rand(()) + np.random.rand() + random.random()}  # noqa: NPY002

    data = Data.from_tensors(torch.rand(4, 1, 2, 2), torch.arange(4))
    probe, model = spec(Drawing)(), nn.Linear(1, 1)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[2]  # noqa: NPY002
    assert answers(probe, model, data) == answers(probe, model, data)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.random.get_state()[2] == numpy_before  # noqa: NPY002


def test_a_label_that_fails_is_told_when_it_is_planned(tmp_path):
    own = (
        "from vision_attn.data import Dataset\n@spec\nclass Nameless(Dataset):\n    def load(self):\n        return 1\n"
    )
    own += "    @property\n    def label(self):\n        return 1 / 0\nMODEL = ViT(dim=16, depth=1, patch_size=7)"
    (tmp_path / "mine.py").write_text(FILE.format(own=own, probes="Size()").replace("Mnist5k(train", "Nameless(train"))
    name, experiment = load(tmp_path / "mine.py")
    with pytest.raises(InputError, match=r"label of Nameless fails: ZeroDivisionError: .* \(.*mine\.py, line 16\)$"):
        plan(experiment, name=name)


def test_files_beside_an_experiment_file_may_be_imported_relatively_too(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "beside_relatively.py").write_text("OUTPUTS = 10\n")
    module = "nn.Sequential(nn.Flatten(), nn.Linear(784, OUTPUTS))"
    own = "from .beside_relatively import OUTPUTS\n" + NETWORK.format(name="Relative", module=module)
    first = tried(tmp_path, own).sources["Relative"]
    (tmp_path / "beside_relatively.py").write_text("OUTPUTS = 5 + 5\n")
    assert tried(tmp_path, own).sources["Relative"] != first


def test_seeds_that_make_one_run_are_refused(tmp_path):
    text = FILE.format(own="MODEL = ViT(dim=16, depth=1, patch_size=7)", probes="Size()")
    text = text.replace("def run(train_size)", "def run(train_size, seed)").replace("(50,)}", '(50,), "seed": (0, 1)}')
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match=r"must make another Run of every seed \(Run\(seed=seed\)\)\. Got one run for"):
        plan(load(tmp_path / "mine.py")[1], name="mine")
    (tmp_path / "mine.py").write_text(text.replace("seed=0)", "seed=seed)"))
    assert len(plan(load(tmp_path / "mine.py")[1], name="mine").runs) == 2


def test_a_module_beside_the_file_must_not_be_named_as_another(tmp_path):
    (tmp_path / "random.py").write_text("")
    (tmp_path / "mine.py").write_text("import random\n")
    with pytest.raises(InputError, match=r"random\.py must have another name: a module random is there already, in Py"):
        load(tmp_path / "mine.py")


def test_what_a_file_prints_is_not_what_the_command_says(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE.format(own="print('loud')\nMODEL = ViT(dim=16, depth=1, patch_size=7)", probes="Size()"))
    said = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert json.loads(said.stdout)["name"] == "mine"


def test_a_file_in_another_encoding_has_digests_too(tmp_path):
    own = PROBE.format(name="Encoded", body="'ä'; yield {'metric': 'a', 'value': 1.0}")
    text = "# -*- coding: latin-1 -*-\n" + FILE.format(own=own, probes="Encoded()")
    (tmp_path / "mine.py").write_bytes(text.encode("latin-1"))
    name, experiment = load(tmp_path / "mine.py")
    assert len(plan(experiment, name=name).sources["Encoded"]) == 64


def test_a_fault_in_run_names_the_cell(tmp_path):
    (tmp_path / "mine.py").write_text(FILE.format(own="", probes="Size()"))
    name, experiment = load(tmp_path / "mine.py")
    with pytest.raises(InputError, match=r"run of mine for \{'train_size': 50\} fails: NameError: .*line 1\d"):
        plan(experiment, name=name)


def test_a_file_may_be_loaded_again_with_its_modules_read_anew(tmp_path):
    (tmp_path / "parts_beside.py").write_text("WIDTH = 3\n")
    own = "from parts_beside import WIDTH\n" + NETWORK.format(name="Twice", module=FLAT.format(outputs="num_classes"))
    first = tried(tmp_path, own)
    (tmp_path / "parts_beside.py").write_text("WIDTH = 5\n")
    assert tried(tmp_path, own) == first
    assert sys.modules["parts_beside"].WIDTH == 5
    assert "Twice" in kinds(Spec)


def test_a_name_that_another_file_or_the_package_has_is_refused(tmp_path):
    own = NETWORK.format(name="Taken", module=FLAT.format(outputs="num_classes"))
    tried(tmp_path, own)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"Two specs are named Taken: in .*mine\.py and in .*other/mine\.py"):
        tried(tmp_path / "other", own)
    with pytest.raises(InputError, match="Two specs are named ViT"):
        tried(tmp_path, NETWORK.format(name="ViT", module="None"))


def test_the_digest_follows_what_a_kind_is_made_of_and_nothing_else(tmp_path):
    body = "{comment}\nfrom helpers_of_depth import depth\nSIZE = {size}\nOTHER = {other}\n\n"
    body += "def wide():\n    return SIZE\n\n"
    body += NETWORK.format(name="Followed", module="nn.Linear(wide() + depth(), num_classes)")

    def digest(comment="", size=1, other=1, depth=1):
        (tmp_path / "helpers_of_depth.py").write_text(f"def depth():\n    return {depth}\n")
        (tmp_path / "mine.py").write_text(
            FILE.format(own=body.format(comment=comment, size=size, other=other), probes="Size()")
        )
        load(tmp_path / "mine.py")
        return sources.digest_of(kinds(Spec)["Followed"])

    first = digest()
    assert digest(comment="# said", other=2) == first
    assert digest(size=2) != first
    assert digest(depth=2) != first


def test_what_a_function_takes_beside_the_shape_are_the_fields_of_its_spec():
    @as_model
    def Made(image_size, num_classes, width: int, act: str = "gelu", rate=0.5):
        """A network."""
        return nn.Linear(image_size + width, num_classes)

    value = Made(width=3, rate=1)
    assert to_json(value) == {"kind": "Made", "width": 3, "rate": 1.0}
    assert from_json(to_json(value), Spec) == value
    assert value.build(image_size=4, in_chans=1, num_classes=2).weight.shape == (2, 7)
    assert Made.__doc__ == "A network."
    with pytest.raises(InputError, match=r"width of Made must be an integer\. Got 'wide' instead\."):
        Made(width="wide")


def test_a_list_as_default_is_a_tuple():
    @as_model
    def Widths(num_classes, widths=[8, 16], rates=(0.5,)):  # noqa: B006
        return nn.Linear(widths[-1], num_classes)

    class Listed(Spec):
        widths: tuple[int, ...] = [8, 16]

    for made, other in ((Widths(), Widths(widths=[4])), (spec(Listed)(), Listed(widths=[4]))):
        assert (made.widths, other.widths) == ((8, 16), (4,))
        assert "widths" not in to_json(made)
        assert from_json(to_json(other), Spec) == other


def test_a_function_whose_fields_cannot_be_known_is_refused():
    with pytest.raises(TypeError, match="parameter width of Untold must have a type: its default None tells none"):

        @as_model
        def Untold(image_size, width=None):
            return None

    with pytest.raises(TypeError, match="parameter width of Typeless must have a type or a default"):

        @as_model
        def Typeless(image_size, width):
            return None

    with pytest.raises(
        TypeError, match=r"@as_mixer must stand without brackets: @as_mixer\. Got @as_mixer\(\) instead"
    ):

        @as_mixer()
        def Bracketed(dim):
            return None

    with pytest.raises(TypeError, match="Loose must name its parameters"):

        @as_mixer
        def Loose(dim, **rest):
            return None


def test_a_mixer_that_is_a_function_stands_in_the_trunk():
    @as_mixer
    def Doubling(dim, scale: float = 2.0):
        return nn.Linear(dim, dim)

    module = ViT(dim=16, depth=1, mixer=Doubling()).build(image_size=8, in_chans=1, num_classes=2)
    assert any(isinstance(one, nn.Linear) and one.weight.shape == (16, 16) for one in module.modules())


def test_an_installed_package_shares_its_mixer_without_an_import(tmp_path):
    text = "from vision_attn.spec import Spec, kinds\nfrom vision_attn.sources import load_plugins\nload_plugins()\n"
    own = text + "MODEL = ViT(dim=16, depth=1, patch_size=7, mixer=kinds(Spec)['LabMean'](scale=0.5))"
    (tmp_path / "mine.py").write_text(FILE.format(own=own, probes="Accuracy()"))
    code, output = command("run", "mine.py", "--results", "out", place=tmp_path, path=[ROOT / "tests" / "plugin"])
    assert code == 0, output
    (folder,) = Store(tmp_path / "out" / "runs").index().values()
    assert folder.config()["run"]["model"]["mixer"] == {"kind": "LabMean", "scale": 0.5}
    assert list(folder.result()["environment"]["sources"]) == ["LabMean"]
    code, output = command("plan", "mine.py", "--results", "out", place=tmp_path)
    assert code == 2
    assert "KeyError: 'LabMean' (mine.py, line 12)" in output


@pytest.mark.slow
def test_changed_sources_are_loud_on_the_page(tmp_path):
    own = "WIDTH = {}\n" + NETWORK.format(name="Changing", module="nn.Sequential(nn.Flatten(), nn.LazyLinear(WIDTH))")
    own = own.replace("nn.LazyLinear(WIDTH)", "nn.Linear(784, 10 + 0 * WIDTH)")
    (tmp_path / "mine.py").write_text(FILE.format(own=own.format(1), probes="Size()"))
    assert command("run", "mine.py", "--results", "out", place=tmp_path)[0] == 0
    assert "has changed since" not in (tmp_path / "out" / "mine" / "report.html").read_text()
    (tmp_path / "mine.py").write_text(FILE.format(own=own.format(2), probes="Size()"))
    for verb in ("plan", "run"):
        code, output = command(verb, "mine.py", "--results", "out", place=tmp_path)
        assert code == 0
        assert "Changing has changed since 1 finished run, which is kept: give it another name or a field" in output
    assert (
        "Changing has changed since the runs of all models" in (tmp_path / "out" / "mine" / "report.html").read_text()
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("assert not mark.exists(), 'only once'", r"mine\.py fails: AssertionError: only once"),
        ("if mark.exists(): raise KeyboardInterrupt('only once')", "own code fails: KeyboardInterrupt: only once"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_sweep_with_one_sentence(tmp_path, line, said):
    """As where a file reads what only the first process has."""
    own = NETWORK.format(name="Once", module=FLAT.format(outputs="num_classes"))
    own += f"import pathlib\nmark = pathlib.Path('mark')\n{line}\nmark.write_text('')\n"
    (tmp_path / "mine.py").write_text(FILE.format(own=own, probes="Size()"))
    code, output = command("run", "mine.py", "--results", "out", "--jobs", "1", place=tmp_path)
    assert code == 1
    assert output.count("a worker could not start") == 1
    assert re.search(rf"{said} \(.*mine\.py, line 16\)", output)
    log = Path(re.search(r"\(see (.+workers\.log)\)", output)[1])
    assert "only once" in (tmp_path / log).read_text()
    assert "1 run: pending" in output


def test_an_own_kind_is_unknown_where_its_file_was_not_loaded(tmp_path):
    script = "from vision_attn.spec import *; import vision_attn.models\nfrom_json({'kind': 'Perceptron'}, Spec)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert "InputError: kind of Spec must be one of" in run.stderr
