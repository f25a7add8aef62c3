"""The README and the pages: their code runs, what they name exists."""

import json
import os
import re
import subprocess
import sys

import pytest
from documents import FILES, PAGES, README, ROOT, blocks, links

BLOCKS = {f"{path.stem}-{i}": block for path in FILES for i, block in enumerate(blocks(path))}
RUNNER = """
import contextlib, io, json, os, sys, traceback
done = {}
for name, block in json.load(sys.stdin).items():
    out = io.StringIO()
    error = ""
    with contextlib.redirect_stdout(out):
        try:
            exec(block, {"__name__": "__main__"})
        except Exception:
            error = traceback.format_exc()
    done[name] = {"printed": out.getvalue(), "error": error}
print(json.dumps(done))
"""
"""One process for all blocks: each has a namespace of its own, and torch is imported once."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    place = tmp_path_factory.mktemp("blocks")
    (place / "results").symlink_to(ROOT / "results")  # blocks read reports as in a clone, and leave nothing in it
    run = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(BLOCKS),
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
        timeout=250,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_of_code_runs_and_prints_what_its_comments_say(name, done):
    """A comment behind a print begins with the shape that is printed."""
    assert not done[name]["error"]
    said = [line.partition("#")[2] for line in BLOCKS[name].splitlines() if line.startswith("print(")]
    printed = [line.removeprefix("torch.Size([").removesuffix("])") for line in done[name]["printed"].splitlines()]
    assert len(printed) == len(said)
    for comment, line in zip(said, printed, strict=True):
        if shape := re.match(r"\s*\(([\d, ]+)\)", comment):
            assert line == shape[1]


def test_there_is_code_to_run_in_the_readme_and_on_pages():
    assert len(blocks(README)) >= 3
    assert len(BLOCKS) >= 12


def test_the_readme_is_read_in_five_minutes():
    assert len(README.read_text().splitlines()) < 150


def test_the_readme_leads_to_every_page():
    assert {f"vision_attn/pages/{path.name}" for path in PAGES.glob("*.md")} <= set(links(README))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_and_modules_that_are_named_are_there(path):
    named = {*links(path), *re.findall(r"`(vision_attn/[\w/.]+|experiments/[\w/]+\.py)`", path.read_text())}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_commands_of_the_command_line_are_there(path):
    from vision_attn.cli.command import app

    verbs = {one.name or one.callback.__name__.replace("_", "-") for one in app.registered_commands} | {"data"}
    named = set(re.findall(r"(?<![\w./-])vision-attn ([a-z][a-z-]+)", path.read_text()))
    assert named - {"authors"} <= verbs


def test_classes_of_the_switch_table_are_in_the_layers():
    from vision_attn import layers

    text = (PAGES / "layer.md").read_text()
    table = text[text.index("| switch |") :]
    table = table[: table.index("\n\n")]
    classes = set(re.findall(r"`([A-Z]\w+)[(`]", table))
    assert {"Rotary", "Window", "TopK", "RelativeBias"} <= classes
    assert classes == {
        name for name, kind in vars(layers).items() if isinstance(kind, type) and _is_switch(kind, layers)
    }


def _is_switch(kind, layers):
    return issubclass(kind, layers.Position | layers.Pattern) and kind not in (layers.Position, layers.Pattern)
