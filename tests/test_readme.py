"""The README: its code runs, its names exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_code_runs_and_prints_what_its_comments_say(block, tmp_path):
    """A comment behind a print begins with the shape that is printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert run.returncode == 0, run.stderr
    said = [line.partition("#")[2] for line in block.splitlines() if line.startswith("print(")]
    printed = [line.removeprefix("torch.Size([").removesuffix("])") for line in run.stdout.splitlines()]
    assert len(printed) == len(said)
    for comment, line in zip(said, printed, strict=True):
        if shape := re.match(r"\s*\(([\d, ]+)\)", comment):
            assert line == shape[1]


def test_there_is_code_to_run():
    assert len(BLOCKS) >= 3


def test_files_and_modules_that_are_named_are_there():
    named = set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)) | set(re.findall(r"`(vision_attn/[\w/.]+)`", TEXT))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_classes_of_the_switch_table_are_in_the_layers():
    from vision_attn import layers

    table = TEXT[TEXT.index("| switch |") :]
    table = table[: table.index("\n\n")]
    classes = set(re.findall(r"`([A-Z]\w+)[(`]", table))
    assert {"Rotary", "Window", "TopK", "RelativeBias"} <= classes
    assert classes == {
        name for name, kind in vars(layers).items() if isinstance(kind, type) and _is_switch(kind, layers)
    }


def _is_switch(kind, layers):
    return issubclass(kind, layers.Position | layers.Pattern) and kind not in (layers.Position, layers.Pattern)
