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


def test_torchvision_and_timm_import_and_work():
    code = "from vision_attn._torchvision import repair; repair(); repair()\n"
    code += "import torch, torchvision, timm\n"
    code += "from torchvision.transforms import v2\n"
    code += "assert v2.RandomCrop(4)(torch.zeros(3, 8, 8)).shape == (3, 4, 4)\n"
    code += "assert timm.create_model('resnet10t') is not None"
    run = python(code)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def fake(tmp_path):
    (tmp_path / "torchvision").mkdir()
    return tmp_path / "torchvision" / "__init__.py"


LOOK = "import torch; from vision_attn._torchvision import repair\n"
DECLARED = "print(hasattr(torch.ops.torchvision, 'nms'))"


def test_where_torchvision_works_nothing_is_declared(fake):
    fake.write_text("works = True")
    run = python(LOOK + "repair()\n" + DECLARED, first_on_path=fake.parents[1])
    assert run.stdout.strip() == "False", run.stderr


def test_another_failure_of_the_import_passes_through(fake):
    fake.write_text("raise RuntimeError('something else')")
    run = python(LOOK + "repair()", first_on_path=fake.parents[1])
    assert run.returncode != 0
    assert "something else" in run.stderr


def test_a_half_imported_torchvision_is_not_left_behind(fake):
    fake.write_text(
        "import torch, torchvision.part\n"
        "if not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    (fake.parent / "part.py").write_text("import builtins; builtins.parts = getattr(builtins, 'parts', 0) + 1")
    run = python(LOOK + "repair(); import builtins; print(builtins.parts)", first_on_path=fake.parents[1])
    assert run.stdout.strip() == "2", run.stderr
