"""torchvision beside a CPU-only torch."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def python(code, *, first_on_path=None):
    paths = [str(first_on_path)] if first_on_path else []
    script = f"import sys; sys.path[:0] = {[*paths, str(ROOT)]!r}\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


USES = "import torch, torchvision, timm\n"
USES += "from torchvision.transforms import v2\n"
USES += "assert v2.RandomCrop(4)(torch.zeros(3, 8, 8)).shape == (3, 4, 4)\n"
USES += "assert timm.create_model('resnet10t') is not None"


@pytest.mark.parametrize(
    "first",
    [
        "from vision_attn.layers import Attention",
        "from vision_attn.layers.attention import Attention",
        "import vision_attn.probes",
        "from vision_attn import _torchvision; _torchvision.install()",
    ],
)
def test_after_any_part_of_the_package_torchvision_and_timm_import_and_work(first):
    run = python(f"{first}\n{USES}")
    assert run.returncode == 0, run.stderr


def test_nothing_is_imported_before_it_is_asked_for():
    run = python("from vision_attn.layers import Attention; print({'torchvision', 'timm', 'PIL'} & set(sys.modules))")
    assert run.stdout.strip() == "set()", run.stderr


def test_without_torchvision_the_layer_is_there_and_the_import_says_what_is_missing():
    run = python(
        "from vision_attn.layers import Attention\n"
        "import importlib.machinery as m\n"
        "find = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = lambda name, *rest: None if name == 'torchvision' else find(name, *rest)\n"
        "import torchvision"
    )
    assert "ModuleNotFoundError: No module named 'torchvision'" in run.stderr


@pytest.fixture
def fake(tmp_path):
    (tmp_path / "torchvision").mkdir()
    return tmp_path / "torchvision" / "__init__.py"


LOOK = "import torch, vision_attn, torchvision\n"
DECLARED = "print(hasattr(torch.ops.torchvision, 'nms'))"


def test_where_torchvision_works_nothing_is_declared(fake):
    fake.write_text("works = True")
    run = python(LOOK + DECLARED, first_on_path=fake.parents[1])
    assert run.stdout.strip() == "False", run.stderr


def test_another_failure_of_the_import_passes_through(fake):
    fake.write_text("raise RuntimeError('something else')")
    run = python(LOOK, first_on_path=fake.parents[1])
    assert run.returncode != 0
    assert "something else" in run.stderr


def test_a_half_imported_torchvision_is_not_left_behind(fake):
    fake.write_text(
        "import torch, torchvision.part\n"
        "if not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    (fake.parent / "part.py").write_text("import builtins; builtins.parts = getattr(builtins, 'parts', 0) + 1")
    run = python(LOOK + "import builtins; print(builtins.parts)", first_on_path=fake.parents[1])
    assert run.stdout.strip() == "2", run.stderr
